"""http1_viewer.py where an answer goes wrong: lengths that lie, viewers who stop, misuse."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from tests.support.http1 import MemoryPeer
from wormkey.errors import ErrorCode, LocalProtocolError, StreamError
from wormkey.frames import Fields, ResponseHead
from wormkey.http1 import Http1Limits
from wormkey.http1_viewer import LAST_SEND_S, ViewerConnection
from wormkey.transport import LINGER_BYTES, LINGER_S

LIMITS = Http1Limits()
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def ok(*fields: tuple[bytes, bytes]) -> ResponseHead:
    """A final head."""
    return ResponseHead(200, fields, b"Fine")


async def asked(stream: trio.abc.Stream) -> ViewerConnection:
    """A connection on which one request waits for its answer."""
    connection = ViewerConnection(stream, LIMITS)
    assert await connection.receive_request() is not None
    return connection


async def asked_in_memory(octets: bytes = GET) -> tuple[ViewerConnection, MemoryPeer]:
    """The same with the test as the viewer."""
    viewer = MemoryPeer()
    viewer.send(octets)
    return await asked(viewer.stream), viewer


async def asked_in_step() -> tuple[ViewerConnection, trio.abc.Stream]:
    """The same on a stream that takes nothing until the viewer receives it."""
    ours, theirs = trio.testing.lockstep_stream_pair()
    connection = ViewerConnection(ours, LIMITS)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(theirs.send_all, GET)
        assert await connection.receive_request() is not None
    return connection, theirs


async def test_a_wrong_length_truncates(autojump_clock: None) -> None:
    """Too much or too little content is an error and never looks like a complete answer."""
    connection, viewer = await asked_in_memory()
    connection.write_head(ok((b"Content-Length", b"5")))
    connection.write_content(b"abc")
    for write in (lambda: connection.write_content(b"def"), connection.write_end):
        with pytest.raises(StreamError) as caught:
            write()
        assert caught.value.code is ErrorCode.PROTOCOL_ERROR
    assert not connection.response_finished
    assert not connection.next_cycle()
    await connection.truncate()
    assert viewer.take().endswith(b"\r\n\r\nabc")
    with pytest.raises(trio.ClosedResourceError):
        await viewer.stream.send_all(b"x")


async def test_chunks_are_truncated_without_their_last(autojump_clock: None) -> None:
    """An end of content is never forged."""
    connection, viewer = await asked_in_memory()
    connection.write_head(ok())
    connection.write_content(b"abc")
    await connection.truncate()
    assert viewer.take().endswith(b"\r\n\r\n3\r\nabc\r\n")


@pytest.mark.parametrize(
    "head",
    [
        ResponseHead(200, ((b"a", b"b\r\nc: d"),)),
        ResponseHead(200, ((b"Content-Length", b"1"), (b"Content-Length", b"1"))),
        ResponseHead(200, ((b"Content-Length", b"+1"),)),
        ResponseHead(200, (), b"a\r\nb: c"),
        ResponseHead(1200, ()),
        ResponseHead(101, (), b"", b"proto"),
    ],
)
async def test_an_impossible_head_changes_nothing(head: ResponseHead) -> None:
    """It is an error, nothing of it is written, and an error page can still go out."""
    connection, viewer = await asked_in_memory()
    with pytest.raises(StreamError):
        connection.write_head(head)
    assert not connection.response_started
    connection.write_head(ok((b"Content-Length", b"0")))
    connection.write_end()
    await connection.flush()
    assert viewer.take().startswith(b"HTTP/1.1 200 Fine\r\nContent-Length: 0\r\n")
    assert connection.next_cycle()


async def test_the_app_s_time_before_its_100_is_not_the_viewer_s(
    autojump_clock: None,
) -> None:
    """He sends at once when he is asked; that he was asked late is not his slowness."""
    viewer = MemoryPeer()
    connection = ViewerConnection(viewer.stream, Http1Limits())
    fields = b"Host: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
    viewer.send(b"POST / HTTP/1.1\r\n" + fields)
    assert await connection.receive_request() is not None

    async def go_on() -> None:
        await trio.sleep(60)
        connection.write_interim(ResponseHead(100, ()))
        await connection.flush()
        viewer.send(b"abcd")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(go_on)
        assert await connection.receive_content() == b"abcd"


async def test_a_viewer_who_stops_reading_is_cut(autojump_clock: None) -> None:
    """After the idle time the send fails; nothing more is sent on a stream with a hole."""
    connection, _viewer = await asked_in_step()
    connection.write_head(ok((b"Content-Length", b"3")))
    connection.write_content(b"abc")
    start = trio.current_time()
    with pytest.raises(trio.TooSlowError):
        await connection.flush()
    assert trio.current_time() - start == pytest.approx(LIMITS.write_idle_timeout_s)
    connection.write_end()
    assert not connection.next_cycle()
    await connection.flush()
    await connection.truncate()
    assert trio.current_time() - start <= LIMITS.write_idle_timeout_s + LAST_SEND_S + LINGER_S


async def test_nothing_follows_a_send_that_was_cut() -> None:
    """A cancelled flush may have sent a part: another flush fails instead of leaving a hole."""
    connection, _viewer = await asked_in_step()
    connection.write_head(ok())
    with trio.CancelScope() as scope:
        scope.cancel()
        await connection.flush()
    connection.write_content(b"abc")
    assert not connection.can_continue
    with pytest.raises(trio.BrokenResourceError):
        await connection.flush()


async def test_truncating_waits_for_nobody(autojump_clock: None) -> None:
    """A viewer who takes nothing costs a bounded time, whatever is composed."""
    connection, viewer = await asked_in_step()
    connection.write_head(ok())
    start = trio.current_time()
    await connection.truncate()
    assert trio.current_time() - start <= LAST_SEND_S + LINGER_S
    with pytest.raises((trio.BrokenResourceError, trio.ClosedResourceError)):
        await viewer.send_all(b"x")


async def test_truncating_is_cancellable() -> None:
    """The connection is closed all the same."""
    for end in (ViewerConnection.truncate, ViewerConnection.lingering_close):
        connection, viewer = await asked_in_memory()
        with trio.CancelScope() as scope:
            scope.cancel()
            await end(connection)
        with pytest.raises(trio.ClosedResourceError):
            await viewer.stream.receive_some()


async def test_lingering_is_bounded_in_time(autojump_clock: None) -> None:
    """A viewer who neither sends nor closes is left after LINGER_S."""
    connection, viewer = await asked_in_memory()
    start = trio.current_time()
    await connection.lingering_close()
    assert trio.current_time() - start == pytest.approx(LINGER_S)
    with pytest.raises(trio.ClosedResourceError):
        await viewer.stream.send_all(b"x")


async def test_lingering_is_bounded_in_bytes(autojump_clock: None) -> None:
    """A viewer who goes on uploading is left after LINGER_BYTES; one who closes, at once."""
    for octets, ended in ((b"x" * (LINGER_BYTES + 1), False), (b"x", True)):
        connection, viewer = await asked_in_memory()
        viewer.send(octets)
        if ended:
            viewer.send_eof()
        start = trio.current_time()
        await connection.lingering_close()
        assert trio.current_time() == start


async def test_misuse_is_our_bug() -> None:
    """Calls out of order and fields that should be gone raise LocalProtocolError."""
    connection, _viewer = await asked_in_memory()
    hop: Fields = ((b"Transfer-Encoding", b"chunked"),)
    for call in (
        lambda: connection.write_content(b""),
        connection.write_end,
        lambda: connection.write_interim(ok()),
        lambda: connection.write_head(ResponseHead(100, ())),
        lambda: connection.write_head(ok(*hop)),
        lambda: connection.write_head(ok((b"connection", b"close"))),
    ):
        with pytest.raises(LocalProtocolError):
            call()
    with pytest.raises(LocalProtocolError):
        await connection.receive_request()
    connection.write_head(ok())
    for call in (
        lambda: connection.write_head(ok()),
        lambda: connection.write_interim(ResponseHead(103, ())),
    ):
        with pytest.raises(LocalProtocolError):
            call()
