"""Each fault of the machine under real processes and constant load: what it costs, and no more.

A stopped process, a clock that jumps, a full disk, no descriptors. docs/faults.md has the table.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
import trio
from attrs import frozen

from tests.support.disk import fill, free, small_disk
from tests.support.load import Load, app
from tests.support.origin import start_origin
from tests.support.process import (
    ADDRESSES,
    Daemon,
    Running,
    options_of,
    ready,
    running,
    running_client,
)
from tests.support.world import call

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

FAULT_S: Final = 1.5
KINDS: Final = 5  # of the load
OPEN_AT_ONCE: Final = 6  # of its requests
# A daemon whose wall clock is as far off as the file says; nothing else of it is changed.
OFF: Final = """
import os, sys
from datetime import UTC, datetime, timedelta
from wormkey import nursery
clock = os.open("clock", os.O_RDONLY)  # at once: no descriptor may be left later
def off():
    return datetime.now(UTC) + timedelta(seconds=int(os.pread(clock, 9, 0)))
nursery._now = off
from wormkey.daemon import main
main(sys.argv[1:])
"""


@frozen
class Machine:
    """The processes of one machine, its disk and its clock."""

    daemon: Daemon
    client: Running
    session: dict[str, str]
    home: Path

    def clock(self, off_s: int) -> None:
        """Set the daemon's wall clock."""
        with (self.home / "clock").open("r+b", buffering=0) as file:
            file.write(b"%9d" % off_s)

    def descriptors(self) -> int:
        """Return how many the two programs have open."""
        pids = self.daemon.process.pid, self.client.pid
        return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids)

    def tunnels_opened(self) -> int:
        """Return how often the client has had to connect."""
        return sum("tunnel opened" in line for line in self.daemon.process.err)

    async def create(self) -> int:
        """Create a session; return the status."""
        return (await call(self.daemon.control, "POST", "/sessions", body={"port": 1}))[0]


@asynccontextmanager
async def _machine(home: Path, *options: str) -> AsyncIterator[tuple[Machine, Load]]:
    """Run daemon, client and app under load; at the end everything must be as before."""
    (home / "clock").write_text("        0")
    command = (sys.executable, "-c", OFF, *ADDRESSES, *options_of(home), *options)
    async with trio.open_nursery() as nursery, AsyncExitStack() as opened:
        origin = await start_origin(nursery, app)
        process = await opened.enter_async_context(running(command, home))
        daemon = await ready(process)
        client, made = await opened.enter_async_context(
            running_client(daemon, home, str(origin.port))
        )
        machine = Machine(daemon, client, made, home)
        load = Load(daemon.gateway, f"{made['slug']}.localhost:{daemon.gateway[1]}".encode())
        before = machine.descriptors()
        async with trio.open_nursery() as loads:
            loads.start_soon(load.run)
            await _more(load)
            yield machine, load
            load.stopping = True
        assert not process.ended.is_set()
        assert not client.ended.is_set()
        # The client keeps idle connections to the app for four seconds.
        while machine.descriptors() > before:  # noqa: ASYNC110 - nothing tells
            await trio.sleep(0.1)
        nursery.cancel_scope.cancel(reason="the test is over")


async def _more(load: Load, count: int = 2) -> None:
    """Wait until each kind of request has gone well so often more."""
    before = load.done.copy()
    while len(more := load.done - before) < KINDS or min(more.values()) < count:  # noqa: ASYNC110 - nothing tells
        await trio.sleep(0.05)


async def _stop(process: Running) -> None:
    process.process.send_signal(signal.SIGSTOP)
    await trio.sleep(FAULT_S)
    process.process.send_signal(signal.SIGCONT)


async def _stop_daemon(machine: Machine) -> None:
    await _stop(machine.daemon.process)


async def _stop_client(machine: Machine) -> None:
    await _stop(machine.client)


async def _clock_ahead(machine: Machine) -> None:
    machine.clock(20 * 3600)
    await trio.sleep(FAULT_S)


async def _clock_back(machine: Machine) -> None:
    machine.clock(-20 * 3600)
    await trio.sleep(FAULT_S)


async def _no_descriptors(machine: Machine) -> None:
    pid = machine.daemon.process.pid
    old = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    few = len(os.listdir(f"/proc/{pid}/fd"))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (few, old[1]))
    err = machine.daemon.process.err
    await machine.daemon.process.wait_line(err, lambda line: "accept failed" in line)
    await trio.sleep(FAULT_S)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, old)


FAULTS: Final[dict[str, Callable[[Machine], Awaitable[None]]]] = {
    "daemon stopped": _stop_daemon,
    "client stopped": _stop_client,
    "clock ahead": _clock_ahead,
    "clock back": _clock_back,
    "no descriptors": _no_descriptors,
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_short_fault_costs_time_alone(fault: str, tmp_path: Path) -> None:
    """Nothing fails, nothing is cut, nobody loses the tunnel; then everything is as before."""
    with trio.fail_after(50):
        async with _machine(tmp_path) as (machine, load):
            await FAULTS[fault](machine)
            await _more(load)
        assert load.failures == []
        assert machine.tunnels_opened() == 1


async def test_a_full_disk_refuses_sessions_and_no_viewer(tmp_path: Path) -> None:
    """What would not outlast the daemon is not promised; who is there notices nothing."""
    with small_disk(tmp_path / "disk", 4 * 1024 * 1024) as disk, trio.fail_after(50):
        options = ("--state-dir", str(disk / "state"))
        async with _machine(tmp_path, *options) as (machine, load):
            fill(disk)
            while (status := await machine.create()) == 201:  # as far as the store's pages go
                pass
            assert status == 503
            await _more(load)
            free(disk)
            assert await machine.create() == 201
        assert load.failures == []
        assert machine.tunnels_opened() == 1


async def test_a_client_that_was_given_up_is_back_with_its_url(tmp_path: Path) -> None:
    """Stopped for longer than a tunnel may be silent: what was open fails, and nothing after."""
    times = ("--tunnel-timeout", "1s", "--ping-interval", "300ms")
    with trio.fail_after(50):
        async with _machine(tmp_path, *times) as (machine, load):
            machine.client.process.send_signal(signal.SIGSTOP)
            err = machine.daemon.process.err
            await machine.daemon.process.wait_line(err, lambda line: "tunnel closed" in line)
            machine.client.process.send_signal(signal.SIGCONT)
            await _more(load)
            begun = len(load.failures)
            await _more(load)
        assert len(load.failures) == begun <= OPEN_AT_ONCE
        assert machine.tunnels_opened() == 2


async def test_a_daemon_that_was_stopped_blames_nobody(tmp_path: Path) -> None:
    """It slept through the time-outs of its tunnels: what they said meanwhile is read first."""
    times = ("--tunnel-timeout", "1s", "--ping-interval", "300ms")
    with trio.fail_after(50):
        async with _machine(tmp_path, *times) as (machine, load):
            machine.daemon.process.process.send_signal(signal.SIGSTOP)
            await trio.sleep(3)
            machine.daemon.process.process.send_signal(signal.SIGCONT)
            await _more(load)
        assert load.failures == []
        assert machine.tunnels_opened() == 1
