"""What a peer costs without moving anything: glitches, and how many of them a minute may have.

A frame can be allowed and still be of no use: a PING, a grant of one byte, content for a stream
that is over. Each is cheap to send and costs its receiver a decision, sometimes an answer. Honest
ends cause a few; a peer that lives on them is told to calm down (RFC 9113 §10.5 asks for such a
count, and HAProxy gave it the name). Pure: time comes in as seconds of any monotonic clock.
"""

from __future__ import annotations

from typing import Final

from wormkey.errors import ErrorCode, RemoteProtocolError
from wormkey.frames import Data, Frame, GoAway, Pause, Ping, Pong, Resume, Window

MAX_GLITCHES: Final = 10_000  # in a minute; at some 10 µs each that is a fifth of a percent
SMALL_GRANT_BYTES: Final = 1024  # honest ends grant an eighth of a window, 32 KiB, or more
SMALL_MESSAGE_BYTES: Final = 1024  # a message that completes no frame; honest ones are whole
LATE_FRAMES: Final = 64  # so many may come for each stream that this end is done with,
LATE_BYTES: Final = 64  # and one more for so much of the window that the peer had left,
LATE_WINDOW_BYTES: Final = 4 * 1024 * 1024  # of at most so much; v0 has no windows
MAX_LATE_FRAMES: Final = 1_000_000  # of all streams together
_MINUTE_S: Final = 60.0
_MOVE_NOTHING: Final = frozenset({Ping, Pong, GoAway, Pause, Resume})


class Calm:
    """The glitches of one tunnel's peer: a bucket that empties evenly, ``limit`` in a minute."""

    __slots__ = ("_at", "_expected", "_ignored", "_level", "_limit", "total")

    def __init__(self, limit: int = MAX_GLITCHES) -> None:
        """``limit`` glitches may come at once, and then as many in each minute."""
        self.total = 0
        self._limit = limit
        self._level = 0.0
        self._at: float | None = None
        self._expected = 0
        self._ignored = 0

    def glitch(self, count: int = 1) -> None:
        """Count ``count`` glitches; settle() says whether they are too many."""
        self.total += count
        self._level += count

    def message(self, size_bytes: int, frames: int, ignored: int) -> None:
        """Look at a message: how many frames it completed, and how many were ignored so far."""
        if ignored != self._ignored:
            self.glitch(ignored - self._ignored)
            self._ignored = ignored
        elif not frames and size_bytes < SMALL_MESSAGE_BYTES:
            self.glitch()

    def frame(self, frame: Frame) -> None:
        """Look at a frame by itself, whatever it is about."""
        if isinstance(frame, Data):
            if not (frame.data or frame.end_stream):
                self.glitch()
        elif isinstance(frame, Window):
            if frame.increment < SMALL_GRANT_BYTES:
                self.glitch()
        elif type(frame) in _MOVE_NOTHING:
            self.glitch()

    def over(self, window_bytes: int) -> None:
        """Expect what the peer may have sent before it heard that a stream is over."""
        left_bytes = window_bytes if window_bytes < LATE_WINDOW_BYTES else LATE_WINDOW_BYTES
        expected = self._expected + LATE_FRAMES + left_bytes // LATE_BYTES
        self._expected = expected if expected < MAX_LATE_FRAMES else MAX_LATE_FRAMES

    def late(self) -> None:
        """Count a frame of a stream that is over, unless it was to be expected."""
        if self._expected:
            self._expected -= 1
        else:
            self.glitch()

    def settle(self, now: float) -> None:
        """Let time pass, then hold the peer to its limit.

        Raises:
            RemoteProtocolError: ENHANCE_YOUR_CALM; the tunnel ends.
        """
        passed_s = 0.0 if self._at is None else max(0.0, now - self._at)
        self._at = now
        self._level = max(0.0, self._level - passed_s * self._limit / _MINUTE_S)
        if self._level > self._limit:
            text = f"over {self._limit} frames in a minute that move nothing"
            raise RemoteProtocolError(text, ErrorCode.ENHANCE_YOUR_CALM)
