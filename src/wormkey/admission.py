"""Admits tunnels: the handshake at /tunnel, from the checked request to the attached tunnel.

The token decides, the session lives, the newest tunnel wins: a client that comes back replaces
the half-open connection that it left behind, at once.
"""

from __future__ import annotations

import logging
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import trio
from attrs import define

from wormkey import fields, throttle
from wormkey.errors import AdmissionError, ErrorCode, TunnelError
from wormkey.frames import SUBPROTOCOL
from wormkey.handshake import accept
from wormkey.inbox import MuxLimits
from wormkey.keepalive import TunnelTimings
from wormkey.node import Node
from wormkey.opening import check_opening
from wormkey.transport import ReplayStream

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from wormkey.config import Settings
    from wormkey.http1 import ViewerRequest
    from wormkey.http1_viewer import ViewerConnection
    from wormkey.session import Session
    from wormkey.tunnel import Tunnel

logger = logging.getLogger(__name__)

RETRY_AFTER_S = 2
MAX_SESSION_HANDSHAKES = 4  # a client dials once at a time; its half-open ones may still be there


Takeover: TypeAlias = "Callable[[], Awaitable[None]]"


def admit_tunnel(
    node: Node, viewer: ViewerConnection, request: ViewerRequest, address: str
) -> Takeover:
    """Let a client's tunnel in; return what takes its connection over and runs it to its end.

    Nothing of the request is kept for as long as the tunnel is open. ``address`` is the client's,
    as far as trusted proxies vouch for it.

    Raises:
        AdmissionError: 400, 426 no WebSocket handshake of ours; 401 a wrong token, 429 after too
            many of them; 410 the session is over; 503 the server drains.
    """
    check_opening(request.head, has_content=request.has_content)
    if node.drain.closing:
        retry = ((b"Retry-After", str(RETRY_AFTER_S).encode()),)
        raise AdmissionError(503, "draining", "The server is shutting down.", fields=retry)
    session = _authenticate(node, request, address)
    handshake = _Handshake(node, session.session_id)
    handshake.begin()
    version = 1 if _offers_v1(request) else 0
    stream, early = viewer.detach()
    replay = ReplayStream(request.raw_head + early, stream)
    return partial(_run_tunnel, node, session, handshake, replay, version)


async def _run_tunnel(
    node: Node, session: Session, handshake: _Handshake, stream: ReplayStream, version: int
) -> None:
    """Open a tunnel and run it, as one of the node's, to its end.

    Cancellation: ends the tunnel; the transport is closed.
    """
    try:
        await node.turnstile.wait_turn()
        await accept(
            stream,
            version=version,
            limits=mux_limits(node.settings, node.version),
            timings=tunnel_timings(node.settings),
            pulse=node.pulse,
            remaining_s=lambda: session.remaining_s(node.now()),
            serve=lambda tunnel: _serve(node, session, tunnel, handshake),
        )
    except TunnelError as error:
        extra = {"session": session.session_id, "reason": str(error), "version": version}
        logger.info("tunnel closed", extra=extra)
    finally:
        handshake.end()


def _authenticate(node: Node, request: ViewerRequest, address: str) -> Session:
    """Return the session that the request's token opens, counting wrong ones.

    The right token passes at any rate: it cannot be guessed, and colleagues share an address.
    """
    token = _bearer(request)
    try:
        return node.registry.authenticate_tunnel(token)
    except AdmissionError as error:
        if error.status == 401 and token is not None:
            node.metrics.failed_authentications["tunnel"] += 1
            sentence = "Too many wrong tokens came from your address"
            throttle.take(node.throttles.failures, address, trio.current_time(), sentence)
        raise


@define(eq=False)
class _Handshake:
    """One handshake among those under way; after a restart all clients come at once."""

    node: Node
    session_id: str
    _counted: bool = False

    def begin(self) -> None:
        """Take a place.

        Raises:
            AdmissionError: 503 with Retry-After: there are too many, of this session or in all.
        """
        under_way = self.node.handshakes
        full = under_way.total() >= self.node.settings.max_handshakes
        if full or under_way[self.session_id] >= MAX_SESSION_HANDSHAKES:
            retry = ((b"Retry-After", str(RETRY_AFTER_S).encode()),)
            text = "Too many clients connect at once."
            raise AdmissionError(503, "too_many_handshakes", text, fields=retry)
        under_way[self.session_id] += 1
        self._counted = True

    def end(self) -> None:
        """Give the place back; a second call does nothing."""
        if self._counted:
            self._counted = False
            self.node.handshakes[self.session_id] -= 1
            self.node.handshakes += Counter()  # drops those at zero


async def _serve(node: Node, session: Session, tunnel: Tunnel, handshake: _Handshake) -> None:
    handshake.end()
    entry = node.routes.find(session.slug)
    if entry is None or entry.ended or entry.session.session_id != session.session_id:
        tunnel.close(ErrorCode.SESSION_CLOSED, "the session is over")
        return
    if node.drain.closing:  # it began while the handshake was under way
        tunnel.close(ErrorCode.NO_ERROR, "the server is shutting down")
        return
    old = entry.attach(tunnel)
    if old is not None and old.takes_streams:  # one that goes ends in its own time
        old.close(ErrorCode.REPLACED, "another client of this session took over")
    node.tunnels.add(tunnel)
    node.metrics.tunnels_opened[str(tunnel.version)] += 1
    node.metrics.reconnects += entry.tunnels > 1

    def measured(round_trip_s: float) -> None:
        node.metrics.round_trip.observe(round_trip_s)
        entry.ring()

    tunnel.on_round_trip = measured
    tunnel.on_pause = entry.ring
    extra = {"session": session.session_id, "slug": session.slug, "version": tunnel.version}
    logger.info("tunnel opened", extra=extra)
    try:
        await trio.sleep_forever()
    finally:
        node.tunnels.discard(tunnel)
        entry.detach(tunnel)


def _bearer(request: ViewerRequest) -> bytes | None:
    values = fields.get(request.head.fields, b"authorization")
    if len(values) != 1:
        return None
    scheme, _, token = values[0].partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" else None


def _offers_v1(request: ViewerRequest) -> bool:
    offered = b",".join(fields.get(request.head.fields, b"sec-websocket-protocol"))
    return SUBPROTOCOL.encode() in (name.strip() for name in offered.split(b","))


def mux_limits(settings: Settings, version: str) -> MuxLimits:
    """Return what the daemon's end of a tunnel takes."""
    return MuxLimits(
        stream_window_bytes=settings.stream_window_bytes,
        max_stream_window_bytes=settings.max_stream_window_bytes,
        tunnel_window_bytes=settings.tunnel_window_bytes,
        max_streams=settings.max_streams,
        v0_stream_bytes=settings.v0_stream_bytes,
        v0_tunnel_bytes=settings.v0_tunnel_bytes,
        max_glitches=settings.max_glitches,
        agent=f"wormkeyd/{version}".encode(),
    )


def tunnel_timings(settings: Settings) -> TunnelTimings:
    """Return how long the daemon's end of a tunnel waits for what."""
    return TunnelTimings(
        ping_interval_s=settings.ping_interval_s,
        silence_timeout_s=settings.tunnel_timeout_s,
        write_timeout_s=settings.tunnel_write_timeout_s,
        close_timeout_s=settings.close_timeout_s,
    )
