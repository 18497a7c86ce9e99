"""http1_origin.py on real sockets: resets, quietness, origins that answer early or stop."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from tests.support.http1 import tcp_pair, tls_pair
from wormkey.errors import ErrorCode, OriginError
from wormkey.http1 import Http1Limits
from wormkey.http1_origin import OriginConnection

if TYPE_CHECKING:
    from tests.support.link import Link

LIMITS = Http1Limits(write_idle_timeout_s=0.3)
HOST = ((b"Host", b"localhost:5173"),)
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
UPLOAD = bytes(32 * 1024 * 1024)


async def ask(connection: OriginConnection, origin: Link) -> None:
    """Send a request and let the origin read it."""
    connection.write_request(b"GET", b"/", HOST, content_length=None, has_content=False)
    connection.write_end()
    await connection.flush()
    await origin.read_until(b"\r\n\r\n")


async def exchange(connection: OriginConnection, origin: Link) -> None:
    """Ask and be answered."""
    await ask(connection, origin)
    await origin.send(ANSWER)
    assert (await connection.receive_head()).status == 200
    assert await connection.receive_content() == b"hi"
    assert connection.reusable


async def wait_readable(connection: OriginConnection) -> None:
    """Wait until something has come on the connection."""
    stream = connection.stream
    assert isinstance(stream, trio.SocketStream)
    await trio.lowlevel.wait_readable(stream.socket)


async def test_a_quiet_connection_is_used_again() -> None:
    """Three exchanges on one connection."""
    async with tcp_pair() as (stream, origin):
        connection = OriginConnection(stream, LIMITS)
        for _ in range(3):
            assert connection.is_quiet()
            await exchange(connection, origin)
            connection.start_next_cycle()


@pytest.mark.parametrize("event", ["octet", "FIN", "RST", "closed"])
async def test_a_connection_that_said_something_is_not_quiet(event: str) -> None:
    """An answer nobody asked for, an end or an error while idle is noticed before reuse."""
    async with tcp_pair() as (stream, origin):
        connection = OriginConnection(stream, LIMITS)
        await exchange(connection, origin)
        match event:
            case "octet":
                await origin.send(b"H")
            case "FIN":
                await origin.send_eof()
            case "RST":
                await origin.reset()
            case _:
                await connection.aclose()
        if event != "closed":
            await wait_readable(connection)
        assert not connection.is_quiet()


async def test_tls_connections_are_used_again_while_quiet() -> None:
    """Over TLS too; an octet nobody asked for is noticed, wherever it waits."""
    async with tls_pair(server=False) as (stream, origin):
        connection = OriginConnection(stream, LIMITS)
        for _ in range(2):
            await exchange(connection, origin)
            assert connection.is_quiet()
            connection.start_next_cycle()
        await ask(connection, origin)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(origin.send, ANSWER)
            nursery.start_soon(connection.receive_head)
        await origin.send(b"HTTP/1.1 200 Forged\r\n\r\n")
        await connection.receive_content()
        await trio.lowlevel.wait_readable(stream.transport_stream.socket)
        assert not connection.is_quiet()


async def test_a_reset_is_no_end_of_content() -> None:
    """Where only the close ends the content, a reset is a cut."""
    async with tcp_pair() as (stream, origin):
        connection = OriginConnection(stream, LIMITS)
        await ask(connection, origin)
        await origin.send(b"HTTP/1.1 200 OK\r\n\r\nabc")
        await connection.receive_head()
        assert await connection.receive_content() == b"abc"
        await origin.reset()
        with pytest.raises(OriginError) as caught:
            await connection.receive_content()
        assert caught.value.code is ErrorCode.ORIGIN_FAILED
        assert not connection.content_finished


async def test_a_stale_connection_tells_that_nothing_was_answered() -> None:
    """What a caller needs to know before it asks elsewhere."""
    async with tcp_pair() as (stream, origin):
        connection = OriginConnection(stream, LIMITS)
        await ask(connection, origin)
        await origin.reset()
        with pytest.raises(OriginError):
            await connection.receive_head()
        assert not connection.answer_started


async def test_an_early_answer_outlives_the_upload() -> None:
    """An origin that refuses an upload and closes is heard, though sending to it fails."""
    async with tcp_pair() as (stream, origin):
        connection = OriginConnection(stream, LIMITS)
        connection.write_request(b"POST", b"/", HOST, content_length=len(UPLOAD), has_content=True)
        connection.write_content(UPLOAD)
        connection.write_end()

        async def refuse() -> None:
            await origin.read_until(b"\r\n\r\n")
            await origin.send(b"HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n")
            await origin.aclose()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(refuse)
            with pytest.raises(OriginError):
                await connection.flush()
        assert (await connection.receive_head()).status == 413
        assert await connection.receive_content() == b""
        assert not connection.reusable


async def test_an_origin_that_stops_reading_is_noticed() -> None:
    """The send fails once the kernel has taken nothing for the idle time."""
    async with tcp_pair() as (stream, _origin):
        connection = OriginConnection(stream, LIMITS)
        connection.write_request(b"POST", b"/", HOST, content_length=None, has_content=True)
        connection.write_content(UPLOAD)
        with pytest.raises(OriginError, match="stopped reading"):
            await connection.flush()
        assert not connection.reusable
