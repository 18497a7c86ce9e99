"""The client's end of an exchange: a stream of the tunnel in, the local app's answer out.

The mirror of exchange.py. Content travels as it comes, both ways; each byte of a request is given
back to the tunnel's windows only when the app's socket has taken it. A request goes out again
only where the app certainly did nothing with it, or where doing it twice is harmless.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio
from attrs import define, frozen

from wormkey import fields
from wormkey.errors import ErrorCode, OriginError, RemoteProtocolError, StreamError
from wormkey.fields import OriginView
from wormkey.frames import Data, Fields, RequestHead, ResponseHead, Trailers
from wormkey.grammar import check_tunnel_request
from wormkey.http1 import READ_BYTES, Http1Limits
from wormkey.http1_origin import ComposedRequest, OriginConnection, compose_request
from wormkey.originpool import OriginPool
from wormkey.recent import derive
from wormkey.scopes import alongside, together
from wormkey.transport import half_close, receive, reset_when_closed, send_with_progress
from wormkey.tunnelstream import TunnelStream

if TYPE_CHECKING:
    from wormkey.dialer import Dialer

FLUSH_BYTES: Final = 64 * 1024
LAST_WORDS_S: Final = 2.0  # of an app that cannot hear that its viewer has ended, over TLS
# RFC 9110 §9.2.2: doing these twice is the same as doing them once.
IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"})


@frozen
class Ending:
    """How an exchange ended at the app, for the client's display and logs."""

    status: int
    received_bytes: int
    sent_bytes: int


@define(eq=False)
class Origin:
    """The local app as the tunnel's streams see it."""

    view: OriginView
    pool: OriginPool
    limits: Http1Limits

    @classmethod
    def at(cls, dialer: Dialer, host_header: bytes, limits: Http1Limits) -> Origin:
        """Return the origin of a dialer's target, seen with this --host-header."""
        target = dialer.target
        view = OriginView(
            scheme=target.scheme.encode(),
            authority=target.authority,
            aliases=target.aliases,
            host_header=host_header,
        )
        return cls(view, OriginPool(dialer, limits), limits)

    async def serve_stream(self, stream: TunnelStream, head: RequestHead) -> Ending:
        """Carry one exchange; the caller closes the stream.

        Raises:
            StreamError: the app failed (ORIGIN_*, with a sentence for the viewer), or the
                gateway reset the stream.
            TunnelError: the tunnel was lost.

        Cancellation: the app's connection is closed at once, so that it sees its viewer leave.
        """
        exchange = _Exchange(self, stream, head)
        try:
            await exchange.run()
        except OriginError as error:
            raise StreamError(error.code, str(error)) from error
        finally:
            await exchange.aclose()
        return Ending(exchange.status, exchange.received_bytes, exchange.sent_bytes)


@define(eq=False)
class _Exchange:
    origin: Origin
    stream: TunnelStream
    head: RequestHead
    request: Fields = ()  # as the app gets them
    connection: OriginConnection | None = None
    first_head: ResponseHead | None = None
    status: int = 0
    received_bytes: int = 0
    sent_bytes: int = 0

    async def aclose(self) -> None:
        if self.connection is not None:
            await self.connection.aclose()

    async def run(self) -> None:
        self.request = derive(self.head, "origin's", self.origin.view, self._make_request)
        # The gateway leaves the stream of an upgrade open for the bytes that follow a 101.
        has_content = not self.stream.ended and not self.head.upgrade
        length = fields.content_length(self.head.fields) if has_content else None
        self.connection = connection = await self._send_head(length, has_content)
        if has_content:
            await alongside(lambda: self._outbound(connection), lambda: self._inbound(connection))
        else:
            await self._outbound(connection)

    def _make_request(self) -> Fields:
        try:
            check_tunnel_request(self.head)  # the gateway at the other end may be hostile
        except RemoteProtocolError as error:
            raise StreamError(ErrorCode.PROTOCOL_ERROR, str(error)) from error
        return fields.for_origin(self.head, self.origin.view)

    async def _send_head(self, length: int | None, has_content: bool) -> OriginConnection:
        """Send the head on a connection that takes it; an idle one may turn out to be stale."""

        def compose() -> ComposedRequest:
            return compose_request(
                self.head.method,
                self.head.target,
                self.request,
                content_length=length,
                has_content=has_content,
            )

        # Without content nothing but the head says what goes out.
        again = not has_content
        request = derive(self.head, "composed", self.request, compose) if again else compose()
        while True:
            idle = await self.origin.pool.take_idle() if self._may_reuse(has_content) else None
            connection = idle or await self.origin.pool.connect()
            self.connection = connection
            connection.write_composed(request)
            if not has_content:
                connection.write_end()
            try:
                await connection.flush()
                if idle is not None:
                    self.first_head = await connection.receive_head()
            except OriginError:
                if idle is None or connection.answer_started:
                    raise
                await connection.aclose()
            else:
                return connection

    def _may_reuse(self, has_content: bool) -> bool:
        """Whether a stale connection would do no harm: the request could be sent once more.

        Content is gone once it is sent, and an app may have acted on a request whose answer was
        lost; such requests get a connection of their own.
        """
        return not has_content and not self.head.upgrade and self.head.method in IDEMPOTENT

    async def _inbound(self, connection: OriginConnection) -> None:
        """Pass the request's content on as it comes."""
        taken = 0
        trailers: Fields = ()
        while not self.stream.ended:
            if taken >= FLUSH_BYTES or not self.stream.ready:
                await self._flush(connection)
                self.stream.release(taken)
                taken = 0
            frame = await self.stream.receive()
            if isinstance(frame, Data):
                connection.write_content(frame.data)
                taken += len(frame.data)
                self.received_bytes += len(frame.data)
            elif isinstance(frame, Trailers):
                trailers = fields.strip_trailers(frame.fields)
        connection.write_end(trailers)
        await self._flush(connection)
        self.stream.release(taken)

    async def _flush(self, connection: OriginConnection) -> None:
        try:
            await connection.flush()
        except OriginError:
            # An app may answer and close before it has read everything: what it said counts, and
            # if it said nothing the receiving side finds out.
            await trio.sleep_forever()

    async def _outbound(self, connection: OriginConnection) -> None:
        head = await self._final_head(connection)
        self.status = head.status
        if head.status == 101:
            await self._upgrade(connection, head)
            return
        stream = self.stream
        first = connection.receive_content_nowait()
        whole = connection.content_finished and not connection.trailers
        stream.send_head(head, end_stream=whole and not first, more=bool(first))
        if first:
            self.sent_bytes += len(first)
            await stream.send(first, end_stream=whole)
        if not whole:
            await self._content(connection)
        if stream.ended and connection.reusable:
            self.connection = None
            await self.origin.pool.put_back(connection)
        await stream.wait_sent()

    async def _content(self, connection: OriginConnection) -> None:
        stream = self.stream
        while not connection.content_finished:
            data = await connection.receive_content()
            self.sent_bytes += len(data)
            if connection.content_finished and not connection.trailers:
                await stream.send(data, end_stream=True)
                break
            if data:
                await stream.send(data)
        else:
            await self._end(connection)

    async def _end(self, connection: OriginConnection) -> None:
        trailers = fields.strip_trailers(connection.trailers)
        if trailers:
            self.stream.send_trailers(trailers)
        else:
            await self.stream.send(b"", end_stream=True)

    async def _final_head(self, connection: OriginConnection) -> ResponseHead:
        while True:
            raw = self.first_head or await connection.receive_head()
            self.first_head = None
            head = self._answer(raw)
            if not head.interim:
                return head
            self.stream.send_head(head)

    def _answer(self, raw: ResponseHead) -> ResponseHead:
        def make() -> ResponseHead:
            return fields.for_gateway(raw, self.head, self.origin.view)

        if self.head.memo is None:  # an answer that is kept keeps no hold of who asked
            return make()
        return derive(raw, "gateway's", self.request, make)

    async def _upgrade(self, connection: OriginConnection, head: ResponseHead) -> None:
        """Relay raw bytes both ways until both have ended (RFC 9110 §7.8)."""
        self.stream.send_head(head)
        raw, early = connection.detach()
        done = trio.Event()
        try:
            await together(
                lambda: self._raw_inbound(raw, done), lambda: self._raw_outbound(raw, early, done)
            )
        except (trio.BrokenResourceError, trio.TooSlowError) as error:
            raise OriginError(ErrorCode.ORIGIN_FAILED, "The local app hung up.") from error
        except BaseException:
            reset_when_closed(raw)
            raise
        await self.stream.wait_sent()

    async def _raw_inbound(self, raw: trio.abc.Stream, done: trio.Event) -> None:
        while not self.stream.ended:
            frame = await self.stream.receive()
            if isinstance(frame, Data) and frame.data:
                await send_with_progress(raw, frame.data, self.origin.limits.write_idle_timeout_s)
                self.stream.release(len(frame.data))
                self.received_bytes += len(frame.data)
        if await half_close(raw):
            return
        with trio.move_on_after(LAST_WORDS_S):
            await done.wait()
            return
        raise StreamError(ErrorCode.CANCELLED, "the viewer has ended")

    async def _raw_outbound(self, raw: trio.abc.Stream, early: bytes, done: trio.Event) -> None:
        data = early or await receive(raw, READ_BYTES)
        while data:
            await self.stream.send(data)
            self.sent_bytes += len(data)
            data = await receive(raw, READ_BYTES)
        done.set()
        await self.stream.send(b"", end_stream=True)
