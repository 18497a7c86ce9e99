"""``wormkey expose`` at a terminal, as a person sees it: the QR code, and what each key does."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio
from attrs import define

from tests.support.origin import saying, start_origin
from tests.support.process import CLIENT, Daemon, environment, running_daemon
from tests.support.viewer import open_viewer
from wormkey.terminal import clipboard_sequence

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.messages import Response

# A login shell does this for its jobs: a session of one's own, whose terminal stdin is.
AT_A_TERMINAL = (
    sys.executable,
    "-c",
    "import fcntl, os, sys, termios\n"
    "os.setsid()\n"
    "fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
    "os.execv(sys.argv[1], sys.argv[1:])\n",
)


@define(eq=False)
class Terminal:
    """The person's side of a pseudo-terminal: what was shown, and a keyboard."""

    fd: int
    shown: bytes = b""

    def press(self, key: bytes) -> None:
        """Type one key."""
        os.write(self.fd, key)

    async def wait_for(self, text: bytes) -> None:
        """Read what is shown until it holds ``text``."""
        while text not in self.shown:
            await trio.lowlevel.wait_readable(self.fd)
            self.shown += os.read(self.fd, 65_536)


@asynccontextmanager
async def _at_a_terminal(
    command: tuple[str, ...], home: Path
) -> AsyncIterator[tuple[trio.Process, Terminal]]:
    """Run a command with a terminal as stdin and stderr, and a pipe as stdout."""
    master, slave = pty.openpty()
    try:
        process = await trio.lowlevel.open_process(
            (*AT_A_TERMINAL, *command),
            stdin=slave,
            stdout=subprocess.PIPE,
            stderr=slave,
            env=environment(home, PYTHONIOENCODING="utf-8"),
            cwd=home,
        )
        try:
            yield process, Terminal(master)
        finally:
            with trio.CancelScope(shield=True):  # a killed process is gone at once
                if process.returncode is None:
                    process.kill()
                await process.wait()
                assert process.stdout is not None
                await process.stdout.aclose()
    finally:
        os.close(master)
        os.close(slave)


async def _get(daemon: Daemon, slug: str) -> Response:
    viewer = await open_viewer(*daemon.gateway, f"{slug}.localhost:{daemon.gateway[1]}".encode())
    try:
        return await viewer.exchange()
    finally:
        await viewer.aclose()


async def test_a_person_sees_the_qr_code_and_every_key_works(tmp_path: Path) -> None:
    """The URL alone on stdout; P holds viewers off, R lets them in, C copies, L opens, Q ends."""
    with trio.fail_after(40):
        async with trio.open_nursery() as nursery, running_daemon(tmp_path) as daemon:
            origin = await start_origin(nursery, saying())
            options = (str(origin.port), "--name", "at-home", "--control-plane", daemon.control_url)
            async with _at_a_terminal((*CLIENT, *options), tmp_path) as (process, terminal):
                assert process.stdout is not None
                url = (await process.stdout.receive_some()).decode()
                assert url == f"http://localhost:{daemon.gateway[1]}/s/at-home\n"
                await terminal.wait_for(b"Q quit")
                assert "█".encode() in terminal.shown
                assert b"owner?slug=at-home" in terminal.shown

                terminal.press(b"c")
                await terminal.wait_for(clipboard_sequence(url.strip()).encode())
                terminal.press(b"l")  # this environment has no desktop
                await terminal.wait_for(b"open " + url.strip().encode())
                terminal.press(b"p")
                await terminal.wait_for(b"paused")
                while (answer := await _get(daemon, "at-home")).status == 200:
                    pass  # the PAUSE is on its way through the tunnel
                assert (answer.status, answer.error) == (503, b"paused")
                terminal.press(b"R")
                await terminal.wait_for(b"resumed")
                while (answer := await _get(daemon, "at-home")).status == 503:
                    pass
                assert answer.data == b"hello"
                terminal.press(b"q")
                assert await process.wait() == 0
                assert await process.stdout.receive_some() == b""
            assert (await _get(daemon, "at-home")).error == b"session_closed"
            nursery.cancel_scope.cancel(reason="the test is over")
