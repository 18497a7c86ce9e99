"""A hostile end of a tunnel on a real socket: it sends any bytes, and hears what is said back.

Nothing here checks what it sends. WebSocket frames are masked with a key of zeros, which every
reader takes, so that a flood costs the test little.
"""

from __future__ import annotations

import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

import trio
from attrs import define, field

from tests.support.link import CutError, Link
from tests.support.messages import Head, read_request_head, read_response_head
from tests.support.websocket import accept_of, handshake_fields
from tests.support.world import World, open_world
from wormkey import wire, wire0
from wormkey.frames import GoAway, Hello, Request, ResponseHead, StreamId

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from tests.support.viewer import Viewer
    from wormkey.frames import Frame

T = TypeVar("T")

ONE, TWO = StreamId(1), StreamId(2)
OK = ResponseHead(200, ())

GENEROUS = Hello(
    stream_window_bytes=1 << 20, tunnel_window_bytes=1 << 26, max_streams=1 << 16, agent=b"evil"
)
FIN = 0x80
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def ws_frame(payload: bytes, *, first: int = FIN | BINARY, masked: bool = True) -> bytes:
    """Return one WebSocket frame; ``first`` is its first byte, as it shall be."""
    size, bit = len(payload), 0x80 if masked else 0
    if size < 126:
        head = struct.pack(">BB", first, bit | size)
    elif size < 1 << 16:
        head = struct.pack(">BBH", first, bit | 126, size)
    else:
        head = struct.pack(">BBQ", first, bit | 127, size)
    return head + bytes(4 if masked else 0) + payload


def encoded(frame: Frame | bytes, version: int) -> bytes:
    """Return a frame's bytes; bytes are sent as they are."""
    if isinstance(frame, bytes):
        return frame
    return wire.encode(frame) if version else wire0.encode0(frame)


class EvilEnd(Link):
    """One hostile end, behind its opening handshake. The other end keeps the rules."""

    def __init__(self, stream: trio.SocketStream, *, masked: bool, version: int = 1) -> None:
        """``masked`` at a client's end."""
        super().__init__(stream)
        self.masked = masked
        self.version = version
        self.close_code: int | None = None
        self.goodbye: GoAway | None = None
        self.heard: list[Frame] = []
        self._decoder: wire.Decoder | wire0.Decoder0
        self._decoder = wire.Decoder(1 << 24) if version else wire0.Decoder0(1 << 24)

    async def say(self, *frames: Frame | bytes) -> None:
        """Send frames: v1 in one message, v0 in one each."""
        if self.version:
            await self.send_message(b"".join(encoded(frame, 1) for frame in frames))
            return
        for frame in frames:
            await self.send_message(encoded(frame, 0))

    async def send_message(self, message: bytes, *, first: int = FIN | BINARY) -> None:
        """Send one WebSocket frame with this payload."""
        await self.send(ws_frame(message, first=first, masked=self.masked))

    async def flood(self, piece: bytes, total_bytes: int) -> int:
        """Send raw bytes again and again; return how many went out before the peer cut it.

        Whatever the peer says meanwhile is read, so that it never waits for this end.
        """
        sent = 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen)
            try:
                while sent < total_bytes and not self.left.is_set():
                    await self.stream.send_all(piece)
                    sent += len(piece)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            nursery.cancel_scope.cancel(reason="the flood is over")
        return sent

    async def _listen(self) -> None:
        while await self._next_message() is not None:
            pass

    async def hear(self, kind: type[T]) -> T:
        """Return the next frame of a kind, dropping others."""
        while True:
            while self.heard:
                frame = self.heard.pop(0)
                if isinstance(frame, kind):
                    return frame
            assert await self._next_message() is not None, "the peer has hung up"

    async def wait_over(self) -> GoAway | None:
        """Read to the end of the connection; return the last goodbye."""
        await self._listen()
        return self.goodbye

    async def _next_message(self) -> bytes | None:
        """Return the next message; None at the end. Control frames are noted, not answered."""
        try:
            while True:
                first, second = await self.read_exactly(2)
                size = second & 0x7F
                if size > 125:
                    size = int.from_bytes(await self.read_exactly(2 if size == 126 else 8), "big")
                key = await self.read_exactly(4) if second & 0x80 else bytes(4)
                payload = await self.read_exactly(size)
                if second & 0x80:
                    repeated = (key * (size // 4 + 1))[:size]
                    number = int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")
                    payload = number.to_bytes(size, "big")
                if first & 0x0F == CLOSE:
                    self.close_code = int.from_bytes(payload[:2], "big")
                elif first & 0x0F == BINARY:
                    self._take(payload)
                    return payload
        except CutError:
            return None

    def _take(self, message: bytes) -> None:
        frames = self._decoder.feed(message)
        for frame in frames:
            if isinstance(frame, GoAway):
                self.goodbye = frame
        self.heard += frames


@asynccontextmanager
async def evil_client(
    world: World, token: str | None = None, *, version: int = 1, hello: Hello | None = GENEROUS
) -> AsyncIterator[EvilEnd]:
    """Open a tunnel for the world's session, or another one's; HELLO is said unless None."""
    stream = await trio.open_tcp_stream(*world.gateway)
    try:
        end = EvilEnd(stream, masked=True, version=version)
        fields = [
            (b"Host", world.base),
            *handshake_fields(),
            (b"Authorization", b"Bearer " + (token or world.token).encode()),
        ]
        if version:
            fields.append((b"Sec-WebSocket-Protocol", b"wormkey.v1"))
        lines = b"".join(b"%b: %b\r\n" % field for field in fields)
        await end.send(b"GET /tunnel HTTP/1.1\r\n" + lines + b"\r\n")
        head = await read_response_head(end)
        assert head.start[1] == b"101", head
        if version and hello is not None:
            await end.say(hello)
            await end.hear(Hello)
        yield end
    finally:
        await trio.aclose_forcefully(stream)


@define(eq=False)
class EvilGateway:
    """A hostile gateway: where it listens, and who has dialled."""

    port: int
    version: int
    ends: list[EvilEnd] = field(factory=list)
    heads: list[Head] = field(factory=list)
    dialled: trio.Condition = field(factory=trio.Condition)

    @property
    def url(self) -> str:
        """The edge URL of it."""
        return f"ws://127.0.0.1:{self.port}"

    async def take(self, stream: trio.SocketStream) -> None:
        """Shake hands with a client and keep the connection until the client leaves."""
        end = EvilEnd(stream, masked=False, version=self.version)
        head = await read_request_head(end)
        assert head is not None
        chosen = b"Sec-WebSocket-Protocol: wormkey.v1\r\n" if self.version else b""
        await end.send(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %b\r\n%b\r\n"
            % (accept_of(head.get(b"Sec-WebSocket-Key") or b""), chosen)
        )
        if self.version:
            await end.say(GENEROUS)
        async with self.dialled:
            self.ends.append(end)
            self.heads.append(head)
            self.dialled.notify_all()
        await end.left.wait()

    async def wait_client(self, count: int = 1) -> EvilEnd:
        """Wait until so many clients have dialled in all; return the last one's tunnel."""
        async with self.dialled:
            while len(self.ends) < count:
                await self.dialled.wait()
        return self.ends[count - 1]


@asynccontextmanager
async def evil_gateway(*, version: int = 1) -> AsyncIterator[EvilGateway]:
    """Listen as a hostile gateway on a port of its own."""
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        gateway = EvilGateway(listeners[0].socket.getsockname()[1], version)
        await nursery.start(trio.serve_listeners, gateway.take, listeners)
        yield gateway
        nursery.cancel_scope.cancel(reason="the test is over")


def lone_world(**settings: object) -> AbstractAsyncContextManager[World]:
    """A world whose only client will be the hostile one."""
    return open_world(client=False, hold_s=0.0, close_timeout_s=0.5, **settings)


async def other_session(world: World) -> tuple[str, bytes]:
    """Make a second session; its token and its authority."""
    status, made = await world.call("POST", "/sessions", body={"port": 1})
    assert status == 201
    return made["sessionToken"], made["slug"].encode() + b"." + world.base


async def asked(world: World, evil: EvilEnd, method: bytes = b"GET") -> Viewer:
    """A viewer whose request has reached the hostile client."""
    viewer = await world.open_viewer()
    await viewer.request(method=method)
    await evil.hear(Request)
    return viewer
