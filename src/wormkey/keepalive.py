"""Whether a tunnel's peer is alive: when to ask it, and when to give it up.

Any frame counts as life, so a peer that speaks is asked only now and then, to measure the round
trip. What is sent and what an end means are tunnel.py's affair. One task looks at all tunnels of a
process when they are due: a task for each would cost a thousand idle tunnels more than their PINGs.
"""

from __future__ import annotations

import heapq
import logging
import math
import struct
from collections.abc import Callable
from typing import Final, Protocol

import trio
from attrs import define, field, frozen

from wormkey.scopes import park, unpark

logger = logging.getLogger(__name__)

REMEASURE_S: Final = 60.0  # between two round trips measured on a busy tunnel

# An answer comes a round trip after its question; the next question need not wait for that to be
# an interval ago, which would wake a thousand idle tunnels twice for each.
_EARLY: Final = 1 / 16

BEAT_S: Final = 0.1  # on which tunnels are due: ten of a thousand each time, none waits long
_SOONEST_S: Final = 0.001  # from one look to the next

_SERIAL: Final = struct.Struct(">Q")  # a PING's payload; v0 has none


@frozen(kw_only=True)
class TunnelTimings:
    """How long a tunnel waits for what; seconds. docs/limits.md has the reasons."""

    ping_interval_s: float = 15.0  # a gateway asks after 10 s, which is a sign of life of its own
    silence_timeout_s: float = 25.0
    v0_silence_timeout_s: float = 60.0  # v0 clients send PING every 25 s
    write_timeout_s: float = 10.0
    hello_timeout_s: float = 10.0
    close_timeout_s: float = 2.0


@define(eq=False)
class KeepAlive:
    """One tunnel's questions and answers. ``asks`` is false where the peer asks by itself."""

    ping: Callable[[bytes], None]
    interval_s: float
    limit_s: float
    asks: bool
    numbered: bool
    heard_at: float = field(factory=trio.current_time)
    _pings: int = 0
    _asked_at: float = -math.inf
    _unanswered: bool = False

    def look(self, now: float) -> float | None:
        """Ask a quiet peer; return when to look again, None when nothing came for ``limit_s``.

        That time is put off to the next beat, so that many tunnels wake their process once.
        """
        silent_at = self.heard_at + self.limit_s
        if now >= silent_at:
            return None
        if now >= self._ask_at() - self.interval_s * _EARLY:
            self._pings += 1
            self._asked_at, self._unanswered = now, True
            self.ping(self._serial())
        due_at = min(self._ask_at(), silent_at)
        beat_s = min(BEAT_S, self.interval_s / 100)
        return max(due_at, math.ceil(due_at / beat_s) * beat_s)

    def _ask_at(self) -> float:
        """A peer that has just spoken need not be asked; its round trip is, now and then."""
        if not self.asks:
            return math.inf
        quiet_at = max(self.heard_at, self._asked_at) + self.interval_s
        return min(quiet_at, self._asked_at + REMEASURE_S)

    def excuse(self, now: float, absent_s: float) -> None:
        """Count as no silence of the peer for how long this process was away itself.

        A stopped process or a machine that stood still finds what came meanwhile still unread.
        """
        self.heard_at = min(now, self.heard_at + absent_s)

    def answered(self, payload: bytes) -> float | None:
        """Return the round trip in seconds that a PONG measures; None if it measures nothing."""
        if not self._unanswered or payload != self._serial():
            return None
        self._unanswered = False
        return trio.current_time() - self._asked_at

    def _serial(self) -> bytes:
        return _SERIAL.pack(self._pings) if self.numbered else b""


class Watched(Protocol):
    """What is looked at when it is due."""

    def look(self, now: float) -> float | None:
        """Do what is due; return when to look again, None for no more."""

    def excuse(self, now: float, absent_s: float) -> None:
        """Take in that the look comes so late because this process was away."""


@define(eq=False)
class Pulse:
    """Looks at each tunnel of a process when it is due; run() must run beside them."""

    _due: list[tuple[float, int]] = field(factory=list)  # a heap of times and places
    _watched: dict[int, Watched] = field(factory=dict)  # by the place that counts
    _places: dict[Watched, int] = field(factory=dict)
    _last_place: int = 0
    _sleeping: list[trio.lowlevel.Task] = field(factory=list)

    def __len__(self) -> int:
        """How many are watched."""
        return len(self._places)

    def watch(self, watched: Watched) -> None:
        """Look now, and whenever it asks for it; what it asked for before counts no more."""
        self._look(watched, trio.current_time())
        unpark(self._sleeping)

    def forget(self, watched: Watched) -> None:
        """Look at it no more, and keep no hold of it."""
        if (place := self._places.pop(watched, None)) is not None:
            del self._watched[place]

    def _look(self, watched: Watched, now: float) -> None:
        self.forget(watched)
        try:
            due_at = watched.look(now)
        except Exception:
            # One tunnel's error is not the end of all: it is told, and the tunnel looked at again.
            logger.exception("a look at a tunnel failed")
            due_at = now + REMEASURE_S
        if due_at is None:
            return
        self._last_place = place = self._last_place + 1
        self._places[watched], self._watched[place] = place, watched
        heapq.heappush(self._due, (max(due_at, now + _SOONEST_S), place))

    async def run(self) -> None:
        """Look at what is due, for ever. Cancellation: stops the looks."""
        while True:
            wake_at = self._due[0][0] if self._due else math.inf
            with trio.move_on_at(wake_at):
                await park(self._sleeping)
                continue  # something new may be due sooner
            now = trio.current_time()
            due = []
            while self._due and self._due[0][0] <= now:
                due.append(heapq.heappop(self._due)[1])
            for place in due:
                if (watched := self._watched.get(place)) is not None:
                    watched.excuse(now, now - wake_at)
                    self._look(watched, now)
