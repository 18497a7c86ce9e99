"""http1_origin.py on streams in memory: requests, answers in any pieces, when to use it again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from tests.support.http1 import MemoryPeer
from wormkey.errors import ErrorCode, LocalProtocolError, OriginError, StreamError
from wormkey.http1 import Http1Limits
from wormkey.http1_origin import MAX_INTERIM_HEADS, OriginConnection

if TYPE_CHECKING:
    from wormkey.frames import Fields, ResponseHead

LIMITS = Http1Limits(max_head_bytes=500)
HOST = (b"Host", b"localhost:5173")
OK = b"HTTP/1.1 200 Fine\r\n"
EMPTY = OK + b"Content-Length: 0\r\n\r\n"
CHUNKS = b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\nSum: 1\r\n\r\n"


class Ends:
    """A connection and the origin at its far end."""

    def __init__(self) -> None:
        """Start fresh."""
        self.origin = MemoryPeer()
        self.connection = OriginConnection(self.origin.stream, LIMITS)

    async def ask(self, method: bytes = b"GET", *fields: tuple[bytes, bytes]) -> bytes:
        """Send a request without content; return its octets."""
        self.write(method, *fields)
        self.connection.write_end()
        await self.connection.flush()
        return self.origin.take()

    def write(
        self,
        method: bytes = b"POST",
        *fields: tuple[bytes, bytes],
        length: int | None = None,
        content: bool = False,
    ) -> None:
        """Write a request head."""
        self.connection.write_request(
            method, b"/a?b", (HOST, *fields), content_length=length, has_content=content
        )

    async def receive(self) -> tuple[ResponseHead, bytes]:
        """Receive the final head and all content."""
        connection = self.connection
        while (head := await connection.receive_head()).interim:
            assert not connection.content_finished
        content = b""
        while data := await connection.receive_content():
            content += data
        assert connection.content_finished
        return head, content

    async def failure(self) -> str:
        """Receive an answer that must fail; return the sentence."""
        with pytest.raises(OriginError) as caught:
            await self.receive()
        assert caught.value.code is ErrorCode.ORIGIN_FAILED
        assert not self.connection.reusable
        return str(caught.value)


@pytest.fixture
def ends() -> Ends:
    """A fresh connection."""
    return Ends()


# ── asking ─────────────────────────────────────────────────────────────────────────────────
async def test_a_request_goes_out_as_it_is(ends: Ends) -> None:
    """Order, repeats and spelling are kept; nothing is added where there is no content."""
    sent = await ends.ask(b"PURGE", (b"x-A", b"1"), (b"X-a", b"2"))
    assert sent == b"PURGE /a?b HTTP/1.1\r\nHost: localhost:5173\r\nx-A: 1\r\nX-a: 2\r\n\r\n"
    assert not ends.connection.answer_started


@pytest.mark.parametrize(
    ("fields", "length", "framed"),
    [
        ((), 5, b"Content-Length: 5\r\n\r\nabcde"),
        (((b"CONTENT-length", b"5"),), 5, b"CONTENT-length: 5\r\n\r\nabcde"),
        (((b"Content-Length", b"5"),), None, b"Content-Length: 5\r\n\r\nabcde"),
        ((), None, b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\na: b\r\n\r\n"),
    ],
)
async def test_content_is_framed_once(
    ends: Ends, fields: Fields, length: int | None, framed: bytes
) -> None:
    """By the length that is known, spelled as it came, or in chunks with trailers."""
    ends.write(b"POST", *fields, length=length, content=True)
    for piece in (b"abc", b"", b"de"):
        ends.connection.write_content(piece)
    ends.connection.write_end(((b"a", b"b"),))
    await ends.connection.flush()
    assert ends.origin.take() == b"POST /a?b HTTP/1.1\r\nHost: localhost:5173\r\n" + framed


async def test_an_empty_length_is_kept(ends: Ends) -> None:
    """POST without content may say so."""
    assert b"\r\ncontent-length: 0\r\n\r\n" in await ends.ask(b"POST", (b"content-length", b"0"))


async def test_a_wrong_length_never_reaches_the_origin(ends: Ends) -> None:
    """Too much, too little or a contradiction is an error, and nothing of it is written."""
    ends.write(length=3, content=True)
    ends.connection.write_content(b"ab")
    for call in (lambda: ends.connection.write_content(b"cd"), ends.connection.write_end):
        with pytest.raises(StreamError) as caught:
            call()
        assert caught.value.code is ErrorCode.PROTOCOL_ERROR
    await ends.connection.flush()
    assert ends.origin.take().endswith(b"\r\n\r\nab")
    for fields, length, content in (
        (((b"Content-Length", b"4"),), 5, True),
        (((b"Content-Length", b"4"),), None, False),
        (((b"Content-Length", b"x"),), None, True),
        ((), 5, False),
        (((b"a", b"b\r\nc: d"),), None, False),
    ):
        fresh = Ends()
        with pytest.raises(StreamError):
            fresh.write(b"POST", *fields, length=length, content=content)
        assert await fresh.ask()


async def test_a_cut_send_is_never_continued(ends: Ends) -> None:
    """After a cancelled flush the next one fails, and the connection is not used again."""
    ends.write(length=3, content=True)
    with trio.CancelScope() as scope:
        scope.cancel()
        await ends.connection.flush()
    ends.connection.write_content(b"abc")
    with pytest.raises(OriginError):
        await ends.connection.flush()


async def test_a_lost_origin_is_told_from_a_sent_request(ends: Ends) -> None:
    """Nothing sent and nothing received: the caller may try another connection."""
    ends.write(content=False, length=None)
    await ends.connection.stream.aclose()
    ends.connection.write_end()
    with pytest.raises(OriginError):
        await ends.connection.flush()
    with pytest.raises(OriginError):
        await ends.connection.receive_head()
    assert not ends.connection.answer_started


# ── answers ────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("step", [1, 2, 7, 10_000])
async def test_answers_arrive_in_any_pieces(ends: Ends, step: int) -> None:
    """Interim heads, chunks and trailers, byte by byte or at once, and then another answer."""
    early = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: </a>\r\n\r\n"
    octets = early + OK + b"SET-cookie: a\r\nSet-Cookie: b\r\n" + CHUNKS
    for _ in range(2):
        await ends.ask()
        heads = []
        content = b""

        async def receive(heads: list[ResponseHead] = heads) -> None:
            nonlocal content
            while not heads or heads[-1].interim:
                heads.append(await ends.connection.receive_head())
            while data := await ends.connection.receive_content():
                content += data

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            for at in range(0, len(octets), step):
                ends.origin.send(octets[at : at + step])
                await trio.testing.wait_all_tasks_blocked()
        assert [head.status for head in heads] == [100, 103, 200]
        assert heads[1].fields == ((b"Link", b"</a>"),)
        assert heads[2].reason == b"Fine"
        assert heads[2].fields[:2] == ((b"SET-cookie", b"a"), (b"Set-Cookie", b"b"))
        assert (content, ends.connection.trailers) == (b"abcde", ((b"Sum", b"1"),))
        ends.connection.start_next_cycle()


@pytest.mark.parametrize(
    ("method", "head"),
    [
        (b"HEAD", OK + b"Content-Length: 5\r\n\r\n"),
        (b"HEAD", OK + b"Transfer-Encoding: chunked\r\n\r\n"),
        (b"HEAD", OK + b"\r\n"),
        (b"GET", b"HTTP/1.1 204 No\r\n\r\n"),
        (b"GET", b"HTTP/1.1 304 No\r\nContent-Length: 5\r\n\r\n"),
        (b"GET", EMPTY),
    ],
)
async def test_answers_without_content(ends: Ends, method: bytes, head: bytes) -> None:
    """They end with their head, and the connection can be used again."""
    await ends.ask(method)
    ends.origin.send(head)
    assert (await ends.receive())[1] == b""
    assert ends.connection.reusable


async def test_the_close_may_end_content(ends: Ends) -> None:
    """Without length and chunks, a clean end is the end; the connection is spent."""
    await ends.ask()
    ends.origin.send(OK + b"\r\nab")
    head = await ends.connection.receive_head()
    assert head.status == 200
    assert ends.connection.close_delimited
    assert await ends.connection.receive_content() == b"ab"
    assert not ends.connection.content_finished
    ends.origin.send_eof()
    assert await ends.connection.receive_content() == b""
    assert ends.connection.content_finished
    assert not ends.connection.reusable


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (b"", "before it answered"),
        (b"HTTP/1.1 2", "inside its answer"),
        (OK + b"Content-Length: 5\r\n\r\nabcd", "inside its answer"),
        (OK + CHUNKS[:-1], "inside its answer"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n5 \r\n", "malformed content"),
        (OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", "not valid HTTP"),
        (OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n", "not valid HTTP"),
        (OK + b"Content-Length: 5, 5\r\n\r\n", "not valid HTTP"),
        (OK + b"Transfer-Encoding: gzip\r\n\r\n", "not valid HTTP"),
        (b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "not valid HTTP"),
        (OK + b"A: b\r\n c\r\n\r\n", "not valid HTTP"),
        (b"HTTP/1.1 200 OK\nA: b\n\n", "not valid HTTP"),
        (b"HTTP/2.0 200 OK\r\n\r\n", "not valid HTTP"),
        (b"\x15\x03\x03\x00", "not HTTP/1.1"),
        (OK + b"A: " + b"b" * LIMITS.max_head_bytes, "too large"),
        (OK + b"A: " + b"b" * LIMITS.max_head_bytes + b"\r\n\r\n", "too large"),
        (b"HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n", "not valid HTTP"),
        (b"HTTP/1.1 103 Early\r\n\r\n" * (MAX_INTERIM_HEADS + 1), "without end"),
    ],
)
async def test_bad_answers_are_errors(ends: Ends, octets: bytes, reason: str) -> None:
    """A cut, ambiguous or endless answer is never taken for a complete one."""
    await ends.ask()
    ends.origin.send(octets)
    if reason.endswith(("answer", "answered")):
        ends.origin.send_eof()
    assert reason in await ends.failure()
    assert ends.connection.answer_started is bool(octets)


async def test_cancellation_loses_nothing(ends: Ends) -> None:
    """A receive that was cancelled can be called again."""
    await ends.ask()
    octets = OK + b"Content-Length: 4\r\n\r\nfour"
    ends.origin.send(octets[:9])
    for receive, more in (
        (ends.connection.receive_head, octets[9:-2]),
        (ends.connection.receive_content, octets[-2:]),
    ):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        ends.origin.send(more)
        if receive == ends.connection.receive_head:
            assert (await receive()).status == 200
            assert await ends.connection.receive_content() == b"fo"
    assert await ends.connection.receive_content() == b"ur"


# ── using it again ─────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("asked", "octets"),
    [
        ((), EMPTY + b"H"),
        ((), OK + b"Content-Length: 1\r\n\r\nab"),
        ((), OK + b"Connection: x, Close\r\nContent-Length: 0\r\n\r\n"),
        ((), b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
        ((), b"HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n"),
        ((), b"HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (((b"Connection", b"close"),), EMPTY),
    ],
)
async def test_a_doubtful_connection_is_not_used_again(
    ends: Ends, asked: Fields, octets: bytes
) -> None:
    """Octets left over, a close said by either side, framing where there is no content."""
    await ends.ask(b"GET", *asked)
    ends.origin.send(octets)
    await ends.receive()
    assert not ends.connection.reusable
    with pytest.raises(LocalProtocolError):
        ends.connection.start_next_cycle()


async def test_old_origins_can_keep_a_connection(ends: Ends) -> None:
    """HTTP/1.0 with keep-alive and a length may be used again."""
    await ends.ask()
    ends.origin.send(b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\nhi")
    assert (await ends.receive())[1] == b"hi"
    assert ends.connection.reusable


async def test_an_answer_before_the_request_is_complete(ends: Ends) -> None:
    """It is received, and only the end of the request makes the connection usable again."""
    ends.write(length=5, content=True)
    ends.connection.write_content(b"ab")
    await ends.connection.flush()
    ends.origin.send(EMPTY)
    await ends.receive()
    assert not ends.connection.reusable
    ends.connection.write_content(b"cde")
    ends.connection.write_end()
    assert not ends.connection.reusable
    await ends.connection.flush()
    assert ends.connection.reusable


async def test_an_upgrade_hands_over_the_stream(ends: Ends) -> None:
    """After a 101 that was asked for, what follows its head is given away raw."""
    await ends.ask(b"GET", (b"Connection", b"Upgrade"), (b"Upgrade", b"websocket"))
    switch = b"HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    ends.origin.send(switch + b"early")
    head = await ends.connection.receive_head()
    assert (head.status, head.interim) == (101, False)
    assert (b"Upgrade", b"websocket") in head.fields
    assert ends.connection.detach() == (ends.connection.stream, b"early")
    assert not ends.connection.reusable


def test_memory_is_never_quiet(ends: Ends) -> None:
    """A stream that cannot be asked is not used again."""
    assert not ends.connection.is_quiet()


async def test_misuse_is_our_bug(ends: Ends) -> None:
    """Calls out of order raise LocalProtocolError."""
    connection = ends.connection
    for call in (lambda: connection.write_content(b""), connection.write_end):
        with pytest.raises(LocalProtocolError):
            call()
    with pytest.raises(LocalProtocolError):
        await connection.receive_content()
    with pytest.raises(LocalProtocolError):
        ends.write(b"GET", (b"transfer-encoding", b"chunked"))
    ends.write()
    for call in (ends.write, connection.detach, connection.start_next_cycle):
        with pytest.raises(LocalProtocolError):
            call()
    ends.origin.send(EMPTY)
    await connection.receive_head()
    with pytest.raises(LocalProtocolError):
        await connection.receive_head()
