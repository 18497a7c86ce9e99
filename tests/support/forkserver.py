"""Daemons by the hundred: one process imports the program once, and each daemon is a fork of it.

A start costs most of a second of a core, nearly all of it imports; a fork of a process that has
them costs little. From there on it is what the program is: a process with its arguments and its
outputs, which a signal kills. As a script this is the server; $1 is its socket.
"""

from __future__ import annotations

import array
import json
import os
import select
import signal
import socket
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio
from attrs import define, field

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

MESSAGE_BYTES = 65_536
READY = b"ready"


@define(eq=False)
class Forked:
    """A daemon, with what a test uses of trio.Process."""

    pid: int
    stdout: trio.abc.ReceiveStream | None = None
    stderr: trio.abc.ReceiveStream | None = None
    returncode: int | None = None
    _ended: trio.Event = field(factory=trio.Event)

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, if it has not ended."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it."""
        self.send_signal(signal.SIGKILL)

    async def wait(self) -> int:
        """Wait for its end; return the exit code."""
        await self._ended.wait()
        assert self.returncode is not None
        return self.returncode

    def end(self, returncode: int) -> None:
        """Take note of its end."""
        self.returncode = returncode
        self._ended.set()


@define(eq=False)
class ForkServer:
    """A running server; make it with ``open_fork_server``."""

    socket: trio.socket.SocketType
    _forked: dict[int, Forked] = field(factory=dict)
    _turn: trio.Lock = field(factory=trio.Lock)
    _started: tuple[trio.MemorySendChannel[Forked], trio.MemoryReceiveChannel[Forked]] = field(
        factory=lambda: trio.open_memory_channel[Forked](1)
    )

    async def listen(self) -> None:
        """Hear which daemons began and ended, until the server is gone."""
        while message := await self.socket.recv(MESSAGE_BYTES):
            pid, returncode = json.loads(message)
            if returncode is None:
                self._forked[pid] = Forked(pid)
                await self._started[0].send(self._forked[pid])
            else:
                self._forked.pop(pid).end(returncode)

    async def start(self, *arguments: str) -> Forked:
        """Start ``wormkeyd`` with these arguments."""
        out, err = os.pipe(), os.pipe()
        handles = array.array("i", (out[1], err[1]))
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, handles.tobytes())
        try:
            async with self._turn:
                await self.socket.sendmsg([json.dumps(arguments).encode()], [rights])
                forked = await self._started[1].receive()
        finally:
            for handle in handles:
                os.close(handle)
        forked.stdout, forked.stderr = (trio.lowlevel.FdStream(pipe[0]) for pipe in (out, err))
        return forked


@asynccontextmanager
async def open_fork_server(environment: dict[str, str], home: Path) -> AsyncIterator[ForkServer]:
    """Start a server whose daemons get this environment; end it, once they have ended."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        process = await trio.lowlevel.open_process(
            (sys.executable, __file__, str(theirs.fileno())),
            stdin=subprocess.DEVNULL,
            env=environment,
            cwd=home,
            pass_fds=(theirs.fileno(),),
        )
        theirs.close()
        try:
            server = ForkServer(trio.socket.from_stdlib_socket(ours))
            assert await server.socket.recv(MESSAGE_BYTES) == READY
            async with trio.open_nursery() as nursery:
                nursery.start_soon(server.listen)
                yield server
                nursery.cancel_scope.cancel(reason="the test is over")
        finally:
            with trio.CancelScope(shield=True):  # a killed process is gone at once
                process.kill()
                await process.wait()


def serve(requests: socket.socket) -> None:
    """Fork a daemon for each message, and tell of its end, until the other side is gone."""
    # All that a daemon will ever import; each of them would do it again.
    from encodings import idna  # noqa: F401, PLC0415

    from wormkey.daemon import main  # noqa: PLC0415
    from wormkey.nursery import serve  # noqa: F401, PLC0415
    from wormkey.store.sqlite import open_sqlite  # noqa: F401, PLC0415

    requests.send(READY)
    poll = select.poll()
    poll.register(requests, select.POLLIN)
    living: dict[int, int] = {}  # by the descriptor that tells of the end
    while True:
        for handle, _ in poll.poll():
            if handle in living:
                poll.unregister(handle)
                os.close(handle)
                pid = living.pop(handle)
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                requests.send(json.dumps((pid, code)).encode())
                continue
            message, outputs, _, _ = socket.recv_fds(requests, MESSAGE_BYTES, 2)
            if not message:
                return
            pid = os.fork()
            if pid == 0:
                for number, output in enumerate(outputs, start=1):
                    os.dup2(output, number)
                os.closerange(3, max(outputs) + 1)
                main(json.loads(message))  # ends the process
            for output in outputs:
                os.close(output)
            watched = os.pidfd_open(pid)
            living[watched] = pid
            poll.register(watched, select.POLLIN)
            requests.send(json.dumps((pid, None)).encode())


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
