"""mux.py: resets and windows of one end; whose fault a rule broken is, and who ends for it."""

from __future__ import annotations

import pytest
from attrs import evolve

from tests.support.muxes import (
    GET,
    LIMITS,
    OK,
    ONE,
    POST,
    ROOMY,
    TWO,
    client,
    ends_the_tunnel,
    feed,
    gateway,
    sent,
)
from wormkey.errors import ErrorCode
from wormkey.frames import (
    MAX_WINDOW_BYTES,
    TUNNEL,
    Data,
    Request,
    Reset,
    Response,
    ResponseHead,
    StreamId,
    Trailers,
    Window,
)
from wormkey.inbox import MAX_HELD_HEAD_BYTES, MuxStatistics

# ── resets ─────────────────────────────────────────────────────────────────────────────────────


def test_closing_an_unfinished_stream_resets_it() -> None:
    """Its queued content goes with it."""
    mux = client()
    feed(mux, Request(ONE, GET, end_stream=True))
    mux.send_head(ONE, OK, end_stream=False)
    mux.send_data(ONE, b"content")
    mux.close_stream(ONE, ErrorCode.ORIGIN_FAILED, b"hung up")
    assert sent(mux) == [Response(ONE, OK), Reset(ONE, ErrorCode.ORIGIN_FAILED, b"hung up")]
    assert mux.statistics() == MuxStatistics(0, 0, 0, going_away=False)


def test_a_reset_ends_both_halves() -> None:
    """What is queued is dropped, what is held is given back."""
    mux = gateway(evolve(LIMITS, tunnel_window_bytes=10))
    mux.open_stream(POST, end_stream=False)
    mux.send_data(ONE, b"content")
    feed(mux, Response(ONE, OK), Data(ONE, b"0123456"))
    reset = Reset(ONE, ErrorCode.ORIGIN_FAILED, b"hung up")
    assert feed(mux, reset) == [reset]
    assert sent(mux) == [Request(ONE, POST), Window(TUNNEL, 7)]
    assert mux.statistics().streams == 0


def test_an_early_answer_stays_when_the_rest_of_the_request_is_not_wanted() -> None:
    """RESET with NO_ERROR behind a whole answer (RFC 9113 §8.1)."""
    mux = gateway()
    mux.open_stream(POST, end_stream=False)
    mux.send_data(ONE, bytes(10))
    reset = Reset(ONE, ErrorCode.NO_ERROR)
    answer = [Response(ONE, OK), Data(ONE, b"early", end_stream=True)]
    assert feed(mux, *answer, reset) == [*answer, reset]
    assert mux.flushed(ONE)
    assert mux.statistics().held_bytes == 5
    assert sent(mux) == [Request(ONE, POST)]
    mux.release(ONE, 5)
    mux.close_stream(ONE, ErrorCode.CANCELLED)
    assert sent(mux) == []
    assert mux.statistics() == MuxStatistics(0, 0, 0, going_away=False)


def test_a_no_error_before_the_answer_is_whole_ends_the_stream() -> None:
    """There is nothing that could stay valid."""
    mux = gateway()
    mux.open_stream(POST, end_stream=False)
    feed(mux, Response(ONE, OK), Reset(ONE, ErrorCode.NO_ERROR))
    assert mux.statistics().streams == 0


# ── windows ────────────────────────────────────────────────────────────────────────────────────


def test_a_peer_that_overruns_the_tunnel_ends_it() -> None:
    """FLOW_CONTROL_ERROR of the tunnel (docs/protocol.md §5.1)."""
    mux = gateway(evolve(LIMITS, tunnel_window_bytes=10))
    mux.open_stream(GET, end_stream=True)
    code = ends_the_tunnel(mux, Response(ONE, OK), Data(ONE, bytes(11)))
    assert code is ErrorCode.FLOW_CONTROL_ERROR


def test_a_peer_that_overruns_a_stream_loses_it() -> None:
    """FLOW_CONTROL_ERROR of that stream; the tunnel's window does not suffer."""
    mux = gateway(evolve(LIMITS, stream_window_bytes=10, tunnel_window_bytes=20))
    mux.open_stream(GET, end_stream=True)
    sent(mux)
    *_, event = feed(mux, Response(ONE, OK), Data(ONE, bytes(4)), Data(ONE, bytes(7)))
    assert isinstance(event, Reset)
    assert event.code is ErrorCode.FLOW_CONTROL_ERROR
    assert sent(mux) == [event, Window(TUNNEL, 11)]
    assert mux.statistics().held_bytes == 0


def test_late_content_gives_the_tunnel_its_window_back() -> None:
    """For streams that are over, as often as it comes."""
    mux = gateway(evolve(LIMITS, tunnel_window_bytes=10))
    mux.open_stream(GET, end_stream=True)
    mux.close_stream(ONE, ErrorCode.CANCELLED)
    sent(mux)
    for _ in range(10):
        assert feed(mux, Data(ONE, bytes(10))) == []
        assert sent(mux) == [Window(TUNNEL, 10)]


def test_released_content_is_granted_again() -> None:
    """By the half window, to the stream and to the tunnel; nothing for nothing."""
    mux = gateway(evolve(LIMITS, stream_window_bytes=10, tunnel_window_bytes=10))
    mux.open_stream(GET, end_stream=True)
    sent(mux)
    feed(mux, Response(ONE, OK), Data(ONE, bytes(5)))
    mux.release(ONE, 0)
    mux.release(ONE, 4)
    assert sent(mux) == []
    mux.release(ONE, 1)
    assert sent(mux) == [Window(ONE, 5), Window(TUNNEL, 5)]


def test_grants_let_content_go_on() -> None:
    """The stream's window, then the tunnel's."""
    mux = gateway(peer=evolve(ROOMY, stream_window_bytes=3, tunnel_window_bytes=5))
    mux.open_stream(POST, end_stream=False)
    mux.send_data(ONE, b"abcdefgh", end_stream=True)
    assert sent(mux) == [Request(ONE, POST), Data(ONE, b"abc", blocked=True)]
    feed(mux, Window(ONE, 100))
    assert sent(mux) == [Data(ONE, b"de")]
    assert not mux.wants_to_write
    feed(mux, Window(TUNNEL, 100))
    assert mux.wants_to_write
    assert sent(mux) == [Data(ONE, b"fgh", end_stream=True)]


@pytest.mark.parametrize(
    ("increment", "code"),
    [(0, ErrorCode.PROTOCOL_ERROR), (MAX_WINDOW_BYTES, ErrorCode.FLOW_CONTROL_ERROR)],
)
def test_an_impossible_grant(increment: int, code: ErrorCode) -> None:
    """On a stream it is an error of the stream, on stream 0 of the tunnel (§5.2)."""
    mux = gateway()
    mux.open_stream(POST, end_stream=False)
    (event,) = feed(mux, Window(ONE, increment))
    assert isinstance(event, Reset)
    assert event.code is code
    assert ends_the_tunnel(mux, Window(TUNNEL, increment)) is code


def test_blocked_content_widens_the_window_of_a_quick_reader() -> None:
    """The grant is the growth; a reader gets it once it has taken half of what came."""
    mux = gateway(evolve(LIMITS, stream_window_bytes=10, max_stream_window_bytes=40))
    for _ in range(2):
        mux.open_stream(GET, end_stream=True)
    sent(mux)
    feed(mux, Response(ONE, OK), Data(ONE, bytes(9)), Data(ONE, b"x", blocked=True))
    assert sent(mux) == []
    mux.release(ONE, 1)
    assert sent(mux) == [Window(ONE, 1)]
    mux.release(ONE, 4)
    assert sent(mux) == [Window(ONE, 4 + 30)]
    feed(mux, Response(TWO, OK), Data(TWO, bytes(5), blocked=True))
    assert sent(mux) == [Window(TWO, 30)]


def test_content_that_uses_its_window_up_says_so_unless_it_is_the_last() -> None:
    """More may come of a half that has not ended, though nothing waits at this moment."""
    mux = gateway(peer=evolve(ROOMY, stream_window_bytes=3))
    for _ in range(3):
        mux.open_stream(POST, end_stream=False)
    sent(mux)
    mux.send_data(ONE, b"abc")
    mux.send_data(TWO, b"abc", end_stream=True)
    mux.send_data(StreamId(3), b"abcd", end_stream=True)
    assert sent(mux) == [
        Data(ONE, b"abc", blocked=True),
        Data(TWO, b"abc", end_stream=True),
        Data(StreamId(3), b"abc", blocked=True),
    ]


def test_a_full_tunnel_gives_up_the_stream_stalled_longest() -> None:
    """ENHANCE_YOUR_CALM for it; what it held is given back, the other goes on."""
    mux = gateway(evolve(LIMITS, tunnel_window_bytes=100))
    for _ in range(2):
        mux.open_stream(GET, end_stream=True)
    feed(mux, Response(ONE, OK), Response(TWO, OK), Data(ONE, bytes(50)), Data(TWO, bytes(25)))
    mux.release(ONE, 1)
    *_, event = feed(mux, Data(ONE, b"xy"))
    assert isinstance(event, Reset)
    assert (event.stream_id, event.code) == (TWO, ErrorCode.ENHANCE_YOUR_CALM)
    assert mux.statistics().held_bytes == 51


def test_heads_that_viewers_do_not_take_cost_a_tunnel_a_bounded_amount() -> None:
    """128 KiB of heads for each of 200 streams: those stalled longest are reset, the rest lives."""
    mux = gateway()
    large = ((b"a", bytes(64_000)),)
    resets = 0
    for _ in range(200):
        number = mux.open_stream(GET, end_stream=True)
        events = feed(mux, Response(number, ResponseHead(200, large)))
        events += feed(mux, Trailers(number, large))
        resets += sum(isinstance(event, Reset) for event in events)
        sent(mux)
    kept = mux.statistics().streams
    assert kept == 200 - resets
    assert kept * 2 * 64_000 <= MAX_HELD_HEAD_BYTES
    for number in range(200 - kept + 1, 201):
        mux.took_head(StreamId(number), large)
    assert not any(isinstance(e, Reset) for e in feed(mux, Response(ONE, OK)))


def test_a_head_of_a_stream_that_is_gone_costs_nothing() -> None:
    """Who took it too late is no fault: the stream took its cost along."""
    mux = gateway()
    before = mux.statistics()
    mux.took_head(StreamId(7), ((b"X-A", b"1"),))
    assert mux.statistics() == before
