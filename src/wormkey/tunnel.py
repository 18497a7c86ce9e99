"""Runs a Mux over one WebSocket connection: reader, the one writer, keep-alive, streams.

The tunnel's own task tree:

    tunnel task
      ├ WebSocket reader (trio-websocket's) messages -> Mux -> streams' queues; never waits for them
      ├ reader      the same, for the messages that it had to put together
      ├ writer      Mux -> messages; the only one who waits for the socket to take one
      └ streams     one task for each exchange; cancelled together, by loss, expiry or close

Only this file and handshake.py know trio-websocket. The text is docs/protocol.md.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, TypeAlias

import trio
from attrs import define, field
from trio_websocket import ConnectionClosed, WebSocketConnection

from wormkey.carrier import Carrier
from wormkey.errors import ErrorCode, RemoteProtocolError, StreamError, TunnelError
from wormkey.frames import (
    Data,
    Event,
    GoAway,
    Hello,
    Pause,
    Pong,
    Request,
    RequestHead,
    Reset,
    Response,
    Resume,
    StreamId,
    Trailers,
)
from wormkey.keepalive import KeepAlive, Pulse, TunnelTimings
from wormkey.mux import Mux, Role
from wormkey.scopes import Work, Workers, park, unpark, unpark_all
from wormkey.tunnelstream import TunnelStream

logger = logging.getLogger(__name__)

RECHECK_S: Final = 60.0  # expiry is wall time, and the clock may jump; the daemon looks more often
DIRECT_STREAMS: Final = 2  # so few have nothing to join, and write by themselves

Handler: TypeAlias = Callable[[TunnelStream, RequestHead], Awaitable[None]]


@define(eq=False)
class Tunnel:
    """One tunnel, from its opened WebSocket to its end; handshake.py makes it."""

    mux: Mux
    timings: TunnelTimings
    pulse: Pulse
    handler: Handler | None = None
    on_event: Callable[[Event], None] | None = None
    remaining_s: Callable[[], float] | None = None  # of the session; None for ever
    on_round_trip: Callable[[float], None] | None = None  # told each that is measured, in seconds
    on_pause: Callable[[], None] = lambda: None  # the peer paused or resumed
    rtt_s: float | None = None
    goodbye: GoAway | None = None  # what the peer said when it went
    _streams: dict[StreamId, TunnelStream] = field(factory=dict)
    _workers: Workers | None = None
    _ended: trio.Event = field(factory=trio.Event)
    _reason: TunnelError | None = None
    _lost: bool = False
    _carrier: Carrier | None = None
    _leaving: bool = False  # this end said that it goes
    _writer: list[trio.lowlevel.Task] = field(factory=list)
    _idle: list[trio.lowlevel.Task] = field(factory=list)
    _flushed: list[trio.lowlevel.Task] = field(factory=list)
    _ready: trio.Event = field(factory=trio.Event)
    _life: KeepAlive = field(init=False)
    _began_at: float = field(factory=trio.current_time)

    def __attrs_post_init__(self) -> None:
        """v0 gateways say nothing by themselves; v0 clients send PING, unasked."""
        timings, version = self.timings, self.version
        self._life = KeepAlive(
            self._ping,
            timings.ping_interval_s,
            timings.silence_timeout_s if version else timings.v0_silence_timeout_s,
            asks=bool(version) or self.mux.role is Role.CLIENT,
            numbered=bool(version),
        )

    # ── what others call ──────────────────────────────────────────────────────────────────────

    @property
    def version(self) -> int:
        """The protocol version the two ends speak: 1, or 0 for existing clients."""
        return self.mux.version

    @property
    def paused(self) -> bool:
        """Whether the client asked for no new requests."""
        return self.mux.paused

    @property
    def ended(self) -> bool:
        """Whether the tunnel is over, or ending."""
        return self._reason is not None

    @property
    def open_streams(self) -> int:
        """How many exchanges it carries."""
        return len(self._streams)

    @property
    def takes_streams(self) -> bool:
        """Whether it may carry something new: it is not over, and neither end said that it goes."""
        return not (self.ended or self._leaving or self.mux.peer_going_away)

    def start_work(self, work: Work) -> None:
        """Let a streams' task do ``work``. Raises TunnelError: the tunnel is over, or not begun."""
        if self._workers is None or self._reason is not None:
            raise self.lost()
        self._workers.start(work)

    def lost(self) -> TunnelError:
        """Return the reason why the tunnel ended, as an error."""
        return self._reason or TunnelError("the tunnel was lost")

    def open_stream(self, head: RequestHead, *, end_stream: bool) -> TunnelStream:
        """Open a stream with a request (gateway only); never waits.

        Raises:
            StreamError: the peer takes no more streams now.
            TunnelError: the tunnel is over.
        """
        if self._reason is not None:
            raise self.lost()
        stream = TunnelStream(self, self.mux.open_stream(head, end_stream=end_stream))
        self._streams[stream.id] = stream
        self.wake_writer()
        return stream

    def pause(self, *, paused: bool) -> None:
        """Tell the gateway to hold new requests off, or to send them again (client only)."""
        self.mux.pause(paused=paused)
        self.wake_writer()

    def close(self, code: ErrorCode, detail: str = "") -> None:
        """End the tunnel: streams are cancelled, the peer is told why, then it is gone."""
        if not self.ended:  # the first reason is the one that the peer is told
            self.mux.go_away(code, detail.encode("utf-8", "replace"))
        self._end(TunnelError(detail or code.name, retryable=False))

    def go_away(self, detail: str = "") -> None:
        """Take no new streams and tell the peer; those under way go on."""
        self._leaving = True
        if not self.ended:
            self.mux.go_away(ErrorCode.NO_ERROR, detail.encode("utf-8", "replace"))
        self.wake_writer()

    async def wait_idle(self) -> None:
        """Wait until no stream is open. Cancellation: waits only."""
        while self._streams:
            await park(self._idle)

    async def wait_ready(self) -> None:
        """Wait for the peer's HELLO (at once with v0). Cancellation: waits only."""
        await self._ready.wait()

    # ── what its streams call ─────────────────────────────────────────────────────────────────

    def wake_writer(self) -> None:
        """Let what is queued leave: by the writer, or at once where hardly a stream is open.

        The writer joins what several streams have ready into one message. With one or two there
        is nothing to join, and a trip through the scheduler costs more than the write.
        """
        if self._writer and not self._lost:
            if len(self._streams) <= DIRECT_STREAMS and self._send_directly():
                return
            unpark(self._writer)

    def _send_directly(self) -> bool:
        """Send what is queued while the socket takes it; false where the writer must go on."""
        carrier = self._carrier
        if carrier is None or not carrier.direct:
            return False
        try:
            if not carrier.send_nowait(self.mux.next_message):
                return False
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self._end(TunnelError(f"the connection broke: {error}"), lost=True)
            return True
        finally:
            self._tell_drained()
        unpark_all(self._flushed)
        return True

    def forget(self, stream: TunnelStream) -> None:
        """Drop a stream that its owner has closed."""
        self._streams.pop(stream.id, None)
        if not self._streams:
            unpark_all(self._idle)
        if self.mux.wants_to_write:
            self.wake_writer()

    # ── its tasks ─────────────────────────────────────────────────────────────────────────────

    async def run(self, connection: WebSocketConnection, carrier: Carrier) -> None:
        """Run until the connection, the session or somebody ends it.

        Raises:
            TunnelError: always, in the end: the reason.

        Cancellation: streams are cancelled, the connection is left as it is; the caller closes
        the transport.
        """
        try:
            async with trio.open_nursery() as outer:
                self._carrier = carrier
                carrier.deliver(self._take, self._refuse)
                outer.start_soon(self._guard, partial(self._read, connection, carrier))
                outer.start_soon(self._guard, partial(self._write, carrier))
                if self.mux.peer is not None:
                    self._ready.set()
                self.pulse.watch(self)
                async with trio.open_nursery() as streams:
                    self._workers = Workers(streams)
                    await self._ended.wait()
                    self._fail_streams()
                    streams.cancel_scope.cancel(reason="the tunnel is over")
                if not self._lost:
                    await self._say_goodbye(connection, carrier)
                outer.cancel_scope.cancel(reason="the tunnel is over")
        finally:
            self.pulse.forget(self)
        raise self.lost()

    def _fail_streams(self) -> None:
        for stream in list(self._streams.values()):
            stream.fail(self.lost())

    async def _say_goodbye(self, connection: WebSocketConnection, carrier: Carrier) -> None:
        with trio.move_on_after(self.timings.close_timeout_s):
            while self.mux.wants_to_write and not self._lost:
                await park(self._flushed)
            carrier.shut()
            await connection.aclose(1000, "")

    def _end(self, reason: TunnelError, *, lost: bool = False) -> None:
        self._lost = self._lost or lost
        if self._reason is None:
            self._reason = reason
        self._ended.set()
        self.wake_writer()
        if lost:
            unpark_all(self._flushed)

    async def _guard(self, work: Callable[[], Awaitable[None]]) -> None:
        """Turn the ways a transport can fail into the tunnel's end."""
        try:
            await work()
        except ConnectionClosed as error:
            reason = error.reason.reason if error.reason else None
            self._end(TunnelError(reason or "the connection was closed"), lost=True)
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError) as error:
            self._end(TunnelError(f"the connection broke: {error}"), lost=True)
        except RemoteProtocolError as error:
            self._refuse(error)

    def _refuse(self, error: RemoteProtocolError) -> None:
        """End the tunnel of a peer that broke the protocol; it is told why."""
        logger.warning("tunnel protocol error", extra={"reason": str(error)})
        if self._carrier is not None:
            self._carrier.deafen()
        if not self.ended:
            self.mux.go_away(error.code, str(error).encode())
        self._end(TunnelError(f"protocol error: {error}"))

    async def _read(self, connection: WebSocketConnection, carrier: Carrier) -> None:
        """Take the messages that the library had to put together."""
        while True:
            message = await connection.get_message()
            if isinstance(message, str):
                raise RemoteProtocolError("a text message in a tunnel")
            self._take([message])
            carrier.took()

    def _take(self, messages: list[bytes], glitches: int = 0) -> None:
        """Take messages and count frames that carry none; never waits. Raises as Mux.receive."""
        now = trio.current_time()
        if messages:
            self._life.heard_at = now
        for message in messages:
            for event in self.mux.receive(message):
                self.dispatch(event)
            if self.mux.wants_to_write:
                self.wake_writer()
        self.mux.calm.glitch(glitches)
        self.mux.calm.settle(now)

    def dispatch(self, event: Event) -> None:
        """Hand an event of the mux to whom it is for; never waits."""
        match event:
            case Data() | Response() | Trailers() | Reset():
                if (stream := self._streams.get(event.stream_id)) is not None:
                    stream.deliver(event)
            case Request(stream_id, head):
                self._serve(TunnelStream(self, stream_id, ended=event.end_stream), head)
            case Pong(payload):
                if (round_trip_s := self._life.answered(payload)) is not None:
                    self.rtt_s = round_trip_s
                    self.mux.inbox.measure(round_trip_s)
                    if self.on_round_trip is not None:
                        self.on_round_trip(round_trip_s)
            case Hello():
                self._ready.set()
                self.pulse.watch(self)  # the first PING measures the way
            case GoAway():
                self.goodbye = event
            case Pause() | Resume():
                self.on_pause()
        if self.on_event is not None:
            self.on_event(event)

    def _serve(self, stream: TunnelStream, head: RequestHead) -> None:
        if self.handler is None or self._workers is None or self.ended:
            self.mux.close_stream(stream.id, ErrorCode.REFUSED_STREAM)
            return
        self._streams[stream.id] = stream
        self._workers.start(partial(self._run_handler, self.handler, stream, head))

    async def _run_handler(
        self, handler: Handler, stream: TunnelStream, head: RequestHead, scope: trio.CancelScope
    ) -> None:
        """Own one stream: however it ends, it is closed here and its siblings live on."""
        code, detail = ErrorCode.CANCELLED, ""
        stream.runs_in(scope)
        try:
            await handler(stream, head)
            code = ErrorCode.NO_ERROR
        except StreamError as error:
            code, detail = error.code, error.detail
        except TunnelError:
            pass
        except Exception:
            code = ErrorCode.INTERNAL_ERROR
            logger.exception("stream failed", extra={"stream": stream.id})
        finally:
            stream.close(code, detail)

    async def _write(self, carrier: Carrier) -> None:
        while True:
            if carrier.pending:
                await carrier.flush()
            message = self.mux.next_message()
            if not message:
                unpark_all(self._flushed)
                await park(self._writer)
                continue
            await carrier.send_message(message)
            self._tell_drained()

    def _tell_drained(self) -> None:
        for stream_id in self.mux.take_drained():
            if (stream := self._streams.get(stream_id)) is not None:
                stream.drained()

    def look(self, now: float) -> float | None:
        """End what has expired or fallen silent, ask who is quiet; return when to look again."""
        remaining_s = self.remaining_s() if self.remaining_s else RECHECK_S
        if self.ended:
            return None
        if remaining_s <= 0:
            self.close(ErrorCode.SESSION_CLOSED, "the session has expired")
            return None
        if not self._ready.is_set():
            due_at: float | None = self._began_at + self.timings.hello_timeout_s
            silence = "the peer sent no HELLO"
        else:
            if self._workers is not None:
                self._workers.rest()
            due_at = self._life.look(now)
            silence = f"the peer was silent for {self._life.limit_s:g} s"
        if due_at is None or due_at <= now:
            self._end(TunnelError(silence), lost=True)
            return None
        return min(due_at, now + min(remaining_s, RECHECK_S))

    def excuse(self, now: float, absent_s: float) -> None:
        """Take in that this process was away for so long, and may have heard nothing."""
        self._life.excuse(now, absent_s)

    def _ping(self, payload: bytes) -> None:
        self.mux.ping(payload)
        self.wake_writer()
