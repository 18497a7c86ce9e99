"""The ends of WebSocket frames are known however the bytes are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection
from wsproto.frame_protocol import FrameProtocol

from wormkey.boundary import SERVICE_RESTART, Boundary, close_frame

SIZES = (0, 1, 125, 126, 127, 65_535, 65_536)


def _frames(sizes: list[int]) -> list[bytes]:
    protocol = FrameProtocol(client=False, extensions=[])
    return [protocol.send_data(bytes(size), fin=True) for size in sizes]


@given(
    st.lists(st.sampled_from(SIZES), min_size=1, max_size=5),
    st.lists(st.integers(1, 70_000), max_size=20),
)
def test_it_stands_at_a_boundary_exactly_where_a_frame_ends(
    sizes: list[int], cuts: list[int]
) -> None:
    """Each cut is judged as the sum of the frames' lengths says."""
    frames = _frames(sizes)
    ends = {sum(map(len, frames[:count])) for count in range(len(frames) + 1)}
    data, boundary, at = b"".join(frames), Boundary(), 0
    for step in (*cuts, len(data)):
        boundary.feed(data[at : at + step])
        at = min(at + step, len(data))
        assert boundary.whole == (at in ends)


@pytest.mark.parametrize("size", SIZES)
def test_a_frame_may_come_octet_by_octet(size: int) -> None:
    """Only its last octet makes it whole."""
    (frame,) = _frames([size])
    boundary = Boundary()
    seen = []
    for at in range(len(frame)):
        boundary.feed(memoryview(frame)[at : at + 1])
        seen.append(boundary.whole)
    assert seen == [False] * (len(frame) - 1) + [True]


@pytest.mark.parametrize("frame", [b"\x88\x00", b"\x88\x02\x03\xe8", b"\x81\x81abcdx", b"\x81\xff"])
def test_after_a_close_or_what_no_server_sends_nothing_may_follow(frame: bytes) -> None:
    """A second close frame, or one amid unknown bytes, would be a lie."""
    boundary = Boundary()
    boundary.feed(frame + bytes(8))
    boundary.feed(b"\x81\x00")
    assert not boundary.whole


def test_the_close_frame_is_one_that_others_read() -> None:
    """An independent reader finds code and reason."""
    reader = Connection(ConnectionType.CLIENT)
    reader.receive_data(close_frame(SERVICE_RESTART, "the tunnel was lost"))
    (event,) = reader.events()
    assert event == CloseConnection(code=SERVICE_RESTART, reason="the tunnel was lost")
