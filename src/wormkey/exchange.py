"""One viewer's exchange through a tunnel: request inbound, answer outbound, raw bytes after a 101.

The mirror of origin.py at the tunnel's other end. Bytes are given back to the tunnel's windows
only when the viewer's socket has taken them, so the slowest hop sets the pace. Who may come in,
and where to, is decided before (gateway.py); what a failure looks like to the viewer, after.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

import trio
from attrs import define, evolve, field

from wormkey import fields
from wormkey.boundary import GOING_AWAY, POLICY_VIOLATION, SERVICE_RESTART, Boundary, close_frame
from wormkey.config import Settings
from wormkey.errors import AdmissionError, ErrorCode, RemoteProtocolError, StreamError
from wormkey.fields import ViewerFacts
from wormkey.frames import Data, Fields, RequestHead, Response, ResponseHead, Trailers
from wormkey.grammar import check_tunnel_response
from wormkey.http1 import READ_BYTES, ViewerRequest
from wormkey.http1_viewer import ViewerConnection
from wormkey.idlewatch import IdleWatch
from wormkey.overlay import Bar, Decoding, Insertion, plan, without_digests
from wormkey.recent import derive
from wormkey.scopes import Child, Drain, alongside, together
from wormkey.tally import Tally
from wormkey.transport import (
    LINGER_S,
    half_close,
    is_plain_socket,
    linger,
    receive,
    reset_connection,
    reset_when_closed,
    send_nowait,
    send_with_progress,
)

if TYPE_CHECKING:
    from wormkey.tunnel import Tunnel
    from wormkey.tunnelstream import TunnelStream

FLUSH_BYTES: Final = 64 * 1024  # answers are joined up to here while more is ready


@define(eq=False)
class Exchange:
    """A request on its way. ``extra`` are fields that the gateway adds to the final answer.

    ``private`` are such fields for this viewer alone: an answer that shared caches may keep and
    give to others goes without them.
    """

    viewer: ViewerConnection
    request: ViewerRequest
    head: RequestHead
    facts: ViewerFacts
    settings: Settings
    drain: Drain
    tally: Tally
    idle_watch: IdleWatch
    extra: Fields = ()
    private: Fields = ()
    max_content_bytes: Callable[[], int] = lambda: 0  # as the rules are now; 0 for any number
    bar: Bar | None = None  # to be brought into a page of the owner's
    decoding: Decoding = field(factory=Decoding)
    aborted: bool = False
    cancelled: bool = False  # its viewer has left, or was shut out: it is over, whatever comes
    tries: int = 0
    farewell: int | None = None  # the code that a WebSocket's viewer is told, where he can be
    on_upgrade: Callable[[], None] = lambda: None
    _boundary: Boundary | None = None  # of what a WebSocket's viewer was sent
    _raw: trio.abc.Stream | None = None
    _scope: trio.CancelScope | Child[None] | None = None
    _limit_s: float = field(init=False)
    _moved: bool = False  # since the last look
    _moved_at: float = 0.0
    _too_slow: bool = False

    def __attrs_post_init__(self) -> None:
        """Until the answer starts, it is the origin's time that runs."""
        self._limit_s = self.settings.answer_timeout_s

    async def run(self, tunnel: Tunnel) -> None:
        """Carry the exchange as a child task of the tunnel.

        Raises:
            StreamError: the far end reset it, broke HTTP, or was too slow; or cancel() was called.
            TunnelError: the tunnel was lost.
            AdmissionError: the viewer's content was malformed or stopped (400, 408).
            trio.BrokenResourceError: the viewer has gone.
            trio.TooSlowError: the viewer stopped reading.

        Cancellation: resets the stream; the viewer's connection is left as it is.
        """

        def lost() -> Exception:
            if self.cancelled:
                return StreamError(ErrorCode.CANCELLED, "the viewer is gone")
            if self._too_slow:
                text = f"nothing moved for {self._limit_s:g} s"
                return StreamError(ErrorCode.ORIGIN_TIMEOUT, text)
            return tunnel.lost()

        if self.cancelled:
            raise lost()
        self.tries += 1
        self._moved_at, self._too_slow = trio.current_time(), False
        child: Child[None] = Child()  # Child[None]() is a call more, in typing
        self._scope = child
        self.idle_watch.add(self)
        try:
            await child.run(
                tunnel.start_work,
                lambda: self._carry(tunnel),
                lost=lost,
                cleanup_timeout_s=self.settings.close_timeout_s,
            )
        finally:
            self.idle_watch.discard(self)

    def waits_in(self, scope: trio.CancelScope) -> None:
        """Say that the exchange waits in ``scope``, before run()."""
        self._scope = scope

    def cancel(self, reason: str | None = None) -> None:
        """End the exchange now, wherever it waits; run() and what comes before it say so."""
        self.cancelled = True
        if self._scope is not None:
            self._scope.cancel(reason=reason)

    def look(self, now: float) -> None:
        """Note what moved since the last look; end the exchange if nothing did for too long."""
        if self._moved:
            self._moved, self._moved_at = False, now
            self.tally.seen()
        elif now - self._moved_at >= self._limit_s and self._scope is not None:
            self._too_slow = True
            self._scope.cancel(reason="nothing moved for too long")

    async def _carry(self, tunnel: Tunnel) -> None:
        # The stream of an upgrade stays open for the bytes that follow a 101.
        ends = not (self.request.has_content or self.head.upgrade)
        stream = tunnel.open_stream(self.head, end_stream=ends)
        try:
            if self.request.has_content:
                if not tunnel.version:
                    await self._continue()
                await alongside(lambda: self._outbound(stream), lambda: self._inbound(stream))
            else:
                await self._outbound(stream)
        finally:
            stream.close(ErrorCode.CANCELLED)

    async def _continue(self) -> None:
        """Answer the expectation here: a v0 client hears of no request before its end."""
        if self.request.expects_continue:
            self.viewer.write_interim(ResponseHead(100, ()))
            await self.viewer.flush()

    async def _inbound(self, stream: TunnelStream) -> None:
        try:
            while not self.viewer.content_finished:
                data = await self.viewer.receive_content()
                self._moved = True
                if data:
                    self.tally.received(len(data))
                    self._check_size()
                    await stream.send(data)
            trailers = fields.strip_trailers(self.viewer.trailers)
            if trailers:
                stream.send_trailers(trailers)
            else:
                await stream.send(b"", end_stream=True)
        except StreamError:
            return  # the answer's side raises it, or wants no more of the request

    def _check_size(self) -> None:
        """Refuse content that turned out larger than the owner takes."""
        limit = self.max_content_bytes()
        if limit and self.tally.received_bytes > limit:
            sentence = f"The owner takes up to {limit} bytes at a time."
            raise AdmissionError(413, "content_too_large", sentence)

    async def _outbound(self, stream: TunnelStream) -> None:
        head = await self._final_head(stream)
        if head.status == 101:
            self._limit_s = self.settings.stream_idle_timeout_s
            await self._upgrade(stream, head)
            return
        if self.head.upgrade:
            await stream.send(b"", end_stream=True)  # the app declined: nothing will follow
        insertion = self._insertion(head)
        if insertion is None:
            await self._answer(stream, head, None)
            return
        self.decoding.pages += insertion.decodes
        try:
            await self._answer(stream, insertion.head, insertion)
        finally:
            self.decoding.pages -= insertion.decodes

    def _insertion(self, head: ResponseHead) -> Insertion | None:
        """Return how the owner's bar gets into this answer, if it does."""
        if self.bar is None:
            return None
        return plan(self.head, head, evolve(self.bar, decoders=self.decoding.pages))

    async def _answer(
        self, stream: TunnelStream, head: ResponseHead, insertion: Insertion | None
    ) -> None:
        """Send the final answer as it comes; credit goes back for what the viewer has taken."""
        viewer, tally = self.viewer, self.tally
        self._limit_s = self.settings.stream_idle_timeout_s
        extra = self.extra if fields.is_shared(head.fields) else self.extra + self.private
        # RFC 9112 §9.6: an answer that may come before its request is read announces the close.
        close = self.drain.closing or not viewer.content_finished
        viewer.write_head(head, extra, close=close)
        tally.answered(head.status, trio.current_time())
        taken = 0
        trailers: Fields = ()
        while not stream.ended:
            if taken >= FLUSH_BYTES or not stream.ready:
                self._moved = True
                await viewer.flush()
                stream.release(taken)
                tally.sent(taken)
                taken = 0
            frame = await stream.receive()
            if isinstance(frame, Trailers):
                trailers = fields.strip_trailers(frame.fields)
                continue
            if not isinstance(frame, Data):
                continue
            taken += len(frame.data)
            if insertion is None:
                viewer.write_content(frame.data)
                continue
            for piece in insertion.feed(frame.data):
                viewer.write_content(piece)
                await viewer.flush()  # a coded page may be many times as long as what it came as
        if insertion is not None:
            viewer.write_content(insertion.end())
            trailers = without_digests(trailers)
        viewer.write_end(trailers)
        self._moved = True
        await viewer.flush()
        stream.release(taken)
        tally.sent(taken)

    async def _final_head(self, stream: TunnelStream) -> ResponseHead:
        """Pass interim heads on as they come; return the final one, as the viewer may see it."""
        while True:
            frame = await stream.receive()
            self._moved = True
            if not isinstance(frame, Response):
                raise StreamError(ErrorCode.PROTOCOL_ERROR, "content before an answer's head")
            head = derive(frame.head, "viewer's", self.facts, partial(self._seen, frame.head))
            if not head.interim:
                return head
            self.viewer.write_interim(head)
            await self.viewer.flush()

    def _seen(self, head: ResponseHead) -> ResponseHead:
        try:
            check_tunnel_response(head)  # the client at the other end may be hostile
        except RemoteProtocolError as error:
            raise StreamError(ErrorCode.PROTOCOL_ERROR, str(error)) from error
        return fields.for_viewer(head, self.facts)

    async def _upgrade(self, stream: TunnelStream, head: ResponseHead) -> None:
        """Relay raw bytes both ways until both have ended (RFC 9110 §7.8)."""
        if not self.head.upgrade:
            raise StreamError(ErrorCode.PROTOCOL_ERROR, "a 101 that nobody asked for")
        self.viewer.write_head(head)
        self.tally.answered(head.status, trio.current_time())
        await self.viewer.flush()
        raw, early = self.viewer.detach()
        self._raw = raw
        if self.head.upgrade.lower() == b"websocket":
            self._boundary = Boundary()
        self.tally.upgraded = True
        self.on_upgrade()
        try:
            await together(
                lambda: self._raw_inbound(stream, raw, early),
                lambda: self._raw_outbound(stream, raw),
            )
        except BaseException:
            if self._boundary is None or not self._boundary.whole:
                reset_when_closed(raw)
            elif self.drain.draining:  # this may be the last that the viewer hears
                self._dismiss(SERVICE_RESTART)
            raise

    async def _raw_inbound(self, stream: TunnelStream, raw: trio.abc.Stream, early: bytes) -> None:
        data = early or await receive(raw, READ_BYTES)
        while data:
            self._moved = True
            self.tally.received(len(data))
            await stream.send(data)
            data = await receive(raw, READ_BYTES)
        await stream.send(b"", end_stream=True)

    async def _raw_outbound(self, stream: TunnelStream, raw: trio.abc.Stream) -> None:
        while not stream.ended:
            frame = await stream.receive()
            self._moved = True
            if isinstance(frame, Data) and frame.data:
                boundary, self._boundary = self._boundary, None  # unknown after half of a write
                idle_s, rate = self.settings.write_idle_timeout_s, self.settings.min_rate_bytes
                await send_with_progress(raw, frame.data, idle_s, rate)
                if boundary is not None:
                    boundary.feed(frame.data)
                    self._boundary = boundary
                stream.release(len(frame.data))
                self.tally.sent(len(frame.data))
        await half_close(raw)

    async def abort(self) -> None:
        """Cut the viewer's connection so that he sees that the answer is not whole.

        Cancellation: the connection is closed all the same.
        """
        self.aborted = True
        if self.farewell is not None and self._dismiss(self.farewell):
            await self._linger()
        elif self.tally.upgraded:
            await reset_connection(self.viewer.stream)
        else:
            await self.viewer.truncate()

    def _dismiss(self, code: int) -> bool:
        """Close a WebSocket with ``code`` if its last frame is whole; false where it must be cut.

        Never waits: a viewer whose socket takes no more is in the middle of something.
        """
        raw, boundary = self._raw, self._boundary
        if raw is None or boundary is None or not boundary.whole or not is_plain_socket(raw):
            return False
        self._boundary = None  # once
        frame = close_frame(code, _FAREWELLS[code])
        try:
            sent = send_nowait(raw, frame)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return False
        return sent == len(frame)

    async def _linger(self) -> None:
        """Drop what the viewer sends until he closes: a reset could overtake the close frame."""
        with trio.move_on_after(LINGER_S):
            try:
                await linger(self.viewer.stream)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass


_SOON: Final = ((b"Retry-After", b"1"),)
_FAREWELLS: Final = {
    GOING_AWAY: "the session is over",
    POLICY_VIOLATION: "the owner has closed this page to you",
    SERVICE_RESTART: "the tunnel was lost",
}


def refusal_of(error: Exception) -> AdmissionError:
    """Return the answer that tells a viewer why his exchange failed before an answer's head."""
    if isinstance(error, AdmissionError):
        return error
    if not isinstance(error, StreamError):
        text = "The tunnel was lost before an answer came."
        return AdmissionError(502, "tunnel_lost", text, fields=_SOON)
    detail = error.detail
    match error.code:
        case ErrorCode.ORIGIN_UNREACHABLE:
            return AdmissionError(502, "origin_unreachable", detail)
        case ErrorCode.ORIGIN_TIMEOUT:
            return AdmissionError(504, "origin_timeout", detail)
        case ErrorCode.ENHANCE_YOUR_CALM:
            retry = ((b"Retry-After", b"1"),)
            return AdmissionError(429, "too_many_streams", detail, fields=retry)
        case ErrorCode.REFUSED_STREAM:
            retry = ((b"Retry-After", b"1"),)
            return AdmissionError(503, "tunnel_lost", detail, fields=retry)
        case ErrorCode.ORIGIN_FAILED | ErrorCode.PROTOCOL_ERROR:
            return AdmissionError(502, "origin_failed", detail)
        case _:
            return AdmissionError(502, "tunnel_lost", detail, fields=_SOON)
