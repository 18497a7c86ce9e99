"""Idle connections to the local app, kept for the next request.

A connection comes back only when both messages on it were framed, complete and nothing was left
over (OriginConnection.reusable), and goes out again only if it is still quiet. Bounded in number
and in age: Node closes idle connections after 5 s by default, and a request that meets that close
is lost.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

import trio
from attrs import define, field

from wormkey.dialer import Dialer
from wormkey.http1 import Http1Limits
from wormkey.http1_origin import OriginConnection

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_IDLE: Final = 64  # browsers open 6 to a host; more than ten viewers' worth at once
MAX_IDLE_S: Final = 4.0  # Node's keepAliveTimeout is 5 s


@define(eq=False)
class OriginPool:
    """The connections of one client to its one origin."""

    dialer: Dialer
    limits: Http1Limits
    max_idle: int = MAX_IDLE
    max_idle_s: float = MAX_IDLE_S
    _idle: deque[tuple[float, OriginConnection]] = field(factory=deque)

    async def take_idle(self) -> OriginConnection | None:
        """Return the connection used last that is still young and quiet; close those that are not.

        Cancellation: not cancellable; forced closes do not wait.
        """
        found = None
        stale = []
        oldest = trio.current_time() - self.max_idle_s
        while self._idle and found is None:
            since, connection = self._idle.pop()
            if since >= oldest and connection.is_quiet():
                found = connection
            else:
                stale.append(connection)
        await _close(stale)
        return found

    async def connect(self) -> OriginConnection:
        """Return a new connection.

        Raises:
            OriginError: ORIGIN_UNREACHABLE.

        Cancellation: no connection is left open.
        """
        return OriginConnection(await self.dialer.dial(), self.limits)

    async def put_back(self, connection: OriginConnection) -> None:
        """Keep a connection whose exchange is complete, or close it if it cannot be used again.

        Cancellation: the connection is closed or kept, never lost.
        """
        if not connection.reusable:
            await connection.aclose()
            return
        connection.start_next_cycle()
        self._idle.append((trio.current_time(), connection))
        await self.drop_overdue()

    async def drop_overdue(self) -> None:
        """Close what is too old or too many; an app that ends waits for nobody's idle connection.

        Cancellation: not cancellable; forced closes do not wait.
        """
        await _close(list(self._overdue()))

    def _overdue(self) -> Iterator[OriginConnection]:
        oldest = trio.current_time() - self.max_idle_s
        while self._idle and (len(self._idle) > self.max_idle or self._idle[0][0] < oldest):
            yield self._idle.popleft()[1]

    async def aclose(self) -> None:
        """Close every idle connection.

        Cancellation: all are closed whatever happens.
        """
        idle = [connection for _, connection in self._idle]
        self._idle.clear()
        await _close(idle)

    def __len__(self) -> int:
        """Return how many connections are idle."""
        return len(self._idle)


async def _close(connections: list[OriginConnection]) -> None:
    if not connections:
        return
    # A forced close never waits, so the shield is bounded by nature; without it a cancelled
    # caller would close the first connection and leak the others.
    with trio.CancelScope(shield=True):
        for connection in connections:
            await connection.aclose()
