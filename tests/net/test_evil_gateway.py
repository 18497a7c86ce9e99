"""A hostile gateway facing the client: it reaches the one app, and fills no memory."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio
from attrs import define, field

from tests.support.evil import (
    CONTINUATION,
    FIN,
    PING,
    PONG,
    EvilEnd,
    EvilGateway,
    evil_gateway,
    ws_frame,
)
from tests.support.origin import Connection, Origin, each_request, saying, start_origin
from tests.support.world import Disconnected, RunningClient, start_client
from wormkey import wire
from wormkey.errors import ErrorCode
from wormkey.frames import (
    TUNNEL,
    Data,
    GoAway,
    Hello,
    Pause,
    Pong,
    Request,
    RequestHead,
    Reset,
    Response,
    StreamId,
    Window,
)
from wormkey.frames import Ping as PingFrame

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.messages import Request as Seen
    from tests.support.origin import Handler

ONE, TWO = StreamId(1), StreamId(2)
GET = RequestHead(b"GET", b"/", ())
MANY_BYTES = 64 << 20


@define(eq=False)
class Trap:
    """A listener beside the app that nobody may ever connect to."""

    port: int
    caught: list[bytes] = field(factory=list)

    async def take(self, stream: trio.SocketStream) -> None:
        """Note who came."""
        self.caught.append(await stream.receive_some(1000))


@define(eq=False)
class Siege:
    """A client between its app and a hostile gateway."""

    nursery: trio.Nursery
    gateway: EvilGateway
    origin: Origin
    trap: Trap
    client: RunningClient
    evil: EvilEnd

    async def check_alive(self, stream_id: int) -> None:
        """The client still serves its app through this tunnel."""
        await self.evil.say(Request(StreamId(stream_id), GET, end_stream=True))
        while (answer := await self.evil.hear(Response)).stream_id != stream_id:
            pass
        assert answer.head.status == 200
        assert self.client.count(Disconnected) == 0
        assert not self.trap.caught


@asynccontextmanager
async def besieged(handler: Handler | None = None, *, version: int = 1) -> AsyncIterator[Siege]:
    """Start app, trap, hostile gateway and client; the client has dialled."""
    with trio.fail_after(120):
        async with trio.open_nursery() as nursery, evil_gateway(version=version) as gateway:
            origin = await start_origin(nursery, handler or saying())
            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            trap = Trap(listeners[0].socket.getsockname()[1])
            await nursery.start(trio.serve_listeners, trap.take, listeners)
            client = start_client(
                nursery, edge_url=gateway.url, token="slug.secret", target=str(origin.port)
            )
            evil = await gateway.wait_client()
            yield Siege(nursery, gateway, origin, trap, client, evil)
            nursery.cancel_scope.cancel(reason="the test is over")


# ── where it connects to ────────────────────────────────────────────────────────────────────

TARGETS = [
    b"http://127.0.0.1:TRAP/",
    b"//127.0.0.1:TRAP/",
    b"/\\127.0.0.1:TRAP/",
    b"@127.0.0.1:TRAP/",
    b":TRAP/",
    b"127.0.0.1:TRAP",
    b"*",
    b"",
    b"unix:/tmp/socket",
    b"file:///etc/passwd",
    b"/../../../../etc/passwd",
    b"/%2e%2e/%2e%2e/etc/passwd",
    b"/ HTTP/1.1\r\nHost: 127.0.0.1:TRAP\r\n\r\nGET /",
    b"/#@127.0.0.1:TRAP/",
]


@pytest.mark.parametrize("target", TARGETS)
async def test_no_target_makes_the_client_dial_elsewhere(target: bytes) -> None:
    """The target is octets for the app and no address: one app, at one place, or a refusal."""
    async with besieged() as siege:
        target = target.replace(b"TRAP", b"%d" % siege.trap.port)
        await siege.evil.say(Request(ONE, RequestHead(b"GET", target, ()), end_stream=True))
        while not isinstance(frame := await siege.evil.hear(Response | Reset), Response | Reset):
            pass
        if isinstance(frame, Reset):
            assert frame.code is ErrorCode.PROTOCOL_ERROR
            assert not siege.origin.connections
        else:
            assert siege.origin.requests[0].target == target
        await siege.check_alive(2)


@pytest.mark.parametrize("method", [b"CONNECT", b"TRACE", b"GET / HTTP/1.1\r\nX:", b"", b"G T"])
async def test_no_method_opens_a_way_elsewhere(method: bytes) -> None:
    """CONNECT is none of an app's methods; a method is one word."""
    async with besieged() as siege:
        head = RequestHead(method, b"127.0.0.1:%d" % siege.trap.port, ())
        await siege.evil.say(Request(ONE, head, end_stream=True))
        reset = await siege.evil.hear(Reset)
        assert reset.code is ErrorCode.PROTOCOL_ERROR
        assert not siege.origin.connections
        await siege.check_alive(2)


@pytest.mark.parametrize("name", [b"Host", b"Forwarded", b"X-Forwarded-Host", b"X-Original-URL"])
async def test_no_field_makes_the_client_dial_elsewhere(name: bytes) -> None:
    """The app gets its own name as Host, whatever is said; other fields are its affair."""
    async with besieged() as siege:
        place = b"127.0.0.1:%d" % siege.trap.port
        head = RequestHead(b"GET", b"/", ((name, place),))
        await siege.evil.say(Request(ONE, head, end_stream=True))
        await siege.evil.hear(Response | Reset)
        await siege.check_alive(2)
        for seen in siege.origin.requests:
            assert seen.head.get(b"Host") == b"localhost:%d" % siege.origin.port


@pytest.mark.parametrize(
    "field",
    [
        (b"X", b"a\r\nInjected: 1"),
        (b"X\r\nInjected", b"1"),
        (b"X", b"a\nInjected: 1"),
        (b"X", b"\0"),
        (b"Content-Length", b"5"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Content-Length", b"+5"),
    ],
)
async def test_nothing_is_injected_into_the_apps_request(field: tuple[bytes, bytes]) -> None:
    """Off the grammar it is refused; framing is the client's own, for a request without content."""
    async with besieged() as siege:
        await siege.evil.say(Request(ONE, RequestHead(b"GET", b"/", (field,)), end_stream=True))
        await siege.evil.hear(Response | Reset)
        await siege.check_alive(2)
        for seen in siege.origin.requests:
            assert not seen.head.has(b"Injected")
            assert seen.content.data == b""


async def test_a_redirect_of_the_app_is_the_viewers_affair() -> None:
    """The client passes it on and goes nowhere."""
    places: list[bytes] = []

    async def redirect(connection: Connection, seen: Seen) -> None:
        if seen.target == b"/away":
            await connection.answer(b"", status=b"302 Found", fields=((b"Location", places[0]),))
        else:
            await connection.answer(b"hello")

    async with besieged(each_request(redirect)) as siege:
        places.append(b"http://127.0.0.1:%d/" % siege.trap.port)
        await siege.evil.say(Request(ONE, RequestHead(b"GET", b"/away", ()), end_stream=True))
        answer = await siege.evil.hear(Response)
        assert answer.head.status == 302
        await siege.check_alive(2)


# ── how much ────────────────────────────────────────────────────────────────────────────────


async def test_streams_over_the_limit_are_refused() -> None:
    """1,024 at once, then REFUSED_STREAM; the app sees no more than that."""

    async def hang(connection: Connection, _: Seen) -> None:
        await connection.wait_left()

    async with besieged(each_request(hang)) as siege:
        for first in range(1, 1500, 100):
            await siege.evil.say(
                *[Request(StreamId(n), GET, end_stream=True) for n in range(first, first + 100)]
            )
        for number in range(1025, 1501):
            reset = await siege.evil.hear(Reset)
            assert (reset.stream_id, reset.code) == (number, ErrorCode.REFUSED_STREAM)
        statistics = siege.client.client.statistics()
        assert statistics is not None
        assert statistics.streams == 1024


async def test_requests_that_are_cut_at_once_leave_nothing_behind() -> None:
    """Opened and cut in the same message, 5,000 times: no stream is left, the app is spared."""
    async with besieged() as siege:
        for first in range(1, 5001, 500):
            frames = []
            for number in range(first, first + 500):
                frames.append(wire.encode(Request(StreamId(number), GET, end_stream=True)))
                frames.append(wire.encode(Reset(StreamId(number), ErrorCode.CANCELLED)))
            await siege.evil.say(*frames)
        await siege.check_alive(5001)
        statistics = siege.client.client.statistics()
        assert statistics is not None
        assert statistics.streams <= 1
        assert len(siege.origin.connections) < 100


FLOODS = {
    "WebSocket pings": ws_frame(b"", first=FIN | PING, masked=False) * 1000,
    "WebSocket pongs": ws_frame(b"", first=FIN | PONG, masked=False) * 1000,
    "fragments of nothing": ws_frame(b"", first=CONTINUATION, masked=False) * 1000,
    "empty messages": ws_frame(b"", masked=False) * 1000,
    "PONGs": ws_frame(wire.encode(Pong(b"x")) * 1000, masked=False),
    "grants of one byte": ws_frame(wire.encode(Window(TUNNEL, 1)) * 1000, masked=False),
    "goodbyes": ws_frame(wire.encode(GoAway(StreamId(0), ErrorCode.NO_ERROR)) * 1000, masked=False),
    "frames of unknown types": ws_frame((b"\x7f\0" + bytes(8)) * 1000, masked=False),
}


@pytest.mark.parametrize("name", FLOODS)
async def test_a_flood_ends_the_tunnel_and_the_client_dials_again(name: str) -> None:
    """Its own end of the tunnel counts, too; a gateway that comes to its senses is served."""
    async with besieged() as siege:
        if name.startswith("fragments"):
            await siege.evil.send_message(b"", first=2)
        assert await siege.evil.flood(FLOODS[name], MANY_BYTES) < MANY_BYTES
        goodbye = await siege.evil.wait_over()
        assert goodbye is not None
        assert goodbye.code is ErrorCode.ENHANCE_YOUR_CALM
        siege.evil = await siege.gateway.wait_client(2)
        await siege.evil.say(Request(ONE, GET, end_stream=True))
        assert (await siege.evil.hear(Response)).head.status == 200


@pytest.mark.parametrize(
    "frames",
    [
        (Pause(),),
        (Response(ONE, wire.ResponseHead(200, ())),),
        (Data(ONE, b"of nothing"),),
        (Hello(),),
        (Request(TWO, GET, end_stream=True), Request(ONE, GET, end_stream=True)),
        (Window(TUNNEL, 0),),
        (b"\x02\0\0\0\0\1\xff\xff\xff\xff",),
        (b"\x02\0\0\0\0\1\0\0\0\x02\xff\xff",),
        (PingFrame(b""), b"\x08\0\0\0\0\0\0\0\0\x41" + bytes(65)),
    ],
)
async def test_a_gateway_that_breaks_the_protocol_loses_its_tunnel(
    frames: tuple[wire.Frame | bytes, ...],
) -> None:
    """The client says why and dials again."""
    async with besieged() as siege:
        await siege.evil.say(*frames)
        goodbye = await siege.evil.wait_over()
        assert goodbye is not None
        assert goodbye.code is not ErrorCode.NO_ERROR
        await siege.gateway.wait_client(2)


async def test_an_upload_over_the_window_resets_its_stream_and_holds_no_more() -> None:
    """An app that does not read, a gateway that does not care about windows."""

    async def deaf(connection: Connection) -> None:
        await connection.read_head()
        await trio.sleep_forever()

    async with besieged(deaf) as siege:
        head = RequestHead(b"POST", b"/", ((b"Content-Length", b"1000000000"),))
        await siege.evil.say(Request(ONE, head))
        for _ in range(200):
            await siege.evil.say(Data(ONE, bytes(60_000), blocked=True))
        reset = await siege.evil.hear(Reset)
        assert reset.code is ErrorCode.FLOW_CONTROL_ERROR
        statistics = siege.client.client.statistics()
        assert statistics is not None
        assert statistics.held_bytes == 0


async def test_a_v0_gateway_that_uploads_to_a_deaf_app_loses_the_stream() -> None:
    """v0 has no windows: the limit of a stream stands in for them."""

    async def deaf(connection: Connection) -> None:
        await connection.read_head()
        await trio.sleep_forever()

    async with besieged(deaf, version=0) as siege:
        head = RequestHead(b"POST", b"/", ((b"Content-Length", b"1000000000"),))
        await siege.evil.say(Request(ONE, head))
        for _ in range(450):
            await siege.evil.say(Data(ONE, bytes(60_000)))
        await siege.evil.hear(Reset)
        statistics = siege.client.client.statistics()
        assert statistics is not None
        assert statistics.held_bytes <= 16 << 20
