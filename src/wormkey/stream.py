"""One stream's state: two halves, each HEAD, CONTENT, ENDED, and the table that moves them.

A half is one direction of the exchange. The table below is the whole truth of what may follow
what; docs/protocol.md §4 shows the same table and a test compares the two. The file knows no
role: which half sends is decided by whoever makes the Stream, so no rule can bend towards the
local side.
"""

from __future__ import annotations

import enum
from collections import deque
from typing import Final

from attrs import define, field

from wormkey.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from wormkey.frames import Fields, StreamId
from wormkey.windows import ReceiveWindow, SendWindow


class Half(enum.Enum):
    """Where one direction of a stream is."""

    HEAD = "head"
    CONTENT = "content"
    ENDED = "ended"

    __hash__ = object.__hash__  # a member is itself alone, and an enum's own hash is a call


class Input(enum.Enum):
    """What can happen to a half. END is the END_STREAM flag of the frame that carries it."""

    INTERIM = "interim head"
    HEAD = "head"
    DATA = "content"
    TRAILERS = "trailers"
    END = "end"

    __hash__ = object.__hash__


TABLE: Final[dict[tuple[Half, Input], Half]] = {
    (Half.HEAD, Input.INTERIM): Half.HEAD,
    (Half.HEAD, Input.HEAD): Half.CONTENT,
    (Half.CONTENT, Input.DATA): Half.CONTENT,
    (Half.CONTENT, Input.TRAILERS): Half.ENDED,
    (Half.CONTENT, Input.END): Half.ENDED,
}


@define(eq=False)
class Stream:
    """The protocol's view of one exchange; the bytes that wait to be sent are here too.

    ``outbox`` is bounded by the caller, who waits while ``outbox_bytes`` is over his mark; what it
    holds is sent as the windows allow. ``progress`` is the tunnel's counter at the last time
    the next hop took something, or got something to take: the smallest one stalled longest.
    """

    id: StreamId
    sending: Half
    receiving: Half
    send_window: SendWindow
    receive_window: ReceiveWindow
    outbox: deque[bytes] = field(factory=deque)
    outbox_bytes: int = 0
    end_queued: bool = False
    trailers: bytes | None = None  # the frame that ends the half, where it is no DATA frame
    queued: bool = False  # whether it stands in the mux's line of ready streams
    interim_heads: int = 0
    interim_bytes: int = 0
    head_bytes: int = 0  # what heads and trailers cost that nobody has taken
    last_head: Fields | None = None  # the newest of them,
    last_head_bytes: int = 0  # and its part of the cost, which need not be counted twice
    progress: int = 0
    starved: bool = False  # its sender ran out of window and has not been given more since

    def receive(self, what: Input) -> None:
        """Move the receiving half.

        Raises:
            RemoteProtocolError: the peer sent what may not follow; the half is unchanged.
        """
        try:
            self.receiving = TABLE[self.receiving, what]
        except KeyError:
            message = f"{what.value} on a stream whose receiving half is at {self.receiving.value}"
            raise RemoteProtocolError(message, _code(self.receiving)) from None

    def send(self, what: Input) -> None:
        """Move the sending half.

        Raises:
            LocalProtocolError: our caller tried what may not follow; the half is unchanged.
        """
        try:
            self.sending = TABLE[self.sending, what]
        except KeyError:
            message = f"{what.value} on a stream whose sending half is at {self.sending.value}"
            raise LocalProtocolError(message, _code(self.sending)) from None

    @property
    def wants_to_send(self) -> bool:
        """Whether a DATA or TRAILERS frame could go out now, as far as this stream is concerned."""
        if self.outbox_bytes:
            return self.send_window.available_bytes > 0
        return self.end_queued

    @property
    def finished(self) -> bool:
        """Whether both halves have ended and nothing is left to send: it is over on the wire."""
        return (
            self.sending is Half.ENDED
            and self.receiving is Half.ENDED
            and not self.outbox_bytes
            and not self.end_queued
        )


def _code(half: Half) -> ErrorCode:
    return ErrorCode.STREAM_CLOSED if half is Half.ENDED else ErrorCode.PROTOCOL_ERROR
