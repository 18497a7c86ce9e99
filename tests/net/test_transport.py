"""Byte streams on real sockets: idle deadlines, resets, halves, replay."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
import trustme

from wormkey import transport
from wormkey.listeners import open_listeners
from wormkey.transport import (
    ReplayStream,
    half_close,
    peer_address,
    raw_socket,
    receive,
    receive_nowait,
    reset_connection,
    send_with_progress,
    set_tcp_options,
)
from wormkey.values import parse_address

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TIMEOUT_S = 15
MUCH = b"x" * (8 * 1024 * 1024)  # more than two socket buffers hold


@asynccontextmanager
async def connection(
    address: str = "127.0.0.1:0", *, receive_buffer_bytes: int | None = None
) -> AsyncIterator[tuple[trio.SocketStream, trio.SocketStream]]:
    """Yield the two ends of a TCP connection, ours first."""
    with trio.fail_after(TIMEOUT_S):
        (listener,) = await open_listeners(parse_address(address))
        async with listener:
            sock = trio.socket.socket(listener.socket.family)
            if receive_buffer_bytes is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
            await sock.connect(listener.socket.getsockname())
            async with trio.SocketStream(sock) as theirs, await listener.accept() as ours:
                yield ours, theirs


async def receive_all(stream: trio.abc.ReceiveStream) -> bytes:
    """Return everything until the end."""
    return b"".join([bytes(data) async for data in stream])


# ── replay ──────────────────────────────────────────────────────────────────────────────────


async def test_a_replayed_prefix_comes_first_and_in_any_slices() -> None:
    """No byte is lost between the prefix and the stream, however little is asked for."""
    ours, theirs = trio.testing.memory_stream_pair()
    await theirs.send_all(b"cdef")
    replay = ReplayStream(b"ab", ours)
    assert await replay.receive_some(1) == b"a"
    assert await replay.receive_some() == b"b"
    assert await replay.receive_some(3) == b"cde"
    assert await replay.receive_some() == b"f"


async def test_a_replay_stream_is_a_stream() -> None:
    """Trio's own checker finds both halves in order."""

    async def make() -> tuple[ReplayStream, ReplayStream]:
        await trio.lowlevel.checkpoint()
        one, two = trio.testing.memory_stream_pair()
        return ReplayStream(b"", one), ReplayStream(b"", two)

    await trio.testing.check_half_closeable_stream(make, None)


async def test_what_stands_under_a_replay_stream_is_found() -> None:
    """Options, addresses and resets work through it; memory has no socket."""
    async with connection() as (ours, _):
        replay = ReplayStream(b"", ReplayStream(b"x", ours))
        assert raw_socket(replay) is ours.socket
        assert peer_address(replay) == "127.0.0.1"
    memory, _ = trio.testing.memory_stream_pair()
    assert raw_socket(ReplayStream(b"", memory)) is None
    assert peer_address(memory) == ""
    set_tcp_options(memory)


# ── facts and options ───────────────────────────────────────────────────────────────────────


async def test_a_peer_on_a_unix_socket_has_no_address() -> None:
    """Its name says what it is."""
    one, two = trio.socket.socketpair()
    async with trio.SocketStream(one) as stream, trio.SocketStream(two):
        assert peer_address(stream) == "unix"
        set_tcp_options(stream)


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%lo", "fe80::1"),
        ("2001:DB8::0:1", "2001:db8::1"),
    ],
)
def test_one_peer_has_one_name(monkeypatch: pytest.MonkeyPatch, written: str, shown: str) -> None:
    """Mapped IPv4, zones and spellings do not make a viewer two."""

    class Named:
        family = socket.AF_INET6

        def getpeername(self) -> tuple[str, int, int, int]:
            return written, 1, 0, 0

    monkeypatch.setattr(transport, "raw_socket", lambda _: Named())
    memory, _ = trio.testing.memory_stream_pair()
    assert peer_address(memory) == shown
    assert ipaddress.ip_address(shown)


async def test_a_peer_that_has_reset_is_a_broken_resource() -> None:
    """getpeername() fails on such a socket; callers see what they catch anyway."""
    async with connection() as (ours, theirs):
        await reset_connection(theirs)
        with pytest.raises(trio.BrokenResourceError):
            await ours.receive_some()
        with pytest.raises(trio.BrokenResourceError):
            peer_address(ours)


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux has it")
async def test_tcp_options_are_set() -> None:
    """Small answers leave at once, dead peers are noticed."""
    async with connection() as (ours, _):
        set_tcp_options(ours, user_timeout_s=12.5)
        options = [
            (socket.IPPROTO_TCP, socket.TCP_NODELAY),
            (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
            (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
        ]
        assert [ours.socket.getsockopt(*option) for option in options] == [1, 1, 12500]


# ── sending ─────────────────────────────────────────────────────────────────────────────────


async def test_what_fits_the_kernels_buffer_is_sent_without_the_scheduler() -> None:
    """The fast path is no checkpoint, so not even a cancelled scope stops it."""
    async with connection() as (ours, theirs):
        with trio.testing.assert_no_checkpoints():
            await send_with_progress(ours, b"abc", 1)
        assert await theirs.receive_some() == b"abc"


async def test_a_large_piece_arrives_whole() -> None:
    """Partial sends are joined."""
    async with connection() as (ours, theirs), trio.open_nursery() as nursery:

        async def send() -> None:
            await send_with_progress(ours, MUCH, 5)
            assert await half_close(ours)

        nursery.start_soon(send)
        assert await receive_all(theirs) == MUCH


async def test_a_peer_that_reads_nothing_is_given_up_in_time() -> None:
    """The deadline counts from the last byte that was taken, and is a quarter late at most."""
    async with connection() as (ours, _):
        started = trio.current_time()
        with pytest.raises(trio.TooSlowError):
            await send_with_progress(ours, MUCH, 0.4)
        assert trio.current_time() - started >= 0.4


async def test_a_slow_peer_is_served_for_longer_than_the_deadline() -> None:
    """Idle seconds count, not the whole send: this one takes thrice the deadline."""
    async with connection(receive_buffer_bytes=64 * 1024) as (ours, theirs):
        ours.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
        idle_timeout_s = 0.3
        content = bytes(1024 * 1024)
        started = trio.current_time()

        async def read_slowly() -> None:
            received = 0
            while received < len(content):
                received += len(await theirs.receive_some(32 * 1024))
                await trio.sleep(0.03)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read_slowly)
            await send_with_progress(ours, content, idle_timeout_s)
        assert trio.current_time() - started > 3 * idle_timeout_s


async def test_bytes_acknowledged_are_progress_even_while_nothing_can_be_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A peer who drains the kernel's queue is alive, though the socket is not writable yet."""
    started = trio.current_time()
    monkeypatch.setattr(
        transport,
        "_unacknowledged_bytes",
        lambda _: max(0, 6 - int((trio.current_time() - started) / 0.05)),
    )
    async with connection() as (ours, _):
        with pytest.raises(trio.TooSlowError):
            await send_with_progress(ours, MUCH, 0.2)
    assert trio.current_time() - started >= 6 * 0.05 + 0.2 - 0.05  # polled every 0.05 s


async def test_sending_to_a_lost_peer_or_on_a_closed_stream_is_told_apart() -> None:
    """Trio's two words, as everywhere."""
    async with connection() as (ours, theirs):
        await reset_connection(theirs)
        with pytest.raises(trio.BrokenResourceError):
            await send_with_progress(ours, MUCH, 1)
        await ours.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await send_with_progress(ours, b"x", 1)


async def test_cancelling_a_blocked_send_ends_it_at_once() -> None:
    """The wait for a slow peer is a checkpoint."""
    async with connection() as (ours, _):
        with trio.move_on_after(0.05) as scope:
            await send_with_progress(ours, MUCH, 10)
        assert scope.cancelled_caught


async def test_a_stream_in_memory_has_the_same_deadline() -> None:
    """What is no socket goes out in slices, each with a deadline of its own."""
    ours, theirs = trio.testing.memory_stream_pair()
    with trio.fail_after(TIMEOUT_S):
        await send_with_progress(ReplayStream(b"", ours), MUCH, 1)
        await ours.send_stream.aclose()
        assert await receive_all(theirs) == MUCH
    stuck, _ = trio.testing.lockstep_stream_pair()
    with pytest.raises(trio.TooSlowError):
        await send_with_progress(stuck, b"x", 0.05)


async def test_tls_is_sent_in_records() -> None:
    """The slices of an SSLStream arrive whole, and TLS cannot half-close."""
    authority = trustme.CA()
    server_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(server_context)
    client_context = ssl.create_default_context()
    authority.configure_trust(client_context)
    async with connection() as (one, two), trio.open_nursery() as nursery:
        ours = trio.SSLStream(one, server_context, server_side=True, https_compatible=True)
        theirs = trio.SSLStream(
            two, client_context, server_hostname="localhost", https_compatible=True
        )
        assert raw_socket(ours) is one.socket

        async def send() -> None:
            await send_with_progress(ours, MUCH, 5)
            assert not await half_close(ours)
            await ReplayStream(b"", ours).send_eof()
            await ours.aclose()

        nursery.start_soon(send)
        assert await receive_all(theirs) == MUCH


# ── ends ────────────────────────────────────────────────────────────────────────────────────


async def test_a_reset_is_no_end() -> None:
    """The peer gets an error where a FIN would look like the end of the content."""
    async with connection() as (ours, theirs):
        await ours.send_all(b"part")
        assert await theirs.receive_some() == b"part"
        await reset_connection(ours)
        with pytest.raises(trio.BrokenResourceError):
            await theirs.receive_some()
        await reset_connection(ours)


async def test_a_reset_in_memory_closes() -> None:
    """Where there is no TCP, closing is all there is."""
    ours, theirs = trio.testing.memory_stream_pair()
    await reset_connection(ours)
    assert await theirs.receive_some() == b""


async def test_half_closing_leaves_the_other_half() -> None:
    """After our FIN the peer still answers; a peer that is gone cannot see one."""
    async with connection() as (ours, theirs):
        assert await half_close(ReplayStream(b"", ours))
        assert await theirs.receive_some() == b""
        await theirs.send_all(b"late")
        assert await ours.receive_some() == b"late"
    async with connection() as (ours, theirs):
        await reset_connection(theirs)
        with pytest.raises(trio.BrokenResourceError):
            await ours.receive_some()
        assert not await half_close(ours)


@pytest.mark.parametrize(("rate", "slow"), [(400_000, True), (20_000, False)])
async def test_who_takes_less_than_the_least_rate_is_cut(
    monkeypatch: pytest.MonkeyPatch, rate: int, slow: bool
) -> None:
    """What he took counts once: some 200 kB a second are enough for a tenth, not for the double."""
    monkeypatch.setattr("wormkey.pace.GRACE_S", 0.2)
    piece, pause_s = 10_000, 0.05
    async with connection() as (ours, theirs), trio.open_nursery() as nursery:
        set_buffers(ours, theirs)

        async def read() -> None:
            while True:
                await theirs.receive_some(piece)
                await trio.sleep(pause_s)

        nursery.start_soon(read)
        data = bytes(600_000)
        try:
            with trio.fail_after(20):
                await send_with_progress(ours, data, 10.0, rate)
        except trio.TooSlowError:
            assert slow
        else:
            assert not slow
        nursery.cancel_scope.cancel()


def set_buffers(ours: trio.SocketStream, theirs: trio.SocketStream) -> None:
    """Make the kernel hold little, so that the reader's pace is the sender's."""
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)


async def test_what_is_there_is_had_without_waiting() -> None:
    """None while nothing came, then the octets, then the end; a stream in memory is not asked."""
    async with connection() as (ours, theirs):
        assert receive_nowait(ours, 100) is None
        await theirs.send_all(b"octets")
        assert await receive(ours, 3, empty=True) == b"oct"
        assert receive_nowait(ours, 100) == b"ets"
        await theirs.send_eof()
        assert await receive(ours, 100, empty=True) == b""
        assert receive_nowait(ours, 100) == b""
    with pytest.raises(trio.ClosedResourceError):
        receive_nowait(ours, 100)
    assert receive_nowait(trio.testing.memory_stream_pair()[0], 100) is None


async def test_a_reset_is_noticed_without_waiting() -> None:
    """As receive() says it."""
    async with connection() as (ours, theirs):
        await reset_connection(theirs)
        await trio.lowlevel.wait_readable(ours.socket)
        with pytest.raises(trio.BrokenResourceError):
            receive_nowait(ours, 100)
