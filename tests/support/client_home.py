"""A client without a gateway, and what tests of the command line do around it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import trio

from wormkey.client import Connected
from wormkey.errors import TunnelError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.fake_control import FakeControl


class FakeClient:
    """A tunnel that opens at once and lives until it is drained, or as ``course`` says."""

    made: list[FakeClient]
    course: Callable[[FakeClient], None]

    def __init__(self, *arguments: Any) -> None:
        """Take what the real one takes."""
        self.settings, self.edge_url, self.token, self.target, self.on_event = arguments
        self.drained = trio.Event()
        self.told: list[str] = []
        self.made.append(self)

    async def run(self) -> None:
        """Connect, let the test's course happen, wait for the drain."""
        self.on_event(Connected(1))
        await trio.lowlevel.checkpoint()
        type(self).course(self)
        await self.drained.wait()

    def pause(self) -> None:
        """Record the call."""
        self.told.append("pause")

    def resume(self) -> None:
        """Record the call."""
        self.told.append("resume")

    def reconnect_now(self) -> None:
        """Record the call."""
        self.told.append("reconnect_now")

    async def drain(self) -> None:
        """End."""
        self.drained.set()
        await trio.lowlevel.checkpoint()


def interrupt(_client: FakeClient) -> None:
    """Be the user who presses Ctrl-C once the tunnel is open."""
    os.kill(os.getpid(), signal.SIGINT)


def refused(status: int) -> Callable[[FakeClient], None]:
    """Be a gateway that ends the tunnel for good."""

    def course(_client: FakeClient) -> None:
        raise TunnelError("no longer", retryable=False, status=status)

    return course


def write_config(home: Path, text: str) -> None:
    """Write config.toml."""
    folder = home / "config" / "wormkey"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.toml").write_text(text)


def wish_of(control: FakeControl) -> Any:
    """Return the content of the one POST /sessions."""
    (asked,) = [asked for asked in control.asked if asked.method == "POST"]
    return asked.body


def leave_a_crashed_session(control: FakeControl, origin: str, *more: str) -> None:
    """Run a client that is killed: its record stays, its process is gone."""
    script = (
        "import os, sys\n"
        "from wormkey import cli, expose, client\n"
        "class Killed(client.Client):\n"
        "    async def run(self):\n"
        "        os._exit(9)\n"
        "expose.Client = Killed\n"
        "cli.main()\n"
    )
    arguments = [origin, "--name", "demo", "--control-plane", control.url, *more]
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], check=False, capture_output=True, timeout=30
    )
    assert done.returncode == 9, done.stderr
