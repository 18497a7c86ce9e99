"""mux.py: pings, pauses and goodbyes: what concerns the tunnel and no stream."""

from __future__ import annotations

import pytest
from attrs import evolve

from tests.support.muxes import (
    GET,
    LIMITS,
    ONE,
    POST,
    TWO,
    client,
    ends_the_tunnel,
    feed,
    gateway,
    sent,
)
from wormkey import wire
from wormkey.errors import ErrorCode, StreamError
from wormkey.frames import (
    TUNNEL,
    Data,
    GoAway,
    Pause,
    Ping,
    Pong,
    Request,
    Reset,
    Resume,
    StreamId,
    Window,
)
from wormkey.outbox import MAX_QUEUED_PONGS


def test_a_ping_is_answered_with_its_payload() -> None:
    """Before content that waits; our own PING's answer is an event."""
    mux = gateway()
    mux.open_stream(POST, end_stream=False)
    mux.send_data(ONE, b"content")
    assert feed(mux, Ping(b"abc")) == []
    assert sent(mux) == [Request(ONE, POST), Pong(b"abc"), Data(ONE, b"content")]
    mux.ping(b"xyz")
    assert sent(mux) == [Ping(b"xyz")]
    assert feed(mux, Pong(b"xyz")) == [Pong(b"xyz")]


def test_a_flood_of_pings_ends_the_tunnel() -> None:
    """64 may wait; a peer that reads may send any number."""
    mux = gateway()
    for _ in range(3):
        feed(mux, *[Ping()] * MAX_QUEUED_PONGS)
        assert sent(mux) == [Pong()] * MAX_QUEUED_PONGS
    code = ends_the_tunnel(mux, *[Ping()] * (MAX_QUEUED_PONGS + 1))
    assert code is ErrorCode.ENHANCE_YOUR_CALM


def test_a_long_download_is_no_flood_of_pings() -> None:
    """Content waits all the time, each PING is answered all the same."""
    mux = gateway()
    mux.open_stream(POST, end_stream=False)
    for _ in range(3 * MAX_QUEUED_PONGS):
        mux.send_data(ONE, bytes(100_000))
        feed(mux, Ping(), Window(ONE, 100_000), Window(TUNNEL, 100_000))
        assert Pong() in wire.Decoder().feed(mux.next_message())[:2]
        assert mux.wants_to_write


def test_a_peer_that_makes_us_answer_and_does_not_read_ends_its_tunnel() -> None:
    """Streams over the limit, one refusal for each."""
    mux = client(evolve(LIMITS, max_streams=0))
    requests = [Request(StreamId(number), GET, end_stream=True) for number in range(1, 2000)]
    assert ends_the_tunnel(mux, *requests) is ErrorCode.ENHANCE_YOUR_CALM


def test_going_away_takes_no_new_streams() -> None:
    """Neither end's; those under way go on. The last id is told."""
    theirs = gateway()
    theirs.open_stream(POST, end_stream=False)
    ours = client()
    feed(ours, Request(ONE, POST))
    for mux in (theirs, ours):
        mux.go_away(ErrorCode.NO_ERROR, b"draining")
        mux.go_away(ErrorCode.NO_ERROR, b"draining")
        assert sent(mux)[-1:] == [GoAway(ONE, ErrorCode.NO_ERROR, b"draining")]
        assert mux.statistics().going_away
        assert mux.statistics().streams == 1
    with pytest.raises(StreamError) as caught:
        theirs.open_stream(GET, end_stream=True)
    assert caught.value.retryable
    feed(ours, Request(TWO, GET, end_stream=True))
    assert sent(ours) == [Reset(TWO, ErrorCode.REFUSED_STREAM)]


def test_a_later_goodbye_counts() -> None:
    """A tunnel that drains can still be told that its session is over (docs/protocol.md §8)."""
    mux = gateway()
    mux.go_away(ErrorCode.NO_ERROR)
    mux.go_away(ErrorCode.SESSION_CLOSED, b"closed")
    assert sent(mux)[-1] == GoAway(StreamId(0), ErrorCode.SESSION_CLOSED, b"closed")


def test_a_peer_that_goes_away_gets_no_new_streams() -> None:
    """The event says why; the later one counts."""
    mux = gateway()
    goodbye = GoAway(StreamId(0), ErrorCode.NO_ERROR)
    later = GoAway(StreamId(0), ErrorCode.REPLACED)
    assert feed(mux, goodbye, later) == [goodbye, later]
    assert mux.peer_going_away == later
    assert mux.statistics().going_away
    with pytest.raises(StreamError):
        mux.open_stream(GET, end_stream=True)


def test_a_client_pauses_and_resumes() -> None:
    """Either may come when it changes nothing."""
    mux = client()
    mux.pause(paused=True)
    mux.pause(paused=False)
    assert sent(mux) == [Pause(), Resume()]
    other = gateway()
    for frame in (Resume(), Pause(), Pause()):
        assert feed(other, frame) == [frame]
    assert other.paused
    feed(other, Resume())
    assert not other.paused
