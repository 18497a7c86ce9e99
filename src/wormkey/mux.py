"""One tunnel's set of streams: bytes in, events out; calls in, messages out. Both roles, no I/O.

The Mux owns stream ids, states, windows and the order in which frames leave: control frames
first, then content, round-robin over the streams that have some. It never blocks and keeps no
clock; tunnel.py feeds it and asks it for the next message. docs/protocol.md is the text.

What arrives is bounded by inbox.py's windows, what leaves is ordered by outbox.py. When streams
that nobody drains have used up most of the tunnel's window, the one stalled longest is reset, so
that the others go on.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, assert_never

from wormkey import wire, wire0
from wormkey.calm import Calm
from wormkey.errors import ErrorCode, RemoteProtocolError, StreamError
from wormkey.frames import (
    MAX_STREAM_ID,
    MAX_WINDOW_BYTES,
    TUNNEL,
    VERSION,
    Data,
    Event,
    Fields,
    Frame,
    GoAway,
    Hello,
    Pause,
    Ping,
    Pong,
    Request,
    RequestHead,
    Reset,
    Response,
    ResponseHead,
    Resume,
    StreamId,
    Trailers,
    Window,
)
from wormkey.inbox import Inbox, MuxLimits, MuxStatistics
from wormkey.outbox import Outbox
from wormkey.stream import Half, Input, Stream
from wormkey.windows import SendWindow

if TYPE_CHECKING:
    from collections.abc import Callable


class Role(enum.Enum):
    """Which end of the tunnel this is: only the gateway opens streams."""

    GATEWAY = "gateway"
    CLIENT = "client"


class Mux:
    """The protocol engine of one tunnel."""

    def __init__(self, role: Role, limits: MuxLimits, *, version: int = VERSION) -> None:
        """``version`` 1 speaks wormkey.v1 and queues its HELLO; 0 speaks protocol v0."""
        self.role = role
        self.version = version
        self.peer: Hello | None = None if version else Hello(version=0, max_streams=MAX_STREAM_ID)
        self.paused = False
        self.calm = Calm(limits.max_glitches)
        self.peer_going_away: GoAway | None = None
        self._going_away: ErrorCode | None = None  # what our last GOAWAY said
        self._limits = limits
        self._streams: dict[StreamId, Stream] = {}
        self._last_id = 0
        self._encode: Callable[[Frame], bytes] = wire.encode if version else wire0.encode0
        self._decoder = wire.Decoder() if version else wire0.Decoder0(limits.v0_message_bytes)
        self.inbox = Inbox(limits, version)
        self._outbox = outbox = Outbox(version)
        # The next message, b"" when nothing can go out now; whose content went out since then.
        self.next_message, self.take_drained = outbox.next_message, outbox.take_drained
        if version:
            self._outbox.put(self._encode(limits.hello(version)))

    # ── calls in ──────────────────────────────────────────────────────────────────────────────

    def open_stream(self, head: RequestHead, *, end_stream: bool) -> StreamId:
        """Open a stream with a request; ``end_stream`` when it has no content.

        Raises:
            StreamError: REFUSED_STREAM, no streams at all; ENHANCE_YOUR_CALM, not more for now.
            LocalProtocolError: the head is too large for a frame.
        """
        peer = self.peer
        if peer is None or self.peer_going_away or self._going_away is not None:
            raise StreamError(ErrorCode.REFUSED_STREAM, "the tunnel takes no new streams")
        if self._outbox.crowded(self._limits.max_streams):
            raise StreamError(ErrorCode.ENHANCE_YOUR_CALM, "the tunnel is too slow for more now")
        if len(self._streams) >= min(self._limits.max_streams, peer.max_streams):
            raise StreamError(ErrorCode.ENHANCE_YOUR_CALM, "too many open streams in this tunnel")
        stream_id = StreamId(self._last_id + 1)
        if stream_id > MAX_STREAM_ID:
            raise StreamError(ErrorCode.REFUSED_STREAM, "the tunnel has used up its stream ids")
        self._outbox.put(self._encode(Request(stream_id, head, end_stream)))
        if end_stream and not self.version:
            self._put_end0(stream_id)
        self._last_id = stream_id
        self._new_stream(stream_id, Half.ENDED if end_stream else Half.CONTENT, Half.HEAD)
        return stream_id

    def _put_end0(self, stream_id: StreamId) -> None:
        """In v0 a head cannot say that nothing follows it."""
        self._outbox.put(self._encode(Data(stream_id, b"", end_stream=True)))

    def _new_stream(self, stream_id: StreamId, sending: Half, receiving: Half) -> Stream:
        window = self.peer.stream_window_bytes if self.peer and self.version else MAX_WINDOW_BYTES
        stream = self.inbox.new_stream(stream_id, sending, receiving, SendWindow(window))
        self._streams[stream_id] = stream
        return stream

    def send_head(self, stream_id: StreamId, head: ResponseHead, *, end_stream: bool) -> None:
        """Answer a stream; interim heads first, then one final head.

        Raises:
            LocalProtocolError: a second final head, or one too large for a frame.
        """
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        encoded = self._encode(Response(stream_id, head, end_stream and not head.interim))
        stream.send(Input.INTERIM if head.interim else Input.HEAD)
        self._outbox.put(encoded)
        if end_stream and not head.interim:
            stream.send(Input.END)
            if not self.version:
                self._put_end0(stream_id)

    def send_data(self, stream_id: StreamId, data: bytes, *, end_stream: bool = False) -> None:
        """Queue content; it leaves as the windows allow. The caller bounds it (queued_bytes)."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        if data:
            stream.send(Input.DATA)
            self._outbox.add(stream, data)
        if end_stream:
            stream.send(Input.END)
            stream.end_queued = True
            self._outbox.mark(stream)

    def send_trailers(self, stream_id: StreamId, fields: Fields) -> None:
        """End the sending half with a trailer section, behind the queued content.

        Raises:
            LocalProtocolError: the half has ended, or the section is too large for a frame.
        """
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        encoded = self._encode(Trailers(stream_id, fields))
        stream.send(Input.TRAILERS)
        stream.trailers = encoded
        stream.end_queued = True
        self._outbox.mark(stream)

    def queued_bytes(self, stream_id: StreamId) -> int:
        """How much content of a stream waits for its windows or its turn."""
        return stream.outbox_bytes if (stream := self._streams.get(stream_id)) else 0

    def flushed(self, stream_id: StreamId) -> bool:
        """Whether nothing of a stream waits any more, its end neither."""
        stream = self._streams.get(stream_id)
        return stream is None or not (stream.outbox_bytes or stream.end_queued)

    def release(self, stream_id: StreamId, count: int) -> None:
        """Say that the next hop has taken ``count`` bytes of a stream; grants follow from it."""
        stream = self._streams.get(stream_id)
        if stream is None or not count:
            return
        grant, tunnel_grant = self.inbox.release(stream, count)
        if grant or tunnel_grant:
            self._grant(stream_id, grant)
            self._grant(TUNNEL, tunnel_grant)

    def took_head(self, stream_id: StreamId, fields: Fields) -> None:
        """Say that a head or a trailer section costs the tunnel no more."""
        if (stream := self._streams.get(stream_id)) is not None:
            self.inbox.took_head(stream, fields)

    def _grant(self, stream_id: StreamId, increment: int) -> None:
        if increment:
            self._outbox.put(self._encode(Window(stream_id, increment)))

    def close_stream(self, stream_id: StreamId, code: ErrorCode, detail: bytes = b"") -> None:
        """Forget a stream. One that is not finished is reset; what it holds is given back.

        Every stream is closed exactly so, by the task that owns it, however it ended.
        """
        stream = self._streams.pop(stream_id, None)
        if stream is None:
            return
        if not stream.finished:
            self._outbox.put(self._encode(Reset(stream_id, code, detail)))
        self._drop(stream)

    def _drop(self, stream: Stream) -> None:
        self._outbox.forget(stream)
        self.calm.over(stream.receive_window.available_bytes)
        if grant := self.inbox.drop(stream):
            self._grant(TUNNEL, grant)

    def ping(self, payload: bytes) -> None:
        """Queue a PING; the peer's Pong comes back as an event."""
        self._outbox.put(self._encode(Ping(payload)))

    def go_away(self, code: ErrorCode, detail: bytes = b"") -> None:
        """Take no new streams; tell the peer which one was the last. A later, other code counts."""
        if self._going_away is not code:
            self._outbox.put(self._encode(GoAway(StreamId(self._last_id), code, detail)))
        self._going_away = code

    def pause(self, *, paused: bool) -> None:
        """Tell the gateway to answer new requests itself (client only)."""
        self._outbox.put(self._encode(Pause() if paused else Resume()))

    # ── messages out ──────────────────────────────────────────────────────────────────────────

    @property
    def wants_to_write(self) -> bool:
        """Whether next_message has something."""
        return self._outbox.ready

    # ── bytes in ──────────────────────────────────────────────────────────────────────────────

    def receive(self, message: bytes) -> list[Event]:
        """Return what a message means, in order. Whoever has a clock settles ``calm`` behind it.

        Raises:
            RemoteProtocolError: the peer broke the protocol for the whole tunnel. A rule broken
                on one stream resets that stream instead, and its Reset is among the events.
        """
        events: list[Event] = []
        frames = self._decoder.feed(message)
        self.calm.message(len(message), len(frames), self._decoder.ignored)
        for frame in frames:
            if self.peer is None and not isinstance(frame, Hello):
                raise RemoteProtocolError("a frame before HELLO")
            self._frame(frame, events)
        self._outbox.check_bound(self._limits.max_streams)
        return events

    def _frame(self, frame: Frame, events: list[Event]) -> None:
        self.calm.frame(frame)
        match frame:
            case Data():
                self._stream_frame(frame, len(frame.data), events)
            case Response() | Trailers():
                if isinstance(frame, Response) and self.role is not Role.GATEWAY:
                    raise RemoteProtocolError("RESPONSE is the client's")
                self._stream_frame(frame, 0, events)
            case Request():
                self._on_request(frame, events)
            case Window():
                self._on_window(frame.stream_id, frame.increment, events)
            case Reset():
                self._on_reset(frame, events)
            case Ping():
                self._outbox.put_pong(frame.payload)
            case Hello():
                self._on_hello(frame, events)
            case GoAway():
                self.peer_going_away = frame
                events.append(frame)
            case Pong():
                events.append(frame)
            case Pause() | Resume():
                if self.role is not Role.GATEWAY:
                    raise RemoteProtocolError("PAUSE and RESUME are the client's")
                self.paused = isinstance(frame, Pause)
                events.append(frame)
            case _:
                assert_never(frame)

    def _on_reset(self, frame: Reset, events: list[Event]) -> None:
        stream = self._live(frame.stream_id)
        if stream is None:
            self.calm.late()
            return
        if frame.code is ErrorCode.NO_ERROR and stream.receiving is Half.ENDED:
            # The answer is complete, the peer only wants no more of the request (RFC 9113 §8.1):
            # what arrived stays, what is queued for it goes.
            self._outbox.forget(stream)
            stream.sending = Half.ENDED
        else:
            del self._streams[frame.stream_id]
            self._drop(stream)
        events.append(frame)

    def _on_hello(self, frame: Hello, events: list[Event]) -> None:
        if self.peer is not None:
            raise RemoteProtocolError("a second HELLO")
        self.peer = frame
        self._outbox.open(frame.tunnel_window_bytes)
        events.append(frame)

    def _on_request(self, frame: Request, events: list[Event]) -> None:
        if self.role is not Role.CLIENT:
            raise RemoteProtocolError("REQUEST is the gateway's")
        if frame.stream_id <= self._last_id:
            raise RemoteProtocolError("a stream id used again", ErrorCode.STREAM_CLOSED)
        self._last_id = frame.stream_id
        full = len(self._streams) >= self._limits.max_streams or self.inbox.crowded
        if full or self._going_away is not None:
            self._outbox.put(self._encode(Reset(frame.stream_id, ErrorCode.REFUSED_STREAM)))
            return
        receiving = Half.ENDED if frame.end_stream else Half.CONTENT
        stream = self._new_stream(frame.stream_id, Half.HEAD, receiving)
        self.inbox.hold_head(stream, frame.head.fields)
        events.append(frame)

    def _on_window(self, stream_id: StreamId, increment: int, events: list[Event]) -> None:
        if stream_id == TUNNEL:
            self._outbox.window.grant(increment)
            return
        stream = self._live(stream_id)
        if stream is None:
            self.calm.late()
            return
        try:
            stream.send_window.grant(increment)
            self._outbox.mark(stream)
        except RemoteProtocolError as error:
            self._fail(stream, error, events)

    def _live(self, stream_id: StreamId) -> Stream | None:
        """Return a stream that frames may be about; None for one that is over.

        Raises:
            RemoteProtocolError: a frame may come late, but never for a stream that never was.
        """
        if stream_id > self._last_id and self.version:
            raise RemoteProtocolError(f"a frame for stream {stream_id}, which was never opened")
        stream = self._streams.get(stream_id)
        return None if stream and stream.receiving is Half.ENDED and stream.finished else stream

    def _stream_frame(
        self, frame: Data | Response | Trailers, size: int, events: list[Event]
    ) -> None:
        stream = self._live(frame.stream_id)
        if size:
            self.inbox.arrive(size)
        if stream is None:  # late, for a stream that is over: only the tunnel's window counts it
            self.calm.late()
            self._grant(TUNNEL, self.inbox.give_back(size))
            return
        held = stream.receive_window.held_bytes
        try:
            self.inbox.receive(stream, frame)
        except RemoteProtocolError as error:
            uncounted = held + size - stream.receive_window.held_bytes
            self._grant(TUNNEL, self.inbox.give_back(uncounted))
            self.calm.glitch()
            self._fail(stream, error, events)
            return
        if not size and isinstance(frame, Data) and not frame.end_stream:
            return  # an empty frame that ends nothing says nothing
        events.append(frame)
        if (stream.starved or not self.version) and isinstance(frame, Data):
            self._bound(stream, events)
        if self.inbox.full:
            self.relieve(events)

    def _bound(self, stream: Stream, events: list[Event]) -> None:
        try:
            self.inbox.check_bound(stream)
            if stream.starved:
                self._grant(stream.id, self.inbox.growth(stream))
        except RemoteProtocolError as error:
            self._fail(stream, error, events)

    def relieve(self, events: list[Event]) -> None:
        """End the streams that nobody reads while too much is held; ``events`` get their RESETs."""
        while victim := self.inbox.victim(self._streams.values()):
            text = "this tunnel holds too much that nobody reads"
            self._fail(victim, RemoteProtocolError(text, ErrorCode.ENHANCE_YOUR_CALM), events)

    def _fail(self, stream: Stream, error: RemoteProtocolError, events: list[Event]) -> None:
        """End one stream for a broken rule: RESET to the peer, the same as an event to our side."""
        detail = str(error).encode()
        self.close_stream(stream.id, error.code, detail)
        events.append(Reset(stream.id, error.code, detail))

    def statistics(self) -> MuxStatistics:
        """Return a snapshot for metrics and tests."""
        return MuxStatistics(
            streams=len(self._streams),
            held_bytes=self.inbox.held_bytes,
            queued_bytes=sum(s.outbox_bytes for s in self._streams.values()),
            going_away=not (self._going_away is None and self.peer_going_away is None),
        )
