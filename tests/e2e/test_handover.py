"""Restarts that nobody notices: SIGUSR2, and sockets that somebody else holds, under constant load.

WORMKEY_RESTARTS says how many of each. The load is tests/support/load.py's.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.support.load import Load, app
from tests.support.origin import start_origin
from tests.support.process import (
    Daemon,
    Running,
    options_of,
    ready,
    running,
    running_daemon,
)
from tests.support.share import addresses_of, authority_of, share
from tests.support.world import Connected, Disconnected, call

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

RESTARTS = int(os.environ.get("WORMKEY_RESTARTS", "3"))
# Passes two listening sockets as systemd does (sd_listen_fds(3)): as descriptors 3 and 4.
LAUNCH = """
import os, sys
control, gateway = int(sys.argv[1]), int(sys.argv[2])
spare = [os.dup2(fd, 100 + n) for n, fd in enumerate((control, gateway))]
for n, fd in enumerate(spare):
    os.dup2(fd, 3 + n)
    os.close(fd)
os.environ.update(LISTEN_FDS="2", LISTEN_FDNAMES="control:gateway", LISTEN_PID=str(os.getpid()))
from wormkey.daemon import main
main(sys.argv[3:])
"""


@asynccontextmanager
async def under_load(daemon: Daemon) -> AsyncIterator[tuple[Load, dict[str, Any]]]:
    """A session with its client in this process, and every kind of load on it."""
    async with trio.open_nursery() as nursery:
        origin = await start_origin(nursery, app)
        session, client = await share(nursery, daemon, origin.port)
        load = Load(daemon.gateway, authority_of(daemon, session))
        async with trio.open_nursery() as loads:
            loads.start_soon(load.run)
            yield load, {**session, "client": client}
            load.stopping = True
        assert not client.ended.is_set(), client.error
        nursery.cancel_scope.cancel(reason="the test is over")


async def wait_records(process: Running, event: str, count: int) -> list[dict[str, Any]]:
    """Wait until an event was logged so often, by whoever writes to this process's stderr."""
    lines = await process.wait_lines(process.err, lambda line: f'"event": "{event}"' in line, count)
    return [json.loads(line) for line in lines]


async def end_all(process: Running) -> None:
    """End the newest process of the row, and wait until the last one is gone."""
    newest = process.pid
    for line in process.err:
        record = json.loads(line) if line.startswith("{") else {}
        if record.get("event") == "handed over":
            newest = record["pid"]
    os.kill(newest, signal.SIGTERM)
    await process.ended.wait()  # the pipes are closed by the last that has them


@pytest.mark.slow
async def test_a_hand_over_fails_nobody(tmp_path: Path) -> None:
    """SIGUSR2 again and again under load: no request fails, no stream is cut, the URL stays."""
    with trio.fail_after(60 + 20 * RESTARTS):
        async with running_daemon(tmp_path) as daemon:
            process = daemon.process
            async with under_load(daemon) as (load, session):
                pid = process.pid
                for number in range(1, RESTARTS + 1):
                    await trio.sleep(0.3)
                    os.kill(pid, signal.SIGUSR2)
                    done = await wait_records(process, "handed over", number)
                    pid = done[-1]["pid"]
                    await wait_records(process, "predecessor gone", number)
                    # A process that goes before its clients have come lets nobody wait for them.
                    await session["client"].wait(Connected, number + 1)
                status, state = await call(
                    daemon.control,
                    "GET",
                    f"/sessions/{session['sessionId']}",
                    token=session["sessionToken"],
                )
                assert (status, state["slug"]) == (200, session["slug"])
            print(f"{RESTARTS} hand-overs: {dict(load.done)}, failures {load.failures}")
            assert load.failures == []
            assert min(load.done.values()) >= RESTARTS
            await end_all(process)


@pytest.mark.slow
async def test_a_restart_behind_held_sockets_fails_nobody(tmp_path: Path) -> None:
    """With sockets that outlive the daemon, as systemd's, SIGTERM and a new start fail nobody."""
    with trio.fail_after(60 + 20 * RESTARTS):
        held = [socket.create_server(("127.0.0.1", 0), backlog=512) for _ in range(2)]
        fds = [sock.fileno() for sock in held]
        for fd in fds:
            os.set_inheritable(fd, True)
        options = (
            *options_of(tmp_path),
            "--access",
            "open",
        )  # of inherited sockets nothing is assumed
        command = (sys.executable, "-c", LAUNCH, *map(str, fds), *options)
        try:
            async with trio.open_nursery() as nursery:
                starting = await nursery.start(start, command, tmp_path, fds)
                daemon = await ready(starting)
                async with under_load(daemon) as (load, session):
                    for number in range(1, RESTARTS + 1):
                        await trio.sleep(0.3)
                        assert await starting.end() == 0
                        starting = await nursery.start(start, command, tmp_path, fds)
                        await ready(starting)
                        await session["client"].wait(Connected, number + 1)
                print(f"{RESTARTS} restarts: {dict(load.done)}, failures {load.failures}")
                assert load.failures == []
                assert await starting.end() == 0
        finally:
            for sock in held:
                sock.close()


async def start(
    command: tuple[str, ...],
    home: Path,
    fds: list[int],
    *,
    task_status: trio.TaskStatus[Running],
) -> None:
    """Run a process with these descriptors until it ends."""
    async with running(command, home, pass_fds=fds) as process:
        task_status.started(process)
        await process.ended.wait()


@pytest.mark.slow
async def test_a_kill_fails_only_what_was_open(tmp_path: Path) -> None:
    """After kill -9 and a new start everything is served again, under the same URL."""
    with trio.fail_after(90):
        async with running_daemon(tmp_path) as daemon, trio.open_nursery() as nursery:
            origin = await start_origin(nursery, app)
            session, client = await share(nursery, daemon, origin.port)
            authority = authority_of(daemon, session)
            load = Load(daemon.gateway, authority)
            nursery.start_soon(load.run)
            await trio.sleep(0.5)
            await daemon.process.end(signal.SIGKILL)
            load.stopping = True
            await client.wait(Disconnected)
            async with running_daemon(tmp_path, *addresses_of(daemon)) as again:
                await client.wait(Connected, 2)
                after = Load(again.gateway, authority)
                async with trio.open_nursery() as loads:
                    loads.start_soon(after.run)
                    await trio.sleep(0.5)
                    after.stopping = True
                assert after.failures == []
                assert min(after.done.values()) >= 1
                nursery.cancel_scope.cancel(reason="the test is over")


async def test_a_failing_successor_changes_nothing(tmp_path: Path) -> None:
    """A configuration that a new process cannot use: the old one says so and serves on."""
    config = tmp_path / "wormkeyd.toml"
    config.write_text("")
    with trio.fail_after(60):
        async with running_daemon(tmp_path, "--config", str(config)) as daemon:
            async with under_load(daemon) as (load, _):
                config.write_text('no_such_key = "1"\n')
                os.kill(daemon.process.pid, signal.SIGUSR2)
                await wait_records(daemon.process, "hand-over failed", 1)
                status, _ = await call(daemon.control, "POST", "/sessions", body={"port": 1})
                assert status == 201
                config.write_text("")
                os.kill(daemon.process.pid, signal.SIGUSR2)
                await wait_records(daemon.process, "predecessor gone", 1)
            assert load.failures == []
            await end_all(daemon.process)


async def test_sessions_in_memory_are_not_handed_over(tmp_path: Path) -> None:
    """With --store memory SIGUSR2 does nothing but say why."""
    with trio.fail_after(30):
        async with running_daemon(tmp_path, "--store", "memory") as daemon:
            os.kill(daemon.process.pid, signal.SIGUSR2)
            (refused,) = await wait_records(daemon.process, "hand-over refused", 1)
            assert "--store sqlite" in refused["reason"]
            status, _ = await call(daemon.control, "POST", "/sessions", body={"port": 1})
            assert status == 201
            assert await daemon.process.end() == 0
