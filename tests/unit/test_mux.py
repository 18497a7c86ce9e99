"""mux.py: how a tunnel begins, its streams and their answers; one end, fed by hand."""

from __future__ import annotations

import pytest
from attrs import evolve

from tests.support.muxes import (
    EARLY,
    GET,
    KIB,
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
from wormkey.errors import ErrorCode, LocalProtocolError, StreamError
from wormkey.frames import (
    MAX_FRAME_BYTES,
    MAX_STREAM_ID,
    MAX_WINDOW_BYTES,
    Data,
    Frame,
    Pause,
    Ping,
    Request,
    Reset,
    Response,
    ResponseHead,
    Resume,
    StreamId,
    Trailers,
    Window,
)
from wormkey.inbox import FIELD_BYTES, MAX_HELD_HEAD_BYTES
from wormkey.mux import Mux, Role
from wormkey.outbox import MAX_QUEUED_HEAD_BYTES

# ── the beginning ──────────────────────────────────────────────────────────────────────────────


def test_hello_is_the_first_frame() -> None:
    """Each end says at once what it takes; the peer's is an event."""
    mux = Mux(Role.GATEWAY, LIMITS)
    assert sent(mux) == [LIMITS.hello(1)]
    assert feed(mux, ROOMY) == [ROOMY]
    assert mux.peer == ROOMY


def test_a_frame_before_hello_ends_the_tunnel() -> None:
    """Whatever it is (docs/protocol.md §3.1); so does a second HELLO."""
    assert ends_the_tunnel(Mux(Role.GATEWAY, LIMITS), Ping()) is ErrorCode.PROTOCOL_ERROR
    assert ends_the_tunnel(gateway(), ROOMY) is ErrorCode.PROTOCOL_ERROR


def test_no_stream_is_opened_before_the_peer_s_hello() -> None:
    """Nobody knows yet what the peer takes."""
    with pytest.raises(StreamError) as caught:
        Mux(Role.GATEWAY, LIMITS).open_stream(GET, end_stream=True)
    assert caught.value.retryable


def test_a_newer_peer_is_taken() -> None:
    """Both ends keep to the smaller version."""
    assert gateway(peer=evolve(ROOMY, version=9)).version == 1


# ── opening streams ────────────────────────────────────────────────────────────────────────────


def test_streams_are_numbered_upwards_from_one() -> None:
    """END_STREAM says that there is no content."""
    mux = gateway()
    assert [mux.open_stream(GET, end_stream=True), mux.open_stream(POST, end_stream=False)] == [
        1,
        2,
    ]
    assert sent(mux) == [Request(ONE, GET, end_stream=True), Request(TWO, POST)]


def test_the_smaller_limit_of_streams_counts() -> None:
    """Ours or the peer's; a closed stream makes room."""
    for mux in (
        gateway(evolve(LIMITS, max_streams=1)),
        gateway(peer=evolve(ROOMY, max_streams=1)),
    ):
        mux.open_stream(GET, end_stream=True)
        with pytest.raises(StreamError) as caught:
            mux.open_stream(GET, end_stream=True)
        assert caught.value.code is ErrorCode.ENHANCE_YOUR_CALM
        mux.close_stream(ONE, ErrorCode.CANCELLED)
        assert mux.open_stream(GET, end_stream=True) == TWO


def test_a_tunnel_that_takes_nothing_gets_no_more_heads() -> None:
    """Requests that come and go while the peer is stuck cannot fill the memory."""
    mux = gateway()
    head = evolve(GET, fields=((b"Cookie", bytes(30 * KIB)),))
    for _ in range(MAX_QUEUED_HEAD_BYTES // (30 * KIB)):
        mux.close_stream(mux.open_stream(head, end_stream=True), ErrorCode.CANCELLED)
    with pytest.raises(StreamError) as caught:
        mux.open_stream(head, end_stream=True)
    assert caught.value.code is ErrorCode.ENHANCE_YOUR_CALM
    feed(mux, Ping())
    sent(mux)
    mux.open_stream(head, end_stream=True)


def test_a_head_too_large_for_a_frame_opens_nothing() -> None:
    """The id is not used up by it."""
    mux = gateway()
    with pytest.raises(LocalProtocolError):
        mux.open_stream(evolve(GET, target=bytes(MAX_FRAME_BYTES)), end_stream=True)
    assert mux.statistics().streams == 0
    assert mux.open_stream(GET, end_stream=True) == ONE


def test_stream_ids_run_out() -> None:
    """The greatest one is used, none is used twice."""
    mux = gateway()
    mux._last_id = MAX_STREAM_ID - 1
    assert mux.open_stream(GET, end_stream=True) == MAX_STREAM_ID
    with pytest.raises(StreamError) as caught:
        mux.open_stream(GET, end_stream=True)
    assert caught.value.retryable


def test_a_client_takes_requests() -> None:
    """In any ascending order of ids."""
    mux = client()
    assert feed(mux, Request(StreamId(3), GET, end_stream=True), Request(StreamId(7), POST)) == [
        Request(StreamId(3), GET, end_stream=True),
        Request(StreamId(7), POST),
    ]
    assert mux.statistics().streams == 2


def test_a_stream_id_used_again_ends_the_tunnel() -> None:
    """Also a smaller one that was left out."""
    for number in (5, 4):
        mux = client()
        feed(mux, Request(StreamId(5), GET))
        frame = Request(StreamId(number), GET)
        assert ends_the_tunnel(mux, frame) is ErrorCode.STREAM_CLOSED


def test_a_client_refuses_more_streams_than_it_takes() -> None:
    """REFUSED_STREAM promises that nothing was done; late frames of it do no harm."""
    mux = client(evolve(LIMITS, max_streams=1))
    assert feed(mux, Request(ONE, POST), Request(TWO, POST)) == [Request(ONE, POST)]
    assert sent(mux) == [Reset(TWO, ErrorCode.REFUSED_STREAM)]
    assert feed(mux, Data(TWO, b"late", end_stream=True)) == []


@pytest.mark.parametrize("frame", [Request(ONE, GET), Pause(), Resume()])
def test_a_gateway_refuses_what_only_others_may_send(frame: Frame) -> None:
    """REQUEST is the gateway's own, PAUSE and RESUME are the client's."""
    mux = gateway() if isinstance(frame, Request) else client()
    assert ends_the_tunnel(mux, frame) is ErrorCode.PROTOCOL_ERROR


def test_a_gateway_that_answers_ends_the_tunnel() -> None:
    """RESPONSE is the client's, on any stream."""
    mux = client()
    feed(mux, Request(ONE, POST))
    assert ends_the_tunnel(mux, Response(ONE, OK)) is ErrorCode.PROTOCOL_ERROR


# ── answers ────────────────────────────────────────────────────────────────────────────────────


def test_an_exchange_of_the_client() -> None:
    """Interim head, final head, content, trailers: in this order, then the stream is over."""
    mux = client()
    feed(mux, Request(ONE, GET, end_stream=True))
    mux.send_head(ONE, EARLY, end_stream=False)
    mux.send_head(ONE, OK, end_stream=False)
    mux.send_data(ONE, b"content")
    mux.send_trailers(ONE, ((b"A", b"1"),))
    assert not mux.flushed(ONE)
    assert mux.queued_bytes(ONE) == 7
    assert sent(mux) == [
        Response(ONE, EARLY),
        Response(ONE, OK),
        Data(ONE, b"content"),
        Trailers(ONE, ((b"A", b"1"),)),
    ]
    assert mux.flushed(ONE)
    assert mux.take_drained() == [ONE, ONE]
    mux.close_stream(ONE, ErrorCode.NO_ERROR)
    assert sent(mux) == []


def test_an_end_may_come_by_itself() -> None:
    """Content first, and later no more than that it was all; an empty piece says nothing."""
    mux = client()
    feed(mux, Request(ONE, GET, end_stream=True))
    mux.send_head(ONE, OK, end_stream=False)
    mux.send_data(ONE, b"content")
    sent(mux)
    mux.send_data(ONE, b"")
    assert sent(mux) == []
    mux.send_data(ONE, b"", end_stream=True)
    assert sent(mux) == [Data(ONE, b"", end_stream=True)]


def test_a_head_alone_may_be_an_answer() -> None:
    """END_STREAM on it; nothing may follow."""
    mux = client()
    feed(mux, Request(ONE, GET, end_stream=True))
    mux.send_head(ONE, OK, end_stream=True)
    with pytest.raises(LocalProtocolError):
        mux.send_data(ONE, b"more")
    assert sent(mux) == [Response(ONE, OK, end_stream=True)]


def test_a_second_final_head_is_our_bug() -> None:
    """The peer hears nothing of it."""
    mux = client()
    feed(mux, Request(ONE, GET, end_stream=True))
    mux.send_head(ONE, OK, end_stream=False)
    sent(mux)
    with pytest.raises(LocalProtocolError):
        mux.send_head(ONE, OK, end_stream=False)
    assert sent(mux) == []


def test_parts_too_large_for_a_frame_are_told_to_the_caller() -> None:
    """Never to the writer, who could not help it; the stream goes on."""
    mux = client()
    feed(mux, Request(ONE, GET, end_stream=True))
    huge = ((b"A", bytes(MAX_FRAME_BYTES)),)
    with pytest.raises(LocalProtocolError):
        mux.send_head(ONE, ResponseHead(200, huge), end_stream=False)
    mux.send_head(ONE, OK, end_stream=False)
    with pytest.raises(LocalProtocolError):
        mux.send_trailers(ONE, huge)
    mux.send_trailers(ONE, ())
    assert sent(mux) == [Response(ONE, OK), Trailers(ONE, ())]


def test_calls_about_a_stream_that_is_gone_do_nothing() -> None:
    """Its owner may not have heard yet."""
    mux = client()
    mux.send_head(ONE, OK, end_stream=True)
    mux.send_data(ONE, b"x", end_stream=True)
    mux.send_trailers(ONE, ())
    mux.release(ONE, 5)
    mux.close_stream(ONE, ErrorCode.CANCELLED)
    assert mux.queued_bytes(ONE) == 0
    assert mux.flushed(ONE)
    assert sent(mux) == []


def test_a_stream_that_breaks_a_rule_is_reset_alone() -> None:
    """Both ends hear of it, its neighbour goes on."""
    mux = gateway()
    for _ in range(2):
        mux.open_stream(GET, end_stream=True)
    sent(mux)
    events = feed(mux, Data(ONE, b"no head"), Response(TWO, OK, end_stream=True))
    assert [type(event) for event in events] == [Reset, Response]
    assert isinstance(events[0], Reset)
    assert events[0].code is ErrorCode.PROTOCOL_ERROR
    assert sent(mux) == [events[0]]
    assert mux.statistics().held_bytes == 0


def test_what_follows_an_end_is_reset_while_our_half_is_open() -> None:
    """STREAM_CLOSED (docs/protocol.md §4)."""
    mux = gateway()
    mux.open_stream(POST, end_stream=False)
    feed(mux, Response(ONE, OK, end_stream=True))
    (event,) = feed(mux, Data(ONE, b"more"))
    assert isinstance(event, Reset)
    assert event.code is ErrorCode.STREAM_CLOSED


def test_an_empty_frame_that_ends_nothing_is_no_event() -> None:
    """It is legal and means nothing; with END_STREAM it is the end."""
    mux = gateway()
    mux.open_stream(GET, end_stream=True)
    feed(mux, Response(ONE, OK))
    assert feed(mux, Data(ONE, b"")) == []
    assert feed(mux, Data(ONE, b"", end_stream=True)) == [Data(ONE, b"", end_stream=True)]


@pytest.mark.parametrize(
    "frame",
    [
        Data(TWO, b"nobody asked"),
        Response(TWO, OK),
        Trailers(TWO, ()),
        Reset(TWO, ErrorCode.CANCELLED),
        Window(TWO, 5),
    ],
)
def test_a_stream_that_never_was_ends_the_tunnel(frame: Frame) -> None:
    """A frame may come late, but not early (docs/protocol.md §4)."""
    mux = gateway()
    mux.open_stream(GET, end_stream=True)
    assert ends_the_tunnel(mux, frame) is ErrorCode.PROTOCOL_ERROR


@pytest.mark.parametrize(
    "frame",
    [
        Data(ONE, b"late"),
        Response(ONE, OK),
        Trailers(ONE, ()),
        Reset(ONE, ErrorCode.INTERNAL_ERROR),
        Window(ONE, 5),
        Window(ONE, MAX_WINDOW_BYTES),
    ],
)
@pytest.mark.parametrize("closed", [False, True])
def test_frames_of_a_stream_that_is_over_are_ignored(frame: Frame, *, closed: bool) -> None:
    """Whether its owner has seen the end already or not: what was answered stays valid."""
    mux = gateway()
    mux.open_stream(GET, end_stream=True)
    feed(mux, Response(ONE, OK, end_stream=True))
    sent(mux)
    if closed:
        mux.close_stream(ONE, ErrorCode.CANCELLED)
    assert feed(mux, frame) == []
    assert sent(mux) == []
    assert mux.statistics().held_bytes == 0


def test_a_client_refuses_requests_whose_heads_fill_its_memory() -> None:
    """They are held until their streams are over; then there is room again."""
    mux = client(evolve(LIMITS, max_streams=2000))
    wide = evolve(GET, fields=((b"a", bytes(60_000)),))
    taken = 0
    for number in range(1, 201):
        taken += bool(feed(mux, Request(StreamId(number), wide, end_stream=True)))
    assert taken == MAX_HELD_HEAD_BYTES // (60_001 + FIELD_BYTES) + 1
    assert sent(mux).count(Reset(StreamId(200), ErrorCode.REFUSED_STREAM)) == 1
    mux.close_stream(ONE, ErrorCode.NO_ERROR)
    assert feed(mux, Request(StreamId(201), GET, end_stream=True))
