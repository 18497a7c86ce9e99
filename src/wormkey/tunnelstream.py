"""One stream as its task sees it: receive, release, send, close. The Mux behind it has the rules.

A stream's queue is bounded by its flow-control window: what the reader delivers was granted
before. The owner gives every byte back by release() when the next hop has taken it, and calls
close() exactly once, however the exchange ends.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, Protocol

from wormkey.errors import ErrorCode, StreamError, TunnelError
from wormkey.frames import Data, Reset, Response, StreamId, Trailers
from wormkey.scopes import park, unpark, unpark_all

if TYPE_CHECKING:
    import trio

    from wormkey.frames import Fields, ResponseHead
    from wormkey.mux import Mux

QUEUE_BYTES: Final = 64 * 1024  # what a sender may queue before it waits; one message's worth
JOIN_BYTES: Final = 2 * 1024  # frames up to here are joined: each costs 150 bytes of its own


class _Tunnel(Protocol):
    mux: Mux

    def wake_writer(self) -> None: ...
    def forget(self, stream: TunnelStream) -> None: ...
    def lost(self) -> TunnelError: ...


class TunnelStream:
    """One exchange's end of a tunnel. One task receives, one task sends (they may be the same).

    A client's handler is cancelled when the peer or the tunnel ends the stream (runs_in); a
    gateway's exchange hears of it by receive().
    """

    __slots__ = (
        "_error",
        "_frames",
        "_receiver",
        "_scope",
        "_sender",
        "_stopped",
        "_tunnel",
        "answered",
        "ended",
        "id",
    )

    def __init__(self, tunnel: _Tunnel, stream_id: StreamId, *, ended: bool = False) -> None:
        """``ended`` when the peer's half is over already: a request without content."""
        self.id = stream_id
        self.answered = False  # our final head is queued: no other one can follow
        self.ended = ended
        self._tunnel = tunnel
        self._frames: deque[Response | Data | Trailers] = deque()
        self._error: StreamError | TunnelError | None = None
        self._stopped = False
        self._scope: trio.CancelScope | None = None
        self._receiver: list[trio.lowlevel.Task] = []
        self._sender: list[trio.lowlevel.Task] = []

    def runs_in(self, scope: trio.CancelScope) -> None:
        """Let ``scope``, in which the owner works, be cancelled with the stream until close()."""
        self._scope = scope
        if self._error is not None:
            scope.cancel(reason="the stream was reset")

    # ── the tunnel's side ─────────────────────────────────────────────────────────────────────

    def deliver(self, frame: Response | Data | Trailers | Reset) -> None:
        """Hand over what arrived; never waits, the window has room for it.

        What comes behind a failure is dropped as the queue was: frames behind a hole, their end
        above all, must not be taken for the answer.
        """
        if self._error is not None:
            return
        if not isinstance(frame, Reset):
            self._append(frame)
            if self._receiver:  # nobody waits where several frames came in one message
                unpark(self._receiver)
        elif frame.code is ErrorCode.NO_ERROR and self._complete():
            self._stopped = True
            unpark(self._sender)
        else:
            self.fail(StreamError(frame.code, frame.detail.decode("utf-8", "replace")))

    def _append(self, frame: Response | Data | Trailers) -> None:
        """Queue a frame; tiny ones become one, or a window full of them would cost a hundred."""
        if self._frames and isinstance(frame, Data):
            last = self._frames[-1]
            if isinstance(last, Data) and len(last.data) + len(frame.data) <= JOIN_BYTES:
                self._frames[-1] = Data(self.id, last.data + frame.data, frame.end_stream)
                return
        self._frames.append(frame)

    def _complete(self) -> bool:
        if not self._frames:
            return self.ended
        last = self._frames[-1]
        return isinstance(last, Trailers) or last.end_stream

    def fail(self, error: StreamError | TunnelError) -> None:
        """End the stream with an error: what is queued is dropped, who waits is told."""
        self._error = self._error or error  # the first one is the reason
        self._frames.clear()
        unpark_all(self._receiver)
        unpark_all(self._sender)
        # The owner may be waiting for somebody else, an origin that thinks: cancel its work.
        if self._scope is not None:
            self._scope.cancel(reason="the stream was reset")

    def drained(self) -> None:
        """Queued content went out: let the sender go on."""
        if self._sender:
            unpark(self._sender)

    @property
    def version(self) -> int:
        """The protocol version of its tunnel."""
        return self._tunnel.mux.version

    # ── the owner's side ──────────────────────────────────────────────────────────────────────

    @property
    def ready(self) -> bool:
        """Whether receive() would return at once: more can join the same write."""
        return bool(self._frames)

    async def receive(self) -> Response | Data | Trailers:
        """Return the next frame; ``ended`` is true once the peer's half is over.

        Raises:
            StreamError: the peer reset the stream.
            TunnelError: the tunnel is lost.

        Cancellation: waits only; no frame is lost.
        """
        while not self._frames:
            if self._error is not None:
                raise self._error
            await park(self._receiver)
        frame = self._frames.popleft()
        if isinstance(frame, Data):
            if frame.end_stream:
                self.ended = True
        elif isinstance(frame, Response):
            self._tunnel.mux.took_head(self.id, frame.head.fields)
            if frame.end_stream:
                self.ended = True
        else:
            self._tunnel.mux.took_head(self.id, frame.fields)
            self.ended = True
        return frame

    def release(self, count: int) -> None:
        """Say that the next hop has taken ``count`` bytes; the peer is granted them in time."""
        mux = self._tunnel.mux
        mux.release(self.id, count)
        if mux.wants_to_write:
            self._tunnel.wake_writer()

    def send_head(
        self, head: ResponseHead, *, end_stream: bool = False, more: bool = False
    ) -> None:
        """Queue an answer's head; never waits.

        With ``more`` it stays in the queue for the send() that follows at once, so that head and
        content leave together.
        """
        self._check()
        self._tunnel.mux.send_head(self.id, head, end_stream=end_stream)
        self.answered = not head.interim
        if not more:
            self._tunnel.wake_writer()

    async def send(self, data: bytes, *, end_stream: bool = False) -> None:
        """Queue content and wait until little of it is left in the queue.

        Raises:
            StreamError: the peer reset the stream, or wants no more of it (NO_ERROR).
            TunnelError: the tunnel is lost.

        Cancellation: the content stays queued; close() drops it.
        """
        self._check()
        mux = self._tunnel.mux
        mux.send_data(self.id, data, end_stream=end_stream)
        self._tunnel.wake_writer()
        while mux.queued_bytes(self.id) > QUEUE_BYTES:
            await park(self._sender)
            self._check()

    def send_trailers(self, fields: Fields) -> None:
        """End our half with a trailer section; never waits."""
        self._check()
        self._tunnel.mux.send_trailers(self.id, fields)
        self._tunnel.wake_writer()

    def _check(self) -> None:
        if self._error is not None:
            raise self._error
        if self._stopped:
            raise StreamError(ErrorCode.NO_ERROR, "the peer wants no more of the request")

    async def wait_sent(self) -> None:
        """Wait until all queued content and its end have gone out. Cancellation: waits only."""
        while self._error is None and not self._tunnel.mux.flushed(self.id):
            await park(self._sender)

    def close(self, code: ErrorCode = ErrorCode.CANCELLED, detail: str = "") -> None:
        """Be done with the stream; one that is not finished is reset with ``code``."""
        self._scope = None
        self._frames.clear()
        self._tunnel.mux.close_stream(self.id, code, detail.encode("utf-8", "replace"))
        self._tunnel.forget(self)
