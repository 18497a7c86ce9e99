"""carrier.py: the tunnel's own frames, and their order beside trio-websocket's."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage

from tests.support.websocket import handshake_fields
from wormkey import wire
from wormkey.carrier import Carrier, binary_frame
from wormkey.errors import TunnelError
from wormkey.frames import SUBPROTOCOL, Ping, Pong
from wormkey.handshake import accept
from wormkey.inbox import MuxLimits
from wormkey.keepalive import Pulse, TunnelTimings
from wormkey.mux import Mux, Role
from wormkey.scopes import park
from wormkey.tunnel import Tunnel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

LIMIT_S = 10.0
SIZES = st.one_of(st.integers(0, 300), st.sampled_from([125, 126, 65_535, 65_536, 70_000]))


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[trio.SocketStream, trio.SocketStream]]:
    """Both ends of a TCP connection on loopback, closed within LIMIT_S."""
    with trio.fail_after(LIMIT_S):
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        async with listener:
            far = await trio.open_tcp_stream("127.0.0.1", listener.socket.getsockname()[1])
            near = await listener.accept()
        async with near, far:
            yield near, far


def decode(octets: bytes, *, masked: bool) -> bytes:
    """Have wsproto read frames; return the content of their messages."""
    reader = Connection(ConnectionType.SERVER if masked else ConnectionType.CLIENT)
    reader.receive_data(octets)
    return content_of(reader.events())


def content_of(events: Iterable[object]) -> bytes:
    """Join the content of binary messages, each of which must be whole."""
    parts = []
    for event in events:
        assert isinstance(event, BytesMessage)
        parts.append(bytes(event.data))
        assert event.message_finished
    return b"".join(parts)


@given(SIZES, st.booleans())
def test_a_frame_is_what_wsproto_reads(size: int, masked: bool) -> None:
    """Every size class of RFC 6455 section 5.2, of either role."""
    message = bytes(index % 251 for index in range(size))
    assert decode(binary_frame(message, masked=masked), masked=masked) == message


def test_each_masked_frame_has_a_key_of_its_own() -> None:
    """RFC 6455 section 5.3: nobody can choose what goes over the wire."""
    frames = {binary_frame(b"\0" * 32, masked=True) for _ in range(8)}
    assert len(frames) == 8


async def test_what_the_socket_does_not_take_goes_out_first() -> None:
    """A message that was cut is finished before anything else, trio-websocket's frames too."""
    async with connected() as (near, far):
        near.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        carrier = Carrier(near, 5.0, masked=False)
        messages: list[bytes] = []

        def next_message() -> bytes:
            messages.append(bytes([len(messages) % 251]) * 100_000)
            return messages[-1]

        assert not carrier.send_nowait(next_message)
        assert carrier.pending
        expected = b"".join(binary_frame(each, masked=False) for each in messages)
        expected += b"\x8a\x00"
        received = bytearray()

        async def read() -> None:
            while len(received) < len(expected):
                received.extend(await far.receive_some())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await carrier.send_all(b"\x8a\x00")  # a pong, as trio-websocket sends it
        assert bytes(received) == expected
        assert not carrier.pending


async def test_two_senders_never_mix() -> None:
    """The reader's pong waits until the writer's frame is out, and the other way round."""
    async with connected() as (near, far):
        near.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        carrier = Carrier(near, 5.0, masked=False)
        big = b"x" * 2_000_000
        received = bytearray()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(carrier.send_message, big)
            await trio.testing.wait_all_tasks_blocked()
            assert not carrier.send_nowait(lambda: b"between")  # somebody sends
            nursery.start_soon(carrier.send_all, b"\x8a\x00")
            nursery.start_soon(carrier.send_message, b"after")
            await trio.testing.wait_all_tasks_blocked()
            size = len(binary_frame(big, masked=False)) + 2 + len(b"after") + 2
            while len(received) < size:
                received.extend(await far.receive_some())
        first = len(binary_frame(big, masked=False))
        assert decode(bytes(received[:first]), masked=False) == big
        assert {bytes(received[first : first + 2]), bytes(received[-2:])} & {b"\x8a\x00"}


async def test_a_peer_that_takes_nothing_is_a_broken_connection() -> None:
    """Whoever was sending gets trio's own error, and the reason is kept for the tunnel."""
    async with connected() as (near, _far):
        carrier = Carrier(near, 0.05, masked=False)
        with pytest.raises(trio.BrokenResourceError):
            await carrier.send_message(b"x" * 64_000_000)
        assert "took nothing" in carrier.failure


async def test_no_message_follows_the_closing_handshake() -> None:
    """RFC 6455 section 5.5.1: after a Close frame no data."""
    async with connected() as (near, far):
        carrier = Carrier(near, 5.0, masked=False)
        carrier.shut()
        assert carrier.send_nowait(iter((b"too late", b"")).__next__)
        await carrier.send_message(b"too late")
        await carrier.send_all(b"close")
        assert await far.receive_some() == b"close"


async def test_the_end_of_the_connection_is_told() -> None:
    """trio-websocket would wait on for a handshake that cannot come."""
    told = trio.Event()
    async with connected() as (near, far):
        carrier = Carrier(near, 5.0, masked=False, on_end=told.set)
        await far.aclose()
        assert await carrier.receive_some() == b""
        assert told.is_set()
        assert carrier.ended


async def test_only_plain_sockets_are_written_to_directly() -> None:
    """What TLS or a stream in memory would do to the bytes cannot be skipped."""
    async with connected() as (near, _far):
        assert Carrier(near, 5.0, masked=False).direct
        memory, _ = trio.testing.memory_stream_pair()
        assert not Carrier(memory, 5.0, masked=False).direct


@asynccontextmanager
async def tunnelled(serve: Callable[[Tunnel], Awaitable[None]]) -> AsyncIterator[trio.SocketStream]:
    """A gateway's end of a tunnel over TCP; the test is its client, behind the handshake."""
    async with connected() as (near, far), trio.open_nursery() as nursery:
        pulse = Pulse()
        nursery.start_soon(pulse.run)

        async def gateway() -> None:
            with suppress(TunnelError):
                await accept(
                    near,
                    version=1,
                    limits=MuxLimits(),
                    timings=TunnelTimings(),
                    pulse=pulse,
                    remaining_s=lambda: 1e9,
                    serve=serve,
                )

        nursery.start_soon(gateway)
        asked = [*handshake_fields(), (b"Sec-WebSocket-Protocol", SUBPROTOCOL.encode())]
        fields = b"".join(b"%b: %b\r\n" % pair for pair in asked)
        await far.send_all(b"GET /tunnel HTTP/1.1\r\nHost: x\r\n" + fields + b"\r\n")
        head = b""
        while b"\r\n\r\n" not in head:
            head += await far.receive_some()
        await far.send_all(binary_frame(wire.encode(MuxLimits().hello(1)), masked=True))
        yield far
        nursery.cancel_scope.cancel()


async def test_many_pings_in_one_read_are_answered() -> None:
    """A peer that reads its answers floods nobody, however many questions came at once."""
    ready = trio.Event()
    tunnels: list[Tunnel] = []

    async def serve(tunnel: Tunnel) -> None:
        tunnels.append(tunnel)
        ready.set()
        await trio.sleep_forever()

    async with tunnelled(serve) as far:
        await ready.wait()
        pings = [binary_frame(wire.encode(Ping(b"%d" % n)), masked=True) for n in range(300)]
        await far.send_all(b"".join(pings))
        expected = b"".join(
            binary_frame(wire.encode(Pong(b"%d" % n)), masked=False) for n in range(300)
        )
        received = b""
        while not received.endswith(expected):
            received += await far.receive_some()
        assert not tunnels[0].ended


async def test_a_connection_that_breaks_under_many_messages_ends_once() -> None:
    """Each that is queued would be tried, in the middle of the one before: a stack has an end."""
    tunnel = Tunnel(Mux(Role.GATEWAY, MuxLimits(), version=0), TunnelTimings(), Pulse())
    asked = 0

    class Broken:
        direct = True

        def send_nowait(self, next_message: Callable[[], bytes]) -> bool:
            nonlocal asked
            asked += 1
            raise trio.BrokenResourceError

    tunnel._carrier = Broken()  # type: ignore[assignment]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(park, tunnel._writer)
        await trio.testing.wait_all_tasks_blocked()
        tunnel.pause(paused=True)
        assert tunnel.ended
        assert asked == 1
        nursery.cancel_scope.cancel()
