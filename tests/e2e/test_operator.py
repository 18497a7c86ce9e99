"""What an operator does to a running daemon, as processes: signals, status, revoke, the manager."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

import trio

from tests.support.manager import service_manager
from tests.support.origin import saying, start_origin
from tests.support.process import CLIENT, DAEMON, Daemon, run, running, running_daemon
from tests.support.viewer import open_viewer
from tests.support.world import call
from wormkey import __version__

if TYPE_CHECKING:
    from pathlib import Path


def state_of(home: Path) -> tuple[str, str]:
    """The option that names the daemon's state folder."""
    return ("--state-dir", str(home / "daemon"))


async def logged(daemon: Daemon, event: str) -> dict[str, object]:
    """Wait for a record of the daemon's log."""
    process = daemon.process
    line = await process.wait_line(process.err, lambda line: f'"event": "{event}"' in line)
    record: dict[str, object] = json.loads(line)
    return record


async def test_the_manager_is_told_of_a_whole_life(tmp_path: Path) -> None:
    """READY, WATCHDOG in time, a STATUS, a reload from RELOADING to READY, STOPPING, exit 0."""
    async with service_manager(tmp_path, limit_s=40) as manager:
        config = tmp_path / "wormkeyd.toml"
        config.write_text('hold = "5s"')
        more = {"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "400000"}
        async with running_daemon(tmp_path, "--config", str(config), **more) as daemon:
            ready = await manager.wait("READY")
            assert ready["STATUS"].startswith(f"control={daemon.control_url} gateway=")
            for _ in range(4):
                with trio.fail_after(2):  # a machine that others use; 0.2 s on one that rests
                    await manager.wait("WATCHDOG")
            daemon.process.process.send_signal(signal.SIGHUP)
            assert (await manager.wait("RELOADING"))["MONOTONIC_USEC"].isdecimal()
            assert (await manager.wait("READY"))["STATUS"] == "0 sessions, 0 tunnels, 0 streams"
            await call(daemon.control, "POST", "/sessions", body={"port": 1})
            assert (await manager.wait("STATUS"))["STATUS"] == "1 session, 0 tunnels, 0 streams"
            daemon.process.process.terminate()
            stopping = await manager.wait("STOPPING")
            assert stopping["STATUS"] == "draining: 1 session, 0 tunnels, 0 streams"
            assert await daemon.process.wait() == 0


async def test_a_daemon_that_is_stopped_is_not_kept_alive(tmp_path: Path) -> None:
    """A process whose loop does not turn sends nothing, and goes on when it turns again."""
    async with service_manager(tmp_path, limit_s=40) as manager:
        more = {"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "400000"}
        async with running_daemon(tmp_path, **more) as daemon:
            await manager.wait("WATCHDOG")
            daemon.process.process.send_signal(signal.SIGSTOP)
            while not await manager.silent(0.1):
                pass  # what was sent before the signal came
            assert await manager.silent(1.0)
            daemon.process.process.send_signal(signal.SIGCONT)
            await manager.wait("WATCHDOG")


async def test_sighup_takes_the_file_and_keeps_the_flags(tmp_path: Path) -> None:
    """The precedence of the start; what a flag says, no edit of the file changes."""
    config = tmp_path / "wormkeyd.toml"
    config.write_text('max_session_age = "1h"\nmax_misses = 5\n')
    with trio.fail_after(40):
        options = ("--config", str(config), "--max-misses", "7")
        async with running_daemon(tmp_path, *options, WORMKEY_HOLD="3s") as daemon:
            wish = {"port": 1, "expiresIn": "2h"}
            assert (await call(daemon.control, "POST", "/sessions", body=wish))[0] == 400
            config.write_text(
                'max_session_age = "3h"\nmax_misses = 9\nhold = "9s"\nmax_connections = 5\n'
            )
            daemon.process.process.send_signal(signal.SIGHUP)
            assert (await logged(daemon, "reloaded"))["changed"] == "--max-session-age"
            assert (await logged(daemon, "restart needed"))["options"] == "--max-connections"
            assert (await call(daemon.control, "POST", "/sessions", body=wish))[0] == 201


async def test_sighup_with_a_bad_file_changes_nothing(tmp_path: Path) -> None:
    """One line that names the key; the daemon serves on as it was."""
    config = tmp_path / "wormkeyd.toml"
    config.write_text('max_session_age = "1h"')
    with trio.fail_after(40):
        async with running_daemon(tmp_path, "--config", str(config)) as daemon:
            config.write_text('max_session_age = "3h"\nhold = "soon"')
            daemon.process.process.send_signal(signal.SIGHUP)
            failed = await logged(daemon, "reload failed")
            assert failed["level"] == "error"
            assert str(failed["reason"]).startswith(f"{config}: hold: 'soon' is not a duration")
            wish = {"port": 1, "expiresIn": "2h"}
            assert (await call(daemon.control, "POST", "/sessions", body=wish))[0] == 400


async def test_sighup_in_a_drain_is_ignored(tmp_path: Path) -> None:
    """The drain goes on to its end."""
    with trio.fail_after(40):
        async with running_daemon(tmp_path) as daemon:
            viewer = await open_viewer(*daemon.gateway, b"localhost:%d" % daemon.gateway[1])
            await viewer.stream.send_all(b"GET /he")  # in the middle of a head: it is waited for
            daemon.process.process.terminate()
            await logged(daemon, "draining")
            daemon.process.process.send_signal(signal.SIGHUP)
            await logged(daemon, "reload ignored")
            await viewer.aclose()
            assert await daemon.process.wait() == 0
            assert not [line for line in daemon.process.err if '"reloaded"' in line]


async def test_status_tells_scripts_and_people(tmp_path: Path) -> None:
    """Exit 0 with the facts while it runs; afterwards exit 1 and one line, also after a kill."""
    with trio.fail_after(40):
        status = (*DAEMON, "status", *state_of(tmp_path))
        async with running_daemon(tmp_path) as daemon:
            code, out, err = await run((*status, "--json"), tmp_path)
            assert (code, err) == (0, "")
            facts = json.loads(out)
            assert facts["pid"] == daemon.process.pid
            assert facts["gateway_url"] == daemon.gateway_url
            assert facts["versions"]["wormkey"] == __version__
            assert 0 < facts["uptime_s"] < 40
            assert facts["memory_bytes"] > 10_000_000
            code, out, err = await run(status, tmp_path)
            assert (code, err) == (0, "")
            assert f"process {daemon.process.pid}, up " in out
            await daemon.process.end(signal.SIGKILL)
        code, out, err = await run(status, tmp_path)
        assert (code, out) == (1, "")
        assert err == f"wormkeyd: no daemon runs with the state folder {tmp_path}/daemon\n"
        async with running_daemon(tmp_path):  # the socket that the kill left is replaced
            assert (await run(status, tmp_path))[0] == 0


async def test_a_second_daemon_of_a_state_folder_is_refused(tmp_path: Path) -> None:
    """One line with the remedy, exit 1; the first one serves on."""
    with trio.fail_after(40):
        async with running_daemon(tmp_path) as daemon:
            ports = ("--control", "127.0.0.1:0", "--gateway", "127.0.0.1:0")
            code, out, err = await run((*DAEMON, *ports, *state_of(tmp_path)), tmp_path)
            assert (code, out) == (1, "")
            assert "state folder" in err.splitlines()[-1]
            assert (await call(daemon.control, "GET", "/"))[0] == 200
            assert (await run((*DAEMON, "status", *state_of(tmp_path)), tmp_path))[0] == 0


async def test_revoke_with_close_ends_a_running_client(tmp_path: Path) -> None:
    """The token makes nothing more, its client ends with exit code 14, its viewers get 410."""
    with trio.fail_after(40):
        async with (
            trio.open_nursery() as nursery,
            running_daemon(tmp_path, "--access", "token") as daemon,
        ):
            origin = await start_origin(nursery, saying())
            state = state_of(tmp_path)
            code, out, _ = await run((*DAEMON, "token", "add", "laptop", *state), tmp_path)
            assert code == 0
            (tmp_path / "token").write_text(out)
            client = (*CLIENT, "expose", str(origin.port), "--control-plane", daemon.control_url)
            token = ("--token-file", str(tmp_path / "token"), "--json")
            async with running((*client, *token), tmp_path) as exposing:
                told = json.loads(await exposing.wait_line(exposing.out, lambda _: True))
                revoke = (*DAEMON, "token", "revoke", "laptop", "--close", *state)
                code, out, err = await run(revoke, tmp_path)
                assert (code, out, err) == (0, "revoked laptop, closed 1 session\n", "")
                assert await exposing.wait() == 14
            authority = f"{told['slug']}.localhost:{daemon.gateway[1]}".encode()
            viewer = await open_viewer(*daemon.gateway, authority)
            answer = await viewer.exchange(b"/")
            assert (answer.status, answer.error) == (410, b"session_closed")
            await viewer.aclose()
            code, _, _ = await run((*client, *token), tmp_path)
            assert code == 13
            nursery.cancel_scope.cancel()


async def test_warnings_stand_in_the_log_at_the_start(tmp_path: Path) -> None:
    """What `wormkeyd check` says, the daemon says, too."""
    with trio.fail_after(40):
        async with running_daemon(tmp_path, "--trusted-proxy", "0.0.0.0/0") as daemon:
            warning = (await logged(daemon, "configuration"))["warning"]
            assert str(warning).startswith("with --trusted-proxy 0.0.0.0/0, everyone is believed")
