"""What waits to leave one tunnel, and the order in which it does: control first, then content.

Control frames (heads, grants, resets, pings) go in the order they came. Content goes round-robin
over the streams that have some and may send it, so that one download cannot keep a small answer
waiting for more than a quantum of each other stream. Frames that are ready together travel in one
message. Knows frames only as bytes; states are stream.py's, arithmetic is windows.py's.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from wormkey import wire, wire0
from wormkey.errors import ErrorCode, RemoteProtocolError
from wormkey.frames import MAX_FRAME_BYTES, MAX_WINDOW_BYTES, Data, Pong, StreamId
from wormkey.stream import Half
from wormkey.windows import SendWindow

if TYPE_CHECKING:
    from wormkey.stream import Stream

HEADER: Final = wire.HEADER_BYTES
QUANTUM_BYTES: Final = 16 * 1024  # a stream's turn while others wait; one TLS record's worth
SLACK_FRAMES: Final = 1024  # control frames beyond four for each stream that may be open
MAX_QUEUED_PONGS: Final = 64  # a peer that pings faster than it reads
MAX_QUEUED_HEAD_BYTES: Final = 8 * 1024 * 1024  # beyond it, no new stream adds a head


class Outbox:
    """The frames of one tunnel that are ready, or wait for a window."""

    def __init__(self, version: int) -> None:
        """v1 joins frames into messages of up to 64 KiB; v0 puts one frame in each message."""
        self.window = SendWindow(0 if version else MAX_WINDOW_BYTES)
        self._joins = bool(version)
        self._max_data_bytes = MAX_FRAME_BYTES if version else wire0.MAX_DATA_BYTES0
        self._encode_pong = wire.encode if version else wire0.encode0
        self._pong_type = int(wire.FrameType.PONG if version else wire0.MessageType.PONG)
        self._pongs = 0
        self._control: deque[bytes] = deque()
        self._control_bytes = 0
        # Lists, since an empty deque takes 0.6 KiB and max_streams bounds what pop(0) moves.
        self._line: list[Stream] = []  # of streams with content, the windows bound it
        self._ends: list[Stream] = []  # of streams with only an end left, nothing does
        self._drained: list[StreamId] = []

    def open(self, window_bytes: int) -> None:
        """Take the peer's tunnel window from its HELLO."""
        self.window = SendWindow(window_bytes)

    def put(self, frame: bytes) -> None:
        """Queue a control frame; b"" is a frame that this version has no word for."""
        if frame:
            self._control.append(frame)
            self._control_bytes += len(frame)

    def put_pong(self, payload: bytes) -> None:
        """Queue the answer to a PING.

        Raises:
            RemoteProtocolError: the peer pings faster than it reads the answers.
        """
        if self._pongs == MAX_QUEUED_PONGS:
            raise RemoteProtocolError("a flood of PINGs", ErrorCode.ENHANCE_YOUR_CALM)
        self._pongs += 1
        self.put(self._encode_pong(Pong(payload)))

    def _next_control(self) -> bytes:
        frame = self._control.popleft()
        self._control_bytes -= len(frame)
        if frame[0] == self._pong_type:
            self._pongs -= 1
        return frame

    def add(self, stream: Stream, data: bytes) -> None:
        """Queue content of a stream."""
        stream.outbox.append(data)
        stream.outbox_bytes += len(data)
        self.mark(stream)

    def mark(self, stream: Stream) -> None:
        """Put a stream in the line if it can send and does not stand there already."""
        if not stream.queued and stream.wants_to_send:
            stream.queued = True
            (self._line if stream.outbox_bytes else self._ends).append(stream)

    def forget(self, stream: Stream) -> None:
        """Drop what a stream that is over has queued."""
        if stream.queued:
            stream.queued = False
            (self._line if stream.outbox_bytes else self._ends).remove(stream)
        if stream.outbox_bytes:
            stream.outbox.clear()
            stream.outbox_bytes = 0
        stream.end_queued = False

    @property
    def ready(self) -> bool:
        """Whether next_message has something."""
        if self._control or self._ends:
            return True
        return bool(self._line) and self.window.available_bytes > 0

    def check_bound(self, max_streams: int) -> None:
        """Refuse a peer that makes us queue answers which it does not read.

        Raises:
            RemoteProtocolError: more control frames wait than honest streams could have caused.
        """
        if len(self._control) > 4 * max_streams + SLACK_FRAMES:
            raise RemoteProtocolError("too many unread answers", ErrorCode.ENHANCE_YOUR_CALM)

    def crowded(self, max_streams: int) -> bool:
        """Whether so many heads and resets wait for the peer that no new stream may add one."""
        return (
            len(self._control) > max_streams + SLACK_FRAMES // 2
            or self._control_bytes > MAX_QUEUED_HEAD_BYTES
        )

    def take_drained(self) -> list[StreamId]:
        """Return the streams of which content went out since the last call."""
        drained, self._drained = self._drained, []
        return drained

    def next_message(self) -> bytes:
        """Return the next message, b"" when nothing may go out now."""
        control = self._control
        if not self._joins:
            return (
                self._next_control() if control else b"".join(self._next_content(MAX_FRAME_BYTES))
            )
        if len(control) == 1 and not (self._line or self._ends):
            return self._next_control()  # as most heads, grants and answers go
        parts: list[bytes] = []
        size = 0
        while control and (not parts or size + len(control[0]) <= MAX_FRAME_BYTES):
            frame = self._next_control()
            parts.append(frame)
            size += len(frame)
        while not control and (self._line or self._ends) and size + HEADER < MAX_FRAME_BYTES:
            room = MAX_FRAME_BYTES if not parts else MAX_FRAME_BYTES - size - HEADER
            content = self._next_content(room)
            if not content:
                break
            parts += content
            size += sum(map(len, content))
        return b"".join(parts)

    def _next_content(self, room: int) -> list[bytes]:
        """Return one frame in parts: an end that waits, or content of the next stream in line.

        No look at a stream is in vain: a peer that grants the tunnel byte by byte would buy a
        look at each of a thousand with every byte.
        """
        if self._ends:
            stream = self._ends[0]
            if stream.trailers and len(stream.trailers) > room + HEADER:
                return []  # it keeps its place and opens the next message, where it fits
            self._ends.pop(0)
            stream.queued = False
            return self._end_of(stream)
        if not (self._line and self.window.available_bytes):
            return []
        stream = self._line.pop(0)
        stream.queued = False
        parts = self._content_of(stream, room)
        if stream.outbox_bytes or stream.end_queued:
            self.mark(stream)
        return parts

    def _content_of(self, stream: Stream, room: int) -> list[bytes]:
        quantum = QUANTUM_BYTES if self._line else MAX_FRAME_BYTES
        count = min(
            room,
            quantum,
            self._max_data_bytes,
            stream.outbox_bytes,
            stream.send_window.available_bytes,
            self.window.available_bytes,
        )
        return self._data_frame(stream, count)

    def _end_of(self, stream: Stream) -> list[bytes]:
        stream.end_queued = False
        self._drained.append(stream.id)
        if stream.trailers is not None:
            return [stream.trailers]
        if not self._joins:
            return [wire0.encode0(Data(stream.id, b"", end_stream=True))]
        return [wire.data_header(stream.id, 0, end_stream=True, blocked=False)]

    def _data_frame(self, stream: Stream, count: int) -> list[bytes]:
        if count == stream.outbox_bytes:  # all that there is, as it is with a small answer
            data = [*stream.outbox]
            stream.outbox.clear()
            stream.outbox_bytes = 0
        else:
            data = _take(stream, count)
        stream.send_window.consume(count)
        self.window.consume(count)
        self._drained.append(stream.id)
        if not self._joins:
            # A v0 peer grants nothing: its windows are only there to have one arithmetic.
            stream.send_window.available_bytes = self.window.available_bytes = MAX_WINDOW_BYTES
            return [wire0.encode0(Data(stream.id, b"".join(data)))]
        ends = not stream.outbox_bytes and stream.end_queued and stream.trailers is None
        if ends:
            stream.end_queued = False
        # More content waits, or may be about to: the half has not ended.
        blocked = not stream.send_window.available_bytes and bool(
            stream.outbox_bytes or stream.sending is not Half.ENDED
        )
        return [wire.data_header(stream.id, count, end_stream=ends, blocked=blocked), *data]


def _take(stream: Stream, count: int) -> list[bytes]:
    """Take ``count`` bytes from the front of a stream's queue, cutting the last piece."""
    parts = []
    stream.outbox_bytes -= count
    while count:
        piece = stream.outbox.popleft()
        if len(piece) > count:
            stream.outbox.appendleft(piece[count:])
            piece = piece[:count]
        parts.append(piece)
        count -= len(piece)
    return parts
