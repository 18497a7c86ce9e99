"""Requests that wait for a client that is away: bounded in time, number and bytes (--hold)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

import trio
from attrs import define, field

from wormkey.errors import AdmissionError
from wormkey.node import Node
from wormkey.registry import gone

if TYPE_CHECKING:
    from collections.abc import Callable

    from wormkey.http1 import ViewerRequest
    from wormkey.routes.local import Entry
    from wormkey.tunnel import Tunnel

RETRY_AFTER_S: Final = 5
HELD_BYTES: Final = 4096  # of a parked exchange beside its head: tasks, scopes, the connection
HEAD_COPIES: Final = 3  # as it came, as its fields, and as the tunnel will get it


class PassedOnError(AdmissionError):
    """Another process of this daemon takes over: the same request, sent again, reaches it."""

    def __init__(self) -> None:
        """Bear the status that says it to who cannot be sent on."""
        super().__init__(503, "draining", "The server is being replaced; ask again.")


@define(eq=False)
class Holds:
    """Finds a request's tunnel, and lets it wait while there is none."""

    node: Node
    held_bytes: int = 0  # by all sessions' requests
    _scopes: set[trio.CancelScope] = field(factory=set)

    def end(self) -> None:
        """Let nobody wait any more: no tunnel will be admitted."""
        for hold in list(self._scopes):
            hold.cancel(reason="the server is shutting down")

    async def find_tunnel(
        self,
        entry: Entry,
        request: ViewerRequest,
        until: float,
        *,
        owner: bool,
        waits_in: Callable[[trio.CancelScope], None],
    ) -> Tunnel:
        """Return the session's tunnel, waiting for a client that is away until ``until``.

        ``waits_in`` is told the scope of that wait, for who wants to end it.

        Raises:
            PassedOnError: it comes to another process.
            AdmissionError: 502 or 503 with Retry-After, 410; none came, or it takes nothing.

        Cancellation: waits only.
        """
        tunnel = await self._hold(entry, request, until, waits_in)
        if entry.ended:
            raise gone(entry.session)
        retry = ((b"Retry-After", str(RETRY_AFTER_S).encode()),)
        if tunnel is None and self.node.drain.passing:
            raise PassedOnError
        if tunnel is None and self.node.drain.draining:
            raise AdmissionError(503, "draining", "The server is shutting down.", fields=retry)
        if tunnel is None:
            text = "The developer's machine is not connected right now."
            raise AdmissionError(502, "no_tunnel", text, fields=retry)
        if (entry.paused or tunnel.paused) and not owner:  # he may look at what he holds back
            raise AdmissionError(503, "paused", "The owner has paused this page.", fields=retry)
        return tunnel

    async def _hold(
        self,
        entry: Entry,
        request: ViewerRequest,
        until: float,
        waits_in: Callable[[trio.CancelScope], None],
    ) -> Tunnel | None:
        # The routes of this process hold nothing but tunnels.
        tunnel = cast("Tunnel | None", entry.upstream)
        if tunnel is not None and tunnel.takes_streams:
            return tunnel
        if tunnel is not None:  # it goes, or its end is under way: what is new waits for the next
            entry.detach(tunnel)
        node, cost_bytes = self.node, HELD_BYTES + HEAD_COPIES * len(request.raw_head)
        if node.drain.closing or entry.waiting >= node.settings.max_held_requests:
            return None
        if self.held_bytes + cost_bytes > node.settings.max_held_bytes:
            return None
        self.held_bytes += cost_bytes
        with trio.CancelScope() as hold:
            self._scopes.add(hold)
            waits_in(hold)
            try:
                found = await entry.wait_upstream(max(0.0, until - trio.current_time()))
                return cast("Tunnel | None", found)
            finally:
                self._scopes.discard(hold)
                self.held_bytes -= cost_bytes
        return None
