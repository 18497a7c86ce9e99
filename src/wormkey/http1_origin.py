"""The client role of HTTP/1.1 on a trio stream: one connection to the local app.

Owns the octets of the connection, their framing and the question whether it may be used again;
no dialling, no pool, no fields rewritten (fields.py). What the app did wrong is an OriginError,
and a message that was cut is never taken for a complete one (RFC 9112 §8). Answers may take as
long as they like here: deadlines for them belong to the caller.

Two tasks may use a connection at once: one that writes the request, one that receives.
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, Final

import trio
import trio.abc
from attrs import define, field, frozen

from wormkey.errors import ErrorCode, LocalProtocolError, OriginError, StreamError
from wormkey.fields import upgrade_offer
from wormkey.frames import Fields
from wormkey.http1 import (
    READ_BYTES,
    HeadBuffer,
    Http1Limits,
    OriginAnswer,
    asks_to_close,
    parse_response,
)
from wormkey.http1_compose import compose_fields, compose_request_line, declared_length
from wormkey.http1_content import (
    ChunkedReader,
    ContentReader,
    ContentWriter,
    Framing,
    LengthReader,
    UntilCloseReader,
)
from wormkey.transport import raw_socket, receive, send_with_progress

if TYPE_CHECKING:
    from wormkey.frames import ResponseHead

MAX_INTERIM_HEADS: Final = 32  # an app sends one or two; without a limit it may loop for ever

_POLL: Final = select.POLLIN | select.POLLPRI | getattr(select, "POLLRDHUP", 0)


@frozen
class ComposedRequest:
    """A request's head as it goes out, and what its content and its answer are read by."""

    octets: bytes
    method: bytes
    framing: Framing
    length: int
    upgrade_asked: bool
    keep: bool  # nothing in it ends the connection


def compose_request(
    method: bytes,
    target: bytes,
    fields: Fields,
    *,
    content_length: int | None,
    has_content: bool,
) -> ComposedRequest:
    """Compose a request's head: the fields as given, then the framing they do not hold.

    ``fields`` begin with Host and may hold the Content-Length, Connection and Upgrade that are to
    be sent. Content without a length is chunked; without content no framing is added.

    Raises:
        LocalProtocolError: ``fields`` hold Transfer-Encoding.
        StreamError: PROTOCOL_ERROR; the head cannot be put on the wire, or its length is not
            ``content_length``.
    """
    names = {name.lower() for name, _ in fields}
    if b"transfer-encoding" in names:
        raise LocalProtocolError("write_request: Transfer-Encoding is not removed")
    declared = declared_length(fields) if b"content-length" in names else None
    length = declared if content_length is None else content_length
    if declared not in (None, length) or (length and not has_content):
        code = ErrorCode.PROTOCOL_ERROR
        raise StreamError(code, "the Content-Length contradicts the request")
    lines = [compose_request_line(method, target), compose_fields(fields)]
    if length is not None and declared is None:
        lines.append(b"Content-Length: %d\r\n" % length)
    chunked = length is None and has_content
    if chunked:
        lines.append(b"Transfer-Encoding: chunked\r\n")
    lines.append(b"\r\n")
    return ComposedRequest(
        b"".join(lines),
        method,
        Framing.CHUNKED if chunked else Framing.LENGTH,
        length or 0,
        upgrade_asked=b"upgrade" in names and bool(upgrade_offer(fields)),
        keep=b"connection" not in names or not asks_to_close(fields),
    )


@define(eq=False)
class OriginConnection:
    """One connection to an origin: a request, its answer, and again while ``reusable``.

    A cycle is write_*, flush; receive_head until it is not interim; receive_content until it is
    b""; start_next_cycle. Memory: at most one head, one read and what was written since the
    last flush.

    Attributes:
        answer_started: whether an octet of this cycle's answer came. Without one, and with an
            idempotent method, the request may go out again elsewhere.
        content_finished: whether the answer is received to its end; true already with the last
            piece of its content.
        close_delimited: whether only the end of the connection ends the answer's content.
        trailers: the answer's trailer section, once its content is finished.
    """

    stream: trio.abc.Stream
    limits: Http1Limits
    answer_started: bool = field(default=False, init=False)
    content_finished: bool = field(default=False, init=False)
    close_delimited: bool = field(default=False, init=False)
    trailers: Fields = field(default=(), init=False)
    _in: HeadBuffer = field(factory=HeadBuffer, init=False)
    _out: list[bytes] = field(factory=list, init=False)
    _writer: ContentWriter | None = field(default=None, init=False)
    _reader: ContentReader | None = field(default=None, init=False)
    _method: bytes = field(default=b"", init=False)
    _upgrade_asked: bool = field(default=False, init=False)
    _answered: bool = field(default=False, init=False)  # the final head is received
    _interim_heads: int = field(default=0, init=False)
    _keep: bool = field(default=False, init=False)  # both sides' heads allow another request
    _lost: bool = field(default=False, init=False)  # a send failed: octets may be missing

    # ── state ──────────────────────────────────────────────────────────────────────────────
    @property
    def reusable(self) -> bool:
        """Whether another request may follow on this connection, as far as HTTP tells.

        Only where both messages were framed and are complete, nothing is left over and neither
        side said close; never after a 101 or an answer that the close ended. Ask is_quiet too,
        at the last moment.
        """
        complete = self._writer is not None and self._writer.ended and self.content_finished
        settled = not (self._out or self._in.data or self._lost)
        return complete and settled and self._keep and not self.close_delimited

    def is_quiet(self) -> bool:
        """Whether nothing has come that nobody asked for: no octet, no end, no error.

        A stream without a socket is never quiet, because it cannot be asked.
        """
        sock = raw_socket(self.stream)
        if self._in.data or sock is None or sock.fileno() < 0:
            return False
        if isinstance(self.stream, trio.SSLStream):
            # What TLS holds already no poll shows. trio keeps its input to itself: if that
            # attribute ever goes, TLS connections are just not used twice.
            held = getattr(self.stream, "_incoming", None)
            if held is None or held.pending or self.stream.pending():
                return False
        poll = select.poll()
        poll.register(sock.fileno(), _POLL)
        return not poll.poll(0)

    def start_next_cycle(self) -> None:
        """Get ready for another request.

        Raises:
            LocalProtocolError: not reusable.
        """
        if not self.reusable:
            raise LocalProtocolError("start_next_cycle: this connection must not be used again")
        self._interim_heads = 0
        self.answer_started = self.content_finished = self._answered = self._keep = False
        self._writer = self._reader = None
        self.trailers = ()

    # ── asking ─────────────────────────────────────────────────────────────────────────────
    def write_request(
        self,
        method: bytes,
        target: bytes,
        fields: Fields,
        *,
        content_length: int | None,
        has_content: bool,
    ) -> None:
        """Compose and write a request's head. Raises as compose_request and write_composed."""
        self.write_composed(
            compose_request(
                method, target, fields, content_length=content_length, has_content=has_content
            )
        )

    def write_composed(self, request: ComposedRequest) -> None:
        """Write a request's head that compose_request() made; write_end is due in every case.

        Raises:
            LocalProtocolError: a request is under way.
        """
        if self._writer is not None:
            raise LocalProtocolError("write_request: the last exchange has not ended")
        self._out.append(request.octets)
        self._writer = ContentWriter(request.framing, request.length)
        self._method = request.method
        self._upgrade_asked, self._keep = request.upgrade_asked, request.keep

    def write_content(self, data: bytes) -> None:
        """Compose a piece of the request's content.

        Raises:
            LocalProtocolError: before write_request or after write_end.
            StreamError: PROTOCOL_ERROR; more than the declared Content-Length: close.
        """
        if self._writer is None:
            raise LocalProtocolError("write_content: no request is under way")
        self._writer.write(data, self._out)

    def write_end(self, trailers: Fields = ()) -> None:
        """Compose the end of the request; trailers go out with chunked content only.

        Raises:
            LocalProtocolError: before write_request, or twice.
            StreamError: PROTOCOL_ERROR; less content than declared, or malformed trailers:
                close, the request is not ended.
        """
        if self._writer is None:
            raise LocalProtocolError("write_end: no request is under way")
        self._writer.end(trailers, self._out)

    async def flush(self) -> None:
        """Send what is composed, in one go where the socket takes it.

        An origin may answer and close before it has taken all of a request: after an error,
        receive_head can still succeed.

        Raises:
            OriginError: ORIGIN_FAILED; the origin has closed, or took nothing for
                ``write_idle_timeout_s``. The connection is not reusable.

        Cancellation: octets may be lost; the connection must be closed.
        """
        if not self._out:
            return
        data = b"".join(self._out)
        self._out.clear()
        if self._lost:
            raise _failed("closed the connection before it had the whole request")
        self._lost = True  # until all of it is known to be sent
        try:
            await send_with_progress(self.stream, data, self.limits.write_idle_timeout_s)
        except trio.TooSlowError as error:
            raise _failed("stopped reading the request") from error
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            reason = "closed the connection before it had the whole request"
            raise _failed(reason) from error
        self._lost = False

    # ── receiving ──────────────────────────────────────────────────────────────────────────
    async def receive_head(self) -> ResponseHead:
        """Return the next head of the answer; while it is ``interim`` another one follows.

        A 101 ends HTTP: detach then. The fields are as they came, hop-by-hop ones included.

        Raises:
            LocalProtocolError: the final head is received already.
            OriginError: ORIGIN_FAILED; malformed, over ``max_head_bytes``, cut, a 101 that was
                not asked for, or interim heads without end.

        Cancellation: loses nothing; may be called again.
        """
        if self._answered:
            raise LocalProtocolError("receive_head: the final head is received")
        while (raw := self._in.take_head()) is None:
            if len(self._in.data) > self.limits.max_head_bytes:
                raise _failed("answered with a header section that is too large")
            if self._in.is_hopeless():
                raise _failed("answered with something that is not HTTP/1.1")
            data = await self._receive_some()
            if not data:
                what = "inside its answer" if self.answer_started else "before it answered"
                raise _failed(f"closed the connection {what}")
            self.answer_started = True
            self._in.data += data
        if len(raw) > self.limits.max_head_bytes:
            raise _failed("answered with a header section that is too large")
        answer = parse_response(raw, upgrade_asked=self._upgrade_asked)
        if answer.head.interim:
            self._interim_heads += 1
            if self._interim_heads > MAX_INTERIM_HEADS:
                raise _failed("sends interim answers without end")
        else:
            self._answered = True
            self._open_content(answer)
        return answer.head

    def _open_content(self, answer: OriginAnswer) -> None:
        """Choose how the content ends (RFC 9112 §6.3); only the first two can be told twice."""
        status, length = answer.head.status, answer.content_length
        self._keep = self._keep and answer.keep_alive
        if status == 101:
            self._keep = False
        elif self._method == b"HEAD" or status in (204, 304):
            # RFC 9110 §8.6 forbids framing on 204: whoever sends it may send content as well.
            self._keep = self._keep and not (status == 204 and (answer.chunked or length))
        elif answer.chunked:
            self._reader = ChunkedReader(_malformed_content)
        elif length is not None:
            self._reader = LengthReader(length)
        else:
            self._reader = UntilCloseReader()
            self.close_delimited = True
        self.content_finished = self._reader is None or self._reader.finished

    async def receive_content(self) -> bytes:
        """Return the next piece of the answer's content; b"" once it is finished.

        ``content_finished`` may be true already with the last piece.

        Raises:
            LocalProtocolError: before the final head.
            OriginError: ORIGIN_FAILED; the content was cut, or its framing is malformed.

        Cancellation: loses nothing; may be called again.
        """
        if not self._answered:
            raise LocalProtocolError("receive_content: no final head is received")
        while not self.content_finished:
            data = self._in.take_all() if self._in.data else await self._receive_some()
            if not data:
                if not self.close_delimited:
                    raise _failed("closed the connection inside its answer")
                self.content_finished = True
                break
            content = self._push(data)
            if content:
                return content
        return b""

    def receive_content_nowait(self) -> bytes:
        """Return the content that came with the head; b"" if there is none here yet.

        Raises:
            OriginError: ORIGIN_FAILED; its framing is malformed.
        """
        if self.content_finished or not self._in.data:
            return b""
        return self._push(self._in.take_all())

    def _push(self, data: bytes) -> bytes:
        """Have received octets read; return the content among them."""
        reader = self._reader
        if reader is None:
            raise LocalProtocolError("receive_content: this answer has no content")
        content, rest = reader.push(data)
        self._in.data += rest
        if reader.finished:
            self.content_finished = True
            self.trailers = reader.trailers
        return content

    async def _receive_some(self) -> bytes:
        try:
            # No app answers before it was asked: what is not under way yet is waited for.
            return await receive(self.stream, READ_BYTES, empty=not self.answer_started)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            what = "inside its answer" if self.answer_started else "before it answered"
            raise _failed(f"reset the connection {what}") from error

    # ── ending ─────────────────────────────────────────────────────────────────────────────
    async def aclose(self) -> None:
        """Close at once; TLS gets no goodbye, since nobody waits for it.

        Cancellation: the connection is closed all the same.
        """
        await trio.aclose_forcefully(self.stream)

    def detach(self) -> tuple[trio.abc.Stream, bytes]:
        """Give the stream away after a 101, with the octets that came behind its head.

        Raises:
            LocalProtocolError: something composed is not flushed.
        """
        if self._out:
            raise LocalProtocolError("detach: flush the request first")
        self._keep = False
        return self.stream, self._in.take_all()


def _failed(what: str) -> OriginError:
    return OriginError(ErrorCode.ORIGIN_FAILED, f"The local app {what}.")


def _malformed_content(reason: str) -> OriginError:
    return _failed(f"sent malformed content: {reason}")
