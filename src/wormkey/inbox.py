"""What one tunnel has received and its next hops have not taken: the windows, and their growth.

The Inbox decides, the Mux does: it answers with grants to send, with an error for the stream or
the tunnel, or with the stream to give up. Three bounds hold the memory of a tunnel whatever the
peer does: each stream's window, the tunnel's window, and, for v0 peers who know no windows, the
two limits that stand in for them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from attrs import frozen

from wormkey.calm import MAX_GLITCHES
from wormkey.errors import ErrorCode, RemoteProtocolError
from wormkey.frames import (
    MAX_FRAME_BYTES,
    MAX_WINDOW_BYTES,
    Data,
    Fields,
    Hello,
    Response,
    StreamId,
    Trailers,
)
from wormkey.stream import Half, Input, Stream
from wormkey.windows import ReceiveWindow, SendWindow

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_INTERIM_HEADS: Final = 32  # 1xx heads before the final one; more is a loop, not an answer
MAX_INTERIM_BYTES: Final = MAX_FRAME_BYTES  # of all of them: no window holds them back
MAX_HELD_HEAD_BYTES: Final = 8 * 1024 * 1024  # of all streams: no window holds heads back
FIELD_BYTES: Final = 150  # what a field costs in memory beside its octets
KIB: Final = 1024
MIN_MESSAGE_BYTES0: Final = 1024 * KIB  # existing clients send what their origin's socket gave
GROWTH_FACTOR: Final = 8  # of a window, at each step: two round trips from 256 KiB to 16 MiB
NEAR_WINDOW_BYTES: Final = 1024 * KIB  # where no round trip is felt, more is only more memory
PATH_RATE_BYTES: Final = 200_000_000  # a second: what a long path is taken to carry for one stream


@frozen(kw_only=True)
class MuxLimits:
    """What one end of a tunnel takes; docs/limits.md has the reasons."""

    stream_window_bytes: int = 256 * KIB
    max_stream_window_bytes: int = 16 * 1024 * KIB
    tunnel_window_bytes: int = 32 * 1024 * KIB
    max_growth_bytes: int = 16 * 1024 * KIB  # what all streams together may grow by
    max_streams: int = 1024
    v0_stream_bytes: int = 16 * 1024 * KIB
    v0_tunnel_bytes: int = 64 * 1024 * KIB
    max_glitches: int = MAX_GLITCHES  # in a minute
    agent: bytes = b"wormkey"

    @property
    def v0_message_bytes(self) -> int:
        """The longest v0 message taken: a small ``v0_stream_bytes`` costs a stream, no tunnel."""
        return max(self.v0_stream_bytes, MIN_MESSAGE_BYTES0)

    def hello(self, version: int) -> Hello:
        """Return the HELLO that tells the peer."""
        return Hello(
            version=version,
            stream_window_bytes=self.stream_window_bytes,
            tunnel_window_bytes=self.tunnel_window_bytes,
            max_frame_bytes=MAX_FRAME_BYTES,
            max_streams=self.max_streams,
            agent=self.agent,
        )


@frozen
class MuxStatistics:
    """A snapshot of one tunnel's protocol state."""

    streams: int
    held_bytes: int
    queued_bytes: int
    going_away: bool


class Inbox:
    """The receiving side of a tunnel's flow control."""

    def __init__(self, limits: MuxLimits, version: int) -> None:
        """``version`` 0 has no windows on the wire: everything fits, the limits decide."""
        self._limits = limits
        self._windows = bool(version)
        self._grown_bytes = 0
        self._round_trip_s = math.inf
        self._path_bytes = NEAR_WINDOW_BYTES
        self._progress = 0
        self._head_bytes = 0
        self._tunnel = ReceiveWindow.of(limits.tunnel_window_bytes if version else MAX_WINDOW_BYTES)
        self._relief_bytes = (
            limits.tunnel_window_bytes * 3 // 4 if version else limits.v0_tunnel_bytes
        )
        self._held_limit_bytes = self._relief_bytes
        self._new_window_bytes = limits.stream_window_bytes if version else MAX_WINDOW_BYTES

    @property
    def held_bytes(self) -> int:
        """What all streams together hold: the tunnel's cost in memory, beside its heads."""
        return self._tunnel.held_bytes

    @property
    def head_bytes(self) -> int:
        """What heads cost that nobody has taken."""
        return self._head_bytes

    def new_window(self) -> ReceiveWindow:
        """Return the receive window of a new stream."""
        return ReceiveWindow(self._new_window_bytes, self._new_window_bytes)

    def new_stream(
        self, stream_id: StreamId, sending: Half, receiving: Half, send_window: SendWindow
    ) -> Stream:
        """Return a new stream, with the receive window that its peer has been told."""
        window = ReceiveWindow(self._new_window_bytes, self._new_window_bytes)
        return Stream(stream_id, sending, receiving, send_window, window, progress=self.tick())

    @property
    def full(self) -> bool:
        """Whether there may be a victim."""
        held_bytes, head_bytes = self._tunnel.held_bytes, self._head_bytes
        return held_bytes > self._held_limit_bytes or head_bytes > MAX_HELD_HEAD_BYTES

    @property
    def crowded(self) -> bool:
        """Whether heads that nobody has taken cost so much that no new one may add to them."""
        return self._head_bytes > MAX_HELD_HEAD_BYTES

    def hold_head(self, stream: Stream, fields: Fields) -> None:
        """Count a head or a trailer section that arrived: no window holds it back."""
        size_bytes = _cost(fields)
        stream.last_head, stream.last_head_bytes = fields, size_bytes
        stream.head_bytes += size_bytes
        self._head_bytes += size_bytes

    def took_head(self, stream: Stream, fields: Fields) -> None:
        """Count one as taken."""
        size_bytes = stream.last_head_bytes if fields is stream.last_head else _cost(fields)
        stream.last_head = None
        stream.head_bytes -= size_bytes
        self._head_bytes -= size_bytes

    def tick(self) -> int:
        """Return the next value of the counter that is the ground's stand-in for a clock."""
        self._progress += 1
        return self._progress

    def arrive(self, size_bytes: int) -> None:
        """Count content that arrived on the tunnel.

        Raises:
            RemoteProtocolError: the peer overran the tunnel's window.
        """
        self._tunnel.arrive(size_bytes)

    def give_back(self, size_bytes: int) -> int:
        """Count content that nobody will take as taken; return the tunnel's grant now due."""
        return self._granted(self._tunnel.release(size_bytes))

    def receive(self, stream: Stream, frame: Data | Response | Trailers) -> None:
        """Move a stream's receiving half and its window.

        Raises:
            RemoteProtocolError: this stream broke a rule.
        """
        if isinstance(frame, Data):
            if frame.data:
                stream.receive(Input.DATA)
                if not stream.receive_window.held_bytes:
                    stream.progress = self.tick()  # an idle stream is not a stalled one
                stream.receive_window.arrive(len(frame.data))
            if frame.end_stream:
                stream.receive(Input.END)
            elif frame.blocked:
                stream.starved = self._windows
        elif isinstance(frame, Response):
            head = frame.head
            interim = head.interim
            stream.receive(Input.INTERIM if interim else Input.HEAD)
            self.hold_head(stream, head.fields)
            if interim:
                stream.interim_heads += 1
                stream.interim_bytes += sum(len(name) + len(v) for name, v in head.fields)
                if (
                    stream.interim_heads > MAX_INTERIM_HEADS
                    or stream.interim_bytes > MAX_INTERIM_BYTES
                ):
                    raise RemoteProtocolError("too many interim heads")
            if frame.end_stream:
                stream.receive(Input.END)
        else:
            stream.receive(Input.TRAILERS)
            self.hold_head(stream, frame.fields)

    def check_bound(self, stream: Stream) -> None:
        """Hold a v0 stream to its limit, which no window tells its peer.

        Raises:
            RemoteProtocolError: ENHANCE_YOUR_CALM; the viewer is too slow for a v0 client.
        """
        limit = self._limits.v0_stream_bytes
        if not self._windows and stream.receive_window.held_bytes > limit:
            text = f"over {limit} bytes wait for a reader"
            raise RemoteProtocolError(text, ErrorCode.ENHANCE_YOUR_CALM)

    def squeeze(self, share_bytes: int) -> None:
        """Hold no more than this from now on, for the process is short of memory; 0 for as usual.

        Stalled streams go (victim): now by Mux.relieve, and by content that arrives meanwhile.
        """
        self._held_limit_bytes = min(share_bytes or self._relief_bytes, self._relief_bytes)

    def measure(self, round_trip_s: float) -> None:
        """Take in a measured round trip: the shortest counts, others have waited behind content."""
        self._round_trip_s = min(self._round_trip_s, round_trip_s)
        self._path_bytes = max(NEAR_WINDOW_BYTES, int(self._round_trip_s * PATH_RATE_BYTES))

    def growth(self, stream: Stream) -> int:
        """Return the grant that widens the window of a stream whose sender ran out of it.

        Nothing yet where most of the window is held: a burst has just arrived, or the next hop is
        the slow one; release() asks again. Nothing at all where the window is as large as the
        path needs or the options allow, and when all streams together have grown as far as they
        may.
        """
        window, limits = stream.receive_window, self._limits
        if not stream.starved or window.held_bytes * 2 > window.size_bytes:
            return 0
        stream.starved = False
        room = min(
            window.size_bytes * (GROWTH_FACTOR - 1),
            min(limits.max_stream_window_bytes, self._path_bytes) - window.size_bytes,
            limits.max_growth_bytes - self._grown_bytes,
        )
        if room <= 0:
            return 0
        self._grown_bytes += room
        return window.grow(room)

    def victim(self, streams: Iterable[Stream]) -> Stream | None:
        """Return the stream to give up when the tunnel is too full: the one stalled longest."""
        if self._tunnel.held_bytes > self._held_limit_bytes:
            holders = (stream for stream in streams if stream.receive_window.held_bytes)
        elif self.crowded:
            holders = (stream for stream in streams if stream.head_bytes)
        else:
            return None
        return min(holders, key=lambda stream: stream.progress, default=None)

    def release(self, stream: Stream, count: int) -> tuple[int, int]:
        """Count what the next hop has taken; return the grants now due to stream and tunnel."""
        stream.progress = self.tick()
        grant, tunnel_grant = stream.receive_window.release(count), self._tunnel.release(count)
        if not self._windows:
            return 0, 0
        if stream.receiving is Half.ENDED:  # the peer needs no more of it
            grant = 0
        elif stream.starved:
            grant += self.growth(stream)
        return grant, tunnel_grant

    def drop(self, stream: Stream) -> int:
        """Forget a stream; return the tunnel's grant for what it held."""
        window = stream.receive_window
        self._head_bytes -= stream.head_bytes
        if self._windows:
            self._grown_bytes -= window.size_bytes - self._limits.stream_window_bytes
        return self._granted(self._tunnel.release(window.held_bytes))

    def _granted(self, grant: int) -> int:
        return grant if self._windows else 0


def _cost(fields: Fields) -> int:
    size_bytes = FIELD_BYTES * len(fields)
    for name, value in fields:  # less work than a sum over a list
        size_bytes += len(name) + len(value)
    return size_bytes
