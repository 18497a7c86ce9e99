"""frames.py: the vocabulary is values, and its limits fit each other."""

from __future__ import annotations

from typing import get_args

import attrs
import pytest

from wormkey import frames
from wormkey.frames import Data, Frame, ResponseHead, StreamId


@pytest.mark.parametrize("kind", get_args(Frame))
def test_a_frame_is_a_frozen_value(kind: type) -> None:
    """A frame can be compared and handed around, and nobody can change it."""
    values = {field.name: 1 for field in attrs.fields(kind) if field.default is attrs.NOTHING}
    one, other = kind(**values), kind(**values)
    assert one == other
    assert hash(one) == hash(other)
    with pytest.raises(AttributeError):  # attrs' FrozenInstanceError, or no such slot
        one.stream_id = 2


@pytest.mark.parametrize(
    ("status", "interim"),
    [(100, True), (101, False), (102, True), (103, True), (199, True), (200, False), (999, False)],
)
def test_every_1xx_but_101_is_interim(status: int, interim: bool) -> None:
    """After an interim head another one follows; 101 is the last HTTP on its stream."""
    assert ResponseHead(status, ()).interim is interim


def test_a_frame_says_nothing_that_it_was_not_told() -> None:
    """The defaults are the plain case: no end, no blocked sender."""
    data = Data(StreamId(1), b"x")
    assert (data.end_stream, data.blocked) == (False, False)


def test_the_limits_fit_each_other() -> None:
    """A full frame fits one message, and every peer takes a frame that any other may send."""
    assert frames.MAX_MESSAGE_BYTES > frames.MAX_FRAME_BYTES
    assert frames.MIN_FRAME_LIMIT_BYTES >= frames.MAX_FRAME_BYTES
    assert frames.MAX_DETAIL_BYTES < frames.MAX_FRAME_BYTES
