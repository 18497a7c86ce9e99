"""Opening a tunnel: the gateway accepts it, the client dials it; both then run it to its end.

The WebSocket handshake is trio-websocket's. Whether a client may open a tunnel at all is the
gateway's affair, which has read and checked the request before and replays it here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import h11
import trio
from attrs import field, frozen
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    WebSocketConnection,
    wrap_client_stream,
    wrap_server_stream,
)
from wsproto.utilities import ProtocolError as WebSocketError

from wormkey import masking
from wormkey.carrier import READ_BYTES, Carrier
from wormkey.errors import ErrorCode, TunnelError
from wormkey.frames import MAX_MESSAGE_BYTES, SUBPROTOCOL, RequestHead
from wormkey.inbox import MuxLimits
from wormkey.keepalive import Pulse, TunnelTimings
from wormkey.mux import Mux, Role
from wormkey.tunnel import Tunnel
from wormkey.tunnelstream import TunnelStream

_QUEUED_MESSAGES = 4  # between trio-websocket's reader and ours, which never waits

masking.install()


async def accept(
    stream: trio.abc.Stream,
    *,
    version: int,
    limits: MuxLimits,
    timings: TunnelTimings,
    pulse: Pulse,
    remaining_s: Callable[[], float],
    serve: Callable[[Tunnel], Awaitable[None]],
) -> None:
    """Answer a tunnel's opening handshake and run ``serve`` with the tunnel once it is ready.

    ``stream`` replays the handshake request, which the gateway has read, checked and authorised.
    ``pulse`` runs beside it. ``remaining_s`` tells how long its session lives; the tunnel ends with
    it.
    ``serve`` is cancelled when the tunnel ends, and the tunnel ends when ``serve`` returns.

    Raises:
        TunnelError: the reason why the tunnel ended.

    Cancellation: ends the tunnel without a goodbye. The transport is closed in every case.
    """
    size = MAX_MESSAGE_BYTES if version else limits.v0_message_bytes
    carrier = Carrier(stream, timings.write_timeout_s, masked=False)

    async def open_connection(nursery: trio.Nursery) -> WebSocketConnection:
        request = await wrap_server_stream(
            nursery, carrier, _QUEUED_MESSAGES, size, receive_buffer_size=READ_BYTES
        )
        return await request.accept(subprotocol=SUBPROTOCOL if version else None)

    def make(_: WebSocketConnection) -> Tunnel:
        mux = Mux(Role.GATEWAY, limits, version=version)
        return Tunnel(mux, timings, pulse, remaining_s=remaining_s)

    await _run(carrier, open_connection, make, serve, timings)


@frozen(kw_only=True)
class Handshake:
    """What a client says when it dials: where to, who it is, and what it takes."""

    host: str
    resource: str
    token: str = field(repr=False)
    limits: MuxLimits
    timings: TunnelTimings
    pulse: Pulse  # runs beside the tunnel
    handler: Callable[[TunnelStream, RequestHead], Awaitable[None]]
    paused: bool = False  # said together with HELLO, so that no request slips in between


async def dial(
    stream: trio.abc.Stream,
    handshake: Handshake,
    serve: Callable[[Tunnel], Awaitable[None]],
) -> None:
    """Open a tunnel over a connected stream and run ``serve`` with it once it is ready.

    The newest protocol that the gateway takes is spoken: v1 if it selects the subprotocol, else
    v0. ``serve`` and the tunnel end together, as in accept().

    Raises:
        TunnelError: refused (``status``) or ended; ``retryable`` tells whether to dial again.

    Cancellation: ends the tunnel without a goodbye. The transport is closed in every case.
    """
    carrier = Carrier(stream, handshake.timings.write_timeout_s, masked=True)

    async def open_connection(nursery: trio.Nursery) -> WebSocketConnection:
        return await wrap_client_stream(
            nursery,
            carrier,  # type: ignore[arg-type]
            handshake.host,
            handshake.resource,
            subprotocols=[SUBPROTOCOL],
            extra_headers=[(b"Authorization", b"Bearer " + handshake.token.encode())],
            message_queue_size=_QUEUED_MESSAGES,
            max_message_size=handshake.limits.v0_message_bytes,
            receive_buffer_size=READ_BYTES,
        )

    def make(connection: WebSocketConnection) -> Tunnel:
        version = 1 if connection.subprotocol == SUBPROTOCOL else 0
        mux = Mux(Role.CLIENT, handshake.limits, version=version)
        if handshake.paused:
            mux.pause(paused=True)
        return Tunnel(mux, handshake.timings, handshake.pulse, handshake.handler)

    await _run(carrier, open_connection, make, serve, handshake.timings)


async def _run(
    carrier: Carrier,
    open_connection: Callable[[trio.Nursery], Awaitable[WebSocketConnection]],
    make: Callable[[WebSocketConnection], Tunnel],
    serve: Callable[[Tunnel], Awaitable[None]],
    timings: TunnelTimings,
) -> None:
    reason = TunnelError("the tunnel was lost")

    async def serve_ready(tunnel: Tunnel) -> None:
        await tunnel.wait_ready()
        await serve(tunnel)
        tunnel.close(ErrorCode.NO_ERROR)

    try:
        async with trio.open_nursery() as nursery:
            connection = None
            with trio.move_on_after(timings.hello_timeout_s) as opening:
                carrier.on_end = opening.cancel  # trio-websocket would wait on without the peer
                connection = await open_connection(nursery)
            carrier.on_end = None
            if connection is None:
                reason = _not_opened(carrier)
            else:
                tunnel = make(connection)
                nursery.start_soon(serve_ready, tunnel)
                try:
                    await tunnel.run(connection, carrier)
                except TunnelError as error:
                    reason = TunnelError(carrier.failure) if carrier.failure else error
            nursery.cancel_scope.cancel(reason="the tunnel is over")
    except* ConnectionRejected as group:
        reason = _refusal(_first(group))
    except* ConnectionClosed:
        reason = TunnelError("the connection was closed in the opening handshake")
    except* (h11.ProtocolError, WebSocketError):
        # trio-websocket's reader tells the peer of its error, and fails where that cannot be told.
        reason = TunnelError("the peer does not speak WebSocket")
    finally:
        await trio.aclose_forcefully(carrier)
    raise reason


def _not_opened(carrier: Carrier) -> TunnelError:
    what = "was closed in" if carrier.ended else "took too long for"
    return TunnelError(f"the connection {what} the opening handshake")


def _first(group: BaseExceptionGroup[ConnectionRejected]) -> ConnectionRejected:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, ConnectionRejected)  # noqa: S101 - what except* split off
    return error


def _refusal(error: ConnectionRejected) -> TunnelError:
    """Turn a refused handshake into an error: 401, 403 and 410 are for good."""
    fields = {name.lower(): value for name, value in error.headers or ()}
    after = fields.get(b"retry-after", b"")
    return TunnelError(
        f"the gateway refused the tunnel with status {error.status_code}",
        retryable=error.status_code not in (401, 403, 410),
        status=error.status_code,
        retry_after_s=float(after) if after.isdigit() else None,
    )
