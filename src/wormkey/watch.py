"""What the owner's bar is told of one session: that something changed, and the last requests.

Owns a bell that any task may ring at any time, and the bounded record of finished requests. It is
made when an owner first looks; until then nothing is kept and a ring costs nothing. Knows no
session and no request: the record comes ready made.
"""

from __future__ import annotations

from collections import deque
from datetime import datetime
from typing import Final

import trio
from attrs import define, field, frozen

MAX_FINISHED: Final = 50
MAX_SHOWN_PATH: Final = 256  # of a path in the record
MAX_WATCHERS: Final = 8  # browser windows that watch one session


@frozen(kw_only=True)
class Finished:
    """A request that is over. ``at`` is aware UTC; the path has no query; status 0 is no answer."""

    at: datetime
    viewer_id: str
    method: str
    path: str
    status: int
    duration_s: float


@define(eq=False)
class Watch:
    """The bell of one session, and what happened since it was hung up."""

    turn: int = 0  # grows with each ring
    watchers: int = 0
    finished: deque[Finished] = field(factory=lambda: deque(maxlen=MAX_FINISHED))
    _parked: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot)

    def ring(self) -> None:
        """Say that something changed; returns at once, however many listen."""
        self.turn += 1
        self._parked.unpark_all()

    def note(self, finished: Finished) -> None:
        """Keep a finished request, and ring."""
        self.finished.append(finished)
        self.ring()

    async def changed(self, turn: int) -> None:
        """Wait until the bell rings after ``turn`` was read; at once if it has.

        Cancellation: waits only.
        """
        while self.turn == turn:
            await self._parked.park()
