"""An origin is as hostile as a viewer: answers that are not HTTP/1.1 become 502, or a cut."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.link import Ended
from tests.support.origin import Connection, each_request
from tests.support.world import open_world

if TYPE_CHECKING:
    from tests.support.messages import Request

OK = b"HTTP/1.1 200 OK\r\n"

# Heads that two readers could take for two things, or that are none.
AMBIGUOUS = {
    "both framings": OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    "the same length twice": OK + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\nx",
    "a list of lengths": OK + b"Content-Length: 1, 1\r\n\r\nx",
    "a length with a sign": OK + b"Content-Length: +1\r\n\r\nx",
    "a length below zero": OK + b"Content-Length: -1\r\n\r\n",
    "a length in hexadecimal": OK + b"Content-Length: 0x1\r\n\r\nx",
    "a length with an underscore": OK + b"Content-Length: 1_0\r\n\r\n0123456789",
    "an empty length": OK + b"Content-Length:\r\n\r\n",
    "a length of 19 digits": OK + b"Content-Length: 1000000000000000000\r\n\r\n",
    "an unknown coding": OK + b"Transfer-Encoding: gzip\r\n\r\n",
    "chunked twice": OK + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "chunked not last": OK + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "chunks in HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a folded line": OK + b"X-A: b\r\n c\r\nContent-Length: 0\r\n\r\n",
    "a blank before the colon": OK + b"X-A : b\r\nContent-Length: 0\r\n\r\n",
    "a line feed alone": OK + b"X-A: b\nContent-Length: 0\r\n\r\n",
    "a carriage return alone": OK + b"X-A: b\rc\r\nContent-Length: 0\r\n\r\n",
    "a NUL": OK + b"X-A: b\0\r\nContent-Length: 0\r\n\r\n",
    "a control": OK + b"X-A: b\x0b\r\nContent-Length: 0\r\n\r\n",
    "a name that is no token": OK + b"X@A: b\r\nContent-Length: 0\r\n\r\n",
    "a line without a colon": OK + b"nonsense\r\nContent-Length: 0\r\n\r\n",
    "no name": OK + b": b\r\nContent-Length: 0\r\n\r\n",
    "a blank first": OK + b" X-A: b\r\nContent-Length: 0\r\n\r\n",
    "HTTP/2": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/0.9": b"<html>hello</html>",
    "another protocol": b"ICY 200 OK\r\nContent-Length: 0\r\n\r\n",
    "a status of two digits": b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
    "a status of four": b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
    "a control in the reason": b"HTTP/1.1 200 O\x01K\r\nContent-Length: 0\r\n\r\n",
    "a 101 that nobody asked for": b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n"
    b"Connection: upgrade\r\n\r\n",
    "1xx without end": b"HTTP/1.1 103 Early Hints\r\n\r\n" * 40 + OK + b"Content-Length: 0\r\n\r\n",
    "a head without end": OK + b"X-A: b\r\n" * 20_000,
    "nothing": b"",
    "half a head": OK + b"Content-Le",
}

# Content that ends wrong: its beginning may have gone out, its end must not be made up.
CUT = {
    "a chunk size with a sign": b"Transfer-Encoding: chunked\r\n\r\n+1\r\nx\r\n0\r\n\r\n",
    "a chunk size in 0x": b"Transfer-Encoding: chunked\r\n\r\n0x1\r\nx\r\n0\r\n\r\n",
    "a chunk size with an underscore": b"Transfer-Encoding: chunked\r\n\r\n1_0\r\nx\r\n0\r\n\r\n",
    "a chunk without its end": b"Transfer-Encoding: chunked\r\n\r\n1\r\nxyz\r\n0\r\n\r\n",
    "a chunk ended by a line feed": b"Transfer-Encoding: chunked\r\n\r\n1\nx\n0\n\n",
    "a huge chunk": b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nx",
    "an endless extension": b"Transfer-Encoding: chunked\r\n\r\n1;" + b"e" * 100_000 + b"\r\nx\r\n",
    "an extension without a name": b"Transfer-Encoding: chunked\r\n\r\n1;\r\nx\r\n0\r\n\r\n",
    "an open quote in an extension": b'Transfer-Encoding: chunked\r\n\r\n1;a="b\r\nx\r\n0\r\n\r\n',
    "chunks cut": b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "a last chunk cut": b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    "a length cut": b"Content-Length: 10\r\n\r\nhello",
    "a trailer that is none": b"Transfer-Encoding: chunked\r\n\r\n0\r\nX A: b\r\n\r\n",
}


@pytest.mark.parametrize("what", AMBIGUOUS)
async def test_an_ambiguous_head_is_a_502(what: str) -> None:
    """Nothing of it is repaired or shown; the connection to the app is not used again."""

    async def answer(connection: Connection, request: Request) -> None:
        if request.head.start[1] == b"/good":
            await connection.answer(b"fine")
        else:
            await connection.send(AMBIGUOUS[what])
            await connection.send_eof()

    async with open_world(each_request(answer)) as world:
        viewer = await world.open_viewer()
        refused = await viewer.exchange(b"/bad")
        assert (refused.status, refused.error) == (502, b"origin_failed")
        assert (await viewer.exchange(b"/good")).data == b"fine"
        assert [len(connection.requests) for connection in world.origin.connections] == [1, 1]


@pytest.mark.parametrize("what", CUT)
async def test_content_that_ends_wrong_is_cut(what: str) -> None:
    """The viewer sees 502, or an answer that is visibly not whole."""

    async def answer(connection: Connection, _request: Request) -> None:
        await connection.send(OK + CUT[what])
        await connection.send_eof()

    async with open_world(each_request(answer)) as world:
        viewer = await world.open_viewer()
        told = await viewer.exchange()
        if told.status == 200:
            assert not told.content.complete
            assert await viewer.read_rest() == b""
            assert viewer.ended in (Ended.FIN, Ended.RST)
        else:
            assert (told.status, told.error) == (502, b"origin_failed")


@pytest.mark.parametrize("reason", [b" OK", b"OK ", b"O  K\t", b"", b" ", b"\xebtat"])
async def test_a_reason_may_hold_what_it_likes(reason: bytes) -> None:
    """RFC 9112 §4: blanks and obs-text are part of a reason phrase, at its ends too."""

    async def answer(connection: Connection, _request: Request) -> None:
        await connection.answer(b"fine", status=b"200 " + reason)

    async with open_world(each_request(answer)) as world:
        viewer = await world.open_viewer()
        for _ in range(2):
            told = await viewer.exchange()
            assert (told.status, told.data) == (200, b"fine")


async def test_a_205_keeps_what_the_app_said_of_its_content() -> None:
    """RFC 9110 §15.3.6: an empty one is an empty one."""

    async def answer(connection: Connection, _request: Request) -> None:
        await connection.answer(status=b"205 Reset Content")

    async with open_world(each_request(answer)) as world:
        told = await world.exchange()
        assert (told.status, told.data, told.head.get(b"Content-Length")) == (205, b"", b"0")
