"""Both ends of tunnel protocol v0 as the programs already in use speak it.

Written from the description of that protocol alone and faithful to its habits, good and bad: the
client buffers a request until its end and joins repeated response fields, the gateway sets fields
one by one so that a repeated one keeps its last value. Nothing of wormkey's is used here.
"""

from __future__ import annotations

import struct
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

import trio
import trio_websocket
from attrs import define, field, frozen

from tests.support.messages import compose, framing, read_content
from tests.support.viewer import open_viewer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.messages import Fields

OPEN_STREAM: Final = 0x01
STREAM_DATA: Final = 0x02
STREAM_END: Final = 0x03
STREAM_CANCEL: Final = 0x04
RESPONSE_HEADERS: Final = 0x05
WS_UPGRADE: Final = 0x06
PING: Final = 0x09
PONG: Final = 0x0A
PAUSE: Final = 0x0B
RESUME: Final = 0x0C
_HEADER: Final = struct.Struct(">BI")
_MAX_MESSAGE_BYTES: Final = 1 << 24


@frozen
class Frame:
    """One message of the protocol."""

    kind: int
    stream: int = 0
    payload: bytes = b""

    def encode(self) -> bytes:
        """Return the WebSocket message."""
        return _HEADER.pack(self.kind, self.stream) + self.payload

    @classmethod
    def decode(cls, message: bytes | str) -> Frame | None:
        """Return the frame of a message; None for one under 5 bytes, which is ignored."""
        if isinstance(message, str) or len(message) < _HEADER.size:
            return None
        kind, stream = _HEADER.unpack_from(message)
        return cls(kind, stream, message[_HEADER.size :])


def _split_head(payload: bytes) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """Return the start line and the fields of a v0 head, with no more care than its ends take."""
    start, *lines = payload.split(b"\r\n\r\n")[0].split(b"\r\n")
    pairs = (line.partition(b":") for line in lines)
    return start, [(name, value.strip()) for name, _, value in pairs]


@define(eq=False)
class V0Client:
    """An existing client: one tunnel, whole requests to 127.0.0.1:<port>."""

    socket: trio_websocket.WebSocketConnection
    nursery: trio.Nursery
    port: int
    opened: dict[int, Frame] = field(factory=dict)  # the OPEN_STREAM of every stream so far
    content: dict[int, bytearray] = field(factory=dict)
    cancelled: list[int] = field(factory=list)
    ended: trio.Event = field(factory=trio.Event)
    _scopes: dict[int, trio.CancelScope] = field(factory=dict)
    _pongs: int = 0
    _news: trio.Condition = field(factory=trio.Condition)

    async def send(self, kind: int, stream: int = 0, payload: bytes = b"") -> None:
        """Send one frame."""
        await self.socket.send_message(Frame(kind, stream, payload).encode())

    async def run(self) -> None:
        """Serve the gateway's streams until it closes the tunnel."""
        while True:
            try:
                frame = Frame.decode(await self.socket.get_message())
            except trio_websocket.ConnectionClosed:
                self.ended.set()
                return
            if frame is not None:
                await self._take(frame)
            async with self._news:
                self._news.notify_all()

    async def _take(self, frame: Frame) -> None:
        match frame.kind:
            case 0x01:
                self.opened[frame.stream] = frame
                self.content[frame.stream] = bytearray()
            case 0x02 if frame.stream in self.content:
                self.content[frame.stream] += frame.payload
            case 0x03 if frame.stream in self.content:
                self.nursery.start_soon(self._serve, frame.stream)
            case 0x04:
                self.cancelled.append(frame.stream)
                if (scope := self._scopes.get(frame.stream)) is not None:
                    scope.cancel()
            case 0x09:
                await self.send(PONG)
            case 0x0A:
                self._pongs += 1
            case _:
                pass  # existing clients ignore WS_UPGRADE and what they do not know

    async def ping(self) -> None:
        """Send a PING and wait for the gateway's PONG."""
        before = self._pongs
        await self.send(PING)
        async with self._news:
            while self._pongs == before:
                await self._news.wait()

    async def wait_cancelled(self, stream: int) -> None:
        """Wait for the gateway's STREAM_CANCEL of this stream."""
        async with self._news:
            while stream not in self.cancelled:
                await self._news.wait()

    async def _serve(self, stream: int) -> None:
        with trio.CancelScope() as scope:
            self._scopes[stream] = scope
            try:
                await self._fetch(stream)
            except OSError:
                await self.send(RESPONSE_HEADERS, stream, b"HTTP/1.1 502\r\n\r\n")
                await self.send(STREAM_DATA, stream, b"Bad gateway: the local app failed")
                await self.send(STREAM_END, stream)
            except trio_websocket.ConnectionClosed:
                pass
        del self._scopes[stream]

    async def _fetch(self, stream: int) -> None:
        start, fields = _split_head(self.opened[stream].payload)
        method, target, _ = start.split(b" ")
        sent = bytes(self.content.pop(stream))
        fields = [pair for pair in fields if pair[0].lower() != b"content-length"]
        if sent or method in (b"POST", b"PUT"):
            fields.append((b"content-length", b"%d" % len(sent)))
        fields.insert(0, (b"Host", b"127.0.0.1:%d" % self.port))
        viewer = await open_viewer("127.0.0.1", self.port, b"127.0.0.1")
        try:
            await viewer.send(compose(b"%s %s HTTP/1.1" % (method, target), fields, sent))
            answer = await viewer.read_final_head()
            joined: dict[bytes, bytes] = {}
            for name, value in answer.fields:
                key = name.lower()
                joined[key] = joined[key] + b", " + value if key in joined else value
            for name in (b"transfer-encoding", b"connection", b"keep-alive"):
                joined.pop(name, None)
            head = compose(b"HTTP/1.1 %d" % answer.status, joined.items())
            await self.send(RESPONSE_HEADERS, stream, head)
            kind = framing(answer.head, request=False, method=method)
            send_data = partial(self.send, STREAM_DATA, stream)
            await read_content(viewer, kind, answer.content, send_data)
            await self.send(STREAM_END, stream)
        finally:
            await viewer.aclose()


@asynccontextmanager
async def owned(stream: trio.SocketStream) -> AsyncIterator[None]:
    """Close the socket at the end whatever became of the WebSocket on it."""
    try:
        yield
    finally:
        await trio.aclose_forcefully(stream)


@asynccontextmanager
async def open_v0_client(edge_url: str, token: str, port: int) -> AsyncIterator[V0Client]:
    """Open an existing client's tunnel to ``edge_url`` for the app on ``port``."""
    host, _, where = edge_url.removeprefix("ws://").rstrip("/").rpartition(":")
    stream = await trio.open_tcp_stream(host, int(where))
    async with owned(stream), trio.open_nursery() as nursery:
        socket = await trio_websocket.wrap_client_stream(
            nursery,
            stream,
            f"{host}:{where}",
            "/tunnel",
            extra_headers=[(b"Authorization", b"Bearer " + token.encode())],
            max_message_size=_MAX_MESSAGE_BYTES,
        )
        assert socket.subprotocol is None, "an old client offered no subprotocol"
        client = V0Client(socket, nursery, port)
        nursery.start_soon(client.run)
        yield client
        nursery.cancel_scope.cancel(reason="the test is over")


@define
class V0Answer:
    """What an existing gateway makes of a stream: one value for each field name."""

    status: int = 0
    fields: dict[bytes, bytes] = field(factory=dict)
    content: bytes = b""
    frames: list[Frame] = field(factory=list)  # every frame of the stream, in order
    ended: trio.Event = field(factory=trio.Event)


@define(eq=False)
class V0Gateway:
    """An existing gateway: accepts tunnels at /tunnel, knows no subprotocol, a new one replaces."""

    port: int = 0
    tokens: list[str] = field(factory=list)  # of every handshake, "Bearer ..."
    paths: list[str] = field(factory=list)
    offers: list[tuple[str, ...]] = field(factory=list)
    paused: bool = False
    answers: dict[int, V0Answer] = field(factory=dict)
    pings: int = 0
    _tunnel: trio_websocket.WebSocketConnection | None = None
    _news: trio.Condition = field(factory=trio.Condition)

    @property
    def url(self) -> str:
        """The edge URL that its clients are told."""
        return f"ws://127.0.0.1:{self.port}"

    async def _changed(self) -> None:
        async with self._news:
            self._news.notify_all()

    async def _accept(self, stream: trio.SocketStream) -> None:
        async with owned(stream), trio.open_nursery() as nursery:
            request = await trio_websocket.wrap_server_stream(
                nursery, stream, max_message_size=_MAX_MESSAGE_BYTES
            )
            await self._serve_tunnel(request)
            # The nursery's reader goes on until the closing handshake is over.

    async def _serve_tunnel(self, request: trio_websocket.WebSocketRequest) -> None:
        headers = {name.lower(): value for name, value in request.headers}
        self.tokens.append(headers.get(b"authorization", b"").decode())
        self.paths.append(request.path)
        self.offers.append(tuple(request.proposed_subprotocols))
        socket = await request.accept()
        old, self._tunnel = self._tunnel, socket
        await self._changed()
        if old is not None:
            await old.aclose()
        try:
            while True:
                if (frame := Frame.decode(await socket.get_message())) is not None:
                    await self._take(socket, frame)
        except trio_websocket.ConnectionClosed:
            pass
        finally:
            if self._tunnel is socket:
                self._tunnel = None

    async def _take(self, socket: trio_websocket.WebSocketConnection, frame: Frame) -> None:
        answer = self.answers.get(frame.stream)
        if frame.kind == PING:
            self.pings += 1
            await socket.send_message(Frame(PONG).encode())
        elif frame.kind in (PAUSE, RESUME):
            self.paused = frame.kind == PAUSE
        elif answer is not None:
            answer.frames.append(frame)
            if frame.kind == RESPONSE_HEADERS:
                start, fields = _split_head(frame.payload)
                answer.status = int(start.split(b" ")[1])
                answer.fields = dict(fields)  # set one by one: the last of a name stays
            elif frame.kind == STREAM_DATA:
                answer.content += frame.payload
            elif frame.kind in (STREAM_END, STREAM_CANCEL):
                answer.ended.set()
        await self._changed()

    async def wait_tunnels(self, count: int) -> None:
        """Wait until this many tunnels have been opened since the start."""
        async with self._news:
            while len(self.tokens) < count or self._tunnel is None:
                await self._news.wait()

    async def wait_paused(self, paused: bool) -> None:
        """Wait for the client's PAUSE or RESUME."""
        async with self._news:
            while self.paused is not paused:
                await self._news.wait()

    async def wait_frame(self, stream: int, kind: int) -> Frame:
        """Wait for a frame of this kind on this stream."""
        async with self._news:
            while True:
                for frame in self.answers[stream].frames:
                    if frame.kind == kind:
                        return frame
                await self._news.wait()

    async def send(self, kind: int, stream: int = 0, payload: bytes = b"") -> None:
        """Send one frame to the client."""
        assert self._tunnel is not None, "no tunnel"
        await self._tunnel.send_message(Frame(kind, stream, payload).encode())

    async def open(
        self, method: bytes, target: bytes, fields: Fields = (), *, kind: int = OPEN_STREAM
    ) -> int:
        """Open a stream; return its id."""
        stream = len(self.answers) + 1
        self.answers[stream] = V0Answer()
        head = compose(b"%s %s HTTP/1.1" % (method, target), fields)
        await self.send(kind, stream, head)
        return stream

    async def exchange(
        self, method: bytes, target: bytes, fields: Fields = (), content: bytes = b""
    ) -> V0Answer:
        """Send a whole request as existing gateways do and wait for the end of its stream."""
        stream = await self.open(method, target, fields)
        for at in range(0, len(content), 32768):
            await self.send(STREAM_DATA, stream, content[at : at + 32768])
        await self.send(STREAM_END, stream)
        await self.answers[stream].ended.wait()
        return self.answers[stream]

    async def drop_tunnel(self) -> None:
        """Close the tunnel as a gateway that restarts does."""
        assert self._tunnel is not None, "no tunnel"
        await self._tunnel.aclose(1001)

    async def serve(
        self, *, task_status: trio.TaskStatus[V0Gateway] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Listen on 127.0.0.1, report by ``started``, serve until cancelled."""
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listeners[0].socket.getsockname()[1]
        task_status.started(self)
        await trio.serve_listeners(self._accept, listeners)
