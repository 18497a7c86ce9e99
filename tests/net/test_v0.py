"""Programs that speak only v0: existing clients here, this client at existing gateways."""

from __future__ import annotations

import pytest
import trio

from tests.support.messages import LAST_CHUNK, Request, chunk, compose, response
from tests.support.origin import Connection, each_request
from tests.support.v0 import (
    PAUSE,
    RESPONSE_HEADERS,
    RESUME,
    STREAM_CANCEL,
    STREAM_DATA,
    STREAM_END,
    WS_UPGRADE,
    V0Gateway,
    open_v0_client,
)
from tests.support.websocket import handshake_fields
from tests.support.world import World, open_world

COOKIES = ((b"Set-Cookie", b"a=1"), (b"X-Two", b"1"), (b"Set-Cookie", b"b=2"), (b"X-Two", b"2"))


async def _echo(connection: Connection, request: Request) -> None:
    content = request.method + b" " + request.target + b" " + request.content.data
    await connection.answer(content, fields=COOKIES)


# ── existing clients at this gateway ─────────────────────────────────────────────────────────


async def test_an_existing_client_serves_requests_through_this_gateway() -> None:
    """Methods, targets, content and statuses cross; its joined fields arrive as it joined them."""
    async with (
        open_world(each_request(_echo), client=False) as world,
        open_v0_client(world.edge_url, world.token, world.origin.port),
    ):
        answer = await world.exchange(b"/a%20b?c", method=b"POST", content=b"x" * 100_000)
        assert answer.status == 200
        assert answer.data == b"POST /a%20b?c " + b"x" * 100_000
        assert answer.head.get(b"X-Two") == b"1, 2"
        assert (await world.exchange(b"/get")).data == b"GET /get "
        assert (await world.exchange(method=b"HEAD")).data == b""


async def test_what_an_existing_client_is_sent_is_text_that_it_can_read() -> None:
    """OPEN_STREAM holds the request line and the fields, and no Host among them."""
    async with (
        open_world(each_request(_echo), client=False) as world,
        open_v0_client(world.edge_url, world.token, world.origin.port) as client,
    ):
        await world.exchange(b"/x", fields=((b"X-Repeat", b"1"), (b"X-Repeat", b"2")))
        head = client.opened[1].payload
        assert head.startswith(b"GET /x HTTP/1.1\r\n")
        assert head.endswith(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        assert not any(line.startswith(b"host:") for line in lines)
        assert any(line.startswith(b"x-forwarded-host:") for line in lines)


async def test_an_existing_client_gets_its_ping_answered_and_can_pause() -> None:
    """PING brings PONG; PAUSE makes viewers wait elsewhere until RESUME."""
    async with (
        open_world(each_request(_echo), client=False) as world,
        open_v0_client(world.edge_url, world.token, world.origin.port) as client,
    ):
        await client.send(PAUSE)
        await client.ping()  # frames keep their order: the PAUSE has arrived
        assert (await world.exchange()).error == b"paused"
        await client.send(RESUME)
        await client.ping()
        assert (await world.exchange()).status == 200


async def test_an_upgrade_through_an_existing_client_is_a_501_that_says_why() -> None:
    """The client is too old for WebSockets; its other requests go on."""
    async with (
        open_world(each_request(_echo), client=False) as world,
        open_v0_client(world.edge_url, world.token, world.origin.port),
    ):
        answer = await world.exchange(fields=handshake_fields())
        assert (answer.status, answer.error) == (501, b"websocket_unsupported")
        assert (await world.exchange(b"/on")).data == b"GET /on "


async def test_an_existing_client_s_viewer_who_waits_for_a_100_gets_it_here() -> None:
    """Such a client hears of no content before the content's end, so the gateway asks for it."""
    expect = ((b"Expect", b"100-continue"), (b"Content-Length", b"7"))
    async with (
        open_world(each_request(_echo), client=False) as world,
        open_v0_client(world.edge_url, world.token, world.origin.port),
    ):
        viewer = await world.open_viewer()
        await viewer.request(method=b"PUT", fields=expect)
        assert (await viewer.read_head()).start[1] == b"100"
        await viewer.send(b"content")
        assert (await viewer.read_final_head()).status == 200


async def test_an_existing_client_whose_app_is_away_answers_for_itself() -> None:
    """Its 502 with its text is the viewer's answer."""
    async with (
        open_world(client=False) as world,
        open_v0_client(world.edge_url, world.token, world.origin.port),
    ):
        world.origin.stop()
        answer = await world.exchange()
        assert (answer.status, answer.error) == (502, None)
        assert b"local app failed" in answer.data


async def test_a_viewer_who_leaves_cancels_the_existing_clients_stream() -> None:
    """STREAM_CANCEL, and the app's connection closes."""

    async def never(connection: Connection, _request: Request) -> None:
        await connection.wait_left()

    async with (
        open_world(each_request(never), client=False) as world,
        open_v0_client(world.edge_url, world.token, world.origin.port) as client,
    ):
        viewer = await world.open_viewer()
        await viewer.request()
        await world.origin.wait_connections(1)
        await viewer.reset()
        await client.wait_cancelled(1)
        await world.origin.wait_closed(1)


async def test_a_slow_viewer_of_an_existing_client_loses_his_stream_and_nobody_else_does() -> None:
    """Without windows 16 MiB are held for a stream, then that stream is cancelled."""

    async def answer(connection: Connection, request: Request) -> None:
        if request.target == b"/big":
            await connection.send(
                compose(b"HTTP/1.1 200 OK", ((b"Transfer-Encoding", b"chunked"),))
            )
            for _ in range(1000):
                await connection.send(chunk(b"x" * 65_536))
            await connection.send(LAST_CHUNK)
        else:
            await connection.send(response(b"quick"))

    async with (
        open_world(each_request(answer), client=False, v0_stream_bytes=1 << 20) as world,
        open_v0_client(world.edge_url, world.token, world.origin.port) as client,
    ):
        viewer = await world.open_viewer(receive_buffer_bytes=65_536)
        await viewer.request(b"/big")
        await client.wait_cancelled(1)
        assert (await world.exchange(b"/quick")).data == b"quick"
        rest = await viewer.read_rest()
        assert not rest.endswith(LAST_CHUNK)


async def test_two_existing_clients_of_one_token_replace_each_other() -> None:
    """The second one serves; the first one's tunnel is closed."""
    async with (
        open_world(each_request(_echo), client=False) as world,
        open_v0_client(world.edge_url, world.token, world.origin.port) as old,
        open_v0_client(world.edge_url, world.token, world.origin.port) as new,
    ):
        await old.ended.wait()
        assert (await world.exchange(b"/x")).data == b"GET /x "
        assert len(new.opened) == 1


# ── this client at existing gateways ─────────────────────────────────────────────────────────


async def _at_old_gateway(world: World) -> V0Gateway:
    gateway = V0Gateway()
    await world.nursery.start(gateway.serve)
    world.gateway = ("127.0.0.1", gateway.port)
    await world.restart_client()
    await gateway.wait_tunnels(1)
    return gateway


async def test_this_client_serves_an_existing_gateway() -> None:
    """It offers v1, gets no subprotocol, and speaks v0 from there."""
    async with open_world(each_request(_echo), client=False) as world:
        gateway = await _at_old_gateway(world)
        assert gateway.tokens == [f"Bearer {world.token}"]
        assert gateway.paths == ["/tunnel"]
        assert gateway.offers == [("wormkey.v1",)]
        answer = await gateway.exchange(b"POST", b"/a%20b?c", (), b"y" * 100_000)
        assert answer.status == 200
        assert answer.content == b"POST /a%20b?c " + b"y" * 100_000
        assert world.origin.requests[0].head.get(b"Host") == world.origin_authority


async def test_an_existing_gateway_gets_fields_that_it_keeps_whole() -> None:
    """Repeated fields are joined, since it keeps only the last of a name."""
    async with open_world(each_request(_echo), client=False) as world:
        gateway = await _at_old_gateway(world)
        answer = await gateway.exchange(b"GET", b"/")
        fields = {name.lower(): value for name, value in answer.fields.items()}
        assert fields[b"x-two"] == b"1, 2"
        start = answer.frames[0].payload.split(b"\r\n")[0]
        assert start == b"HTTP/1.1 200"


@pytest.mark.parametrize("chunked", [False, True])
async def test_an_existing_gateway_gets_content_as_it_arrives(chunked: bool) -> None:
    """Each piece is a STREAM_DATA before the app sends the next one."""
    taken = trio.Event()

    async def answer(connection: Connection, _request: Request) -> None:
        framing = (b"Transfer-Encoding", b"chunked") if chunked else (b"Content-Length", b"10")
        await connection.send(compose(b"HTTP/1.1 200 OK", (framing,)))
        await connection.send(chunk(b"first") if chunked else b"first")
        await taken.wait()
        await connection.send(chunk(b"later") + LAST_CHUNK if chunked else b"later")

    async with open_world(each_request(answer), client=False) as world:
        gateway = await _at_old_gateway(world)
        stream = await gateway.open(b"GET", b"/")
        await gateway.send(STREAM_END, stream)
        await gateway.wait_frame(stream, RESPONSE_HEADERS)
        assert (await gateway.wait_frame(stream, STREAM_DATA)).payload == b"first"
        taken.set()
        await gateway.answers[stream].ended.wait()
        assert gateway.answers[stream].content == b"firstlater"


async def test_an_existing_gateways_cancel_reaches_the_app() -> None:
    """STREAM_CANCEL closes the app's connection."""

    async def never(connection: Connection, _request: Request) -> None:
        await connection.wait_left()

    async with open_world(each_request(never), client=False) as world:
        gateway = await _at_old_gateway(world)
        stream = await gateway.open(b"GET", b"/")
        await gateway.send(STREAM_END, stream)
        await world.origin.wait_connections(1)
        await gateway.send(STREAM_CANCEL, stream)
        await world.origin.wait_closed(1)


async def test_an_existing_gateway_is_told_of_pause_and_resume() -> None:
    """The terminal's P and R work there too."""
    async with open_world(client=False) as world:
        gateway = await _at_old_gateway(world)
        assert world.client is not None
        world.client.client.pause()
        await gateway.wait_paused(True)
        world.client.client.resume()
        await gateway.wait_paused(False)


async def test_an_existing_gateway_that_restarts_gets_its_client_back() -> None:
    """Same token, same URL."""
    async with open_world(each_request(_echo), client=False) as world:
        gateway = await _at_old_gateway(world)
        await gateway.drop_tunnel()
        await gateway.wait_tunnels(2)
        assert gateway.tokens == [f"Bearer {world.token}"] * 2
        assert (await gateway.exchange(b"GET", b"/again")).content == b"GET /again "


async def test_an_app_that_fails_is_a_502_at_an_existing_gateway() -> None:
    """RESPONSE_HEADERS 502, a text, STREAM_END: what such gateways expect."""
    async with open_world(client=False) as world:
        gateway = await _at_old_gateway(world)
        world.origin.stop()
        answer = await gateway.exchange(b"GET", b"/")
        assert answer.status == 502
        assert answer.content


async def test_an_answer_that_is_cut_is_cancelled_at_an_existing_gateway(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Half an answer is never ended, nor answered twice; the user's terminal shows no traceback."""

    async def half(connection: Connection) -> None:
        await connection.read_request()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf!")

    async with open_world(half, client=False) as world:
        gateway = await _at_old_gateway(world)
        answer = await gateway.exchange(b"GET", b"/")
        kinds = [frame.kind for frame in answer.frames]
        assert kinds == [RESPONSE_HEADERS, STREAM_DATA, STREAM_CANCEL]
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_an_upgrade_of_an_existing_gateway_never_reaches_the_app(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """v0 cannot carry a 101: the answer is a 501 that says so, and other requests go on."""
    async with open_world(each_request(_echo), client=False) as world:
        gateway = await _at_old_gateway(world)
        stream = await gateway.open(b"GET", b"/", handshake_fields(), kind=WS_UPGRADE)
        await gateway.answers[stream].ended.wait()
        assert gateway.answers[stream].status == 501
        assert b"WebSockets" in gateway.answers[stream].content
        assert (await gateway.exchange(b"GET", b"/on")).content == b"GET /on "
        assert [request.target for request in world.origin.requests] == [b"/on"]
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_what_v0_has_no_words_for_is_left_out_at_an_existing_gateway() -> None:
    """An interim head and a trailer section are dropped, and the answer is whole."""

    async def answer(connection: Connection, _request: Request) -> None:
        await connection.send(
            compose(b"HTTP/1.1 103 Early Hints", ((b"Link", b"</a.css>"),))
            + compose(b"HTTP/1.1 200 OK", ((b"Transfer-Encoding", b"chunked"),))
            + chunk(b"whole")
            + b"0\r\nX-Sum: 1\r\n\r\n"
        )

    async with open_world(each_request(answer), client=False) as world:
        got = await (await _at_old_gateway(world)).exchange(b"GET", b"/")
        assert (got.status, got.content) == (200, b"whole")
        assert [frame.kind for frame in got.frames] == [RESPONSE_HEADERS, STREAM_DATA, STREAM_END]
