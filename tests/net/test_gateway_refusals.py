"""What is wrong with a request is said by the gateway, and never reaches an origin."""

from __future__ import annotations

import pytest
import trio

from tests.support.messages import compose
from tests.support.world import World, open_world

HOST = b"Host: AUTHORITY\r\n"


async def _send(world: World, raw: bytes) -> tuple[int, bytes | None]:
    """Send raw bytes (AUTHORITY replaced); return status and code; the connection must end."""
    viewer = await world.open_viewer()
    await viewer.send(raw.replace(b"AUTHORITY", world.authority))
    answer = await viewer.read_response()
    assert answer.head.get(b"Connection") == b"close"
    assert await viewer.read_rest() == b""
    return answer.status, answer.error


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: user@AUTHORITY\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: AUTHORITY, AUTHORITY\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: AUTHORITY/x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\n" + HOST + b"\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: a\nY: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: a\rb\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: a\0b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: a\x01b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X : a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: a\r\n folded\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b": empty\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n Host: AUTHORITY\r\n\r\n", 400),
        (b"GET /a#b HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET relative HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET /\xc3\xa9 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET AUTHORITY HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET * HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET ftp://AUTHORITY/ HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"G@T / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\xaa" * 64 + b"\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\nx", 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nx", 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: +1\r\n\r\nx", 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 0x1\r\n\r\nx", 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\nx", 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1, 1\r\n\r\nx", 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length:\r\n\r\n", 400),
        (
            b"POST / HTTP/1.1\r\n"
            + HOST
            + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (b"POST / HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked, chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked, gzip\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: xchunked\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (b"TRACE / HTTP/1.1\r\n" + HOST + b"\r\n", 501),
        (b"CONNECT AUTHORITY HTTP/1.1\r\n" + HOST + b"\r\n", 501),
        (b"X" * 65 + b" / HTTP/1.1\r\n" + HOST + b"\r\n", 501),
        (b"GET / HTTP/2.0\r\n" + HOST + b"\r\n", 505),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"x" * 40_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: y\r\n" * 300 + b"\r\n", 431),
    ],
)
async def test_a_request_that_is_wrong_is_refused_and_the_connection_closed(
    raw: bytes, status: int
) -> None:
    """Strict, in one mode, with a status that says what was wrong; nothing is forwarded."""
    async with open_world() as world:
        got, code = await _send(world, raw)
        assert (got, code is not None) == (status, True)
        assert world.origin.requests == []


async def test_what_stands_behind_a_refused_request_is_never_a_request() -> None:
    """Smuggling's first step: the rest of the connection is not read as HTTP."""
    async with open_world() as world:
        bad = (
            b"GET / HTTP/1.1\r\n"
            + HOST
            + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        hidden = b"0\r\n\r\nGET /hidden HTTP/1.1\r\n" + HOST + b"\r\n"
        assert (await _send(world, bad + hidden))[0] == 400
        assert world.origin.requests == []


@pytest.mark.parametrize(
    "size",
    [
        *(b"g", b"", b"-1", b"1 ", b"\n", b"fffffffffffffffff", b"0x1"),
        *(b"4;", b"4;;a", b"4;a=", b'4;a="b', b"4 ;a"),
    ],
)
async def test_a_broken_chunk_ends_the_upload_without_an_end(size: bytes) -> None:
    """The origin never sees a last chunk; the viewer is told or cut."""
    async with open_world() as world:
        viewer = await world.open_viewer()
        await viewer.request(method=b"POST", fields=((b"Transfer-Encoding", b"chunked"),))
        await viewer.send(b"5\r\nfirst\r\n" + size + b"\r\nxxxx\r\n0\r\n\r\n")
        answer = await viewer.read_response()
        assert (answer.status, answer.error) == (400, b"bad_request")
        assert await viewer.read_rest() == b""
        while world.origin.open_connections:
            await world.origin.wait_closed(len(world.origin.connections))
        assert not any(request.content.end == "chunked" for request in world.origin.requests)


async def test_a_slow_head_is_a_408() -> None:
    """``--head-timeout`` counts the whole head, not the gaps between its bytes."""
    async with open_world(head_timeout_s=0.3) as world:
        viewer = await world.open_viewer()
        await viewer.send(b"GET / HTTP/1.1\r\nHost:")
        answer = await viewer.read_response()
        assert (answer.status, answer.error) == (408, b"request_timeout")
        assert await viewer.read_rest() == b""


async def test_a_slow_upload_is_cut_at_both_ends() -> None:
    """``--content-idle-timeout`` of silence inside content frees the origin."""
    async with open_world(content_idle_timeout_s=0.3) as world:
        viewer = await world.open_viewer()
        await viewer.request(method=b"POST", fields=((b"Content-Length", b"10"),))
        await viewer.send(b"five!")
        answer = await viewer.read_response()
        assert (answer.status, answer.error) == (408, b"request_timeout")
        while world.origin.open_connections:
            await world.origin.wait_closed(len(world.origin.connections))
        assert not any(request.content.complete for request in world.origin.requests)


async def test_a_connection_that_says_nothing_is_closed_in_silence() -> None:
    """No 408 to somebody who has not begun to ask."""
    async with open_world(head_timeout_s=0.3, keep_alive_timeout_s=0.3) as world:
        viewer = await world.open_viewer()
        assert await viewer.read_rest() == b""
        assert (await viewer.read_some(), viewer.ended is not None) == (b"", True)


async def test_an_idle_keep_alive_connection_is_closed_in_silence() -> None:
    """``--keep-alive-timeout`` between two requests ends with a FIN."""
    async with open_world(keep_alive_timeout_s=0.3) as world:
        viewer = await world.open_viewer()
        assert (await viewer.exchange()).status == 200
        assert await viewer.read_rest() == b""


async def test_a_leading_empty_line_is_forgiven() -> None:
    """RFC 9112 section 2.2: a server should ignore a CRLF before the request line."""
    async with open_world() as world:
        viewer = await world.open_viewer()
        await viewer.send(b"\r\n" + viewer.compose() + b"\r\n" + viewer.compose())
        for _ in range(2):
            assert (await viewer.read_response()).status == 200


async def test_a_head_may_come_byte_by_byte() -> None:
    """Read boundaries mean nothing, a CR at one least of all."""
    async with open_world() as world:
        viewer = await world.open_viewer()
        for byte in viewer.compose(b"/slow", method=b"POST", content=b"abc"):
            await viewer.send(bytes([byte]))
            await trio.lowlevel.checkpoint()
        assert (await viewer.read_response()).status == 200
        assert world.origin.requests[0].content.data == b"abc"


async def test_options_for_the_server_itself_are_answered_by_the_gateway() -> None:
    """``OPTIONS *`` asks the server, and never enters a tunnel."""
    async with open_world() as world:
        viewer = await world.open_viewer()
        await viewer.send(compose(b"OPTIONS * HTTP/1.1", ((b"Host", world.base),)))
        assert (await viewer.read_response()).status < 500
        assert world.origin.requests == []
