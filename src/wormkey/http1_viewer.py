"""The server role of HTTP/1.1 on a trio stream: one connection of a viewer.

Owns the octets of the connection, their deadlines and their order, nothing else: no routing,
no fields removed or rewritten (fields.py), no pages (pages.py). What the viewer did wrong is an
AdmissionError, for the gateway to answer (RFC 9112).

Two tasks may use a connection at once: one that receives content, one that writes the answer.
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import trio
import trio.abc
from attrs import define, field

from wormkey import transport
from wormkey.errors import AdmissionError, ErrorCode, LocalProtocolError, StreamError
from wormkey.fields import upgrade_offer
from wormkey.frames import Fields
from wormkey.http1 import (
    READ_BYTES,
    HeadBuffer,
    Http1Limits,
    ViewerRequest,
    bad_request,
    parse_request,
    request_timeout,
    take_request_head,
)
from wormkey.http1_compose import (
    compose_answer,
    compose_connection,
    compose_fields,
    compose_status_line,
    current_date,
)
from wormkey.http1_content import (
    ChunkedReader,
    ContentReader,
    ContentWriter,
    Framing,
    LengthReader,
    framing_of,
)
from wormkey.pace import Pace
from wormkey.recent import derive

if TYPE_CHECKING:
    from wormkey.frames import ResponseHead

LAST_SEND_S: Final = 0.5  # for what is composed when a connection ends


@define(eq=False)
class ViewerConnection:
    """One viewer's connection: requests in order, each answered before the next is read.

    A cycle is receive_request; receive_content until it is finished (or not at all); write_*
    and flush; next_cycle. Memory: at most one head, one read and what was written since the
    last flush.

    Attributes:
        response_started: whether the final head is composed: no other head can follow.
        content_finished: whether all content is received; true at once where there is none.
        method: the request's, also where its head was refused.
        trailers: the request's trailer section, once its content is finished.
    """

    stream: trio.abc.Stream
    limits: Http1Limits
    response_started: bool = field(default=False, init=False)
    content_finished: bool = field(default=True, init=False)
    method: bytes = field(default=b"", init=False)
    trailers: Fields = field(default=(), init=False)
    _in: HeadBuffer = field(factory=HeadBuffer, init=False)
    _out: list[bytes] = field(factory=list, init=False)
    _request: ViewerRequest | None = field(default=None, init=False)
    _reader: ContentReader | None = field(default=None, init=False)
    _writer: ContentWriter | None = field(default=None, init=False)
    _is_http10: bool = field(default=False, init=False)
    _keep: bool = field(default=False, init=False)  # both sides' heads allow another request
    _continued: bool = field(default=False, init=False)  # a 100 went out
    _lost: bool = field(default=False, init=False)  # a send failed: octets may be missing
    _pace: Pace = field(factory=lambda: Pace(0), init=False)  # of the request's content
    _waiting: trio.CancelScope = field(factory=trio.CancelScope, init=False)

    # ── state ──────────────────────────────────────────────────────────────────────────────
    @property
    def idle(self) -> bool:
        """Whether no exchange is under way and no octet of a request has come."""
        return self._request is None and not self.response_started and not self._in.started

    @property
    def response_finished(self) -> bool:
        """Whether the answer is composed to its end; it may still wait for a flush."""
        return self._writer is not None and self._writer.ended

    @property
    def can_continue(self) -> bool:
        """Whether nothing so far forbids another request on this connection."""
        return self._keep and not self._lost

    def next_cycle(self) -> bool:
        """Get ready for the next request; false where the connection must be closed instead.

        False after a cut, an announced close, and where content was left unread
        (RFC 9112 §9.3): call lingering_close then.
        """
        done = self.response_finished and self.content_finished and not self._out
        if not (done and self.can_continue):
            return False
        self._request = self._reader = self._writer = None
        self.response_started = self._continued = self._keep = False
        self.method, self._is_http10 = b"", False
        self.trailers = ()
        return True

    # ── receiving ──────────────────────────────────────────────────────────────────────────
    def stop_waiting(self) -> None:
        """Let receive_request return None if it still waits for octets: the place is needed."""
        self._waiting.cancel(reason="the place of this connection is needed")

    async def receive_request(self, until: float = math.inf) -> ViewerRequest | None:
        """Return the next request; None when the viewer closed, or stayed silent too long.

        The wait for a first octet has ``keep_alive_timeout_s``, the rest of the head
        ``head_timeout_s`` in all; at ``until``, a time of trio's clock, both end. After an error,
        answer with ``write_head(..., close=True)`` and close.

        Raises:
            AdmissionError: 400, 408, 414, 417, 431, 501 or 505.

        Cancellation: loses nothing; may be called again.
        """
        if self._request is not None or self.response_started:
            raise LocalProtocolError("receive_request: the last exchange has not ended")
        raw = take_request_head(self._in, self.limits) if self._in.data else None
        if raw is not None:  # pipelined: a full buffer must not keep everybody else waiting
            await trio.lowlevel.checkpoint()
        else:
            with suppress(trio.BrokenResourceError):  # he has left, as one who closes
                raw = await self._receive_head(until)
        if raw is None:
            return None
        self.method = raw[: raw.find(b" ")]  # before any check: an error for HEAD has no content
        request = parse_request(raw)
        self._is_http10, self._keep = request.http_version < b"1.1", request.keep_alive
        self.content_finished = not request.has_content
        if request.has_content:
            length = request.content_length
            self._reader = ChunkedReader(bad_request) if length is None else LengthReader(length)
        self._request, self._pace = request, Pace(self.limits.min_rate_bytes)
        return request

    async def _receive_head(self, until: float) -> bytes | None:
        now = transport.receive_nowait(self.stream, READ_BYTES)
        if now:  # a busy viewer's request is here already: it needs neither a scope nor a deadline
            self._in.data += now
            await trio.lowlevel.checkpoint()
            if (raw := take_request_head(self._in, self.limits)) is not None:
                return raw
        empty, started = now is None, self._in.started
        head_s, idle_s = self.limits.head_timeout_s, self.limits.keep_alive_timeout_s
        deadline = trio.current_time() + (head_s if started else idle_s)
        with trio.CancelScope(deadline=min(deadline, until)) as self._waiting:
            while True:
                data = await transport.receive(self.stream, READ_BYTES, empty=empty)
                empty = False
                if not data:
                    if started:
                        raise bad_request("the connection ended inside its head")
                    return None
                self._in.data += data
                if (raw := take_request_head(self._in, self.limits)) is not None:
                    return raw
                if not started and self._in.started:
                    started = True
                    deadline = trio.current_time() + head_s
                    self._waiting.deadline = min(deadline, until)
        if started and trio.current_time() >= deadline:
            raise request_timeout("The request head did not arrive in time.")
        return None

    async def receive_content(self) -> bytes:
        """Return the next piece of the request's content; b"" once it is finished.

        ``content_finished`` may be true already with the last piece. Each wait has
        ``content_idle_timeout_s``; one that begins before a 100 has no limit of its own.

        Raises:
            AdmissionError: 400 for malformed framing, 408 for content that stopped coming.
            trio.BrokenResourceError: the viewer left before the end of the content.

        Cancellation: loses nothing; may be called again.
        """
        reader = self._reader
        while reader is not None and not self.content_finished:
            data = self._in.take_all() if self._in.data else await self._receive_some()
            try:
                content, rest = reader.push(data)
            except AdmissionError:
                self._keep = False
                raise
            self._in.data += rest
            if reader.finished:
                self.content_finished = True
                self.trailers = reader.trailers
            if content:
                return content
        return b""

    async def _receive_some(self) -> bytes:
        invited = not self._waits_for_100  # else it is the app's time that runs
        began = trio.current_time()
        with trio.move_on_after(self.limits.content_idle_timeout_s if invited else math.inf):
            data = await transport.receive(self.stream, READ_BYTES)
            if invited:
                self._pace.add(trio.current_time() - began, len(data))
            if not data:
                self._keep = False
                raise trio.BrokenResourceError("the viewer left inside the content")
            if not self._pace.too_slow:
                return data
        self._keep = False
        raise request_timeout("The content of the request stopped arriving, or only drips.")

    @property
    def _waits_for_100(self) -> bool:
        return bool(self._request and self._request.expects_continue and not self._continued)

    # ── answering ──────────────────────────────────────────────────────────────────────────
    def write_interim(self, head: ResponseHead) -> None:
        """Compose a 1xx answer; an HTTP/1.0 viewer gets none (RFC 9110 §15.2).

        Raises:
            LocalProtocolError: the final head is written, or this is no interim head.
            StreamError: PROTOCOL_ERROR; the head cannot be put on the wire.
        """
        if self.response_started or not head.interim:
            raise LocalProtocolError("write_interim: only 1xx heads, before the final one")
        if self._is_http10:
            return
        fields = tuple(pair for pair in head.fields if pair[0].lower() != b"content-length")
        block = compose_fields(fields)
        self._continued = self._continued or head.status == 100
        self._out += (compose_status_line(head.status, head.reason), block, b"\r\n")

    def write_head(self, head: ResponseHead, extra: Fields = (), *, close: bool = False) -> None:
        """Compose the final head: fields as given, ``extra``, Date (if absent) and the framing.

        ``head.fields`` hold no hop-by-hop fields and at most one Content-Length. Without one the
        content is chunked, or ended by the connection's close for HTTP/1.0. ``close`` announces
        that no other request will be read; so does an answer to a viewer who waits for a 100.

        Raises:
            LocalProtocolError: out of order, or a hop-by-hop field was not removed.
            StreamError: PROTOCOL_ERROR; the head cannot be put on the wire.
        """
        if self.response_started or head.interim:
            raise LocalProtocolError("write_head: one final head for each request")
        composed = derive(head, "lines", None, lambda: compose_answer(head))
        if head.status == 101:
            self._write_upgrade(head)
            return
        length = composed.length
        lines = [composed.lines, compose_fields(extra)]
        # Of a request that could not be parsed the version is unknown: assume the worst.
        old = self._is_http10 or self._request is None
        framing = framing_of(head.status, length, is_head=self.method == b"HEAD", old=old)
        abandoned = self._waits_for_100 and not self.content_finished
        self._keep = self._keep and not (close or abandoned or framing is Framing.UNTIL_CLOSE)
        if not composed.has_date:
            lines.append(b"Date: %b\r\n" % current_date())
        if framing is Framing.CHUNKED:
            lines.append(b"Transfer-Encoding: chunked\r\n")
        lines += (compose_connection(self._keep, head.upgrade, old=self._is_http10), b"\r\n")
        self._out += lines
        self._writer = ContentWriter(framing, length or 0 if framing is Framing.LENGTH else 0)
        self.response_started = True

    def _write_upgrade(self, head: ResponseHead) -> None:
        request = self._request
        asked = request and not self._is_http10 and upgrade_offer(request.head.fields)
        if not (asked and head.upgrade):
            raise StreamError(ErrorCode.PROTOCOL_ERROR, "a 101 that the viewer did not ask for")
        fields = (*head.fields, (b"Connection", b"Upgrade"), (b"Upgrade", head.upgrade))
        self._out += (compose_status_line(101, head.reason), compose_fields(fields), b"\r\n")
        self.response_started = True
        self._keep = False

    def write_content(self, data: bytes) -> None:
        """Compose a piece of the answer's content; dropped on HEAD, 204 and 304.

        Raises:
            LocalProtocolError: before write_head, after write_end or after a 101.
            StreamError: PROTOCOL_ERROR; more than the declared Content-Length. Nothing of
                ``data`` is written: call truncate.
        """
        if self._writer is None:
            raise LocalProtocolError("write_content: no answer is under way")
        self._writer.write(data, self._out)

    def write_end(self, trailers: Fields = ()) -> None:
        """Compose the end of the answer; trailers go out with chunked content only.

        Raises:
            LocalProtocolError: before write_head, twice or after a 101.
            StreamError: PROTOCOL_ERROR; less content than declared, or malformed trailers.
                The answer is not ended: call truncate.
        """
        if self._writer is None:
            raise LocalProtocolError("write_end: no answer is under way")
        self._writer.end(trailers, self._out)

    async def flush(self) -> None:
        """Send what is composed, in one go where the socket takes it.

        Raises:
            trio.TooSlowError: the viewer took nothing for ``write_idle_timeout_s``.
            trio.BrokenResourceError: the viewer has gone, or an earlier flush failed.

        Cancellation: octets may be lost; nothing but truncate or a close can follow.
        """
        if not self._out:
            return
        data = b"".join(self._out)
        self._out.clear()
        if self._lost:
            raise trio.BrokenResourceError("an earlier send did not get through")
        self._lost = True  # until all of it is known to be sent
        idle_s, rate = self.limits.write_idle_timeout_s, self.limits.min_rate_bytes
        await transport.send_with_progress(self.stream, data, idle_s, rate)
        self._lost = False

    # ── ending ─────────────────────────────────────────────────────────────────────────────
    async def truncate(self) -> None:
        """End an unfinished answer so that the viewer sees the cut, and close.

        FIN where the length or the chunks show it, RST where only the close would end it.

        Cancellation: the connection is closed all the same.
        """
        if self._writer and self._writer.framing is Framing.UNTIL_CLOSE:
            await transport.reset_connection(self.stream)
        else:
            await self.lingering_close()

    async def lingering_close(self) -> None:
        """Close so that an answer already sent is not lost to an RST (RFC 9112 §9.6).

        Sends what is composed, the goodbye of TLS and a FIN, then drops what still comes, at
        most for 2 s and 256 KiB. No other task may be receiving.

        Cancellation: the connection is closed all the same.
        """
        stream = self.stream
        if isinstance(stream, trio.SSLStream):
            stream = stream.transport_stream
        try:
            with trio.move_on_after(transport.LINGER_S):
                await self._send_the_last()
                await transport.linger(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            await trio.aclose_forcefully(stream)

    async def _send_the_last(self) -> None:
        try:
            with trio.move_on_after(LAST_SEND_S):
                await self.flush()
                if isinstance(self.stream, trio.SSLStream):
                    await self.stream.unwrap()  # waits for an answer that few viewers give
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            pass

    async def aclose(self) -> None:
        """Close at once; what is not flushed is lost, and the cut shows as truncate's does.

        Cancellation: the connection is closed all the same.
        """
        whole = self.response_finished and not (self._out or self._lost)
        if self._writer and self._writer.framing is Framing.UNTIL_CLOSE and not whole:
            await transport.reset_connection(self.stream)
        await trio.aclose_forcefully(self.stream)

    def detach(self) -> tuple[trio.abc.Stream, bytes]:
        """Give the stream away with the octets that came after the request; end of HTTP on it.

        Raises:
            LocalProtocolError: something composed is not flushed, or content is not received.
        """
        if self._out or not self.content_finished:
            raise LocalProtocolError("detach: flush the answer and receive the content first")
        self._keep, self._request = False, None
        return self.stream, self._in.take_all()
