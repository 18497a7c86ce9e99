"""tunnelstream.py with a Mux behind it and no tunnel: queues, waits and ends of one stream."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from attrs import define, evolve

from tests.support.muxes import GET, KIB, OK, ONE, POST, ROOMY, client, feed, gateway, sent
from wormkey.errors import ErrorCode, StreamError, TunnelError
from wormkey.frames import Data, Frame, Request, Reset, Response, ResponseHead, Trailers
from wormkey.mux import Mux
from wormkey.tunnelstream import JOIN_BYTES, QUEUE_BYTES, TunnelStream, park, unpark, unpark_all

UNWANTED = Reset(ONE, ErrorCode.NO_ERROR)


@define(eq=False)
class Tunnel:
    """What a stream knows of its tunnel."""

    mux: Mux
    woken: int = 0
    forgotten: int = 0

    def wake_writer(self) -> None:
        """Count."""
        self.woken += 1

    def forget(self, stream: TunnelStream) -> None:
        """Count."""
        self.forgotten += 1

    def lost(self) -> TunnelError:
        """Say why."""
        return TunnelError("lost")


def opened(window: int = 1 << 20) -> tuple[Tunnel, TunnelStream]:
    """A gateway's stream whose peer takes ``window`` bytes of it."""
    mux = gateway(peer=evolve(ROOMY, stream_window_bytes=window))
    tunnel = Tunnel(mux)
    stream = TunnelStream(tunnel, mux.open_stream(POST, end_stream=False))
    sent(mux)
    return tunnel, stream


def arrive(tunnel: Tunnel, stream: TunnelStream, *frames: Frame) -> None:
    """Let frames arrive, as the tunnel's reader does."""
    for event in feed(tunnel.mux, *frames):
        assert isinstance(event, Response | Data | Trailers | Reset)
        stream.deliver(event)


async def test_frames_come_out_as_they_came_in() -> None:
    """Who waits is woken; ``ended`` is true once the last one is taken."""
    tunnel, stream = opened()
    async with trio.open_nursery() as nursery:
        got: list[Frame] = []

        async def take() -> None:
            while not stream.ended:
                got.append(await stream.receive())

        nursery.start_soon(take)
        await trio.testing.wait_all_tasks_blocked()
        frames = [Response(ONE, OK), Data(ONE, b"x"), Trailers(ONE, ())]
        arrive(tunnel, stream, *frames)
    assert got == frames
    assert not stream.ready


async def test_tiny_frames_are_joined() -> None:
    """Ten thousand of a byte each are a few; nothing is lost, the end is kept."""
    tunnel, stream = opened()
    arrive(tunnel, stream, Response(ONE, OK))
    content = bytes(range(256)) * 40
    arrive(tunnel, stream, *(Data(ONE, content[at : at + 1]) for at in range(len(content))))
    arrive(tunnel, stream, Data(ONE, b"", end_stream=True))
    assert len(stream._frames) <= 2 + len(content) // JOIN_BYTES + 1
    assert isinstance(await stream.receive(), Response)
    got = b""
    while not stream.ended:
        frame = await stream.receive()
        assert isinstance(frame, Data)
        assert len(frame.data) <= JOIN_BYTES
        got += frame.data
    assert got == content


async def test_what_is_released_wakes_the_writer_when_a_grant_is_due() -> None:
    """And not before."""
    tunnel, stream = opened()
    arrive(tunnel, stream, Response(ONE, OK), *[Data(ONE, bytes(50 * KIB))] * 4)
    stream.release(1)
    assert tunnel.woken == 0
    stream.release(190 * KIB)
    assert tunnel.woken == 1


async def test_a_sender_waits_while_much_is_queued() -> None:
    """Until its tunnel says that enough has gone out."""
    tunnel, stream = opened()
    async with trio.open_nursery() as nursery:
        done = trio.Event()

        async def send() -> None:
            await stream.send(bytes(QUEUE_BYTES))
            await stream.send(bytes(QUEUE_BYTES))
            done.set()

        nursery.start_soon(send)
        await trio.testing.wait_all_tasks_blocked()
        assert not done.is_set()
        assert tunnel.mux.queued_bytes(ONE) == 2 * QUEUE_BYTES
        sent(tunnel.mux)
        stream.drained()
    assert done.is_set()


async def test_a_cancelled_sender_leaves_what_it_queued() -> None:
    """close() drops it; nothing of it goes out then."""
    tunnel, stream = opened(window=0)
    with trio.move_on_after(0):
        await stream.send(bytes(2 * QUEUE_BYTES))
    stream.close(ErrorCode.CANCELLED, "gone")
    assert sent(tunnel.mux) == [Reset(ONE, ErrorCode.CANCELLED, b"gone")]
    assert tunnel.forgotten == 1


async def test_wait_sent_waits_for_the_end_as_well() -> None:
    """Or for the end of the stream."""
    for finish in ("sent", "failed"):
        tunnel, stream = opened()
        async with trio.open_nursery() as nursery:
            await stream.send(b"x", end_stream=True)
            nursery.start_soon(stream.wait_sent)
            await trio.testing.wait_all_tasks_blocked()
            assert len(nursery.child_tasks) == 1
            if finish == "sent":
                sent(tunnel.mux)
                stream.drained()
            else:
                stream.fail(tunnel.lost())


async def test_a_reset_is_what_everybody_gets() -> None:
    """Receivers, senders, heads and trailers; queued frames are dropped, the scope cancelled."""
    tunnel, stream = opened(window=0)
    stream.runs_in(scope := trio.CancelScope())
    async with trio.open_nursery() as nursery:
        errors: list[StreamError] = []

        async def fails(call: object) -> None:
            with pytest.raises(StreamError) as caught:
                await call()  # type: ignore[operator]
            errors.append(caught.value)

        async def send() -> None:
            await stream.send(bytes(2 * QUEUE_BYTES))

        nursery.start_soon(fails, stream.receive)
        nursery.start_soon(fails, send)
        await trio.testing.wait_all_tasks_blocked()
        arrive(tunnel, stream, Reset(ONE, ErrorCode.ORIGIN_FAILED, b"hung \xff up"))
    assert [error.code for error in errors] == [ErrorCode.ORIGIN_FAILED] * 2
    assert errors[0].detail == "hung \N{REPLACEMENT CHARACTER} up"
    for call in (lambda: stream.send_head(ResponseHead(200, ())), lambda: stream.send_trailers(())):
        with pytest.raises(StreamError):
            call()
    assert scope.cancel_called


async def test_the_first_reason_is_kept() -> None:
    """A stream that was reset was not lost with its tunnel."""
    tunnel, stream = opened()
    arrive(tunnel, stream, Reset(ONE, ErrorCode.ORIGIN_TIMEOUT))
    stream.fail(tunnel.lost())
    with pytest.raises(StreamError):
        await stream.receive()


@pytest.mark.parametrize("taken", [False, True])
async def test_a_whole_answer_survives_that_the_request_is_unwanted(*, taken: bool) -> None:
    """Whether its end was taken before RESET NO_ERROR came or not; the sender is stopped."""
    tunnel, stream = opened()
    stream.runs_in(scope := trio.CancelScope())
    arrive(tunnel, stream, Response(ONE, OK, end_stream=True))
    if taken:
        await stream.receive()
    arrive(tunnel, stream, UNWANTED)
    if not taken:
        await stream.receive()
    assert stream.ended
    with pytest.raises(StreamError) as caught:
        await stream.send(b"more")
    assert caught.value.code is ErrorCode.NO_ERROR
    assert not scope.cancel_called


async def test_half_an_answer_does_not_survive_it() -> None:
    """There is no end that could be whole."""
    tunnel, stream = opened()
    arrive(tunnel, stream, Response(ONE, OK), UNWANTED)
    with pytest.raises(StreamError):
        await stream.receive()


async def test_a_client_s_stream_knows_that_its_request_is_over() -> None:
    """Without content it has ended from the start; the answer goes out as it is said."""
    mux = client()
    feed(mux, Request(ONE, GET, end_stream=True))
    stream = TunnelStream(Tunnel(mux), ONE, ended=True)
    assert stream.ended
    assert stream.version == 1
    stream.send_head(OK)
    await stream.send(b"x")
    stream.send_trailers(())
    assert sent(mux) == [Response(ONE, OK), Data(ONE, b"x"), Trailers(ONE, ())]


async def test_a_detail_that_is_no_text_closes_the_stream_all_the_same() -> None:
    """A file name in an error may hold anything."""
    tunnel, stream = opened()
    stream.close(ErrorCode.ORIGIN_FAILED, "\udcff.sock")
    assert sent(tunnel.mux) == [Reset(ONE, ErrorCode.ORIGIN_FAILED, b"?.sock")]


async def test_nothing_is_received_behind_a_hole() -> None:
    """The reader runs on while a tunnel ends: what it delivers then is never seen, its end least.

    The one who waits was woken by the failure and runs only afterwards.
    """
    tunnel, stream = opened()
    arrive(tunnel, stream, Response(ONE, OK))
    await stream.receive()
    async with trio.open_nursery() as nursery:

        async def take() -> None:
            with pytest.raises(TunnelError):
                await stream.receive()

        nursery.start_soon(take)
        await trio.testing.wait_all_tasks_blocked()
        arrive(tunnel, stream, Data(ONE, b"lost with the queue"))
        stream.fail(tunnel.lost())
        arrive(tunnel, stream, Data(ONE, b"behind the hole", end_stream=True))
    assert not stream.ended
    assert not stream.ready


async def test_who_has_waited_longest_is_woken_first() -> None:
    """One at a time, then all; nobody waits any more where nobody is left."""
    waiting: list[trio.lowlevel.Task] = []
    woken: list[int] = []

    async def wait(number: int) -> None:
        await park(waiting)
        woken.append(number)

    unpark(waiting)  # it wakes nobody, and nobody who comes later
    async with trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(wait, number)
            await trio.testing.wait_all_tasks_blocked()
        for so_far in ([0], [0, 1]):
            unpark(waiting)
            await trio.testing.wait_all_tasks_blocked()
            assert woken == so_far
        unpark_all(waiting)
    assert sorted(woken) == [0, 1, 2, 3]
    assert not waiting


async def test_who_is_cancelled_waits_no_more() -> None:
    """The next one is woken in its place."""
    waiting: list[trio.lowlevel.Task] = []
    async with trio.open_nursery() as nursery:
        with trio.move_on_after(0):
            await park(waiting)
        assert not waiting
        nursery.start_soon(park, waiting)
        await trio.testing.wait_all_tasks_blocked()
        unpark(waiting)


async def test_work_that_begins_behind_a_reset_is_cancelled() -> None:
    """And a stream that is closed cancels nobody: the next one runs in the same scope."""
    tunnel, stream = opened()
    arrive(tunnel, stream, Reset(ONE, ErrorCode.CANCELLED))
    scope = trio.CancelScope()
    stream.runs_in(scope)
    assert scope.cancel_called
    _, other = opened()
    other.runs_in(scope := trio.CancelScope())
    other.close()
    other.fail(tunnel.lost())
    assert not scope.cancel_called
