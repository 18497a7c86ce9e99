"""calm.py: a peer may send a few frames that move nothing; one that lives on them is stopped."""

from __future__ import annotations

import pytest

from tests.support.muxes import GET, LIMITS, OK, ONE, POST, TWO, Pair, client, feed, gateway
from wormkey import wire0
from wormkey.calm import (
    LATE_BYTES,
    LATE_FRAMES,
    LATE_WINDOW_BYTES,
    MAX_LATE_FRAMES,
    SMALL_GRANT_BYTES,
    SMALL_MESSAGE_BYTES,
    Calm,
)
from wormkey.errors import ErrorCode, RemoteProtocolError
from wormkey.frames import (
    TUNNEL,
    Data,
    Frame,
    GoAway,
    Pause,
    Ping,
    Pong,
    Reset,
    Response,
    Resume,
    StreamId,
    Window,
)
from wormkey.mux import Mux, Role

LIMIT = 600  # ten in a second


def test_a_limit_may_be_used_up_at_once_and_comes_back_evenly() -> None:
    """One more than the limit is too many; a tenth of a second later there is room for one."""
    calm = Calm(LIMIT)
    calm.glitch(LIMIT)
    calm.settle(100.0)
    calm.settle(100.1)
    calm.glitch()
    calm.settle(100.1)
    calm.glitch()
    with pytest.raises(RemoteProtocolError) as caught:
        calm.settle(100.1)
    assert caught.value.code is ErrorCode.ENHANCE_YOUR_CALM


def test_a_steady_peer_below_the_limit_goes_on_for_ever() -> None:
    """Ten in a second, for an hour; a clock that stands still or goes back forgives nothing."""
    calm = Calm(LIMIT)
    for second in range(3600):
        calm.glitch(10)
        calm.settle(float(second))
    calm.settle(0.0)
    assert calm.total == 36_000


@pytest.mark.parametrize(
    "frame",
    [
        Data(ONE, b""),
        Window(ONE, SMALL_GRANT_BYTES - 1),
        Window(TUNNEL, 1),
        Ping(),
        Pong(b"x"),
        GoAway(StreamId(0), ErrorCode.NO_ERROR),
        Pause(),
        Resume(),
    ],
)
def test_what_moves_nothing_is_counted(frame: Frame) -> None:
    """Each of them once."""
    mux = gateway()
    mux.open_stream(POST, end_stream=False)
    feed(mux, Response(ONE, OK), frame)
    assert mux.calm.total == 1


@pytest.mark.parametrize(
    "frame", [Data(ONE, b"x"), Data(ONE, b"", end_stream=True), Window(ONE, SMALL_GRANT_BYTES)]
)
def test_what_moves_something_is_not(frame: Frame) -> None:
    """Content of one byte may be a key that somebody has pressed."""
    mux = gateway()
    mux.open_stream(POST, end_stream=False)
    feed(mux, Response(ONE, OK), frame)
    assert mux.calm.total == 0


def test_frames_of_a_new_type_are_ignored_and_counted() -> None:
    """Also where one stands among frames that count."""
    mux = gateway()
    unknown = b"\x7f\0" + bytes(8)
    assert mux.receive(unknown * 3) == []
    mux.receive(unknown)
    assert mux.calm.total == 4


def test_crumbs_of_a_frame_are_counted_and_whole_slices_are_not() -> None:
    """A long frame may come in several messages; nobody sends it by the byte."""
    mux = gateway()
    mux.open_stream(POST, end_stream=False)
    feed(mux, Response(ONE, OK))
    mux.receive(b"\x04\0\0\0\0\1\0\0\x20\0" + bytes(SMALL_MESSAGE_BYTES))
    assert mux.calm.total == 0
    mux.receive(b"1")
    mux.receive(b"")
    assert mux.calm.total == 2


@pytest.mark.parametrize(
    "frame", [Data(ONE, b"x"), Window(ONE, 1 << 16), Reset(ONE, ErrorCode.CANCELLED)]
)
def test_what_crosses_the_end_of_a_stream_is_expected(frame: Frame) -> None:
    """As much as the peer can have sent before it heard; what comes after that is counted."""
    mux = gateway()
    mux.open_stream(POST, end_stream=False)
    feed(mux, Response(ONE, OK))
    mux.close_stream(ONE, ErrorCode.CANCELLED)
    expected = LATE_FRAMES + LIMITS.stream_window_bytes // LATE_BYTES
    feed(mux, *[frame] * expected)
    assert mux.calm.total == 0
    feed(mux, frame)
    assert mux.calm.total == 1


def test_what_is_expected_has_a_bound() -> None:
    """Of one stream without windows, and of any number of streams."""
    calm = Calm(LIMIT)
    calm.over(1 << 31)
    for _ in range(LATE_FRAMES + LATE_WINDOW_BYTES // LATE_BYTES + 1):
        calm.late()
    assert calm.total == 1
    for _ in range(20):
        calm.over(1 << 31)
    for _ in range(MAX_LATE_FRAMES + 1):
        calm.late()
    assert calm.total == 2


def test_an_answer_that_breaks_a_rule_is_counted() -> None:
    """Beside the reset of its stream."""
    mux = gateway()
    mux.open_stream(GET, end_stream=True)
    feed(mux, Response(ONE, OK), Response(ONE, OK))
    assert mux.calm.total == 1


def test_v0_messages_that_say_nothing_are_counted() -> None:
    """Under five bytes, of unknown types, and what nobody uses."""
    mux = Mux(Role.GATEWAY, LIMITS, version=0)
    for message in (b"", b"1234", b"\x7f\0\0\0\1" + bytes(2000), b"\x07\0\0\0\1", b"\x08\0\0\0\1"):
        assert mux.receive(message) == []
    assert mux.calm.total == 5
    mux.receive(wire0.encode0(Data(TWO, b"never was")))
    assert mux.calm.total == 6


@pytest.mark.parametrize("version", [1, 0])
def test_an_honest_exchange_has_no_glitches(version: int) -> None:
    """A hundred of them, each with an upload and a download over several windows."""
    pair = Pair.open(version=version)
    for _ in range(100):
        number = pair.gateway.open_stream(POST, end_stream=False)
        pair.gateway.send_data(number, bytes(300_000), end_stream=True)
        pair.settle()
        pair.client.release(number, 256 * 1024)
        pair.settle()
        pair.client.send_head(number, OK, end_stream=False)
        pair.client.send_data(number, bytes(300_000), end_stream=True)
        pair.settle()
        pair.gateway.release(number, 256 * 1024)
        pair.settle()
        pair.client.close_stream(number, ErrorCode.NO_ERROR)
        pair.gateway.close_stream(number, ErrorCode.CANCELLED)
        pair.settle()
    assert pair.gateway.calm.total == 0
    assert pair.client.calm.total == 0


def test_requests_that_are_cancelled_at_once_have_no_glitches() -> None:
    """Rapid reset by viewers is not the client's fault: what it answers crosses the RESET."""
    theirs, ours = gateway(), client()
    for _ in range(1000):
        number = theirs.open_stream(GET, end_stream=True)
        ours.receive(theirs.next_message())
        ours.send_head(number, OK, end_stream=False)
        ours.send_data(number, b"hello", end_stream=True)
        theirs.close_stream(number, ErrorCode.CANCELLED)
        theirs.receive(ours.next_message())
        ours.close_stream(number, ErrorCode.NO_ERROR)
        ours.receive(theirs.next_message())
    assert theirs.calm.total == 0
    assert ours.calm.total == 0
