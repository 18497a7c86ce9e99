"""tunnel.py: how a tunnel ends, who is told why, and what becomes of its streams."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from attrs import evolve

from tests.support.muxes import GET, OK, POST
from tests.support.tunnels import LIMITS, open_tunnel, play_client
from wormkey.errors import ErrorCode, StreamError, TunnelError
from wormkey.frames import (
    Data,
    GoAway,
    Request,
    RequestHead,
    Reset,
    Response,
    StreamId,
)

if TYPE_CHECKING:
    from wormkey.tunnelstream import TunnelStream

ONE = StreamId(1)


async def _nothing(_: trio.CancelScope) -> None:
    """Work that is never begun."""


@pytest.mark.parametrize("code", [ErrorCode.REPLACED, ErrorCode.SESSION_CLOSED])
async def test_a_closed_tunnel_says_why_and_takes_its_streams_along(code: ErrorCode) -> None:
    """Both sides' streams end; the peer knows the code; nothing can be opened any more."""
    cancelled = trio.Event()

    async def handler(stream: TunnelStream, head: RequestHead) -> None:
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()

    async with open_tunnel(handler) as ends:
        tunnel = ends.gateway.tunnel
        stream = tunnel.open_stream(GET, end_stream=True)
        await trio.testing.wait_all_tasks_blocked()
        tunnel.close(code, "because")
        tunnel.go_away("too late")
        tunnel.close(ErrorCode.NO_ERROR, "too late")
        with pytest.raises(TunnelError, match="because"):
            await stream.receive()
        stream.close()
        assert tunnel.ended
        for call in (
            lambda: tunnel.open_stream(GET, end_stream=True),
            lambda: tunnel.start_work(_nothing),
        ):
            with pytest.raises(TunnelError, match="because"):
                call()
        assert not (await ends.gateway.wait_error()).retryable
        assert (await ends.client.wait_error()).retryable
        assert cancelled.is_set()
        goodbye = ends.client.tunnel.goodbye
        assert goodbye is not None
        assert (goodbye.code, goodbye.detail) == (code, b"because")


async def test_a_draining_tunnel_can_still_be_told_that_it_is_replaced() -> None:
    """The later GOAWAY counts."""
    async with open_tunnel() as ends:
        ends.gateway.tunnel.go_away("draining")
        ends.gateway.tunnel.close(ErrorCode.REPLACED)
        await ends.client.over.wait()
        goodbye = ends.client.tunnel.goodbye
        assert goodbye is not None
        assert goodbye.code is ErrorCode.REPLACED


async def test_a_tunnel_ends_with_its_server() -> None:
    """When ``serve`` returns, in order."""
    async with open_tunnel() as ends:
        assert ends.gateway.tunnel.open_streams == 0
        ends.client.leave.set()
        assert not (await ends.client.wait_error()).retryable
        assert (await ends.gateway.wait_error()).retryable
        goodbye = ends.gateway.tunnel.goodbye
        assert goodbye is not None
        assert goodbye.code is ErrorCode.NO_ERROR


async def test_a_lost_transport_ends_both_ends() -> None:
    """Streams hear of it, and another try is worth it."""
    async with open_tunnel() as ends:
        stream = ends.gateway.tunnel.open_stream(POST, end_stream=False)
        ends.at_client.send_stream.close()
        ends.at_client.receive_stream.close()
        for side in (ends.gateway, ends.client):
            assert (await side.wait_error()).retryable
        for call in (stream.receive, partial(stream.send, b"x")):
            with pytest.raises(TunnelError):
                await call()
        await stream.wait_sent()
        stream.close()


async def test_a_text_message_ends_the_tunnel() -> None:
    """PROTOCOL_ERROR, said before the close."""
    async with play_client() as hand:
        await hand.socket.send_message("text")
        assert await goodbye_of(hand.receive) is ErrorCode.PROTOCOL_ERROR
        assert "text" in str(await hand.side.wait_error())


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (Response(StreamId(9), OK), ErrorCode.PROTOCOL_ERROR),
        (Data(StreamId(9), b"x"), ErrorCode.PROTOCOL_ERROR),
        (Request(ONE, GET), ErrorCode.PROTOCOL_ERROR),
    ],
)
async def test_a_hostile_client_loses_its_tunnel(frame: Request | Data, code: ErrorCode) -> None:
    """The code tells which rule it broke."""
    async with play_client() as hand:
        await hand.send(frame)
        assert await goodbye_of(hand.receive) is code
        await hand.side.wait_error()


async def test_a_client_that_overruns_the_tunnel_s_window_loses_it() -> None:
    """FLOW_CONTROL_ERROR; late frames of a closed stream count as well."""
    async with play_client(limits=evolve(LIMITS, tunnel_window_bytes=100)) as hand:
        hand.side.tunnel.open_stream(GET, end_stream=True)
        await hand.send(Response(ONE, OK), Data(ONE, bytes(101)))
        assert await goodbye_of(hand.receive) is ErrorCode.FLOW_CONTROL_ERROR


async def test_a_reset_after_the_reason_keeps_the_reason(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A stream ends once: by its reset, though the tunnel is lost soon after."""
    async with play_client() as hand:
        stream = hand.side.tunnel.open_stream(GET, end_stream=True)
        await hand.send(Reset(ONE, ErrorCode.ORIGIN_TIMEOUT, b"too slow"))
        await trio.testing.wait_all_tasks_blocked()
        hand.side.tunnel.close(ErrorCode.NO_ERROR)
        await hand.side.over.wait()
        with pytest.raises(StreamError) as caught:
            await stream.receive()
        assert caught.value.code is ErrorCode.ORIGIN_TIMEOUT


async def goodbye_of(receive: object) -> ErrorCode:
    """The code of the GOAWAY that comes."""
    while True:
        frame = await receive()  # type: ignore[operator]
        if isinstance(frame, GoAway):
            return frame.code
