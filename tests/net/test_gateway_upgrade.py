"""After a 101 bytes travel unparsed both ways: WebSockets whole, and any other protocol."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage

from tests.support.link import Ended
from tests.support.messages import compose
from tests.support.origin import Connection, Handler, saying
from tests.support.websocket import (
    DEFLATE,
    accept_websocket,
    echo_websocket,
    handshake_fields,
    open_websocket,
)
from tests.support.world import World, open_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.viewer import Viewer

SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\n"
RAW_OFFER = ((b"Connection", b"upgrade"), (b"Upgrade", b"raw"))


def _raw(then: Handler) -> Handler:
    """Return an origin that switches to a protocol of its own and plays ``then``."""

    async def handler(connection: Connection) -> None:
        await connection.read_request()
        await connection.send(SWITCH)
        await then(connection)

    return handler


@asynccontextmanager
async def _switched(then: Handler) -> AsyncIterator[tuple[World, Viewer]]:
    async with open_world(_raw(then)) as world:
        viewer = await world.open_viewer()
        await viewer.request(fields=RAW_OFFER)
        answer = await viewer.read_final_head()
        assert answer.status == 101
        assert answer.head.get(b"Upgrade") == b"raw"
        assert (answer.head.get(b"Connection") or b"").lower() == b"upgrade"
        yield world, viewer


async def test_a_websocket_handshake_keeps_what_both_ends_agree_on() -> None:
    """Key, version, subprotocols and extensions pass both ways; the public Origin turns local."""
    chosen = ((b"Sec-WebSocket-Protocol", b"vite-hmr"), (b"Set-Cookie", b"a=1"))

    async def handler(connection: Connection) -> None:
        request = await connection.read_request()
        assert request is not None
        websocket = await accept_websocket(connection, request, fields=chosen, deflate=True)
        await websocket.send_text("x" * 10_000)
        await websocket.receive()

    async with open_world(handler) as world:
        viewer = await world.open_viewer()
        offers = (
            (b"Sec-WebSocket-Protocol", b"vite-ping, vite-hmr"),
            (b"Origin", b"http://" + world.authority),
        )
        websocket, head = await open_websocket(viewer, b"/?token=x", fields=offers, deflate=True)
        assert head.get(b"Sec-WebSocket-Protocol") == b"vite-hmr"
        assert head.get(b"Sec-WebSocket-Extensions") == DEFLATE
        assert head.get(b"Set-Cookie") == b"a=1"
        seen = world.origin.requests[0]
        assert seen.target == b"/?token=x"
        assert seen.head.get(b"Sec-WebSocket-Protocol") == b"vite-ping, vite-hmr"
        assert seen.head.get(b"Sec-WebSocket-Extensions") == DEFLATE
        assert seen.head.get(b"Sec-WebSocket-Version") == b"13"
        assert seen.head.get(b"Origin") == b"http://" + world.origin_authority
        assert (seen.head.get(b"Upgrade") or b"").lower() == b"websocket"
        assert await websocket.receive_message() == "x" * 10_000


async def test_messages_fragments_pings_and_close_codes_pass() -> None:
    """An echo server behind the tunnel behaves as one beside you."""
    async with open_world(echo_websocket) as world:
        viewer = await world.open_viewer()
        websocket, _ = await open_websocket(viewer)
        await websocket.send(TextMessage(data="frag", message_finished=False))
        first = await websocket.receive()
        assert isinstance(first, TextMessage)
        assert not first.message_finished
        await websocket.send(Ping(payload=b"in between"))
        assert await websocket.receive() == Pong(payload=b"in between")
        await websocket.send(TextMessage(data="ments"))
        assert await websocket.receive_message() == "ments"
        data = os.urandom(2 << 20)
        await websocket.send(BytesMessage(data=data))
        assert await websocket.receive_message() == data
        assert await websocket.close(4321, "täglich") == CloseConnection(
            code=4321, reason="täglich"
        )
        assert await viewer.read_rest() == b""
        assert viewer.ended is Ended.FIN


async def test_frames_cross_octet_by_octet() -> None:
    """Nothing re-frames, unmasks or inspects: what was sent is what arrives."""
    sent = bytes(range(256)) * 300

    async def then(connection: Connection) -> None:
        await connection.send(await connection.read_exactly(len(sent)))

    async with _switched(then) as (_, viewer):
        await viewer.send(sent)
        assert await viewer.read_rest() == sent


async def test_bytes_that_travel_with_the_handshake_are_not_lost() -> None:
    """Early bytes of either side, in the same packet as its head, arrive first."""

    async def handler(connection: Connection) -> None:
        await connection.read_request()
        await connection.send(SWITCH + b"early answer")
        assert await connection.read_exactly(10) == b"early word"

    async with open_world(handler) as world:
        viewer = await world.open_viewer()
        await viewer.send(viewer.compose(fields=RAW_OFFER) + b"early word")
        assert (await viewer.read_final_head()).status == 101
        assert await viewer.read_rest() == b"early answer"


async def test_the_viewers_half_close_reaches_the_origin_which_goes_on_sending() -> None:
    """Upgraded connections half-close: FIN travels inbound, content outbound after it."""

    async def then(connection: Connection) -> None:
        data = await connection.read_to_end()
        assert connection.ended is Ended.FIN
        await connection.send(data + b" after the FIN " + b"x" * 100_000)

    async with _switched(then) as (_, viewer):
        await viewer.send(b"before")
        await viewer.send_eof()
        assert await viewer.read_rest() == b"before after the FIN " + b"x" * 100_000
        assert viewer.ended is Ended.FIN


async def test_the_origins_half_close_reaches_the_viewer_who_goes_on_sending() -> None:
    """And the other way round."""
    got = bytearray()

    async def then(connection: Connection) -> None:
        await connection.send(b"last words")
        await connection.send_eof()
        got.extend(await connection.read_to_end())

    async with _switched(then) as (world, viewer):
        assert await viewer.read_rest() == b"last words"
        await viewer.send(b"still here" * 1000)
        await viewer.send_eof()
        await world.origin.wait_closed(1)
        assert bytes(got) == b"still here" * 1000


async def test_an_origins_reset_is_not_a_proper_end() -> None:
    """An RST after the 101 is an RST to the viewer."""

    async def then(connection: Connection) -> None:
        await connection.read_exactly(1)
        await connection.reset()

    async with _switched(then) as (_, viewer):
        await viewer.send(b"!")
        assert await viewer.read_rest() == b""
        assert viewer.ended is Ended.RST


async def test_a_lost_tunnel_resets_an_upgraded_connection() -> None:
    """Only the close would end these bytes, so the loss is an RST."""

    async def then(connection: Connection) -> None:
        await connection.wait_left()

    async with _switched(then) as (world, viewer):
        assert world.client is not None
        await world.client.stop()
        assert await viewer.read_rest() == b""
        assert viewer.ended is Ended.RST


async def test_an_upgraded_connection_has_back_pressure() -> None:
    """A viewer who stops reading a WebSocket stops its origin, at a bounded amount."""

    async def then(connection: Connection) -> None:
        for _ in range(300):
            await connection.send(b"x" * (1 << 20))

    async with open_world(_raw(then)) as world:
        viewer = await world.open_viewer(receive_buffer_bytes=65_536)
        await viewer.request(fields=RAW_OFFER)
        await viewer.read_final_head()
        origin, before = world.origin, -1
        while origin.sent_bytes != before:
            before = origin.sent_bytes
            await trio.sleep(0.5)  # no byte for so long: the flow has stopped
        assert before < 24 << 20
        await viewer.reset()
        await origin.wait_closed(1)


async def test_fifty_websockets_at_once_keep_apart() -> None:
    """Each gets its own echoes."""

    async def one(world: World, number: int) -> None:
        websocket, _ = await open_websocket(await world.open_viewer(), b"/%d" % number)
        for step in range(20):
            await websocket.send_text(f"{number} {step}")
            assert await websocket.receive_message() == f"{number} {step}"
        await websocket.close(1000)

    async with open_world(echo_websocket) as world, trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(one, world, number)


@pytest.mark.parametrize("status", [b"200 OK", b"403 Forbidden", b"426 Upgrade Required"])
async def test_an_origin_that_declines_an_upgrade_answers_plainly(status: bytes) -> None:
    """Its answer is the viewer's, and the viewer's connection goes on."""

    async def handler(connection: Connection) -> None:
        while await connection.read_request() is not None:
            await connection.answer(b"no", status=status)

    async with open_world(handler) as world:
        viewer = await world.open_viewer()
        answer = await viewer.exchange(fields=handshake_fields())
        assert (answer.status, answer.data) == (int(status[:3]), b"no")
        assert (await viewer.exchange()).data == b"no"


async def test_an_upgrade_to_h2c_is_never_forwarded() -> None:
    """The offer is dropped with its fields; the request is answered as plain HTTP/1.1."""
    offer = (
        (b"Connection", b"Upgrade, HTTP2-Settings"),
        (b"Upgrade", b"h2c"),
        (b"HTTP2-Settings", b"AAMAAABkAAQAAP__"),
    )
    async with open_world(saying()) as world:
        answer = await world.exchange(fields=offer)
        assert (answer.status, answer.data) == (200, b"hello")
        head = world.origin.requests[0].head
        assert not head.has(b"Upgrade")
        assert not head.has(b"HTTP2-Settings")


async def test_an_upgrade_without_its_connection_option_is_no_upgrade() -> None:
    """RFC 9110 section 7.8; in HTTP/1.0 the field is ignored altogether."""
    async with open_world(saying()) as world:
        await world.exchange(fields=((b"Upgrade", b"websocket"),))
        viewer = await world.open_viewer()
        await viewer.send(compose(b"GET / HTTP/1.0", ((b"Host", world.authority), *RAW_OFFER)))
        assert (await viewer.read_response()).status == 200
        assert not any(request.head.has(b"Upgrade") for request in world.origin.requests)


async def test_a_page_by_path_reaches_its_websocket_by_path() -> None:
    """``ws://host/s/<slug>/socket`` is ``/socket`` at the origin."""
    async with open_world(echo_websocket) as world:
        viewer = await world.open_viewer(world.base)
        websocket, _ = await open_websocket(viewer, b"/s/" + world.slug.encode() + b"/socket")
        await websocket.send_text("hello")
        assert await websocket.receive_message() == "hello"
        assert world.origin.requests[0].target == b"/socket"
