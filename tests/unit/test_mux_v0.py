"""mux.py: an end that speaks protocol v0."""

from __future__ import annotations

from attrs import evolve

from tests.support.muxes import (
    EARLY,
    GET,
    KIB,
    LIMITS,
    ONE,
    POST,
    TWO,
    feed,
    one_end,
    sent,
)
from wormkey.errors import ErrorCode
from wormkey.frames import (
    Data,
    Request,
    Reset,
    Response,
    ResponseHead,
    StreamId,
)
from wormkey.mux import Role


def test_v0_opens_streams_at_once() -> None:
    """No HELLO; the end of a request without content is a message of its own."""
    mux = one_end(Role.GATEWAY, version=0)
    assert mux.open_stream(GET, end_stream=True) == ONE
    assert mux.open_stream(POST, end_stream=False) == TWO
    mux.send_data(TWO, b"content", end_stream=True)
    assert sent(mux) == [
        Request(ONE, GET),
        Data(ONE, b"", end_stream=True),
        Request(TWO, POST),
        Data(TWO, b"content"),
        Data(TWO, b"", end_stream=True),
    ]


def test_v0_answers_in_its_own_words() -> None:
    """No interim heads, no reason, trailers shrink to the end; no GOAWAY, no grants."""
    mux = one_end(Role.CLIENT, version=0)
    feed(mux, Request(ONE, GET), Data(ONE, b"", end_stream=True), Request(TWO, GET))
    mux.send_head(ONE, EARLY, end_stream=False)
    mux.send_head(ONE, ResponseHead(200, (), b"OK"), end_stream=False)
    mux.send_data(ONE, b"content")
    mux.send_trailers(ONE, ((b"A", b"1"),))
    mux.send_head(TWO, ResponseHead(204, ()), end_stream=True)
    mux.go_away(ErrorCode.NO_ERROR)
    assert sent(mux) == [
        Response(ONE, ResponseHead(200, ())),
        Response(TWO, ResponseHead(204, ())),
        Data(TWO, b"", end_stream=True),
        Data(ONE, b"content"),
        Data(ONE, b"", end_stream=True),
    ]


def test_v0_ignores_frames_of_streams_it_does_not_know() -> None:
    """Existing programs send END behind a CANCEL, and nobody can tell late from early."""
    mux = one_end(Role.GATEWAY, version=0)
    assert feed(mux, Data(StreamId(9), b"x"), Reset(StreamId(9), ErrorCode.CANCELLED)) == []


def test_v0_gives_up_only_the_stream_that_nobody_reads() -> None:
    """Over 16 MiB it is cancelled; its neighbour's content still comes."""
    mux = one_end(Role.GATEWAY, version=0)
    for _ in range(2):
        mux.open_stream(GET, end_stream=True)
    sent(mux)
    head, piece = ResponseHead(200, ()), bytes(1024 * KIB)
    assert len(feed(mux, Response(ONE, head), *[Data(ONE, piece)] * 16)) == 17
    *_, event = feed(mux, Data(ONE, b"x"))
    assert isinstance(event, Reset)
    assert event.code is ErrorCode.ENHANCE_YOUR_CALM
    assert sent(mux) == [Reset(ONE, ErrorCode.CANCELLED)]
    assert feed(mux, Response(TWO, head), Data(TWO, b"x"))[1:] == [Data(TWO, b"x")]
    assert mux.statistics().held_bytes == 1


def test_v0_gives_up_the_stream_stalled_longest_when_all_hold_too_much() -> None:
    """64 MiB for all streams of a tunnel."""
    mux = one_end(Role.GATEWAY, version=0)
    ids = [mux.open_stream(GET, end_stream=True) for _ in range(5)]
    head, piece = ResponseHead(200, ()), bytes(1024 * KIB)
    resets = [
        event.stream_id
        for stream_id in ids
        for event in feed(mux, Response(stream_id, head), *[Data(stream_id, piece)] * 13)
        if isinstance(event, Reset)
    ]
    assert resets == ids[:1]
    assert mux.statistics().held_bytes == 4 * 13 * len(piece)


def test_v0_gives_up_a_stream_and_no_tunnel_for_one_long_message() -> None:
    """Whatever limit the operator gave a stream."""
    mux = one_end(Role.GATEWAY, evolve(LIMITS, v0_stream_bytes=100), version=0)
    mux.open_stream(GET, end_stream=True)
    *_, event = feed(mux, Response(ONE, ResponseHead(200, ())), Data(ONE, bytes(500 * KIB)))
    assert isinstance(event, Reset)
    assert event.code is ErrorCode.ENHANCE_YOUR_CALM


def test_v0_keeps_its_limit_though_the_longest_stalled_hold_little() -> None:
    """As many are given up as it takes."""
    mux = one_end(Role.GATEWAY, evolve(LIMITS, v0_tunnel_bytes=100), version=0)
    ids = [mux.open_stream(GET, end_stream=True) for _ in range(12)]
    for stream_id in ids:
        feed(mux, Response(stream_id, ResponseHead(200, ())))
    for stream_id in ids[:10]:
        feed(mux, Data(stream_id, b"x"))
    feed(mux, Data(ids[10], bytes(50)))
    events = feed(mux, Data(ids[11], bytes(45)))
    assert [event.stream_id for event in events if isinstance(event, Reset)] == ids[:5]
    assert mux.statistics().held_bytes == 100
