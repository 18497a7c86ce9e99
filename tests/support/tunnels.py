"""Both ends of a tunnel over streams in memory, or one end whose peer speaks frames by hand."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeAlias

import trio
import trio.testing
from attrs import define, evolve, field
from trio_websocket import WebSocketConnection, wrap_client_stream, wrap_server_stream

from wormkey import wire, wire0
from wormkey.errors import TunnelError
from wormkey.frames import SUBPROTOCOL, Frame, Hello, RequestHead
from wormkey.handshake import Handshake, accept, dial
from wormkey.inbox import MuxLimits
from wormkey.keepalive import Pulse, TunnelTimings
from wormkey.tunnel import Tunnel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from wormkey.tunnelstream import TunnelStream

Memory: TypeAlias = (
    "trio.StapledStream[trio.testing.MemorySendStream, trio.testing.MemoryReceiveStream]"
)
LIMITS = MuxLimits()
TIMINGS = TunnelTimings(silence_timeout_s=20)


def slow_down(stream: Memory, delay_s: float) -> None:
    """Let each send on a stream take so long."""
    pump = stream.send_stream.send_all_hook
    assert pump is not None

    async def slowly() -> None:
        await trio.sleep(delay_s)
        await pump()

    stream.send_stream.send_all_hook = slowly


def _limit_s() -> float:
    """Every test's outer deadline: long where the clock is virtual and jumps."""
    virtual = isinstance(trio.lowlevel.current_clock(), trio.testing.MockClock)
    return 10_000 if virtual else 10


async def no_handler(stream: TunnelStream, head: RequestHead) -> None:
    """Answer nothing: the stream is open until it is cancelled."""
    await trio.sleep_forever()


def always() -> float:
    """Return the rest of a session that does not expire."""
    return 1e9


@define(eq=False)
class Side:
    """One end: its tunnel once it is ready, and why it ended."""

    ready: trio.Event = field(factory=trio.Event)
    over: trio.Event = field(factory=trio.Event)
    leave: trio.Event = field(factory=trio.Event)
    error: TunnelError | None = None
    ended_at: float = 0.0
    _tunnel: Tunnel | None = None

    @property
    def tunnel(self) -> Tunnel:
        """The tunnel; only after ready."""
        assert self._tunnel is not None
        return self._tunnel

    async def serve(self, tunnel: Tunnel) -> None:
        """Keep the tunnel until the test lets it go."""
        self._tunnel = tunnel
        self.ready.set()
        await self.leave.wait()

    async def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run an end to its end, and keep the reason."""
        try:
            await work()
        except TunnelError as error:
            self.error = error
        self.ended_at = trio.current_time()
        self.over.set()

    async def wait_error(self) -> TunnelError:
        """Wait until this end is over; return the reason."""
        await self.over.wait()
        assert self.error is not None
        return self.error


@define(eq=False)
class Ends:
    """A gateway's end and a client's, and the streams below them."""

    gateway: Side
    client: Side
    at_gateway: trio.StapledStream[trio.testing.MemorySendStream, trio.testing.MemoryReceiveStream]
    at_client: trio.StapledStream[trio.testing.MemorySendStream, trio.testing.MemoryReceiveStream]


@asynccontextmanager
async def open_tunnel(
    handler: Callable[[TunnelStream, RequestHead], Awaitable[None]] = no_handler,
    *,
    version: int = 1,
    limits: MuxLimits = LIMITS,
    timings: TunnelTimings = TIMINGS,
    remaining_s: Callable[[], float] = always,
) -> AsyncIterator[Ends]:
    """Run both ends; they are ready when the block begins and are cut when it ends."""
    left, right = trio.testing.memory_stream_pair()
    ends = Ends(Side(), Side(), left, right)
    pulse = Pulse()
    shake = Handshake(
        host="localhost",
        resource="/tunnel",
        token="slug.secret",
        limits=limits,
        timings=timings,
        pulse=pulse,
        handler=handler,
    )

    async def gateway() -> None:
        await accept(
            left,
            version=version,
            limits=limits,
            timings=timings,
            pulse=pulse,
            remaining_s=remaining_s,
            serve=ends.gateway.serve,
        )

    async def client() -> None:
        await dial(right, shake, ends.client.serve)

    with trio.fail_after(_limit_s()):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pulse.run)
            nursery.start_soon(ends.gateway.run, gateway)
            nursery.start_soon(ends.client.run, client)
            await ends.gateway.ready.wait()
            await ends.client.ready.wait()
            yield ends
            nursery.cancel_scope.cancel()


@define(eq=False)
class Hand:
    """The peer of one end, played by the test: a WebSocket that carries any bytes."""

    socket: WebSocketConnection
    side: Side
    version: int
    _decoder: wire.Decoder | wire0.Decoder0
    _read: list[Frame] = field(factory=list)

    async def send(self, *frames: Frame) -> None:
        """Send frames: v1 in one message, v0 in one each."""
        if self.version:
            await self.socket.send_message(b"".join(map(wire.encode, frames)))
            return
        for frame in frames:
            await self.socket.send_message(wire0.encode0(frame))

    async def receive(self) -> Frame:
        """Return the next frame, HELLO and PING left out."""
        while True:
            while not self._read:
                message = await self.socket.get_message()
                assert isinstance(message, bytes)
                self._read += self._decoder.feed(message)
            frame = self._read.pop(0)
            if not isinstance(frame, Hello):
                return frame


@asynccontextmanager
async def play_client(
    *,
    version: int = 1,
    limits: MuxLimits = LIMITS,
    timings: TunnelTimings = TIMINGS,
    hello: bool = True,
) -> AsyncIterator[Hand]:
    """Run a gateway's end; the test is its client, and has said HELLO unless told not to."""
    left, right = trio.testing.memory_stream_pair()
    side, pulse = Side(), Pulse()

    async def gateway() -> None:
        await accept(
            left,
            version=version,
            limits=limits,
            timings=timings,
            pulse=pulse,
            remaining_s=always,
            serve=side.serve,
        )

    with trio.fail_after(_limit_s()):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pulse.run)
            nursery.start_soon(side.run, gateway)
            socket = await wrap_client_stream(
                nursery,
                right,  # type: ignore[arg-type]
                "localhost",
                "/tunnel",
                subprotocols=[SUBPROTOCOL] if version else [],
            )
            hand = _hand(socket, side, version)
            if hello and version:
                await hand.send(evolve(limits.hello(version)))
            if hello:
                await side.ready.wait()
            yield hand
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def play_gateway(
    handler: Callable[[TunnelStream, RequestHead], Awaitable[None]] = no_handler,
    *,
    version: int = 1,
    limits: MuxLimits = LIMITS,
    timings: TunnelTimings = TIMINGS,
) -> AsyncIterator[Hand]:
    """Run a client's end; the test is its gateway, and has said HELLO."""
    left, right = trio.testing.memory_stream_pair()
    side, pulse = Side(), Pulse()
    shake = Handshake(
        host="localhost",
        resource="/tunnel",
        token="slug.secret",
        limits=limits,
        timings=timings,
        pulse=pulse,
        handler=handler,
    )
    with trio.fail_after(_limit_s()):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pulse.run)
            nursery.start_soon(side.run, lambda: dial(right, shake, side.serve))
            request = await wrap_server_stream(nursery, left)
            socket = await request.accept(subprotocol=SUBPROTOCOL if version else None)
            hand = _hand(socket, side, version)
            if version:
                await hand.send(limits.hello(version))
            await side.ready.wait()
            yield hand
            nursery.cancel_scope.cancel()


def _hand(socket: WebSocketConnection, side: Side, version: int) -> Hand:
    return Hand(socket, side, version, wire.Decoder() if version else wire0.Decoder0())
