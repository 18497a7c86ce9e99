"""Starts the programs that are compared, asks the kernel what they cost, ends them all."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attrs import define, field, frozen

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

START_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 10.0
_TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")
_PAGE_KIB: Final = os.sysconf("SC_PAGE_SIZE") // 1024


class BenchError(Exception):
    """A benchmark cannot go on; the message says why."""


def free_port() -> int:
    """A port that nobody listens at just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_port(port: int, what: str) -> None:
    """Wait until somebody listens at ``port``."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise BenchError(f"{what} does not listen at port {port} after {START_TIMEOUT_S:g} s")


@frozen
class Cost:
    """CPU time so far in seconds, and resident memory in KiB, of one program."""

    cpu_s: float
    rss_kib: int


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat behind the name: state, ppid and so on (proc(5))."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def descendants(pid: int) -> list[int]:
    """``pid`` and all that descend from it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                children.setdefault(int(_stat(int(entry.name))[1]), []).append(int(entry.name))
            except (FileNotFoundError, ProcessLookupError):
                continue
    found, left = [], [pid]
    while left:
        found.append(left.pop())
        left += children.get(found[-1], [])
    return found


@define(eq=False)
class Program:
    """A running program, with its children."""

    name: str
    process: subprocess.Popen[str]

    def cost(self) -> Cost:
        """What it and its children have used, and hold."""
        cpu_s, pages = 0.0, 0
        for pid in descendants(self.process.pid):
            try:
                stat = _stat(pid)
            except (FileNotFoundError, ProcessLookupError):
                continue
            cpu_s += (int(stat[11]) + int(stat[12])) * _TICK_S
            pages += int(stat[21])
        return Cost(cpu_s, pages * _PAGE_KIB)


@define(eq=False)
class Programs:
    """All programs of a run; ``folder`` takes their files and logs."""

    folder: Path
    _running: list[Program] = field(factory=list)

    def start(
        self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> Program:
        """Start a program; its standard error goes to a file of its own."""
        with (self.folder / f"{name.replace(' ', '-')}.log").open("a") as log:
            process = subprocess.Popen(
                list(command),
                env=None if environment is None else dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=self.folder,
                start_new_session=True,  # Ctrl-C is ours; we end them in order
            )
        program = Program(name, process)
        self._running.append(program)
        return program

    def stop(self, program: Program) -> None:
        """End one program, kindly at first."""
        self._running.remove(program)
        process = program.process
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()

    def stop_all(self) -> None:
        """End what is left, the youngest first."""
        for program in reversed(list(self._running)):
            self.stop(program)


@contextmanager
def programs(folder: Path) -> Iterator[Programs]:
    """Programs that end with this block, however it ends."""
    started = Programs(folder)
    try:
        yield started
    finally:
        started.stop_all()
