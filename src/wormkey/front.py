"""What stands before the API's server: connections of strangers, read as strictly as a viewer's.

hypercorn is a fine ASGI server and a lenient door: it takes HTTP/2 unasked, framing that two
parsers read in two ways, any number of connections, and sends without a deadline. So strangers meet
the gateway's own reader (http1_viewer.py). A request that is whole and sound goes on to hypercorn
at an inner socket, composed anew; who sent it travels in a field that only this file can set
(docs/decisions/018).
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from math import inf
from typing import TYPE_CHECKING, Final

import trio
from attrs import define, evolve, field

from wormkey.accepting import serve_connections
from wormkey.errors import AdmissionError, OriginError, StreamError
from wormkey.fields import HOP_BY_HOP, get, upgrade_offer
from wormkey.forwarded import is_trusted
from wormkey.frames import Fields, ResponseHead
from wormkey.hardening import OWN_ANSWER
from wormkey.http1 import Http1Limits, ViewerRequest
from wormkey.http1_origin import OriginConnection
from wormkey.http1_viewer import ViewerConnection
from wormkey.introduction import Introduction
from wormkey.metrics import status_class
from wormkey.node import Node
from wormkey.seats import DRAIN_GRACE_S, TRIAL_S, Seat, Seats
from wormkey.transport import peer_address

if TYPE_CHECKING:
    from wormkey.config import Settings

logger = logging.getLogger(__name__)

MAX_REFUSED: Final = 8  # beyond the places, to be told that there is none
MAX_CALLS: Final = 16  # at the API's server at a time; each costs two descriptors more
MAX_CONTENT_BYTES: Final = 64 * 1024
# What is over the cap is read and dropped up to here, so that the answer is not lost to a reset.
MAX_DRAINED_BYTES: Final = 1024 * 1024
CONTENT_TIMEOUT_S: Final = 30.0  # for a request's whole content: 64 KiB take a modem that long
CALL_TIMEOUT_S: Final = 60.0  # the slowest call hashes a password, behind others that do
_SHARE: Final = 4  # no address has more than a quarter of the places
_UNSERVED: Final = frozenset({b"CONNECT", b"TRACE"})
_ALLOW: Final = ((b"Allow", b"GET, HEAD, POST, DELETE, OPTIONS"),)
_GONE: Final = (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError)


@define(eq=False)
class Front:
    """Serves the control plane's connections; ``dial`` leads to the API's server."""

    node: Node
    introduction: Introduction
    dial: Callable[[], Awaitable[trio.SocketStream]]
    seats: Seats  # none of them is for tunnels
    _calls: trio.Semaphore = field(factory=lambda: trio.Semaphore(MAX_CALLS))
    _idle: dict[ViewerConnection, bool] = field(factory=dict)  # and whether it is its first wait
    _closing: bool = False

    async def run(
        self,
        listeners: Sequence[trio.SocketListener],
        shutdown: Callable[[], Awaitable[None]],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until ``shutdown`` returns and open calls are answered, or the close time is over.

        Cancellation: connections are cut.
        """
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as accepting:
                await accepting.start(self._accept, listeners, connections)
                task_status.started()
                await shutdown()
                accepting.cancel_scope.cancel(reason="the API takes no more calls")
            self._closing = True
            connections.cancel_scope.deadline = (
                trio.current_time() + self.node.settings.close_timeout_s
            )
            await self._close_idle(known=True)
            if self._idle:  # who has just connected may still speak
                await trio.sleep(DRAIN_GRACE_S)
                await self._close_idle(known=False)

    async def _close_idle(self, *, known: bool) -> None:
        """Close who waits for a request: those ``known`` to have had one, or everybody."""
        for viewer, fresh in list(self._idle.items()):
            if viewer.idle and not (known and fresh):
                await viewer.aclose()

    async def _accept(
        self,
        listeners: Sequence[trio.SocketListener],
        connections: trio.Nursery,
        *,
        task_status: trio.TaskStatus[None],
    ) -> None:
        await serve_connections(
            listeners,
            self.serve_connection,
            connections,
            limit=self.seats.limit + MAX_REFUSED,
            make_room=self.seats.make_room,
            user_timeout_s=lambda: self.node.settings.write_idle_timeout_s,
            task_status=task_status,
        )

    async def serve_connection(self, stream: trio.SocketStream) -> None:
        """Serve one connection to its end; never raises but for cancellation.

        Cancellation: the connection is cut.
        """
        settings = self.node.settings
        viewer = ViewerConnection(stream, _limits(settings))
        seat = Seat()
        try:
            peer = peer_address(stream)  # raises where the peer has reset it already
            exempt = is_trusted(peer, settings.trusted_proxies)
            share = max(1, self.seats.limit // _SHARE)
            seat = self.seats.take(peer, per_address=share, exempt=exempt)
            fresh = True
            while await self._serve_request(viewer, peer, seat, fresh=fresh):
                fresh = False
        except _GONE:
            logger.debug("caller left")
        except Exception:
            logger.exception("connection failed")
        finally:
            self.seats.leave(seat)
            await viewer.aclose()

    async def _serve_request(
        self, viewer: ViewerConnection, peer: str, seat: Seat, *, fresh: bool
    ) -> bool:
        """Answer one request; return whether the connection may carry another."""
        self._idle[viewer] = fresh
        until = trio.current_time() + TRIAL_S if seat.on_trial else inf
        self.seats.wait(seat, viewer.stop_waiting)
        try:
            request = await viewer.receive_request(until)
            if request is None:
                return False
        except AdmissionError as error:
            refusal = error
            if viewer.method in _UNSERVED:  # known methods, which no path here takes
                text = "this method is not known here"
                refusal = AdmissionError(405, "method_not_allowed", text, fields=_ALLOW)
            await self._refuse(viewer, refusal)
            return False
        finally:
            self._idle.pop(viewer, None)
            self.seats.work(seat)
        last = self._closing or not seat.lasts
        try:
            if seat.on_trial:
                retry = ((b"Retry-After", b"1"),)
                text = "the server has no room at the moment"
                raise AdmissionError(503, "overloaded", text, fields=retry)
            await self._call(viewer, request, peer, last=last)
        except AdmissionError as error:
            strict = self.node.strict_fields(peer, request.head.fields)
            await self._refuse(viewer, error, strict)
            return False
        if viewer.next_cycle() and not self._closing and seat.lasts:
            return True
        await viewer.lingering_close()
        return False

    # ── the call ────────────────────────────────────────────────────────────────────────────

    async def _call(
        self, viewer: ViewerConnection, request: ViewerRequest, peer: str, *, last: bool
    ) -> None:
        """Ask the API's server and send its answer."""
        if upgrade_offer(request.head.fields).lower() == b"websocket":
            raise AdmissionError(400, "websocket_refused", "no WebSocket opens here")
        content = await _read_content(viewer, request)
        head, answer = await self._ask(request, content, peer)
        viewer.write_head(head, close=last)
        viewer.write_content(answer)
        viewer.write_end()
        await viewer.flush()

    async def _ask(
        self, request: ViewerRequest, content: bytes, peer: str
    ) -> tuple[ResponseHead, bytes]:
        """Carry one request to the API's server and its whole answer back."""
        method, target = request.head.method, request.head.target
        passed = (*_passed(request.head.fields), *self.introduction.of(peer))
        try:
            async with self._calls:
                with trio.fail_after(CALL_TIMEOUT_S):
                    server = OriginConnection(await self.dial(), _limits(self.node.settings))
                    try:
                        server.write_request(
                            method,
                            target,
                            passed,
                            content_length=len(content) if request.has_content else None,
                            has_content=request.has_content,
                        )
                        server.write_content(content)
                        server.write_end()
                        await server.flush()
                        head = await server.receive_head()
                        pieces = []
                        while piece := await server.receive_content():
                            pieces.append(piece)
                    finally:
                        await server.aclose()
        except (OriginError, StreamError, OSError, trio.TooSlowError, *_GONE) as error:
            logger.exception("API server did not answer", extra={"reason": str(error)})
            text = "the server failed; its log has the reason"
            raise AdmissionError(500, "internal_error", text) from None
        return evolve(head, fields=_passed(head.fields)), b"".join(pieces)

    async def _refuse(
        self, viewer: ViewerConnection, error: AdmissionError, more: Fields = ()
    ) -> None:
        """Answer what never reaches the API's server, in its shape of an error, and close."""
        self.node.metrics.control_requests[status_class(error.status)] += 1
        content = json.dumps({"error": str(error), "code": error.code}).encode()
        reason = HTTPStatus(error.status).phrase.encode()
        own = (
            (b"Content-Type", b"application/json"),
            (b"Content-Length", b"%d" % len(content)),
            *error.fields,
            *more,
            *OWN_ANSWER,
        )
        viewer.write_head(ResponseHead(error.status, own, reason), close=True)
        viewer.write_content(content)
        viewer.write_end()
        await viewer.flush()
        await viewer.lingering_close()


async def _read_content(viewer: ViewerConnection, request: ViewerRequest) -> bytes:
    """Return a request's whole content.

    Raises:
        AdmissionError: 413 over MAX_CONTENT_BYTES, 408 if it takes over CONTENT_TIMEOUT_S, 400.
    """
    too_large = (request.content_length or 0) > MAX_CONTENT_BYTES
    if request.expects_continue and too_large:  # RFC 9110 §10.1.1: no 100 for what is refused
        raise _content_too_large()
    if request.expects_continue:
        viewer.write_interim(ResponseHead(100, ()))
        await viewer.flush()
    pieces: list[bytes] = []
    size = 0
    with trio.move_on_after(CONTENT_TIMEOUT_S):
        while not viewer.content_finished and size <= MAX_DRAINED_BYTES:
            piece = await viewer.receive_content()
            size += len(piece)
            if size <= MAX_CONTENT_BYTES:
                pieces.append(piece)
        if size > MAX_CONTENT_BYTES:
            raise _content_too_large()
        return b"".join(pieces)
    raise AdmissionError(408, "request_timeout", "the content did not arrive in time")


def _content_too_large() -> AdmissionError:
    limit = f"content may be at most {MAX_CONTENT_BYTES} bytes"
    return AdmissionError(413, "content_too_large", limit)


def _passed(fields: Fields) -> Fields:
    """Return the fields that go on: none of one hop, none that frames, none that introduces."""
    named = {
        option.strip().lower()
        for value in get(fields, b"connection")
        for option in value.split(b",")
    }
    dropped = HOP_BY_HOP | {b"expect"} | (named - {b"host", b"content-length"})
    return tuple(
        pair
        for pair in fields
        if (name := pair[0].lower()) not in dropped and not name.startswith(b"wormkey-")
    )


def _limits(settings: Settings) -> Http1Limits:
    return Http1Limits(
        head_timeout_s=settings.head_timeout_s,
        keep_alive_timeout_s=settings.head_timeout_s,
        content_idle_timeout_s=settings.content_idle_timeout_s,
        write_idle_timeout_s=settings.write_idle_timeout_s,
        min_rate_bytes=settings.min_rate_bytes,
    )


def new_introduction() -> Introduction:
    """Return an introduction that nobody can guess."""
    return Introduction(secrets.token_hex(16).encode())
