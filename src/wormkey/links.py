"""A client's tunnels in a row: one after the other, and how long to wait between two.

Owns what one tunnel's end means for the next: whether to dial again, when, and why. client.py has
the tasks.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import trio
from attrs import define, field

from wormkey.errors import ErrorCode, TunnelError
from wormkey.frames import GoAway
from wormkey.tunnel import Tunnel

if TYPE_CHECKING:
    from wormkey.frames import Event

FIRST_RETRY_S: Final = 0.25  # an established tunnel was lost: most often the server restarts
YOUNG_RETRY_S: Final = 4.0  # most outages are a restart: all are back within 5 s of its end
YOUNG_OUTAGE_S: Final = 30.0
MAX_RETRY_S: Final = 10.0  # users want back within seconds, however long the server was away
HEALTHY_AFTER_S: Final = 20.0
MAX_LINKS: Final = 4  # tunnels at a time: one serves, the others end the streams they have
FLAPPING_TRIES: Final = 2  # at most so many doublings count when a younger tunnel is lost: 1 s


@define
class Backoff:
    """Full jitter, doubling up to MAX_RETRY_S; starts again after a healthy tunnel.

    In an outage's first YOUNG_OUTAGE_S no pause is longer than YOUNG_RETRY_S.
    """

    random: Callable[[], float] = random.random
    _tries: int = 0
    _waited_s: float = 0.0  # in this outage

    def next_s(self, healthy_s: float) -> float:
        """Return how long to wait; ``healthy_s`` is how long the last tunnel held, 0 for none."""
        if healthy_s:
            self._tries = 0 if healthy_s >= HEALTHY_AFTER_S else min(self._tries, FLAPPING_TRIES)
            self._waited_s = 0.0
        most_s = YOUNG_RETRY_S if self._waited_s < YOUNG_OUTAGE_S else MAX_RETRY_S
        pause_s = self.random() * min(most_s, FIRST_RETRY_S * 2.0**self._tries)
        self._tries = min(self._tries + 1, 16)
        self._waited_s += pause_s
        return pause_s


@define(eq=False)
class Link:
    """One tunnel of the client, from the dial to its end.

    ``over`` is set when it is time to dial another: it ended, or its gateway said that it goes.
    """

    over: trio.Event = field(factory=trio.Event)
    scope: trio.CancelScope = field(factory=trio.CancelScope)
    tunnel: Tunnel | None = None
    connected_at: float | None = None
    error: Exception | None = None

    def open(self, tunnel: Tunnel) -> None:
        """Take the opened tunnel, and listen for its gateway's leave."""
        self.tunnel, self.connected_at = tunnel, trio.current_time()
        tunnel.on_event = self._note
        if tunnel.goodbye is not None:
            self._note(tunnel.goodbye)

    def _note(self, event: Event) -> None:
        if isinstance(event, GoAway) and event.code is ErrorCode.NO_ERROR:
            self.over.set()

    @property
    def reason(self) -> str:
        """Why another tunnel is needed, in words."""
        if self.error is not None:
            return str(self.error)
        goodbye = self.tunnel.goodbye if self.tunnel else None
        detail = goodbye.detail.decode("utf-8", "replace") if goodbye else ""
        return detail or "the tunnel was closed"

    def final_error(self) -> Exception | None:
        """Return what no further try can change."""
        error = self.error
        if error is None:
            return None
        goodbye = self.tunnel.goodbye if self.tunnel else None
        text, status = "", 0
        if goodbye is not None and goodbye.code is ErrorCode.SESSION_CLOSED:
            text, status = goodbye.detail.decode("utf-8", "replace") or "the session is over", 410
        elif goodbye is not None and goodbye.code is ErrorCode.REPLACED:
            text, status = "another client of this session took over", 409
        if text:
            final = TunnelError(text, retryable=False, status=status)
            final.__cause__ = error
            return final
        retryable = isinstance(error, TunnelError) and (error.status is None or error.retryable)
        return None if retryable else error
