"""Both programs as users start them: real processes, an empty HOME, exit codes and output."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

from tests.support.origin import Connection, Origin, each_request, saying, start_origin
from tests.support.process import (
    CLIENT,
    DAEMON,
    Daemon,
    run,
    running,
    running_client,
    running_daemon,
)
from tests.support.viewer import open_viewer
from tests.support.world import call

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.messages import Request, Response
    from tests.support.origin import Handler


@asynccontextmanager
async def _programs(
    home: Path, handler: Handler | None = None, *options: str
) -> AsyncIterator[tuple[Daemon, Origin]]:
    """Run a daemon and an origin for one test, within its deadline."""
    with trio.fail_after(40):
        async with trio.open_nursery() as nursery, running_daemon(home, *options) as daemon:
            yield daemon, await start_origin(nursery, handler or saying())
            nursery.cancel_scope.cancel(reason="the test is over")


async def _get(daemon: Daemon, slug: str, target: bytes = b"/") -> Response:
    authority = f"{slug}.localhost:{daemon.gateway[1]}".encode()
    viewer = await open_viewer(*daemon.gateway, authority)
    try:
        return await viewer.exchange(target)
    finally:
        await viewer.aclose()


LISTEN = "0A"  # a state in /proc/net/tcp


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


async def test_expose_prints_the_public_url_alone_and_ctrl_c_closes_the_session(
    tmp_path: Path,
) -> None:
    """One line on stdout; the URL works; Ctrl-C exits 0 and the session is over at the server."""
    async with _programs(tmp_path) as (daemon, origin):
        command = (*CLIENT, "expose", str(origin.port), "--control-plane", daemon.control_url)
        async with running(command, tmp_path) as client:
            url = await client.wait_line(client.out, lambda _: True)
            slug = url.removesuffix("/").rpartition("/")[2]
            assert url.startswith(f"http://localhost:{daemon.gateway[1]}/s/")
            assert (await _get(daemon, slug)).data == b"hello"
            client.interrupt()
            assert await client.wait() == 0
            assert client.out == [url]
        gone = await _get(daemon, slug)
        assert (gone.status, gone.error) == (410, b"session_closed")


def _sockets(pid: int) -> list[list[str]]:
    """Return the internet sockets of a process, as the lines of /proc/net/tcp and its like."""
    mine = {os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()}
    lines: list[list[str]] = []
    for kind in ("tcp", "tcp6", "udp", "udp6"):
        text = Path(f"/proc/{pid}/net/{kind}").read_text()
        lines += [line.split() for line in text.splitlines()[1:]]
    return [line for line in lines if f"socket:[{line[9]}]" in mine]


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
async def test_the_client_listens_on_nothing(tmp_path: Path) -> None:
    """No web page finds a door on the developer's machine: nothing there could be rebound to."""
    async with (
        _programs(tmp_path) as (daemon, origin),
        running_client(daemon, tmp_path, str(origin.port)) as (client, made),
    ):
        assert (await _get(daemon, made["slug"])).data == b"hello"
        sockets = _sockets(client.pid)
        assert sockets  # its tunnel at least
        assert [line for line in sockets if line[3] == LISTEN] == []
        assert [line for line in sockets if line[2].endswith(":0000")] == []  # each has a peer
        assert any(line[3] == LISTEN for line in _sockets(daemon.process.pid))


@pytest.mark.parametrize("form", ["http", "bare", "url"])
async def test_every_way_to_name_the_target_works(form: str, tmp_path: Path) -> None:
    """``wormkey http 5173``, ``wormkey 5173`` and a URL mean the same."""
    async with _programs(tmp_path) as (daemon, origin):
        arguments = {
            "http": ("http", str(origin.port)),
            "bare": (str(origin.port),),
            "url": ("expose", f"http://127.0.0.1:{origin.port}"),
        }[form]
        command = (*CLIENT, *arguments, "--json", "--control-plane", daemon.control_url)
        async with running(command, tmp_path) as client:
            told = json.loads(await client.wait_line(client.out, lambda _: True))
            assert (await _get(daemon, told["slug"])).data == b"hello"


async def test_json_and_output_tell_scripts_everything(tmp_path: Path) -> None:
    """One object on stdout, the same in the file, with the promised keys."""
    async with _programs(tmp_path) as (daemon, origin):
        file = tmp_path / "ready.json"
        options = ("--output", str(file), "--name", "my-own-name", "--expires", "30m")
        async with running_client(daemon, tmp_path, str(origin.port), *options) as (client, told):
            assert set(told) == {
                "session_id",
                "slug",
                "url",
                "owner_url",
                "expires_at",
                "pid",
                "status",
            }
            assert (told["slug"], told["status"]) == ("my-own-name", "ready")
            assert told["pid"] == client.pid
            assert json.loads(file.read_text()) == told
            assert (await _get(daemon, "my-own-name")).data == b"hello"


async def test_status_list_and_close_see_the_running_session(tmp_path: Path) -> None:
    """From another terminal: what runs, and its end."""
    async with _programs(tmp_path) as (daemon, origin):
        url = daemon.control_url
        async with running_client(daemon, tmp_path, str(origin.port)) as (client, told):
            for verb in ("status", "list"):
                code, out, err = await run((*CLIENT, verb), tmp_path, WORMKEY_CONTROL_PLANE_URL=url)
                assert code == 0, err
                assert told["slug"] in out
            close = (*CLIENT, "close", told["slug"])
            code, _, err = await run(close, tmp_path, WORMKEY_CONTROL_PLANE_URL=url)
            assert code == 0, err
            assert await client.wait() in (0, 14)
            assert (await _get(daemon, told["slug"])).status == 410


async def test_wait_for_an_app_that_is_slow_to_start(tmp_path: Path) -> None:
    """``--wait-for /`` prints the URL only once the app answers; without it in time: exit 11."""
    async with _programs(tmp_path) as (daemon, origin):
        port = _free_port()
        wait = ("--wait-for", "/", "--timeout", "1s", "--control-plane", daemon.control_url)
        code, out, err = await run((*CLIENT, "expose", str(port), *wait), tmp_path)
        assert (code, out) == (11, "")
        assert str(port) in err
        arguments = (str(origin.port), "--wait-for", "/")
        async with running_client(daemon, tmp_path, *arguments) as (_, told):
            assert (await _get(daemon, told["slug"])).data == b"hello"


async def test_without_a_control_plane_the_exit_code_is_12(tmp_path: Path) -> None:
    """The sentence names the URL that was tried."""
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    code, out, err = await run(
        (*CLIENT, "expose", "5173", "--control-plane", url, "--timeout", "2s"), tmp_path
    )
    assert (code, out) == (12, "")
    assert str(port) in err


async def test_a_wrong_or_missing_access_token_is_exit_code_13(tmp_path: Path) -> None:
    """A daemon that wants a token gets the right one or nothing."""
    async with _programs(tmp_path, None, "--access", "token") as (daemon, origin):
        command = (*CLIENT, "expose", str(origin.port), "--control-plane", daemon.control_url)
        for token in ((), ("--token", "made-up")):
            code, out, err = await run((*command, *token), tmp_path)
            assert (code, out) == (13, ""), err


async def test_a_taken_name_is_exit_code_15(tmp_path: Path) -> None:
    """Somebody else's live session keeps its name."""
    async with _programs(tmp_path) as (daemon, origin):
        taken = {"port": 1, "name": "taken-name"}
        assert (await call(daemon.control, "POST", "/sessions", body=taken))[0] == 201
        command = (*CLIENT, "expose", str(origin.port), "--name", "taken-name")
        code, out, err = await run((*command, "--control-plane", daemon.control_url), tmp_path)
        assert (code, out) == (15, "")
        assert "taken-name" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ("expose",),
        ("expose", "nonsense:port"),
        ("expose", "5173", "--expires", "30"),
        ("expose", "5173", "--expires", "0m"),
        ("expose", "5173", "--no-such-option"),
        ("no-such-verb",),
    ],
)
async def test_wrong_usage_is_exit_code_2_and_one_clear_line(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    """Nothing on stdout, no traceback."""
    code, out, err = await run((*CLIENT, *arguments), tmp_path)
    assert (code, out) == (2, "")
    assert "Traceback" not in err
    assert err.strip()


async def test_a_session_that_ends_at_the_server_is_exit_code_14(tmp_path: Path) -> None:
    """The client says that it is over instead of dialling for ever."""
    async with _programs(tmp_path) as (daemon, origin):
        options = (str(origin.port), "--expires", "2s")
        async with running_client(daemon, tmp_path, *options) as (client, told):
            assert await client.wait() == 14
            assert (await _get(daemon, told["slug"])).error == b"session_expired"


async def test_a_client_that_was_killed_resumes_its_name(tmp_path: Path) -> None:
    """Same name, same URL, same session after a crash."""
    async with _programs(tmp_path) as (daemon, origin):
        arguments = (str(origin.port), "--name", "comes-back")
        async with running_client(daemon, tmp_path, *arguments) as (client, first):
            await client.end(signal.SIGKILL)
        async with running_client(daemon, tmp_path, *arguments) as (client, second):
            assert second["session_id"] == first["session_id"]
            assert second["url"] == first["url"]
            assert (await _get(daemon, "comes-back")).data == b"hello"
            client.interrupt()
            assert await client.wait() == 0


async def test_a_daemon_that_was_killed_resumes_every_session(tmp_path: Path) -> None:
    """Kill -9, start again: the client is back by itself with the same URL, requests wait."""
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            origin = await start_origin(nursery, saying())
            gateway, control = _free_port(), _free_port()
            ports = (f"--control=127.0.0.1:{control}", f"--gateway=127.0.0.1:{gateway}")
            async with running_daemon(tmp_path, *ports) as daemon:
                await _kill_and_resume(daemon, tmp_path, ports, origin)
            nursery.cancel_scope.cancel(reason="the test is over")


async def _kill_and_resume(
    daemon: Daemon, home: Path, ports: tuple[str, ...], origin: Origin
) -> None:
    async with running_client(daemon, home, str(origin.port)) as (client, told):
        assert (await _get(daemon, told["slug"])).data == b"hello"
        await daemon.process.end(signal.SIGKILL)
        async with running_daemon(home, *ports) as again:
            assert (await _get(again, told["slug"])).data == b"hello"
            client.interrupt()
            assert await client.wait() == 0


async def test_sigterm_drains_the_daemon(tmp_path: Path) -> None:
    """An answer under way is finished, then the daemon exits 0."""
    release = trio.Event()
    asked = trio.Event()

    async def answer(connection: Connection, _request: Request) -> None:
        asked.set()
        await release.wait()
        await connection.answer(b"finished")

    async with (
        _programs(tmp_path, each_request(answer)) as (daemon, origin),
        running_client(daemon, tmp_path, str(origin.port)) as (_, told),
    ):
        authority = f"{told['slug']}.localhost:{daemon.gateway[1]}".encode()
        viewer = await open_viewer(*daemon.gateway, authority)
        await viewer.request()
        await asked.wait()
        daemon.process.process.terminate()
        await daemon.process.wait_line(daemon.process.err, lambda line: "drain" in line)
        release.set()
        assert (await viewer.read_response()).data == b"finished"
        await viewer.aclose()
        assert await daemon.process.wait() == 0


async def test_an_idle_daemon_stops_at_once(tmp_path: Path) -> None:
    """SIGTERM and SIGINT both: exit 0 within a second or so."""
    for number in (signal.SIGTERM, signal.SIGINT):
        async with _programs(tmp_path) as (daemon, _):
            with trio.fail_after(5):
                assert await daemon.process.end(number) == 0


async def test_a_second_signal_ends_the_daemon_at_once(tmp_path: Path) -> None:
    """Who does not want to wait for the drain need not."""

    async def never(connection: Connection, _request: Request) -> None:
        await connection.wait_left()

    async with (
        _programs(tmp_path, each_request(never)) as (daemon, origin),
        running_client(daemon, tmp_path, str(origin.port)) as (_, told),
    ):
        authority = f"{told['slug']}.localhost:{daemon.gateway[1]}".encode()
        viewer = await open_viewer(*daemon.gateway, authority)
        await viewer.request()
        await origin.wait_connections(1)
        daemon.process.process.terminate()
        await daemon.process.wait_line(daemon.process.err, lambda line: "drain" in line)
        daemon.process.process.terminate()
        with trio.fail_after(5):
            await daemon.process.wait()
        await viewer.aclose()


async def test_a_port_in_use_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    """The line names the address."""
    async with _programs(tmp_path) as (daemon, _):
        taken = daemon.gateway_url.removeprefix("http://")
        code, out, err = await run(
            (*DAEMON, "--control", "127.0.0.1:0", "--gateway", taken, "--store", "memory"), tmp_path
        )
        assert (code, out) == (1, "")
        assert str(daemon.gateway[1]) in err
        assert "Traceback" not in err


async def test_no_secret_is_logged_or_left_readable(tmp_path: Path) -> None:
    """Tokens stand in no log line, and local files are the user's alone."""
    async with (
        _programs(tmp_path, None, "--log-level", "debug") as (daemon, origin),
        running_client(daemon, tmp_path, str(origin.port), "-v") as (client, told),
    ):
        await _get(daemon, told["slug"], b"/?password=canary-in-the-query")
        records = list((tmp_path / "state").rglob("sessions.json"))
        assert records
        assert all(file.stat().st_mode & 0o077 == 0 for file in records)
        token = json.loads(records[0].read_text())
        secrets = _secrets_of(token)
        assert secrets
        for line in daemon.process.err + client.err:
            assert not [secret for secret in secrets if secret in line]
        assert not [line for line in daemon.process.err if "canary" in line]


def _secrets_of(value: object, name: str = "") -> set[str]:
    """Return every string of a JSON value whose key says token."""
    if isinstance(value, dict):
        return set().union(*(_secrets_of(item, key) for key, item in value.items()))
    if isinstance(value, list):
        return set().union(*(_secrets_of(item, name) for item in value))
    return {str(value).rpartition(".")[2]} if "token" in name and value else set()
