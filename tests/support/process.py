"""The two programs as real processes, with a HOME of their own: started, read, measured, ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio
from attrs import define, field

from tests.support.forkserver import Forked
from tests.support.world import address_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from tests.support.forkserver import ForkServer

SOURCE = Path(__file__).parents[2] / "src"
DAEMON = (sys.executable, "-c", "from wormkey.daemon import main; main()")
ADDRESSES = ("--control", "127.0.0.1:0", "--gateway", "127.0.0.1:0")
CLIENT = (sys.executable, "-m", "wormkey")


@define(eq=False)
class Running:
    """A process whose output lines are collected as they come."""

    process: trio.Process | Forked
    out: list[str] = field(factory=list)
    err: list[str] = field(factory=list)
    ended: trio.Event = field(factory=trio.Event)
    _news: trio.Condition = field(factory=trio.Condition)

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    async def read(self, stream: trio.abc.ReceiveStream | None, lines: list[str]) -> None:
        """Collect the lines of one of its outputs, to the end."""
        assert stream is not None
        rest = b""
        async with stream:
            async for data in stream:
                *whole, rest = (rest + data).split(b"\n")
                lines += [line.decode() for line in whole]
                async with self._news:
                    self._news.notify_all()

    async def watch(self) -> None:
        """Read both outputs and wait for the end."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.read, self.process.stdout, self.out)
            nursery.start_soon(self.read, self.process.stderr, self.err)
        await self.process.wait()
        self.ended.set()
        async with self._news:
            self._news.notify_all()

    async def wait_line(self, lines: list[str], wanted: Callable[[str], bool]) -> str:
        """Wait for a line of ``out`` or ``err`` that is wanted; fail if the process ends first."""
        return (await self.wait_lines(lines, wanted, 1))[0]

    async def wait_lines(
        self, lines: list[str], wanted: Callable[[str], bool], count: int
    ) -> list[str]:
        """Wait for so many lines that are wanted; fail if the process ends first."""
        async with self._news:
            while True:
                found = [line for line in lines if wanted(line)]
                if len(found) >= count:
                    return found
                assert not self.ended.is_set(), (self.process.returncode, self.out, self.err)
                await self._news.wait()

    async def wait(self) -> int:
        """Wait for the end; return the exit code."""
        await self.ended.wait()
        assert self.process.returncode is not None
        return self.process.returncode

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    async def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait for the exit code."""
        self.process.send_signal(number)
        return await self.wait()

    def memory_bytes(self, name: str = "VmRSS") -> int:
        """Return its resident memory, or with ``VmHWM`` the most it ever was (Linux)."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1]) * 1024
        raise AssertionError(f"no {name}")


def environment(home: Path, **more: str) -> dict[str, str]:
    """Return an environment that knows nothing of the user who runs the tests."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    folders = {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_STATE_HOME": str(home / "state"),
    }
    return {**kept, **folders, "PYTHONPATH": str(SOURCE), "PYTHONUNBUFFERED": "1", **more}


async def run(
    command: tuple[str, ...], home: Path, *, timeout_s: float = 20.0, **more: str
) -> tuple[int, str, str]:
    """Run a command to its end; return exit code, stdout and stderr."""
    with trio.fail_after(timeout_s):
        done = await trio.run_process(
            command,
            env=environment(home, **more),
            cwd=home,
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@asynccontextmanager
async def running(
    command: tuple[str, ...], home: Path, *, pass_fds: Sequence[int] = (), **more: str
) -> AsyncIterator[Running]:
    """Start a process; kill it at the end if the test has not ended it."""
    process = await trio.lowlevel.open_process(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(home, **more),
        cwd=home,
        pass_fds=pass_fds,
    )
    async with attended(process) as started:
        yield started


@asynccontextmanager
async def attended(process: trio.Process | Forked) -> AsyncIterator[Running]:
    """Read what a process says; kill it at the end if the test has not ended it."""
    started = Running(process)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(started.watch)
            yield started
            nursery.cancel_scope.cancel(reason="the test is over")
    finally:
        with trio.CancelScope(shield=True):  # a killed process is gone at once
            if process.returncode is None:
                process.kill()
            await process.wait()
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    await stream.aclose()


@define(eq=False)
class Daemon:
    """A running wormkeyd and where it listens."""

    process: Running
    control_url: str
    gateway_url: str

    @property
    def control(self) -> tuple[str, int]:
        """Host and port of the control plane."""
        return address_of(self.control_url)

    @property
    def gateway(self) -> tuple[str, int]:
        """Host and port of the gateway."""
        return address_of(self.gateway_url)


@asynccontextmanager
async def running_daemon(home: Path, *options: str, **more: str) -> AsyncIterator[Daemon]:
    """Start wormkeyd on free ports and wait for its ``ready`` record."""
    command = (*DAEMON, *ADDRESSES, *options_of(home), *options)
    async with running(command, home, **more) as process:
        yield await ready(process)


@asynccontextmanager
async def forked_daemon(server: ForkServer, home: Path, *options: str) -> AsyncIterator[Daemon]:
    """Do as running_daemon, without its imports."""
    forked = await server.start(*ADDRESSES, *options_of(home), *options)
    async with attended(forked) as process:
        yield await ready(process)


def options_of(home: Path) -> tuple[str, ...]:
    """Return the options that every daemon here has."""
    return ("--state-dir", str(home / "daemon"), "--log-format", "json")


async def ready(process: Running) -> Daemon:
    """Wait for a daemon's ``ready`` record."""
    line = await process.wait_line(process.err, lambda line: '"ready"' in line)
    record = json.loads(line)
    assert record["event"] == "ready", record
    return Daemon(process, record["control"], record["gateway"])


@asynccontextmanager
async def running_client(
    daemon: Daemon, home: Path, *arguments: str, **more: str
) -> AsyncIterator[tuple[Running, dict[str, Any]]]:
    """Start ``wormkey expose … --json`` and wait for its object on stdout."""
    command = (*CLIENT, "expose", *arguments, "--json", "--control-plane", daemon.control_url)
    async with running(command, home, **more) as process:
        line = await process.wait_line(process.out, lambda line: line.startswith("{"))
        yield process, json.loads(line)
