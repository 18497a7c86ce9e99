"""http1_viewer.py on streams in memory: cycles, framing of answers, deadlines, misuse."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from attrs import frozen

from tests.support.http1 import MemoryPeer
from wormkey.errors import AdmissionError, LocalProtocolError, StreamError
from wormkey.frames import Fields, ResponseHead
from wormkey.http1 import Http1Limits, ViewerRequest
from wormkey.http1_viewer import ViewerConnection
from wormkey.pace import GRACE_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

LIMITS = Http1Limits()
DATED: Fields = ((b"Date", b"Sun, 06 Nov 1994 08:49:37 GMT"),)
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
CHUNKS = b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\nSum: 1\r\n\r\n"


@frozen
class Ends:
    """A connection and its viewer."""

    connection: ViewerConnection
    viewer: MemoryPeer

    async def ask(self, octets: bytes) -> ViewerRequest:
        """Send a request and receive it."""
        self.viewer.send(octets)
        request = await self.connection.receive_request()
        assert request is not None
        return request

    async def answer(self, head: ResponseHead, *pieces: bytes, trailers: Fields = ()) -> bytes:
        """Write a whole answer; return its octets."""
        self.connection.write_head(head)
        for piece in pieces:
            self.connection.write_content(piece)
        self.connection.write_end(trailers)
        await self.connection.flush()
        return self.viewer.take()


@pytest.fixture
def ends() -> Ends:
    """A fresh connection with the default limits."""
    viewer = MemoryPeer()
    return Ends(ViewerConnection(viewer.stream, LIMITS), viewer)


def ok(*fields: tuple[bytes, bytes], status: int = 200) -> ResponseHead:
    """A final head with a fixed Date."""
    return ResponseHead(status, (*fields, *DATED), b"Fine")


def wire(*lines: bytes) -> bytes:
    """The head that goes out for ok(...) with these lines after its fields."""
    return b"\r\n".join((b"HTTP/1.1 200 Fine", *lines, b"", b""))


DATE_LINE = b"Date: " + DATED[0][1]


async def read_content(connection: ViewerConnection) -> bytes:
    """Receive all the content of a request."""
    content = b""
    while data := await connection.receive_content():
        content += data
    assert connection.content_finished
    return content


# ── receiving ──────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("step", [1, 2, 7, 10_000])
async def test_requests_in_order_however_they_arrive(ends: Ends, step: int) -> None:
    """Pipelined requests with and without content come out one by one, in any pieces."""
    octets = GET + POST + CHUNKS + POST + b"Content-Length: 4\r\n\r\nfour" + GET
    connection = ends.connection
    seen = []

    async def serve() -> None:
        while (request := await connection.receive_request()) is not None:
            seen.append((request.head.method, await read_content(connection), connection.trailers))
            await ends.answer(ok((b"Content-Length", b"0")))
            assert connection.next_cycle()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        for at in range(0, len(octets), step):
            ends.viewer.send(octets[at : at + step])
            await trio.testing.wait_all_tasks_blocked()
        ends.viewer.send_eof()
    empty = (b"GET", b"", ())
    sized = (b"POST", b"four", ())
    assert seen == [empty, (b"POST", b"abcde", ((b"Sum", b"1"),)), sized, empty]


async def test_no_content_is_finished_at_once(ends: Ends) -> None:
    """A request without content needs no receive."""
    for head in (GET, POST + b"Content-Length: 0\r\n\r\n"):
        await ends.ask(head)
        assert ends.connection.content_finished
        assert await ends.connection.receive_content() == b""
        await ends.answer(ok())
        assert ends.connection.next_cycle()


async def test_the_end_is_told_with_the_last_piece(ends: Ends) -> None:
    """Content that is complete in one read needs no second look."""
    await ends.ask(POST + CHUNKS)
    assert not ends.connection.content_finished
    assert await ends.connection.receive_content() == b"abcde"
    assert ends.connection.content_finished


async def test_silence_ends_an_idle_connection(ends: Ends, autojump_clock: None) -> None:
    """No request within the keep-alive time is no error; empty lines do not begin one."""
    start = trio.current_time()
    assert ends.connection.idle
    ends.viewer.send(b"\r\n\r")
    assert await ends.connection.receive_request() is None
    assert trio.current_time() - start == pytest.approx(LIMITS.keep_alive_timeout_s)


async def test_a_head_has_a_deadline_from_its_first_octet(ends: Ends, autojump_clock: None) -> None:
    """Octets that keep dripping do not move it: 408."""

    async def drip() -> None:
        await trio.sleep(40)
        for octet in GET[:-1]:
            ends.viewer.send(bytes([octet]))
            await trio.sleep(1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(drip)
        with pytest.raises(AdmissionError) as caught:
            await ends.connection.receive_request()
        assert trio.current_time() == pytest.approx(40 + LIMITS.head_timeout_s)
        nursery.cancel_scope.cancel()
    assert (caught.value.status, caught.value.code) == (408, "request_timeout")
    assert not ends.connection.idle


async def test_a_pipelined_beginning_has_the_head_deadline(
    ends: Ends, autojump_clock: None
) -> None:
    """What came behind the last request counts as the first octet of the next."""
    await ends.ask(GET + b"GE")
    await ends.answer(ok())
    assert ends.connection.next_cycle()
    start = trio.current_time()
    with pytest.raises(AdmissionError):
        await ends.connection.receive_request()
    assert trio.current_time() - start == pytest.approx(LIMITS.head_timeout_s)


async def _drip(ends: Ends, pieces: int, octets: bytes, every_s: float) -> None:
    for _ in range(pieces):
        await trio.sleep(every_s)
        ends.viewer.send(octets)


async def test_content_may_be_slow_but_not_silent(ends: Ends, autojump_clock: None) -> None:
    """Idle seconds count, not the whole upload; silence is 408."""
    every_s = LIMITS.content_idle_timeout_s - 1
    piece = b"x" * (int(every_s) * LIMITS.min_rate_bytes)
    await ends.ask(POST + b"Content-Length: 1000000\r\n\r\n")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_drip, ends, 5, piece, every_s)
        for _ in range(5):
            assert await ends.connection.receive_content() == piece
        with pytest.raises(AdmissionError) as caught:
            await ends.connection.receive_content()
    assert caught.value.status == 408
    assert b"Connection: close" in await ends.answer(ok(status=408))
    assert not ends.connection.next_cycle()


async def test_content_that_drips_is_cut(ends: Ends, autojump_clock: None) -> None:
    """An octet before each deadline keeps nobody here for ever: 408 soon behind the grace."""
    await ends.ask(POST + b"Content-Length: 1000\r\n\r\n")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_drip, ends, 60, b"x", 1.0)
        began = trio.current_time()
        status = 0
        while not status:
            try:
                await ends.connection.receive_content()
            except AdmissionError as error:
                status = error.status
        nursery.cancel_scope.cancel()
    assert status == 408
    assert GRACE_S < trio.current_time() - began <= GRACE_S + 2


async def test_a_gap_in_the_app_is_not_the_viewer_s(ends: Ends, autojump_clock: None) -> None:
    """What comes while nobody receives has not kept anybody waiting."""
    await ends.ask(POST + b"Content-Length: 40\r\n\r\n")
    for _ in range(40):
        ends.viewer.send(b"x")
        await trio.sleep(10)  # the app's back-pressure
        assert await ends.connection.receive_content() == b"x"


async def test_ends_of_the_connection(ends: Ends) -> None:
    """Between requests it is the end; inside content the viewer has left."""
    await ends.ask(POST + b"Content-Length: 9\r\n\r\nabc")
    ends.viewer.send_eof()
    assert await ends.connection.receive_content() == b"abc"
    with pytest.raises(trio.BrokenResourceError):
        await ends.connection.receive_content()
    assert not ends.connection.can_continue


@pytest.mark.parametrize(("octets", "status"), [(b"", None), (b"\r\n", None), (GET[:9], 400)])
async def test_end_before_a_request(ends: Ends, octets: bytes, status: int | None) -> None:
    """A FIN between requests is no error; inside a head it is 400."""
    ends.viewer.send(octets)
    ends.viewer.send_eof()
    if status is None:
        assert await ends.connection.receive_request() is None
    else:
        with pytest.raises(AdmissionError) as caught:
            await ends.connection.receive_request()
        assert caught.value.status == status


async def test_cancellation_loses_nothing(ends: Ends) -> None:
    """A receive that was cancelled can be called again."""

    async def interrupt(receive: Callable[[], Awaitable[object]], octets: bytes) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            ends.viewer.send(octets)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()

    head = POST + b"Transfer-Encoding: chunked\r\n\r\n"
    await interrupt(ends.connection.receive_request, head[:9])
    await ends.ask(head[9:])
    await interrupt(ends.connection.receive_content, b"4\r")
    ends.viewer.send(b"\nfour\r\n0\r\n\r\n")
    assert await read_content(ends.connection) == b"four"


async def test_malformed_chunks_are_refused(ends: Ends) -> None:
    """400, and no other request is read on this connection."""
    await ends.ask(POST + b"Transfer-Encoding: chunked\r\n\r\n5 \r\n")
    with pytest.raises(AdmissionError) as caught:
        await ends.connection.receive_content()
    assert caught.value.status == 400
    assert b"Connection: close" in await ends.answer(ok(status=400))
    assert not ends.connection.next_cycle()


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
async def test_a_refusal_can_be_answered(ends: Ends, method: bytes) -> None:
    """After an error in a head its answer goes out, framed, and says close."""
    ends.viewer.send(method + b" / HTTP/1.1\r\n\r\n")
    with pytest.raises(AdmissionError):
        await ends.connection.receive_request()
    sent = await ends.answer(ok((b"Content-Length", b"2")), b"no")
    content = b"" if method == b"HEAD" else b"no"
    assert sent == wire(b"Content-Length: 2", DATE_LINE, b"Connection: close") + content
    assert not ends.connection.next_cycle()


# ── answering ──────────────────────────────────────────────────────────────────────────────
async def test_length_or_chunks_keep_the_connection(ends: Ends) -> None:
    """A declared length goes out as it is; without one, content is chunked, with trailers."""
    await ends.ask(GET)
    sent = await ends.answer(ok((b"content-LENGTH", b"3"), (b"a", b"1"), (b"A", b"2")), b"a", b"bc")
    assert sent == wire(b"content-LENGTH: 3", b"a: 1", b"A: 2", DATE_LINE) + b"abc"
    assert ends.connection.next_cycle()
    await ends.ask(GET)
    sent = await ends.answer(ok(), b"a", b"", b"bc", trailers=((b"Sum", b"1"),))
    chunks = b"1\r\na\r\n2\r\nbc\r\n0\r\nSum: 1\r\n\r\n"
    assert sent == wire(DATE_LINE, b"Transfer-Encoding: chunked") + chunks
    assert ends.connection.next_cycle()


async def test_a_date_is_added_where_there_is_none(ends: Ends) -> None:
    """One Date, the origin's or ours (RFC 9110 §6.6.1)."""
    await ends.ask(GET)
    sent = await ends.answer(ResponseHead(200, ()))
    assert sent.count(b"\r\nDate: ") == 1
    assert sent.startswith(b"HTTP/1.1 200 \r\n")


@pytest.mark.parametrize(("method", "status"), [(b"HEAD", 200), (b"GET", 204), (b"GET", 304)])
async def test_answers_without_content(ends: Ends, method: bytes, status: int) -> None:
    """No octet of content goes out, and the connection goes on; 204 has no length."""
    await ends.ask(method + GET[3:])
    sent = await ends.answer(ok((b"Content-Length", b"5"), status=status), b"hello", b"more")
    assert sent.endswith(b"\r\n\r\n")
    assert (b"Content-Length: 5\r\n" in sent) is (status != 204)
    assert b"Transfer-Encoding" not in sent
    assert ends.connection.next_cycle()


@pytest.mark.parametrize(
    ("asked", "fields", "said", "keeps"),
    [
        (b"", ((b"Content-Length", b"2"),), b"close", False),
        (b"Connection: keep-alive\r\n", ((b"Content-Length", b"2"),), b"keep-alive", True),
        (b"Connection: keep-alive\r\n", (), b"close", False),
    ],
)
async def test_old_viewers(
    ends: Ends, asked: bytes, fields: Fields, said: bytes, keeps: bool
) -> None:
    """HTTP/1.0: no chunks and no 1xx; kept only if asked for, and only with a length."""
    await ends.ask(b"GET / HTTP/1.0\r\n" + asked + b"\r\n")
    ends.connection.write_interim(ResponseHead(103, ()))
    sent = await ends.answer(ok(*fields), b"hi", trailers=((b"a", b"b"),))
    lines = [b"%b: %b" % field for field in fields]
    assert sent == wire(*lines, DATE_LINE, b"Connection: " + said) + b"hi"
    assert ends.connection.next_cycle() is keeps


async def test_interim_answers_go_first(ends: Ends) -> None:
    """100 and 103 go out before the final head, without a Content-Length."""
    await ends.ask(POST + b"Expect: 100-continue\r\nContent-Length: 1\r\n\r\n")
    ends.connection.write_interim(ResponseHead(100, ((b"Content-Length", b"0"),), b"Continue"))
    ends.connection.write_interim(ResponseHead(103, ((b"Link", b"</a>"),), b"Early Hints"))
    await ends.connection.flush()
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    assert ends.viewer.take() == interim
    assert not ends.connection.response_started
    sent = await ends.answer(ok((b"Content-Length", b"0")))
    assert b"Connection" not in sent


async def test_content_that_may_never_come_ends_the_connection(ends: Ends) -> None:
    """A final answer instead of the awaited 100 says close (RFC 9110 §10.1.1)."""
    request = await ends.ask(POST + b"Expect: 100-continue\r\nContent-Length: 1\r\n\r\n")
    assert request.expects_continue
    assert b"Connection: close\r\n" in await ends.answer(ok())
    assert not ends.connection.next_cycle()


async def test_unread_content_ends_the_connection(ends: Ends) -> None:
    """An upload nobody read must not be taken for the next request."""
    await ends.ask(POST + b"Content-Length: 10\r\n\r\n" + GET)
    await ends.answer(ok())
    assert ends.connection.can_continue
    assert not ends.connection.next_cycle()


async def test_close_is_announced(ends: Ends) -> None:
    """By the viewer or by us: the answer says it, and nothing is read after it."""
    await ends.ask(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" + GET)
    assert b"\r\nConnection: close\r\n" in await ends.answer(ok())
    assert not ends.connection.next_cycle()


async def test_an_upgrade_hands_over_the_stream(ends: Ends) -> None:
    """After a 101 the octets behind the request are whoever's the stream is."""
    asked = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: Proto/1\r\n\r\nearly"
    await ends.ask(asked)
    head = ResponseHead(101, ((b"Sec-X", b"1"),), b"Go on", b"Proto/1")
    ends.connection.write_head(head)
    with pytest.raises(LocalProtocolError):
        ends.connection.detach()
    with pytest.raises(LocalProtocolError):
        ends.connection.write_content(b"raw")
    await ends.connection.flush()
    expected = b"HTTP/1.1 101 Go on\r\nSec-X: 1\r\nConnection: Upgrade\r\nUpgrade: Proto/1\r\n\r\n"
    assert ends.viewer.take() == expected
    assert ends.connection.detach() == (ends.connection.stream, b"early")
    assert not ends.connection.next_cycle()


async def test_an_upgrade_nobody_asked_for_is_refused(ends: Ends) -> None:
    """A hostile client cannot switch a viewer's connection to raw octets."""
    await ends.ask(GET)
    with pytest.raises(StreamError):
        ends.connection.write_head(ResponseHead(101, (), b"", b"x"))
    assert b"200" in await ends.answer(ok())
