"""Finding a session's tunnel for a request, and holding the request while there is none.

A request whose session lives waits for a client that is away, so many of them and so long as the
settings allow; what waits when the daemon drains is told so. Owns who waits, nothing of HTTP.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

import trio
from attrs import define, field

from wormkey.errors import AdmissionError
from wormkey.node import Node
from wormkey.registry import gone

if TYPE_CHECKING:
    from wormkey.routes.local import Entry
    from wormkey.tunnel import Tunnel

RETRY_AFTER_S: Final = 5


class PassedOnError(AdmissionError):
    """Another process of this daemon takes over: the same request, sent again, reaches it."""

    def __init__(self) -> None:
        """Bear the status that says it to who cannot be sent on."""
        super().__init__(503, "draining", "The server is being replaced; ask again.")


@define(eq=False)
class Holding:
    """The requests of one daemon that wait for a client."""

    node: Node
    _holds: set[trio.CancelScope] = field(factory=set)

    def release(self) -> None:
        """Let nobody wait any more: no tunnel is admitted from now on."""
        for hold in list(self._holds):
            hold.cancel(reason="the server is shutting down")

    async def find_tunnel(self, entry: Entry, hold_until: float, *, owner: bool) -> Tunnel:
        """Return the session's tunnel, waiting for a client that is away until ``hold_until``.

        Raises:
            PassedOnError: it comes to another process.
            AdmissionError: 410 the session ended; 502 no client came; 503 it is paused (not for
                its owner), or the daemon drains.

        Cancellation: safe, nothing is taken.
        """
        tunnel = await self._hold(entry, hold_until)
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

    async def _hold(self, entry: Entry, hold_until: float) -> Tunnel | None:
        # The routes of this process hold nothing but tunnels.
        tunnel = cast("Tunnel | None", entry.upstream)
        if tunnel is not None and tunnel.takes_streams:
            return tunnel
        if tunnel is not None:  # it goes, or its end is under way: what is new waits for the next
            entry.detach(tunnel)
        drain, settings = self.node.drain, self.node.settings
        if drain.closing or entry.waiting >= settings.max_held_requests:
            return None
        with trio.CancelScope() as hold:
            self._holds.add(hold)
            try:
                found = await entry.wait_upstream(max(0.0, hold_until - trio.current_time()))
                return cast("Tunnel | None", found)
            finally:
                self._holds.discard(hold)
        return None
