"""windows.py: not a byte more than was granted, not a grant lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wormkey.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from wormkey.frames import MAX_WINDOW_BYTES
from wormkey.windows import ReceiveWindow, SendWindow


def test_what_is_sent_leaves_the_window() -> None:
    """A sender may use the window up, to the last byte."""
    window = SendWindow(10)
    window.consume(3)
    window.consume(7)
    assert window.available_bytes == 0


def test_sending_over_the_window_is_our_bug() -> None:
    """One byte too many is refused and changes nothing."""
    window = SendWindow(10)
    with pytest.raises(LocalProtocolError) as caught:
        window.consume(11)
    assert caught.value.code is ErrorCode.FLOW_CONTROL_ERROR
    assert window.available_bytes == 10


def test_a_grant_widens_up_to_the_greatest_window() -> None:
    """2^31-1 is reached, one more is a flow control error (RFC 9113 §6.9.1)."""
    window = SendWindow(10)
    window.grant(MAX_WINDOW_BYTES - 10)
    assert window.available_bytes == MAX_WINDOW_BYTES
    with pytest.raises(RemoteProtocolError) as caught:
        window.grant(1)
    assert caught.value.code is ErrorCode.FLOW_CONTROL_ERROR
    assert window.available_bytes == MAX_WINDOW_BYTES


@pytest.mark.parametrize("count", [0, -1])
def test_a_grant_of_nothing_is_a_protocol_error(count: int) -> None:
    """An increment of zero (RFC 9113 §6.9)."""
    with pytest.raises(RemoteProtocolError) as caught:
        SendWindow(10).grant(count)
    assert caught.value.code is ErrorCode.PROTOCOL_ERROR


def test_a_peer_that_overruns_the_window_is_told_so() -> None:
    """The last byte fits, the next one does not and is not counted."""
    window = ReceiveWindow.of(10)
    window.arrive(10)
    with pytest.raises(RemoteProtocolError) as caught:
        window.arrive(1)
    assert caught.value.code is ErrorCode.FLOW_CONTROL_ERROR
    assert (window.available_bytes, window.held_bytes) == (0, 10)


def test_grants_come_by_the_half_window() -> None:
    """With a next hop that keeps up nothing is granted below half a window; at half, all."""
    window = ReceiveWindow.of(10)
    window.arrive(5)
    assert window.release(4) == 0
    assert window.release(1) == 5
    assert (window.available_bytes, window.held_bytes, window.taken_bytes) == (10, 0, 0)


def test_a_peer_who_has_run_out_gets_what_is_free_in_eighths() -> None:
    """While the rest is held by those who do not read, the others must go on."""
    window = ReceiveWindow.of(80)
    window.arrive(80)
    assert window.release(9) == 0
    assert window.release(1) == 10
    assert (window.available_bytes, window.held_bytes, window.taken_bytes) == (10, 70, 0)


def test_more_cannot_be_released_than_is_held() -> None:
    """It would grant bytes that the next hop never took."""
    window = ReceiveWindow.of(10)
    window.arrive(3)
    with pytest.raises(LocalProtocolError):
        window.release(4)
    assert (window.available_bytes, window.held_bytes, window.taken_bytes) == (7, 3, 0)


def test_growing_tells_the_peer_all_at_once() -> None:
    """What was taken and not yet granted travels with the growth."""
    window = ReceiveWindow.of(10)
    window.arrive(5)
    window.release(4)
    assert window.grow(10) == 14
    assert window == ReceiveWindow(20, 19, 1, 0)


@given(
    st.integers(0, 1000),
    st.lists(st.tuples(st.sampled_from(["arrive", "release", "grow"]), st.integers(0, 400))),
)
def test_both_ends_agree_on_a_window_whatever_happens(
    size: int, steps: list[tuple[str, int]]
) -> None:
    """Size = available + held + taken, never negative; the sender's window is the same."""
    receiver, sender = ReceiveWindow.of(size), SendWindow(size)
    for what, count in steps:
        grant = 0
        match what:
            case "arrive":
                fits = min(count, sender.available_bytes)
                sender.consume(fits)
                receiver.arrive(fits)
            case "release":
                grant = receiver.release(min(count, receiver.held_bytes))
            case _:
                grant = receiver.grow(count)
        if grant:
            sender.grant(grant)
        parts = (receiver.available_bytes, receiver.held_bytes, receiver.taken_bytes)
        assert min(parts) >= 0
        assert sum(parts) == receiver.size_bytes
        assert sender.available_bytes == receiver.available_bytes
