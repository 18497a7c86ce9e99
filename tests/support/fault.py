"""A TCP relay that puts a fault between two parts: delay, stall, reset, black hole, a cut anywhere.

Stands between viewer and gateway, client and gateway, client and origin, or client and control
plane. TCP neither loses nor doubles; what a network does to it shows as time and as an end.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable

import trio
from attrs import define, field

_READ_BYTES = 65536
_RST_ON_CLOSE = struct.pack("ii", 1, 0)


@define(eq=False)
class Faults:
    """What the relay does now; may be changed while it runs."""

    delay_s: Callable[[], float] = lambda: 0.0  # of each piece
    piece_bytes: int = _READ_BYTES
    cut_after_bytes: int | None = None  # of one connection's one direction; then a reset
    refuses: bool = False  # new connections are reset


@define(eq=False)
class Relay:
    """A relay to ``target``; listens on 127.0.0.1."""

    target: tuple[str, int]
    faults: Faults = field(factory=Faults)
    port: int = 0
    connections: int = 0  # ever
    open: int = 0
    _scopes: set[trio.CancelScope] = field(factory=set)
    _flows: trio.Event = field(factory=trio.Event)

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        return "127.0.0.1", self.port

    def freeze(self) -> None:
        """Become a black hole: nothing passes, no end is told, connections stay open."""
        self._flows = trio.Event()

    def thaw(self) -> None:
        """Let everything pass again, in order."""
        self._flows.set()

    def reset(self) -> None:
        """Reset every open connection on both sides."""
        for scope in list(self._scopes):
            scope.cancel(reason="the test resets the connections")

    async def serve(self, task_status: trio.TaskStatus[Relay]) -> None:
        """Relay until cancelled."""
        self.thaw()
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listener.socket.getsockname()[1]
        async with trio.open_nursery() as nursery:
            task_status.started(self)
            await trio.serve_listeners(self._relay, [listener], handler_nursery=nursery)

    async def _relay(self, near: trio.SocketStream) -> None:
        self.connections += 1
        self.open += 1
        far: trio.SocketStream | None = None
        try:
            if self.faults.refuses:
                _hard(near)
                return
            await self._flows.wait()
            far = await trio.open_tcp_stream(*self.target)
            with trio.CancelScope() as scope:
                self._scopes.add(scope)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._copy, near, far, scope)
                    nursery.start_soon(self._copy, far, near, scope)
            self._scopes.discard(scope)
            if scope.cancelled_caught:
                _hard(near)
                _hard(far)
        except OSError:
            _hard(near)
        finally:
            self.open -= 1
            for stream in (near, far):
                if stream is not None:
                    with trio.CancelScope(shield=True):
                        await trio.aclose_forcefully(stream)

    async def _copy(
        self, source: trio.SocketStream, sink: trio.SocketStream, scope: trio.CancelScope
    ) -> None:
        passed = 0
        try:
            while data := await source.receive_some(self.faults.piece_bytes):
                await self._flows.wait()
                if delay_s := self.faults.delay_s():
                    await trio.sleep(delay_s)
                    await self._flows.wait()
                limit = self.faults.cut_after_bytes
                if limit is not None and passed + len(data) >= limit:
                    await sink.send_all(data[: max(0, limit - passed)])
                    scope.cancel(reason="the fault cuts here")
                    return
                await sink.send_all(data)
                passed += len(data)
            await self._flows.wait()
            await sink.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            scope.cancel(reason="one side has gone")


def _hard(stream: trio.SocketStream) -> None:
    """Make the close a reset."""
    try:
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST_ON_CLOSE)
    except OSError:
        pass  # it is one already


async def start_relay(nursery: trio.Nursery, target: tuple[str, int]) -> Relay:
    """Start a relay in ``nursery``."""
    relay: Relay = await nursery.start(Relay(target).serve)
    return relay
