"""outbox.py: control first, content in turns, no message longer than the peer takes."""

from __future__ import annotations

from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wormkey import wire, wire0
from wormkey.errors import ErrorCode, RemoteProtocolError
from wormkey.frames import (
    MAX_FRAME_BYTES,
    MAX_MESSAGE_BYTES,
    Data,
    Frame,
    Ping,
    Pong,
    Reset,
    StreamId,
    Trailers,
    Window,
)
from wormkey.outbox import (
    MAX_QUEUED_HEAD_BYTES,
    MAX_QUEUED_PONGS,
    QUANTUM_BYTES,
    SLACK_FRAMES,
    Outbox,
)
from wormkey.stream import Half, Stream
from wormkey.windows import ReceiveWindow, SendWindow

WIDE = 1 << 30
PING = wire.encode(Ping(b"12345678"))


def make(number: int = 1, window: int = WIDE) -> Stream:
    """A stream whose peer takes ``window`` bytes."""
    return Stream(
        StreamId(number), Half.CONTENT, Half.CONTENT, SendWindow(window), ReceiveWindow.of(0)
    )


def open_outbox(window: int = WIDE) -> Outbox:
    """An Outbox whose peer has said HELLO."""
    outbox = Outbox(1)
    outbox.open(window)
    return outbox


def end(outbox: Outbox, stream: Stream, trailers: bytes | None = None) -> None:
    """Queue the end of a stream's half, as the Mux does."""
    stream.trailers = trailers
    stream.end_queued = True
    outbox.mark(stream)


def frames(message: bytes) -> list[Frame]:
    """What a message says."""
    return wire.Decoder().feed(message)


def drain(outbox: Outbox) -> list[bytes]:
    """All messages that can leave now."""
    taken = []
    while outbox.ready:
        message = outbox.next_message()
        assert message, "ready, but nothing came"
        taken.append(message)
    assert outbox.next_message() == b""
    return taken


def test_nothing_is_ready_at_first() -> None:
    """No message, and a frame that the version has no word for is none."""
    outbox = open_outbox()
    outbox.put(b"")
    assert not outbox.ready
    assert outbox.next_message() == b""


def test_control_goes_before_content_and_in_its_order() -> None:
    """A grant does not wait behind a download; both share a message."""
    outbox = open_outbox()
    stream = make()
    outbox.add(stream, b"content")
    outbox.put(wire.encode(Window(StreamId(1), 5)))
    outbox.put(PING)
    (message,) = drain(outbox)
    assert frames(message) == [
        Window(StreamId(1), 5),
        Ping(b"12345678"),
        Data(StreamId(1), b"content"),
    ]


def test_many_control_frames_take_several_messages() -> None:
    """None is longer than a frame may be, none is lost, content comes last."""
    outbox = open_outbox()
    resets = [Reset(StreamId(1), ErrorCode.CANCELLED, bytes(1000)) for _ in range(200)]
    for reset in resets:
        outbox.put(wire.encode(reset))
    outbox.add(make(), b"x")
    taken = drain(outbox)
    assert len(taken) == 4
    assert all(len(message) <= MAX_FRAME_BYTES for message in taken)
    assert [f for m in taken for f in frames(m)] == [*resets, Data(StreamId(1), b"x")]


def test_a_lone_download_fills_its_frames() -> None:
    """Nobody else waits: 64 KiB at a time, cut from whatever pieces it was given in."""
    outbox = open_outbox()
    stream = make()
    content = bytes(range(256)) * 1024
    for at in range(0, len(content), 50_000):
        outbox.add(stream, content[at : at + 50_000])
    sizes = []
    got = b""
    for message in drain(outbox):
        (frame,) = frames(message)
        assert isinstance(frame, Data)
        sizes.append(len(frame.data))
        got += frame.data
    assert got == content
    assert sizes == [MAX_FRAME_BYTES] * 4


def test_a_small_answer_waits_for_a_quantum_of_each_other_stream() -> None:
    """Ten downloads are under way: the small one is sent after one turn of each."""
    outbox = open_outbox()
    for number in range(1, 11):
        outbox.add(make(number), bytes(1 << 20))
    outbox.next_message()
    small = make(11)
    outbox.add(small, b"small")
    before = 0
    while small.outbox_bytes:
        for frame in frames(outbox.next_message()):
            assert isinstance(frame, Data)
            assert len(frame.data) <= QUANTUM_BYTES
            before += len(frame.data) if frame.stream_id != 11 else 0
    # One message is always sent whole, so the end of it may stand behind the small one.
    assert before <= 10 * QUANTUM_BYTES + MAX_FRAME_BYTES


def test_streams_take_turns() -> None:
    """Round-robin: no stream has two turns while another one waits."""
    outbox = open_outbox()
    for number in (1, 2, 3):
        outbox.add(make(number), bytes(10 * QUANTUM_BYTES))
    ids = [f.stream_id for m in drain(outbox)[:6] for f in frames(m) if isinstance(f, Data)]
    assert all(len(list(turns)) == 1 for _, turns in groupby(ids))
    assert {ids.count(number) for number in (1, 2, 3)} <= {7, 8, 9}


def test_a_full_stream_window_stops_that_stream_only() -> None:
    """The frame that uses it up says BLOCKED; a grant lets the stream go on."""
    outbox = open_outbox()
    slow, quick = make(1, window=3), make(2)
    outbox.add(slow, b"abcdef")
    outbox.add(quick, b"quick")
    (message,) = drain(outbox)
    assert frames(message) == [
        Data(StreamId(1), b"abc", blocked=True),
        Data(StreamId(2), b"quick"),
    ]
    slow.send_window.grant(10)
    outbox.mark(slow)
    (message,) = drain(outbox)
    assert frames(message) == [Data(StreamId(1), b"def")]


def test_a_full_tunnel_window_stops_content_but_no_ends() -> None:
    """Frames without content are never held back by a window (docs/protocol.md §5)."""
    outbox = open_outbox(window=4)
    waiting, ending, trailing = make(1), make(2), make(3)
    outbox.add(waiting, b"abcdef")
    (message,) = drain(outbox)
    assert frames(message) == [Data(StreamId(1), b"abcd")]
    end(outbox, ending)
    end(outbox, trailing, wire.encode(Trailers(StreamId(3), ((b"A", b"1"),))))
    (message,) = drain(outbox)
    assert frames(message) == [
        Data(StreamId(2), b"", end_stream=True),
        Trailers(StreamId(3), ((b"A", b"1"),)),
    ]
    outbox.window.grant(2)
    (message,) = drain(outbox)
    assert frames(message) == [Data(StreamId(1), b"ef")]


def test_an_end_leaves_though_its_stream_s_window_is_used_up() -> None:
    """The last bytes fit exactly, the end comes later and needs no window."""
    outbox = open_outbox()
    stream = make(window=3)
    outbox.add(stream, b"abc")
    drain(outbox)
    end(outbox, stream)
    (message,) = drain(outbox)
    assert frames(message) == [Data(StreamId(1), b"", end_stream=True)]


def test_an_end_travels_with_the_last_content() -> None:
    """One frame, not two; trailers are a frame of their own, behind the content."""
    outbox = open_outbox()
    plain, trailing = make(1), make(2)
    outbox.add(plain, b"abc")
    end(outbox, plain)
    outbox.add(trailing, b"def")
    end(outbox, trailing, wire.encode(Trailers(StreamId(2), ())))
    (message,) = drain(outbox)
    assert frames(message) == [
        Data(StreamId(1), b"abc", end_stream=True),
        Data(StreamId(2), b"def"),
        Trailers(StreamId(2), ()),
    ]


def test_what_left_is_told_once() -> None:
    """Senders who wait are woken by it."""
    outbox = open_outbox()
    stream = make()
    outbox.add(stream, b"abc")
    outbox.add(make(2), b"")
    drain(outbox)
    assert outbox.take_drained() == [StreamId(1)]
    assert outbox.take_drained() == []


def test_a_forgotten_stream_sends_nothing() -> None:
    """Neither content nor its end; the others keep their places."""
    outbox = open_outbox()
    gone, other, idle = make(1), make(2), make(3)
    outbox.add(gone, b"abc")
    end(outbox, gone)
    outbox.add(other, b"def")
    outbox.forget(gone)
    outbox.forget(idle)
    (message,) = drain(outbox)
    assert frames(message) == [Data(StreamId(2), b"def")]
    assert not gone.outbox_bytes


def test_a_large_trailer_section_opens_the_next_message() -> None:
    """It keeps its turn; no message is longer than the peer takes."""
    outbox = open_outbox()
    trailing, last = make(2), make(3)
    outbox.put(PING * 100)
    trailers = Trailers(StreamId(2), ((b"A", bytes(60_000)), (b"B", bytes(5000))))
    end(outbox, trailing, wire.encode(trailers))
    outbox.add(last, b"last")
    one, two = drain(outbox)
    assert frames(one) == [Ping(b"12345678")] * 100
    assert frames(two) == [trailers, Data(StreamId(3), b"last")]


def test_an_end_does_not_wait_for_the_content_of_others() -> None:
    """No window holds it back; a stream that ends between its neighbours keeps its own order."""
    outbox = open_outbox(window=5)
    waiting, ending = make(1), make(2)
    outbox.add(waiting, b"abcdef")
    outbox.add(ending, b"x")
    end(outbox, waiting)
    end(outbox, ending, wire.encode(Trailers(StreamId(2), ())))
    assert frames(b"".join(drain(outbox))) == [Data(StreamId(1), b"abcde")]
    outbox.forget(waiting)
    outbox.window.grant(1)
    assert frames(b"".join(drain(outbox))) == [Data(StreamId(2), b"x"), Trailers(StreamId(2), ())]


def test_a_grant_of_one_byte_buys_one_look() -> None:
    """A thousand streams wait; whoever grants the tunnel byte by byte wakes one of them."""
    looks = 0

    class Seen(SendWindow):
        @property
        def available_bytes(self) -> int:  # type: ignore[override]
            nonlocal looks
            looks += 1
            return WIDE

        @available_bytes.setter
        def available_bytes(self, value: int) -> None:
            pass

    outbox = open_outbox(window=0)
    for number in range(1, 1001):
        stream = make(number)
        stream.send_window = Seen(WIDE)
        outbox.add(stream, b"content")
    looks = 0
    outbox.window.grant(1)
    assert frames(b"".join(drain(outbox))) == [Data(StreamId(1), b"c")]
    assert looks < 10


@given(
    st.lists(st.integers(0, 70_000), max_size=6),
    st.lists(st.integers(0, 65_000), max_size=4),
    st.lists(st.integers(0, MAX_FRAME_BYTES - 8), max_size=4),
)
def test_no_message_is_over_the_limit(
    content: list[int], control: list[int], trailers: list[int]
) -> None:
    """Whatever waits, and nothing of it is lost."""
    outbox = open_outbox()
    for number, size in enumerate(trailers, 1):
        fields = ((b"A", bytes(size)),) if size else ()
        end(outbox, make(number), wire.encode(Trailers(StreamId(number), fields)))
    for number, size in enumerate(content, 100):
        outbox.add(make(number), bytes(size))
    for size in control:
        outbox.put(wire.data_header(StreamId(99), size, end_stream=False, blocked=False))
        outbox.put(bytes(size))
    got = drain(outbox)
    assert all(len(message) <= MAX_MESSAGE_BYTES for message in got)
    seen = wire.Decoder().feed(b"".join(got))
    assert sum(isinstance(frame, Trailers) for frame in seen) == len(trailers)
    total = sum(len(frame.data) for frame in seen if isinstance(frame, Data))
    assert total == sum(content) + sum(control)


def test_v0_puts_one_frame_in_each_message() -> None:
    """32 KiB at a time, the end in a message of its own, and windows never run out."""
    outbox = Outbox(0)
    stream = make(window=1 << 31)
    outbox.add(stream, bytes(100_000))
    end(outbox, stream)
    outbox.put(wire0.encode0(Ping()))
    taken = drain(outbox)
    got = [frame for message in taken for frame in wire0.Decoder0().feed(message)]
    assert got[0] == Ping()
    sizes = [len(frame.data) for frame in got[1:] if isinstance(frame, Data)]
    assert sizes == [32768, 32768, 32768, 100_000 - 3 * 32768, 0]
    assert got[-1] == Data(StreamId(1), b"", end_stream=True)
    assert outbox.window.available_bytes == stream.send_window.available_bytes


def test_pongs_are_bounded_by_those_that_did_not_leave() -> None:
    """64 may wait; each one that leaves makes room for one, though content always waits."""
    outbox = open_outbox()
    outbox.add(make(), bytes(100 << 20))
    for _ in range(3):
        for _ in range(MAX_QUEUED_PONGS):
            outbox.put_pong(b"12345678")
        with pytest.raises(RemoteProtocolError) as caught:
            outbox.put_pong(b"12345678")
        assert caught.value.code is ErrorCode.ENHANCE_YOUR_CALM
        pongs = [f for f in frames(outbox.next_message()) if isinstance(f, Pong)]
        assert pongs == [Pong(b"12345678")] * MAX_QUEUED_PONGS
        assert outbox.ready


def test_v0_pongs_are_bounded_too() -> None:
    """One message, one PONG, one more that may wait."""
    outbox = Outbox(0)
    for _ in range(MAX_QUEUED_PONGS):
        outbox.put_pong(b"")
    assert wire0.Decoder0().feed(outbox.next_message()) == [Pong()]
    outbox.put_pong(b"")
    with pytest.raises(RemoteProtocolError):
        outbox.put_pong(b"")


def test_answers_that_nobody_reads_are_bounded() -> None:
    """What honest streams may cause is taken, more is a flood."""
    outbox = open_outbox()
    for _ in range(4 * 10 + SLACK_FRAMES):
        outbox.put(PING)
    outbox.check_bound(10)
    outbox.put(PING)
    with pytest.raises(RemoteProtocolError) as caught:
        outbox.check_bound(10)
    assert caught.value.code is ErrorCode.ENHANCE_YOUR_CALM


def test_a_tunnel_is_crowded_before_it_is_flooded() -> None:
    """By count or by size; new streams are refused, so viewers cannot cause a flood."""
    outbox = open_outbox()
    assert not outbox.crowded(10)
    for _ in range(10 + SLACK_FRAMES // 2 + 1):
        outbox.put(PING)
    assert outbox.crowded(10)
    outbox.check_bound(10)
    drain(outbox)
    assert not outbox.crowded(10)
    for _ in range(MAX_QUEUED_HEAD_BYTES // MAX_FRAME_BYTES + 1):
        outbox.put(bytes(MAX_FRAME_BYTES))
    assert outbox.crowded(10)
