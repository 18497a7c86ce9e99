"""inbox.py: what a tunnel holds is bounded, and given back."""

from __future__ import annotations

import pytest
from attrs import evolve

from wormkey.errors import ErrorCode, RemoteProtocolError
from wormkey.frames import (
    MAX_FRAME_BYTES,
    MAX_WINDOW_BYTES,
    Data,
    Response,
    ResponseHead,
    StreamId,
    Trailers,
)
from wormkey.inbox import MAX_INTERIM_HEADS, NEAR_WINDOW_BYTES, Inbox, MuxLimits
from wormkey.stream import Half, Stream
from wormkey.windows import SendWindow

ONE = StreamId(1)
LIMITS = MuxLimits(
    stream_window_bytes=100,
    max_stream_window_bytes=400,
    tunnel_window_bytes=1000,
    max_growth_bytes=500,
    v0_stream_bytes=50,
    v0_tunnel_bytes=120,
)
EARLY = ResponseHead(103, ((b"Link", b"</a.css>"),))
OK = ResponseHead(200, ())


def make(inbox: Inbox, number: int = 1, half: Half = Half.CONTENT) -> Stream:
    """A stream that receives content."""
    window = inbox.new_window()
    return Stream(
        StreamId(number), Half.CONTENT, half, SendWindow(0), window, progress=inbox.tick()
    )


def take_in(inbox: Inbox, stream: Stream, count: int, *, blocked: bool = False) -> None:
    """Let content arrive on a stream."""
    inbox.arrive(count)
    inbox.receive(stream, Data(stream.id, bytes(count), blocked=blocked))


def run_out(inbox: Inbox, stream: Stream) -> int:
    """Let a sender run out of its window while nothing is held; return the growth it gets."""
    take_in(inbox, stream, 0, blocked=True)
    return inbox.growth(stream)


def test_hello_says_what_the_limits_are() -> None:
    """Nothing is promised to a peer that the limits do not hold."""
    hello = LIMITS.hello(1)
    assert (hello.version, hello.stream_window_bytes, hello.tunnel_window_bytes) == (1, 100, 1000)
    assert (hello.max_frame_bytes, hello.max_streams) == (MAX_FRAME_BYTES, LIMITS.max_streams)


def test_content_is_held_until_the_next_hop_takes_it() -> None:
    """Held bytes are those that arrived and were not released."""
    inbox = Inbox(LIMITS, 1)
    stream = make(inbox)
    take_in(inbox, stream, 60)
    assert inbox.held_bytes == 60
    assert inbox.release(stream, 60) == (60, 0)
    assert inbox.held_bytes == 0


def test_the_tunnel_s_window_bounds_all_streams_together() -> None:
    """A byte over it is a flow control error, whatever the streams' windows say."""
    inbox = Inbox(LIMITS, 1)
    inbox.arrive(1000)
    with pytest.raises(RemoteProtocolError) as caught:
        inbox.arrive(1)
    assert caught.value.code is ErrorCode.FLOW_CONTROL_ERROR


def test_tunnel_grants_come_by_the_half_window() -> None:
    """Also for content that nobody will take."""
    inbox = Inbox(LIMITS, 1)
    inbox.arrive(500)
    assert inbox.give_back(499) == 0
    assert inbox.give_back(1) == 500


def test_a_half_that_has_ended_gets_no_grants() -> None:
    """Its sender has no use for them; the tunnel's window is another matter."""
    inbox = Inbox(evolve(LIMITS, tunnel_window_bytes=100), 1)
    stream = make(inbox)
    inbox.arrive(80)
    inbox.receive(stream, Data(ONE, bytes(80), end_stream=True))
    assert inbox.release(stream, 80) == (0, 80)


def test_a_dropped_stream_gives_back_what_it_held() -> None:
    """The tunnel's window does not shrink for good."""
    inbox = Inbox(LIMITS, 1)
    streams = [make(inbox, number) for number in range(1, 11)]
    for stream in streams:
        take_in(inbox, stream, 100)
    granted = sum(inbox.drop(stream) for stream in streams)
    assert inbox.held_bytes == 0
    inbox.arrive(granted)  # all that was granted may come again


def test_an_answer_moves_its_half() -> None:
    """Interim heads, the final one, content, trailers."""
    inbox = Inbox(LIMITS, 1)
    stream = make(inbox, half=Half.HEAD)
    inbox.receive(stream, Response(ONE, EARLY))
    assert stream.receiving is Half.HEAD
    inbox.receive(stream, Response(ONE, OK))
    assert stream.receiving is Half.CONTENT
    inbox.receive(stream, Data(ONE, b""))
    assert stream.receiving is Half.CONTENT
    inbox.receive(stream, Trailers(ONE, ()))
    assert stream.receiving is Half.ENDED


def test_a_head_may_be_the_end() -> None:
    """A final head with END_STREAM ends the half; an interim one must not carry it."""
    inbox = Inbox(LIMITS, 1)
    stream = make(inbox, half=Half.HEAD)
    with pytest.raises(RemoteProtocolError):
        inbox.receive(stream, Response(ONE, EARLY, end_stream=True))
    inbox.receive(stream, Response(ONE, OK, end_stream=True))
    assert stream.receiving is Half.ENDED


def test_a_loop_of_interim_heads_is_ended() -> None:
    """32 are taken, one more is not (docs/protocol.md §3.3)."""
    inbox = Inbox(LIMITS, 1)
    stream = make(inbox, half=Half.HEAD)
    for _ in range(MAX_INTERIM_HEADS):
        inbox.receive(stream, Response(ONE, EARLY))
    with pytest.raises(RemoteProtocolError):
        inbox.receive(stream, Response(ONE, EARLY))


def test_interim_heads_cannot_fill_the_memory() -> None:
    """No window holds heads back, so all interim ones together fit in one frame."""
    inbox = Inbox(LIMITS, 1)
    stream = make(inbox, half=Half.HEAD)
    large = ResponseHead(103, ((b"Link", bytes(MAX_FRAME_BYTES - 4)),))
    inbox.receive(stream, Response(ONE, large))
    with pytest.raises(RemoteProtocolError) as caught:
        inbox.receive(stream, Response(ONE, EARLY))
    assert caught.value.code is ErrorCode.PROTOCOL_ERROR


def test_a_window_grows_while_the_next_hop_keeps_up() -> None:
    """Eightfold, up to the stream's maximum; once for each time that its sender ran out."""
    inbox = Inbox(evolve(LIMITS, max_stream_window_bytes=1000, max_growth_bytes=5000), 1)
    stream = make(inbox)
    assert inbox.growth(stream) == 0
    assert [run_out(inbox, stream) for _ in range(3)] == [700, 200, 0]
    assert inbox.growth(stream) == 0
    assert stream.receive_window.size_bytes == 1000


def test_a_window_is_as_large_as_the_path_needs() -> None:
    """Near, a MiB is enough; else what the path carries in its shortest round trip."""
    limits = evolve(LIMITS, max_stream_window_bytes=1 << 30, max_growth_bytes=1 << 31)
    for round_trips_s, needed_bytes in (
        ((), NEAR_WINDOW_BYTES),
        ((0.0001,), NEAR_WINDOW_BYTES),
        ((0.08,), 16_000_000),
        ((0.5, 0.08, 3.0), 16_000_000),
    ):
        inbox = Inbox(limits, 1)
        for round_trip_s in round_trips_s:
            inbox.measure(round_trip_s)
        stream = make(inbox)
        for _ in range(12):
            run_out(inbox, stream)
        assert stream.receive_window.size_bytes == needed_bytes


def test_a_burst_that_the_next_hop_then_takes_widens_the_window() -> None:
    """The whole window arrives at once on a long path: what counts is what is left of it later."""
    inbox = Inbox(LIMITS, 1)
    stream = make(inbox)
    take_in(inbox, stream, 100, blocked=True)
    assert inbox.growth(stream) == 0
    assert inbox.release(stream, 20) == (20, 0)
    assert inbox.release(stream, 30) == (30 + 300, 0)
    assert inbox.release(stream, 50) == (0, 0)


def test_a_stream_that_has_ended_needs_no_more_window() -> None:
    """What it would get is left to others."""
    inbox = Inbox(LIMITS, 1)
    stream, other = make(inbox), make(inbox, 2)
    take_in(inbox, stream, 60, blocked=True)
    inbox.receive(stream, Data(ONE, b"", end_stream=True))
    assert inbox.release(stream, 60) == (0, 0)
    assert run_out(inbox, other) == 300


def test_a_window_does_not_grow_for_a_slow_next_hop() -> None:
    """Most of it is held: more would only be more memory."""
    inbox = Inbox(LIMITS, 1)
    stream = make(inbox)
    take_in(inbox, stream, 51, blocked=True)
    assert inbox.growth(stream) == 0
    assert inbox.release(stream, 1) == (300 + 1, 0)


def test_all_windows_together_grow_by_a_bound_that_comes_back() -> None:
    """A closed stream's growth is free for others."""
    inbox = Inbox(LIMITS, 1)
    first, second = make(inbox), make(inbox, 2)
    assert run_out(inbox, first) == 300
    assert run_out(inbox, second) == 200
    third = make(inbox, 3)
    assert run_out(inbox, third) == 0
    inbox.drop(first)
    assert run_out(inbox, third) == 300


def test_the_victim_is_the_stream_stalled_longest() -> None:
    """Progress of the next hop counts, not age, and not how much is held."""
    inbox = Inbox(LIMITS, 1)
    streams = [make(inbox, number) for number in range(1, 9)]
    for stream in streams:
        take_in(inbox, stream, 93)
    assert inbox.victim(streams) is None
    inbox.release(streams[0], 1)
    for stream in streams[6:]:
        take_in(inbox, stream, 7)
    assert inbox.victim(streams) is streams[1]


def test_an_idle_stream_is_not_a_stalled_one() -> None:
    """An event stream that waited for an hour has just got its next event: it is innocent."""
    inbox = Inbox(LIMITS, 1)
    idle = make(inbox, 1)
    hogs = [make(inbox, number) for number in range(2, 10)]
    for hog in hogs:
        take_in(inbox, hog, 100)
    take_in(inbox, idle, 1)
    assert inbox.victim([idle, *hogs]) is hogs[0]


def test_a_full_tunnel_without_holders_has_no_victim() -> None:
    """Content that was counted and belongs to no stream cannot be relieved."""
    inbox = Inbox(LIMITS, 1)
    inbox.arrive(800)
    assert inbox.victim([make(inbox)]) is None


def test_v0_knows_limits_instead_of_windows() -> None:
    """Any amount arrives, no grant is ever said; over its limit a stream is given up."""
    inbox = Inbox(LIMITS, 0)
    stream = make(inbox)
    assert stream.receive_window.size_bytes == MAX_WINDOW_BYTES
    take_in(inbox, stream, 50)
    inbox.check_bound(stream)
    take_in(inbox, stream, 1)
    with pytest.raises(RemoteProtocolError) as caught:
        inbox.check_bound(stream)
    assert caught.value.code is ErrorCode.ENHANCE_YOUR_CALM
    assert inbox.growth(stream) == 0
    assert inbox.release(stream, 51) == (0, 0)
    assert inbox.drop(stream) == 0


def test_v0_streams_share_a_limit() -> None:
    """Beyond it, the one stalled longest is given up."""
    inbox = Inbox(LIMITS, 0)
    streams = [make(inbox, number) for number in (1, 2, 3)]
    for stream in streams:
        take_in(inbox, stream, 40)
    assert inbox.victim(streams) is None
    take_in(inbox, streams[2], 1)
    assert inbox.victim(streams) is streams[0]


def test_v0_carries_more_than_the_greatest_window() -> None:
    """A download of many gigabytes is one stream: its arithmetic must not run out."""
    inbox = Inbox(LIMITS, 0)
    stream = make(inbox)
    piece = 2**29
    for _ in range(16):
        inbox.arrive(piece)
        stream.receive_window.arrive(piece)
        assert inbox.release(stream, piece) == (0, 0)


def test_heads_that_nobody_takes_have_a_bound() -> None:
    """No window holds them back: the one stalled longest is given up, until they fit."""
    inbox = Inbox(LIMITS, 1)
    streams = [make(inbox, half=Half.HEAD) for _ in range(200)]
    wide = ResponseHead(200, tuple([(b"a", b"")] * 256))
    for stream in streams:
        inbox.receive(stream, Response(ONE, wide))
    assert not inbox.crowded
    assert inbox.victim(streams) is None
    large = Trailers(ONE, ((b"a", bytes(MAX_FRAME_BYTES)),))
    for stream in streams:
        inbox.receive(stream, large)
    assert inbox.crowded
    assert inbox.head_bytes > len(streams) * MAX_FRAME_BYTES
    assert inbox.victim(streams) is streams[0]
    for stream in streams:
        inbox.took_head(stream, large.fields)
    assert inbox.victim(streams) is None
    for stream in streams:
        inbox.drop(stream)
        assert not inbox.crowded
    assert inbox.head_bytes == 0


def test_a_squeezed_tunnel_has_a_victim_sooner() -> None:
    """A share of the process's memory bounds it, until it is told that all is well."""
    inbox = Inbox(LIMITS, 1)
    stream = make(inbox)
    take_in(inbox, stream, 90)
    assert inbox.victim([stream]) is None
    inbox.squeeze(50)
    assert inbox.victim([stream]) is stream
    inbox.squeeze(5000)
    assert inbox.victim([stream]) is None
    inbox.squeeze(50)
    inbox.squeeze(0)
    assert inbox.victim([stream]) is None
