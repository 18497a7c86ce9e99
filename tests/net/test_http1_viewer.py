"""http1_viewer.py on real sockets: what the viewer's kernel makes of each ending."""

from __future__ import annotations

import pytest
import trio

from tests.support.http1 import tcp_pair, tls_pair
from tests.support.link import Ended, Link
from wormkey.frames import Fields, ResponseHead
from wormkey.http1 import Http1Limits
from wormkey.http1_viewer import ViewerConnection
from wormkey.transport import LINGER_BYTES

LIMITS = Http1Limits(write_idle_timeout_s=0.3)
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
MIB = 1024 * 1024


def ok(*fields: tuple[bytes, bytes]) -> ResponseHead:
    """A final head."""
    return ResponseHead(200, fields, b"OK")


def sized(size: int) -> Fields:
    """A declared length."""
    return ((b"Content-Length", b"%d" % size),)


async def ask(connection: ViewerConnection, viewer: Link, octets: bytes = GET) -> None:
    """Send a request and receive it."""
    await viewer.send(octets)
    assert await connection.receive_request() is not None


async def test_requests_share_a_connection() -> None:
    """Three pipelined requests are answered in order, then the viewer's FIN ends it."""
    async with tcp_pair() as (stream, viewer):
        connection = ViewerConnection(stream, LIMITS)
        await viewer.send(GET * 3)
        await viewer.send_eof()
        for number in (b"1", b"2", b"3"):
            assert await connection.receive_request() is not None
            connection.write_head(ok(*sized(1)))
            connection.write_content(number)
            connection.write_end()
            await connection.flush()
            assert connection.next_cycle()
        assert await connection.receive_request() is None
        await connection.lingering_close()
        answers = (await viewer.read_to_end()).split(b"HTTP/1.1 200 OK\r\n")
        assert [answer[-1:] for answer in answers[1:]] == [b"1", b"2", b"3"]
        assert viewer.ended is Ended.FIN


async def test_a_reset_between_requests_is_an_end() -> None:
    """A viewer who vanishes while idle is no error."""
    async with tcp_pair() as (stream, viewer):
        await viewer.reset()
        assert await ViewerConnection(stream, LIMITS).receive_request() is None


@pytest.mark.parametrize(
    ("version", "fields", "ended"),
    [(b"1.1", sized(9), Ended.FIN), (b"1.1", (), Ended.FIN), (b"1.0", (), Ended.RST)],
)
async def test_a_cut_can_be_seen(version: bytes, fields: Fields, ended: Ended) -> None:
    """FIN where length or chunks tell, RST where the end alone would be the end of content."""
    async with tcp_pair() as (stream, viewer):
        connection = ViewerConnection(stream, LIMITS)
        await ask(connection, viewer, GET.replace(b"1.1", version))
        connection.write_head(ok(*fields))
        connection.write_content(b"abc")
        await connection.flush()
        await viewer.read_until(b"abc")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.truncate)
            rest = await viewer.read_to_end()
            await viewer.aclose()
        assert rest in (b"", b"\r\n")
        assert viewer.ended is ended


async def test_an_answer_survives_an_unread_upload() -> None:
    """The refusal of an upload reaches a viewer who is still sending it."""
    async with tcp_pair() as (stream, viewer):
        connection = ViewerConnection(stream, LIMITS)
        upload = b"x" * (LINGER_BYTES // 2)
        head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(upload)
        await ask(connection, viewer, head)
        connection.write_head(ok(*sized(2)), close=True)
        connection.write_content(b"no")
        connection.write_end()
        await connection.flush()
        assert not connection.next_cycle()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.lingering_close)
            await viewer.send(upload)
            answer = await viewer.read_to_end()
            await viewer.aclose()
        assert viewer.ended is Ended.FIN
        assert answer.endswith(b"Connection: close\r\n\r\nno")


async def test_an_early_fin_does_not_stop_the_answer() -> None:
    """A viewer who has said all he wants to say still gets his answer."""
    async with tcp_pair() as (stream, viewer):
        connection = ViewerConnection(stream, LIMITS)
        await ask(connection, viewer)
        await viewer.send_eof()
        connection.write_head(ok(*sized(4 * MIB)))
        content = bytes(4 * MIB)
        connection.write_content(content)
        connection.write_end()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.flush)
            await viewer.read_until(b"\r\n\r\n")
            assert await viewer.read_exactly(len(content)) == content
        assert connection.next_cycle()
        assert await connection.receive_request() is None


async def test_a_viewer_who_stops_reading_is_noticed() -> None:
    """The send fails once the kernel has taken nothing for the idle time."""
    async with tcp_pair() as (stream, viewer):
        connection = ViewerConnection(stream, LIMITS)
        await ask(connection, viewer)
        connection.write_head(ok())
        connection.write_content(bytes(32 * MIB))
        with pytest.raises(trio.TooSlowError):
            await connection.flush()
        assert not connection.can_continue


async def test_a_viewer_who_left_is_noticed() -> None:
    """Content he did not send is missing, and sending to him fails."""
    async with tcp_pair() as (stream, viewer):
        connection = ViewerConnection(stream, LIMITS)
        await ask(connection, viewer, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
        await viewer.reset()
        with pytest.raises(trio.BrokenResourceError):
            await connection.receive_content()
        connection.write_head(ok())
        with pytest.raises(trio.BrokenResourceError):
            await connection.flush()
        await connection.truncate()


async def test_tls_says_goodbye() -> None:
    """Over TLS an answer ends with close_notify, so that its end is no truncation."""
    async with tls_pair(server=True) as (stream, viewer):
        connection = ViewerConnection(stream, LIMITS)
        await ask(connection, viewer)
        connection.write_head(ok(), close=True)
        connection.write_content(b"abc")
        connection.write_end()
        await connection.flush()
        await connection.lingering_close()
        got = b""
        while data := await viewer.stream.receive_some():  # raises where the goodbye is missing
            got += data
        assert got.endswith(b"3\r\nabc\r\n0\r\n\r\n")
