"""framemeter.py: fragments and control frames are counted before anybody keeps them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wormkey.carrier import binary_frame
from wormkey.errors import ErrorCode, RemoteProtocolError
from wormkey.framemeter import FREE_PIECES, PIECE_BYTES, FrameMeter

HEAD = b"GET /tunnel HTTP/1.1\r\nHost: a\r\n\r\n"
EMPTY_START = bytes([0x02, 0x80, 0, 0, 0, 0])
EMPTY_MORE = bytes([0x00, 0x80, 0, 0, 0, 0])
EMPTY_END = bytes([0x80, 0x80, 0, 0, 0, 0])
PING = bytes([0x89, 0x81, 0, 0, 0, 0, 1])
PONG = bytes([0x8A, 0x80, 0, 0, 0, 0])
CLOSE = bytes([0x88, 0x82, 0, 0, 0, 0, 3, 232])


def fragment(size: int, *, first: bool = False) -> bytes:
    """A fragment that is not the last one."""
    frame = bytearray(binary_frame(bytes(size), masked=False))
    frame[0] = 0x02 if first else 0x00
    return bytes(frame)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, 1 << 20])
def test_whole_messages_are_no_glitches(size: int, *, masked: bool) -> None:
    """Whatever their length takes to say, and however often they come."""
    meter = FrameMeter(in_head=False)
    assert sum(meter.feed(binary_frame(bytes(size), masked=masked)) for _ in range(3000 >> 8)) == 0


@given(st.lists(st.integers(0, 300), max_size=12), st.data())
def test_any_slicing_counts_the_same(sizes: list[int], data: st.DataObject) -> None:
    """Heads, headers and payloads may be cut anywhere."""
    wire = HEAD + b"".join(binary_frame(bytes(n), masked=True) + PING + PONG for n in sizes)
    meter, count, at = FrameMeter(), 0, 0
    while at < len(wire):
        step = data.draw(st.integers(1, 64))
        count += meter.feed(wire[at : at + step])
        at += step
    assert count == 2 * len(sizes)


@pytest.mark.parametrize("end", [b"\r\n\r\n", b"\n\n", b"\r\n\n", b"\n\r\n"])
def test_the_head_ends_where_a_lenient_parser_ends_it(end: bytes) -> None:
    """A head that hides its end from the meter would hide every frame."""
    meter = FrameMeter()
    assert meter.feed(b"HTTP/1.1 101 x" + end + PING) == 1
    assert meter.feed(PING) == 1


def test_control_frames_are_glitches_a_close_is_none() -> None:
    """Pings cost an answer each, pongs that nobody asked for a look."""
    meter = FrameMeter(in_head=False)
    assert meter.feed(PING * 5 + PONG * 3 + CLOSE) == 8


def test_small_fragments_are_glitches_large_ones_are_none() -> None:
    """A proxy may cut messages; nobody cuts them into crumbs."""
    meter = FrameMeter(in_head=False)
    assert meter.feed(fragment(4096, first=True) + fragment(4096) + EMPTY_END) == 0
    assert meter.feed(EMPTY_START + EMPTY_MORE + EMPTY_END) == 2


def test_fragments_of_nothing_are_refused() -> None:
    """The library keeps each until the message ends, and it need not end."""
    meter = FrameMeter(in_head=False)
    meter.feed(EMPTY_START + EMPTY_MORE * (FREE_PIECES - 1))
    with pytest.raises(RemoteProtocolError) as caught:
        meter.feed(EMPTY_MORE)
    assert caught.value.code is ErrorCode.ENHANCE_YOUR_CALM


def test_a_message_that_comes_byte_by_byte_is_refused() -> None:
    """One frame, but the library keeps what each read brought."""
    meter = FrameMeter(in_head=False)
    frame = binary_frame(bytes(60_000), masked=True)
    for at in range(FREE_PIECES + 16):
        meter.feed(frame[at : at + 1])
    with pytest.raises(RemoteProtocolError):
        meter.feed(frame[at + 1 : at + 2] * 20)


def test_a_long_message_in_honest_segments_passes() -> None:
    """16 MiB in pieces of a small TCP segment, twice; pings in between are no pieces."""
    meter = FrameMeter(in_head=False)
    frame = fragment(8 << 20, first=True) + PING + binary_frame(bytes(8 << 20), masked=False)
    count = 0
    for _ in range(2):
        for at in range(0, len(frame), 4 * PIECE_BYTES):
            count += meter.feed(frame[at : at + 4 * PIECE_BYTES])
    assert count == 2
