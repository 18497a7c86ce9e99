"""tunnel.py: two ends over streams in memory: exchanges, and streams that do not disturb others."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from attrs import evolve

from tests.support.muxes import GET, KIB, OK, POST
from tests.support.tunnels import LIMITS, open_tunnel, play_gateway, slow_down
from wormkey.errors import ErrorCode, StreamError, TunnelError
from wormkey.frames import (
    Data,
    Fields,
    GoAway,
    Request,
    RequestHead,
    Response,
    ResponseHead,
    StreamId,
    Trailers,
)

if TYPE_CHECKING:
    from wormkey.tunnelstream import TunnelStream

ONE = StreamId(1)
TRAILERS: Fields = ((b"Sum", b"1"),)


async def echo(stream: TunnelStream, head: RequestHead) -> None:
    """Answer with the request's content, then with trailers."""
    stream.send_head(OK)
    while not stream.ended:
        frame = await stream.receive()
        if isinstance(frame, Data) and frame.data:
            await stream.send(frame.data)
            stream.release(len(frame.data))
    stream.send_trailers(TRAILERS)
    await stream.wait_sent()


async def read(stream: TunnelStream) -> tuple[ResponseHead | None, bytes, Fields]:
    """Take a whole answer."""
    head, content, trailers = None, bytearray(), ()
    while not stream.ended:
        match await stream.receive():
            case Response(_, head):
                pass
            case Data(_, data):
                content += data
                stream.release(len(data))
            case Trailers(_, trailers):
                pass
    return head, bytes(content), trailers


async def upload(stream: TunnelStream, content: bytes) -> None:
    """Send a request's content in pieces."""
    for at in range(0, len(content), 50_000):
        await stream.send(content[at : at + 50_000])
    await stream.send(b"", end_stream=True)


@pytest.mark.parametrize("version", [1, 0])
async def test_content_crosses_both_ways_whole(version: int) -> None:
    """Megabytes, far more than any window, byte for byte; the streams are then gone."""
    content = bytes(range(256)) * 12 * KIB
    async with open_tunnel(echo, version=version) as ends:
        assert ends.gateway.tunnel.version == ends.client.tunnel.version == version
        stream = ends.gateway.tunnel.open_stream(POST, end_stream=False)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(upload, stream, content)
            head, got, trailers = await read(stream)
        assert head is not None
        assert got == content
        assert (head.fields, trailers) == ((OK.fields, TRAILERS) if version else (head.fields, ()))
        stream.close()
        await ends.gateway.tunnel.wait_idle()
        await ends.client.tunnel.wait_idle()
        for side in (ends.gateway, ends.client):
            assert side.tunnel.mux.statistics().streams == 0
            assert side.tunnel.mux.statistics().held_bytes == 0


async def test_many_streams_at_once_keep_their_bytes_apart() -> None:
    """Each one gets its own content back."""
    async with open_tunnel(echo) as ends:

        async def exchange(number: int) -> None:
            stream = ends.gateway.tunnel.open_stream(POST, end_stream=False)
            content = bytes([number]) * 100_000
            async with trio.open_nursery() as nursery:
                nursery.start_soon(upload, stream, content)
                assert (await read(stream))[1] == content
            stream.close()

        async with trio.open_nursery() as nursery:
            for number in range(30):
                nursery.start_soon(exchange, number)


async def test_a_stream_that_nobody_reads_does_not_stop_the_others() -> None:
    """The reader hands over and goes on; the unread stream costs its window."""
    async with open_tunnel(echo) as ends:
        tunnel = ends.gateway.tunnel
        unread = tunnel.open_stream(POST, end_stream=False)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(upload, unread, bytes(2048 * KIB))
            for _ in range(3):
                stream = tunnel.open_stream(POST, end_stream=False)
                nursery.start_soon(upload, stream, bytes(2048 * KIB))
                assert len((await read(stream))[1]) == 2048 * KIB
                stream.close()
            assert tunnel.mux.statistics().held_bytes <= LIMITS.stream_window_bytes
            nursery.cancel_scope.cancel()
        unread.close()


async def test_streams_cancelled_while_they_send_damage_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Their messages are cut nowhere: what comes next is whole (one writer, never cancelled)."""
    async with open_tunnel(echo) as ends:
        slow_down(ends.at_gateway, 0.001)
        tunnel = ends.gateway.tunnel
        for round_trip in range(3):
            streams = [tunnel.open_stream(POST, end_stream=False) for _ in range(3)]
            with trio.move_on_after(0.005):
                async with trio.open_nursery() as nursery:
                    for number, stream in enumerate(streams):
                        nursery.start_soon(upload, stream, bytes([number]) * 4096 * KIB)
            for stream in streams:
                stream.close()
            sound = tunnel.open_stream(POST, end_stream=False)
            content = bytes([100 + round_trip]) * 300_000
            async with trio.open_nursery() as nursery:
                nursery.start_soon(upload, sound, content)
                assert (await read(sound))[1] == content
            sound.close()


async def test_an_early_answer_outlives_the_upload_it_cuts_short() -> None:
    """The client answers without reading; RESET NO_ERROR stops the sender and no more."""

    async def reject(stream: TunnelStream, head: RequestHead) -> None:
        stream.send_head(ResponseHead(413, ()))
        await stream.send(b"too large", end_stream=True)
        await stream.wait_sent()

    async with open_tunnel(reject) as ends:
        stream = ends.gateway.tunnel.open_stream(POST, end_stream=False)
        with pytest.raises(StreamError) as caught:
            await upload(stream, bytes(4096 * KIB))
        assert caught.value.code is ErrorCode.NO_ERROR
        head, content, _ = await read(stream)
        assert (head, content) == (ResponseHead(413, ()), b"too large")
        with pytest.raises(StreamError):
            stream.send_trailers(TRAILERS)
        await stream.wait_sent()
        stream.close()
        assert ends.gateway.tunnel.mux.statistics().streams == 0


async def test_content_before_a_101_is_held() -> None:
    """A gateway may send at once; the client takes it when the app has agreed (§9)."""

    async def upgrade(stream: TunnelStream, head: RequestHead) -> None:
        await trio.testing.wait_all_tasks_blocked()
        stream.send_head(ResponseHead(101, (), upgrade=b"websocket"))
        frame = await stream.receive()
        assert isinstance(frame, Data)
        await stream.send(frame.data[::-1], end_stream=True)
        await stream.wait_sent()

    async with open_tunnel(upgrade) as ends:
        head = evolve(GET, upgrade=b"websocket")
        stream = ends.gateway.tunnel.open_stream(head, end_stream=False)
        await stream.send(b"early")
        answer, content, _ = await read(stream)
        assert answer == ResponseHead(101, (), upgrade=b"websocket")
        assert content == b"ylrae"
        stream.close()


# ── how a stream of the client ends ───────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StreamError(ErrorCode.ORIGIN_UNREACHABLE, "\udcff nobody listens"), None),
        (TunnelError("lost"), ErrorCode.CANCELLED),
        (ValueError("a bug"), ErrorCode.INTERNAL_ERROR),
    ],
)
async def test_a_failed_handler_resets_its_stream_alone(
    error: Exception, code: ErrorCode | None, caplog: pytest.LogCaptureFixture
) -> None:
    """The code tells why; the neighbour's exchange goes on; only bugs are logged."""

    async def handler(stream: TunnelStream, head: RequestHead) -> None:
        if head is GET or head == GET:
            raise error
        await echo(stream, head)

    async with open_tunnel(handler) as ends:
        tunnel = ends.gateway.tunnel
        sound = tunnel.open_stream(POST, end_stream=False)
        failed = tunnel.open_stream(GET, end_stream=True)
        with pytest.raises(StreamError) as caught:
            await read(failed)
        assert caught.value.code is (code or ErrorCode.ORIGIN_UNREACHABLE)
        assert caught.value.detail == ("" if code else "? nobody listens")
        failed.close()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(upload, sound, b"content")
            assert (await read(sound))[1] == b"content"
        sound.close()
    bugs = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(bugs) == isinstance(error, ValueError)


async def test_a_viewer_who_leaves_cancels_the_handler() -> None:
    """RESET from the gateway; the handler's cleanup runs, its stream is forgotten."""
    cancelled = trio.Event()

    async def handler(stream: TunnelStream, head: RequestHead) -> None:
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()

    async with open_tunnel(handler) as ends:
        stream = ends.gateway.tunnel.open_stream(GET, end_stream=True)
        await trio.testing.wait_all_tasks_blocked()
        stream.close()
        await cancelled.wait()
        await ends.client.tunnel.wait_idle()


async def test_a_tunnel_without_a_handler_s_place_refuses_requests() -> None:
    """While it goes away; the gateway may send the request elsewhere."""
    async with open_tunnel(echo) as ends:
        ends.client.tunnel.go_away("the client is closing")
        stream = ends.gateway.tunnel.open_stream(GET, end_stream=True)
        with pytest.raises(StreamError) as caught:
            await read(stream)
        assert caught.value.retryable
        with pytest.raises(StreamError):
            ends.gateway.tunnel.open_stream(GET, end_stream=True)
        assert ends.gateway.tunnel.goodbye == GoAway(
            StreamId(0), ErrorCode.NO_ERROR, b"the client is closing"
        )
        stream.close()


async def test_a_request_that_crosses_our_goodbye_is_not_served(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Though the tunnel still waits for its streams' cleanup."""
    served = 0

    async def lingering(stream: TunnelStream, head: RequestHead) -> None:
        nonlocal served
        served += 1
        with trio.CancelScope(shield=True):
            await trio.sleep(1)

    async with play_gateway(lingering) as hand:
        await hand.send(Request(ONE, GET, end_stream=True))
        await trio.testing.wait_all_tasks_blocked()
        hand.side.tunnel.close(ErrorCode.NO_ERROR)
        await hand.send(Request(StreamId(2), GET, end_stream=True))
        await hand.side.over.wait()
        assert served == 1


async def test_v0_client_and_gateway_hear_no_reasons() -> None:
    """CANCEL is all that v0 can say."""
    async with open_tunnel(partial(fail_with, ErrorCode.ORIGIN_FAILED), version=0) as ends:
        stream = ends.gateway.tunnel.open_stream(GET, end_stream=True)
        with pytest.raises(StreamError) as caught:
            await read(stream)
        assert caught.value.code is ErrorCode.CANCELLED
        stream.close()


async def fail_with(code: ErrorCode, stream: TunnelStream, head: RequestHead) -> None:
    """Fail as an origin does."""
    raise StreamError(code, "why")


# ── pauses and events ─────────────────────────────────────────────────────────────────────────


async def test_a_client_pauses_its_tunnel() -> None:
    """The gateway sees it, and every event may be watched."""
    async with open_tunnel() as ends:
        seen: list[object] = []
        ends.gateway.tunnel.on_event = seen.append
        for paused in (True, False):
            ends.client.tunnel.pause(paused=paused)
            await trio.testing.wait_all_tasks_blocked()
            assert ends.gateway.tunnel.paused is paused
        assert len([event for event in seen if type(event).__name__ in ("Pause", "Resume")]) == 2
