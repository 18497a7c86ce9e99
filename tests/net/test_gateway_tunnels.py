"""Tunnels at the gateway: who may open one, replacement, and clients that break the protocol."""

from __future__ import annotations

import gc
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio
import trio_websocket

from tests.support.origin import Connection, each_request
from tests.support.v0 import owned
from tests.support.websocket import handshake_fields
from tests.support.world import Connected, Disconnected, World, open_world
from wormkey import wire
from wormkey.errors import ErrorCode
from wormkey.frames import (
    MAX_FRAME_BYTES,
    Data,
    Frame,
    Hello,
    Ping,
    Pong,
    Request,
    Reset,
    Response,
    ResponseHead,
    StreamId,
    Trailers,
    Window,
)
from wormkey.http1 import ViewerRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support import messages

ONE = StreamId(1)
OK = ResponseHead(200, ())


class FrameClient:
    """A client that sends the frames it is told to, good or bad."""

    def __init__(self, socket: trio_websocket.WebSocketConnection) -> None:
        """Speak v1 on an open tunnel's WebSocket."""
        self.socket = socket
        self._decoder = wire.Decoder()
        self._frames: list[Frame] = []

    async def send(self, *frames: Frame) -> None:
        """Send frames in one message."""
        await self.socket.send_message(b"".join(wire.encode(frame) for frame in frames))

    async def receive(self, kind: type[Frame]) -> Frame:
        """Return the next frame of a kind, dropping others."""
        while True:
            while self._frames:
                if isinstance(frame := self._frames.pop(0), kind):
                    return frame
            message = await self.socket.get_message()
            assert isinstance(message, bytes)
            self._frames += self._decoder.feed(message)

    async def wait_closed(self) -> None:
        """Read until the gateway closes the tunnel."""
        try:
            while True:
                await self.socket.get_message()
        except trio_websocket.ConnectionClosed:
            pass


@asynccontextmanager
async def open_frame_client(world: World, token: str | None = None) -> AsyncIterator[FrameClient]:
    """Open a tunnel for the world's session, HELLO exchanged."""
    stream = await trio.open_tcp_stream(*world.gateway)
    async with owned(stream), trio.open_nursery() as nursery:
        socket = await trio_websocket.wrap_client_stream(
            nursery,
            stream,
            world.base.decode(),
            "/tunnel",
            subprotocols=["wormkey.v1"],
            extra_headers=[(b"Authorization", b"Bearer " + (token or world.token).encode())],
        )
        assert socket.subprotocol == "wormkey.v1"
        client = FrameClient(socket)
        await client.send(
            Hello(stream_window_bytes=1 << 18, tunnel_window_bytes=1 << 20, max_streams=100)
        )
        await client.receive(Hello)
        yield client
        nursery.cancel_scope.cancel(reason="the test is over")


@pytest.mark.parametrize(
    "token", ["", "nonsense", "SLUG.", "SLUG.wrong", ".SECRET", "no-such-99-aaaaaaaa.SECRET"]
)
async def test_a_tunnel_needs_its_sessions_token(token: str) -> None:
    """401 for everything but the right secret of the right slug, a made-up name included."""
    async with open_world(client=False) as world:
        slug, _, secret = world.token.partition(".")
        token = token.replace("SLUG", slug).replace("SECRET", secret)
        bearer = ((b"Authorization", b"Bearer " + token.encode()),)
        answer = await world.exchange(
            b"/tunnel",
            authority=world.base,
            fields=(*handshake_fields(), (b"Sec-WebSocket-Protocol", b"wormkey.v1"), *bearer),
        )
        assert answer.status == 401
        without = await world.exchange(b"/tunnel", authority=world.base, fields=handshake_fields())
        assert without.status == 401


async def test_the_tunnel_of_a_closed_session_is_refused_for_good() -> None:
    """410: the client need not try again."""
    async with open_world(client=False) as world:
        await world.call("DELETE", f"/sessions/{world.session['sessionId']}", token=world.token)
        bearer = ((b"Authorization", b"Bearer " + world.token.encode()),)
        answer = await world.exchange(
            b"/tunnel", authority=world.base, fields=(*handshake_fields(), *bearer)
        )
        assert answer.status == 410


async def test_a_tunnel_request_without_a_websocket_is_refused() -> None:
    """A plain GET /tunnel is told what it lacks, whoever asks."""
    async with open_world(client=False) as world:
        bearer = ((b"Authorization", b"Bearer " + world.token.encode()),)
        answer = await world.exchange(b"/tunnel", authority=world.base, fields=bearer)
        assert answer.status in (400, 426)


async def test_a_new_tunnel_replaces_the_old_one_at_once() -> None:
    """Who has the secret has the slug: no "already exists", and the newer one serves."""
    async with (
        open_world(client=False) as world,
        open_frame_client(world) as old,
        open_frame_client(world) as new,
    ):
        await old.wait_closed()
        world.nursery.start_soon(_answer_one, new)
        assert (await world.exchange()).data == b"from the frame client"


async def _answer_one(client: FrameClient) -> None:
    await client.receive(Request)
    await client.send(
        Response(ONE, ResponseHead(200, ((b"Content-Length", b"21"),))),
        Data(ONE, b"from the frame client", end_stream=True),
    )


async def test_a_replaced_client_does_not_fight_for_the_slug() -> None:
    """The old client is told REPLACED and stays away, or two of them would fight for ever."""
    async with open_world() as world:
        old = world.client
        assert old is not None
        new = await world.start_client()
        await new.wait(Connected)
        await old.ended.wait()
        assert getattr(old.error, "status", None) == 409
        for _ in range(20):
            assert (await world.exchange()).data == b"hello"
        assert new.count(Disconnected) == 0


@pytest.mark.parametrize(
    "raw",
    [
        b"\xff" * 1000,
        b"\x04\x00\x00\x00\x00\x01\xff\xff\xff\xff",
        b"\x04\x00\x00\x00\x00\x00\x00\x00\x00\x01x",
        b"\x08\x00\x00\x00\x00\x01\x00\x00\x00\x00",
        b"\x03\x00\x00\x00\x00\x01\x00\x00\x00\x01\x00",
        wire.encode(Hello()) * 2,
        wire.encode(Window(StreamId(0), 2**31 - 1)) * 3,
        wire.encode(Data(StreamId(99), b"nobody asked")),
        wire.encode(Response(StreamId(99), OK, end_stream=True)),
    ],
)
async def test_malformed_frames_end_only_their_own_tunnel(raw: bytes) -> None:
    """Never the daemon, never another tunnel: the other session's viewers notice nothing."""
    async with open_world() as world:
        status, other = await world.call("POST", "/sessions", body={"port": 1})
        assert status == 201
        async with open_frame_client(world, other["sessionToken"]) as evil:
            await evil.socket.send_message(raw)
            await evil.wait_closed()
        assert (await world.exchange()).data == b"hello"
        assert world.client is not None
        assert world.client.count(Disconnected) == 0


@pytest.mark.parametrize(
    "frames",
    [
        (Response(ONE, ResponseHead(200, ((b"X Y", b"1"),))),),
        (Response(ONE, ResponseHead(200, ((b"X", b"a\r\nInjected: 1"),))),),
        (Response(ONE, ResponseHead(200, ((b"Content-Length", b"1"),) * 2)),),
        (Response(ONE, ResponseHead(200, ((b"Content-Length", b"+1"),))),),
        (Response(ONE, ResponseHead(200, (), b"OK\r\nInjected: 1")),),
        (Response(ONE, ResponseHead(101, (), b"", b"websocket")),),
        (Data(ONE, b"before any head"),),
        (Trailers(ONE, ()),),
    ],
)
async def test_a_bad_answer_of_a_hostile_client_is_a_502(frames: tuple[Frame, ...]) -> None:
    """The gateway checks what a tunnel says as it checks a viewer: nothing is injected."""
    async with open_world(client=False, hold_s=0.0) as world, open_frame_client(world) as evil:
        viewer = await world.open_viewer()
        await viewer.request()
        await evil.receive(Request)
        await evil.send(*frames)
        answer = await viewer.read_response()
        assert answer.status == 502
        assert not answer.head.has(b"Injected")
        assert not answer.head.has(b"X")


async def test_more_content_than_its_length_is_cut_for_the_viewer() -> None:
    """A client cannot smuggle a second answer behind the first one's length."""
    async with open_world(client=False, hold_s=0.0) as world, open_frame_client(world) as evil:
        viewer = await world.open_viewer()
        await viewer.request()
        await evil.receive(Request)
        hidden = b"fiveHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
        await evil.send(
            Response(ONE, ResponseHead(200, ((b"Content-Length", b"4"),))),
            Data(ONE, hidden, end_stream=True),
        )
        got = await viewer.read_rest()
        assert got.count(b"HTTP/1.1") == 1


async def test_a_window_overrun_ends_the_stream_or_the_tunnel_with_its_name() -> None:
    """FLOW_CONTROL_ERROR, and the viewer is cut, not served a forged end."""
    async with open_world(client=False, hold_s=0.0) as world, open_frame_client(world) as evil:
        viewer = await world.open_viewer(receive_buffer_bytes=65_536)
        await viewer.request()
        await evil.receive(Request)
        await evil.send(Response(ONE, OK))
        code: object = None
        try:
            for _ in range(2000):
                await evil.send(Data(ONE, b"x" * MAX_FRAME_BYTES))
            reset = await evil.receive(Reset)
            assert isinstance(reset, Reset)
            code = reset.code
        except trio_websocket.ConnectionClosed:
            code = ErrorCode.FLOW_CONTROL_ERROR
        assert code is ErrorCode.FLOW_CONTROL_ERROR
        rest = await viewer.read_rest()
        assert not rest.endswith(b"0\r\n\r\n")


async def test_frame_types_of_a_newer_version_are_ignored() -> None:
    """Room to add: an unknown type in between changes nothing."""
    unknown = b"\x7f\x00\x00\x00\x00\x00\x00\x00\x00\x03new"
    async with open_world(client=False) as world, open_frame_client(world) as client:
        await client.socket.send_message(unknown + wire.encode(Ping(b"opaque")))
        assert await client.receive(Pong) == Pong(b"opaque")


async def test_a_tunnel_that_says_nothing_is_closed() -> None:
    """A half-open client is noticed within the tunnel time-out; viewers are not left hanging."""
    async with (
        open_world(client=False, tunnel_timeout_s=0.6, ping_interval_s=0.2, hold_s=0.0) as world,
        open_frame_client(world) as silent,
    ):
        viewer = await world.open_viewer()
        await viewer.request()
        await silent.receive(Request)
        answer = await viewer.read_response()
        assert (answer.status, answer.error) == (502, b"no_tunnel")
        await silent.wait_closed()


async def test_an_open_tunnel_keeps_nothing_of_its_request() -> None:
    """Its token and its fields are gone: a thousand idle tunnels would keep a thousand of each."""
    async with open_world() as world:
        assert (await world.exchange(b"/")).status == 200
        gc.collect()
        kept = [
            each.head.target
            for each in gc.get_objects()
            if isinstance(each, ViewerRequest) and each.head.target == b"/tunnel"
        ]
    assert kept == []


async def test_a_viewers_websocket_is_not_mistaken_for_a_tunnel() -> None:
    """On a tunnel's host ``/tunnel`` is the app's own path."""

    async def answer(connection: Connection, _request: messages.Request) -> None:
        await connection.answer(b"app")

    async with open_world(each_request(answer)) as world:
        got = await world.exchange(b"/tunnel", fields=handshake_fields())
        assert got.data == b"app"
