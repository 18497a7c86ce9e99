"""handshake.py: how a tunnel is opened or refused, and that no peer can break more than it."""

from __future__ import annotations

import base64
import hashlib

import pytest
import trio
import trio.testing

from tests.support.tunnels import (
    LIMITS,
    TIMINGS,
    Side,
    always,
    no_handler,
)
from wormkey.errors import ErrorCode, TunnelError
from wormkey.handshake import Handshake, accept, dial
from wormkey.keepalive import Pulse

Clock = trio.testing.MockClock
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


SHAKE = Handshake(
    host="localhost",
    resource="/tunnel",
    token="slug.secret",
    limits=LIMITS,
    timings=TIMINGS,
    pulse=Pulse(),
    handler=no_handler,
)


async def test_a_gateway_that_does_not_answer_is_given_up(autojump_clock: Clock) -> None:
    """After the time of the opening handshake; the transport is closed."""
    left, right = trio.testing.memory_stream_pair()
    side = Side()
    with pytest.raises(TunnelError) as caught:
        await dial(right, SHAKE, side.serve)
    assert caught.value.retryable
    assert "too long" in str(caught.value)
    assert trio.current_time() == pytest.approx(TIMINGS.hello_timeout_s)
    request = await left.receive_some()
    assert b"Authorization: Bearer slug.secret\r\n" in request
    assert b"Sec-WebSocket-Protocol: wormkey.v1\r\n" in request
    assert await left.receive_some() == b""


@pytest.mark.parametrize(
    ("answer", "status", "retryable", "after_s"),
    [
        (b"401 Unauthorized", 401, False, None),
        (b"403 Forbidden", 403, False, None),
        (b"410 Gone", 410, False, None),
        (b"503 Service Unavailable\r\nRetry-After: 7", 503, True, 7.0),
        (b"503 Service Unavailable\r\nRetry-After: soon", 503, True, None),
        (b"404 Not Found", 404, True, None),
    ],
)
async def test_a_refusal_tells_whether_to_try_again(
    answer: bytes, status: int, retryable: bool, after_s: float | None
) -> None:
    """401, 403 and 410 are for good (docs/protocol.md §1)."""
    left, right = trio.testing.memory_stream_pair()
    side = Side()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(side.run, lambda: dial(right, SHAKE, side.serve))
        await left.receive_some()
        await left.send_all(b"HTTP/1.1 " + answer + b"\r\nContent-Length: 0\r\n\r\n")
        error = await side.wait_error()
    assert (error.status, error.retryable, error.retry_after_s) == (status, retryable, after_s)


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 101 Swi", b"SSH-2.0-OpenSSH_9\r\n\r\n"])
async def test_a_gateway_that_hangs_up_or_is_none(said: bytes, autojump_clock: Clock) -> None:
    """A TunnelError that may be tried again, whatever it was."""
    left, right = trio.testing.memory_stream_pair()
    side = Side()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(side.run, lambda: dial(right, SHAKE, side.serve))
        await left.receive_some()
        await left.send_all(said)
        await left.aclose()
        assert (await side.wait_error()).retryable


@pytest.mark.parametrize("said", [b"", b"GET /tunnel HTTP/1.1\r\nHo", b"\x16\x03\x01\r\n\r\n"])
async def test_a_client_that_hangs_up_or_is_none(said: bytes, autojump_clock: Clock) -> None:
    """The gateway's end is over at once, or after the time of the handshake."""
    left, right = trio.testing.memory_stream_pair()
    side = Side()

    async def gateway() -> None:
        await accept(
            left,
            version=1,
            limits=LIMITS,
            timings=TIMINGS,
            pulse=Pulse(),
            remaining_s=always,
            serve=side.serve,
        )

    async with trio.open_nursery() as nursery:
        nursery.start_soon(side.run, gateway)
        await right.send_all(said)
        await right.aclose()
        await side.wait_error()
    assert trio.current_time() <= TIMINGS.hello_timeout_s


async def test_a_cancelled_tunnel_closes_its_transport(autojump_clock: Clock) -> None:
    """At once and without a goodbye; the peer sees the end."""
    left, right = trio.testing.memory_stream_pair()
    side = Side()
    with trio.move_on_after(1):
        await dial(right, SHAKE, side.serve)
    await left.receive_some()
    assert await left.receive_some() == b""


async def test_garbage_during_a_goodbye_ends_the_tunnel_like_any_other(
    autojump_clock: Clock,
) -> None:
    """A frame that is none, where the WebSocket can be told nothing any more."""
    left, right = trio.testing.memory_stream_pair()
    side = Side()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(side.run, lambda: dial(right, SHAKE, side.serve))
        request = await left.receive_some()
        key = request.split(b"Sec-WebSocket-Key: ")[1].split(b"\r\n")[0]
        accept_token = base64.b64encode(hashlib.sha1(key + GUID).digest())  # noqa: S324 - RFC 6455
        await left.send_all(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Accept: " + accept_token + b"\r\n\r\n"
        )
        await side.ready.wait()
        side.tunnel.close(ErrorCode.NO_ERROR)
        await trio.testing.wait_all_tasks_blocked()
        await left.send_all(b"\xff" * 50)
        await side.wait_error()
