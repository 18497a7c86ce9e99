"""The tests' own origin and viewer, tried against each other without Wormkey between them."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio
from wsproto.events import CloseConnection, Ping, TextMessage

from tests.support import messages
from tests.support.link import CutError, Ended
from tests.support.messages import Request, response
from tests.support.origin import Connection, Handler, Origin, answering, each_request, start_origin
from tests.support.viewer import Viewer, open_viewer
from tests.support.websocket import echo_websocket, open_websocket

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def pair(handler: Handler) -> AsyncIterator[tuple[Viewer, Origin]]:
    """Open an origin and a viewer connected to it."""
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            origin = await start_origin(nursery, handler)
            viewer = await open_viewer("127.0.0.1", origin.port, b"localhost:%d" % origin.port)
            yield viewer, origin
            await viewer.aclose()
            origin.stop()


async def test_fields_targets_and_content_arrive_as_they_were_sent() -> None:
    """What the viewer composes is what the origin has on record, and back."""
    fields = ((b"Set-Cookie", b"a=1"), (b"set-cookie", b"b=2"), (b"X-Empty", b""))
    async with pair(answering(response(b"x\0y", fields=fields))) as (viewer, origin):
        answer = await viewer.exchange(
            b"/%2F?q=%20", method=b"M-SEARCH", fields=fields, content=b"abc"
        )
        assert (answer.status, answer.data, answer.content.end) == (200, b"x\0y", "length")
        assert answer.fields[1:] == fields
        request = origin.requests[0]
        assert (request.method, request.target) == (b"M-SEARCH", b"/%2F?q=%20")
        assert request.content.data == b"abc"
        assert request.fields[1:-1] == fields


async def test_interim_answers_chunks_and_trailers_are_read_apart() -> None:
    """103, chunks and the trailer section each have their place in a response."""
    raw = (
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3\r\nabc\r\n2\r\nde\r\n0\r\nDigest: x\r\n\r\n"
    )
    async with pair(answering(raw)) as (viewer, _):
        answer = await viewer.exchange()
        assert [head.start[1] for head in answer.interim] == [b"103"]
        assert answer.content.chunks == [b"abc", b"de"]
        assert (answer.content.trailers, answer.content.end) == (((b"Digest", b"x"),), "chunked")


@pytest.mark.parametrize("rst", [False, True])
async def test_fin_and_rst_are_told_apart(rst: bool) -> None:
    """A connection that ends inside content says which end it was."""

    async def answer(connection: Connection, _request: Request) -> None:
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        await connection.read_exactly(1)  # the viewer has read the half before the connection ends
        await (connection.reset() if rst else connection.aclose())

    async with pair(each_request(answer)) as (viewer, origin):
        await viewer.request()
        answered = await viewer.read_final_head()
        assert await viewer.read_exactly(4) == b"half"
        await viewer.send(b"!")
        with pytest.raises(CutError):
            await viewer.read_exactly(6)
        assert answered.status == 200
        assert viewer.ended is (Ended.RST if rst else Ended.FIN)
        await origin.wait_closed(1)


async def test_the_end_of_the_viewers_connection_is_on_record() -> None:
    """The origin knows that a viewer has gone, and with what."""

    async def handler(connection: Connection) -> None:
        await connection.read_request()
        await connection.wait_left()

    async with pair(handler) as (viewer, origin):
        await viewer.request()
        await origin.wait_connections(1)
        await viewer.reset()
        await origin.wait_closed(1)
        assert origin.connections[0].ended is Ended.RST
        assert origin.open_connections == 0


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
    ],
)
async def test_the_strict_reader_lets_nothing_odd_pass(raw: bytes) -> None:
    """Whatever a gateway must never send fails the test that meets it."""
    async with pair(answering(raw)) as (viewer, _):
        with pytest.raises(AssertionError):
            await viewer.exchange()


async def test_websockets_of_both_ends_understand_each_other() -> None:
    """Text, pings and close codes cross between the two wsproto ends."""
    async with pair(echo_websocket) as (viewer, _):
        websocket, _head = await open_websocket(viewer)
        await websocket.send(TextMessage(data="one", message_finished=False))
        await websocket.send(TextMessage(data="two"))
        assert await websocket.receive_message() == "onetwo"
        await websocket.send(Ping(payload=b"p"))
        await websocket.receive()
        assert await websocket.close(4321, "bye") == CloseConnection(code=4321, reason="bye")


def test_composed_messages_are_what_the_framing_reads() -> None:
    """A composed response has the length that its content has."""
    head = response(b"four", status=b"404 Not Found").split(b"\r\n")
    assert head[:2] == [b"HTTP/1.1 404 Not Found", b"Content-Length: 4"]
    assert messages.chunk(b"x" * 16) == b"10\r\n" + b"x" * 16 + b"\r\n"
