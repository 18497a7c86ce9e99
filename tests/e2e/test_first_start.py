"""The first start in token mode: the line that it prints is the one that a user types next."""

from __future__ import annotations

import json
import shlex
import stat
from typing import TYPE_CHECKING

import pytest
import trio

from tests.support.origin import saying, start_origin
from tests.support.process import CLIENT, run, running, running_daemon

if TYPE_CHECKING:
    from pathlib import Path


async def test_the_printed_line_logs_a_laptop_in(tmp_path: Path) -> None:
    """Typed as it is, with another HOME; from then on no command has to name server or token."""
    laptop = tmp_path / "laptop"
    laptop.mkdir()
    with trio.fail_after(40):
        async with (
            trio.open_nursery() as nursery,
            running_daemon(tmp_path, "--access", "token") as daemon,
        ):
            line = await daemon.process.wait_line(daemon.process.out, lambda _: True)
            program, *words = shlex.split(line)
            assert (program, words[:2]) == ("wormkey", ["login", daemon.control_url])
            code, out, err = await run((*CLIENT, *words), laptop)
            assert (code, out) == (0, "")
            assert f"logged in at {daemon.control_url} as first" in err
            kept = laptop / "config" / "wormkey" / "credentials.json"
            assert stat.S_IMODE(kept.stat().st_mode) == 0o600
            origin = await start_origin(nursery, saying())
            expose = (*CLIENT, "expose", str(origin.port), "--json")
            async with running(expose, laptop) as client:
                told = json.loads(await client.wait_line(client.out, lambda _: True))
                assert told["status"] == "ready"
                client.interrupt()
                assert await client.wait() == 0
            secret = words[-1]
            assert not [record for record in daemon.process.err if secret in record]
            nursery.cancel_scope.cancel()
    assert daemon.process.out == [line]


@pytest.mark.parametrize(
    ("options", "url"),
    [
        (("--public-url", "https://tunnel.example"), "http://tunnel.example:{port}"),
        (("--public-url", "http://[2001:db8::1]:3002"), "http://[2001:db8::1]:{port}"),
        ((), "http://localhost:{port}"),
    ],
)
async def test_every_interface_is_named_as_others_reach_it(
    options: tuple[str, ...], url: str, tmp_path: Path
) -> None:
    """Where the public URL names this machine, so does the line; else it is for this machine."""
    with trio.fail_after(40):
        async with running_daemon(tmp_path, "--control", ":0", *options) as daemon:
            line = await daemon.process.wait_line(daemon.process.out, lambda _: True)
            expected = url.format(port=daemon.control[1])
            assert line.startswith(f"wormkey login {expected} --token wk_")


async def test_a_socket_that_no_laptop_reaches_is_not_offered(tmp_path: Path) -> None:
    """The web server in front has a URL that only the operator knows."""
    options = ("--control", f"unix:{tmp_path}/control", "--access", "token")
    with trio.fail_after(40):
        async with running_daemon(tmp_path, *options) as daemon:
            line = await daemon.process.wait_line(daemon.process.out, lambda _: True)
            assert line.startswith("wormkey login CONTROL_PLANE_URL --token wk_")


async def test_the_second_start_prints_nothing(tmp_path: Path) -> None:
    """A token is shown once; the daemon's own user finds it without a login."""
    with trio.fail_after(40):
        async with running_daemon(tmp_path, "--access", "token") as daemon:
            await daemon.process.wait_line(daemon.process.out, lambda _: True)
            await daemon.process.end()
        async with running_daemon(tmp_path, "--access", "token") as daemon:
            home = {"WORMKEY_STATE_DIR": str(tmp_path / "daemon")}
            expose = (*CLIENT, "expose", "9", "--json", "--control-plane", daemon.control_url)
            async with running(expose, tmp_path, **home) as client:
                await client.wait_line(client.out, lambda line: line.startswith("{"))
            assert daemon.process.out == []


@pytest.mark.parametrize("command", [("login",), ("expose", "9", "--control-plane")])
async def test_the_gateways_url_is_not_the_control_planes(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    """The public URL is the one that everybody knows; the sentence says what is wrong with it."""
    (tmp_path / "token").write_text("wk_" + "x" * 43)
    with trio.fail_after(40):
        async with running_daemon(tmp_path, "--access", "token") as daemon:
            words = (*command, daemon.gateway_url, "--token-file", str(tmp_path / "token"))
            code, out, err = await run((*CLIENT, *words), tmp_path)
    assert (code, out) == (12, "")
    assert f"what answers at {daemon.gateway_url} is no Wormkey control plane" in err
