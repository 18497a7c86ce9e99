"""stream.py: the table of halves is the whole truth of what may follow what."""

from __future__ import annotations

from itertools import product

import pytest

from tests.support import codec
from wormkey.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from wormkey.frames import StreamId
from wormkey.stream import TABLE, Half, Input, Stream
from wormkey.windows import ReceiveWindow, SendWindow

ROWS = {(row["State"], row["Input"]): row["Next"] for row in codec.tables()["states"]}
CASES = list(product(Half, Input))


def make(half: Half) -> Stream:
    """A stream whose two halves are both at ``half``."""
    return Stream(StreamId(1), half, half, SendWindow(10), ReceiveWindow.of(10))


def test_the_states_are_those_of_the_document() -> None:
    """docs/protocol.md §4 and the code hold the same rows."""
    assert {(h.name, i.name): after.name for (h, i), after in TABLE.items()} == ROWS


@pytest.mark.parametrize(("half", "what"), CASES)
def test_the_table_moves_both_halves(half: Half, what: Input) -> None:
    """Every state with every input: moved by its row, else refused and left as it was."""
    stream = make(half)
    after = TABLE.get((half, what))
    if after is not None:
        stream.receive(what)
        assert (stream.receiving, stream.sending) == (after, half)
        stream.send(what)
        assert stream.sending is after
        return
    code = ErrorCode.STREAM_CLOSED if half is Half.ENDED else ErrorCode.PROTOCOL_ERROR
    with pytest.raises(RemoteProtocolError) as theirs:
        stream.receive(what)
    with pytest.raises(LocalProtocolError) as ours:
        stream.send(what)
    assert theirs.value.code is ours.value.code is code
    assert stream.receiving is stream.sending is half


def test_a_stream_wants_to_send_what_its_window_takes() -> None:
    """Content waits for the window, an end does not."""
    stream = make(Half.CONTENT)
    assert not stream.wants_to_send
    stream.end_queued = True
    assert stream.wants_to_send
    stream.outbox_bytes = 1
    assert stream.wants_to_send
    stream.send_window.consume(10)
    assert not stream.wants_to_send


def test_a_stream_is_over_when_its_ends_are_out_and_in() -> None:
    """Nothing queued, both halves ended; any one thing missing keeps it open."""
    stream = make(Half.ENDED)
    assert stream.finished
    stream.outbox_bytes = 1
    assert not stream.finished
    stream.outbox_bytes = 0
    stream.end_queued = True
    assert not stream.finished
    for half in (Half.HEAD, Half.CONTENT):
        for name in ("sending", "receiving"):
            stream = make(Half.ENDED)
            setattr(stream, name, half)
            assert not stream.finished
