"""Ends exchanges in which nothing moves for too long, by one look at all of them at a time.

To move a deadline costs as much as the frame that moved it: a heap, a context manager, a clock.
Here it costs an attribute. A look every 100 ms sees what moved since the last one, so that an idle
time ends up to two looks late and never early.
"""

from __future__ import annotations

from typing import Final, Protocol

import trio
from attrs import define, field

LOOK_S: Final = 0.1


class Idler(Protocol):
    """What may be idle for so long and no longer."""

    def look(self, now: float) -> None:
        """Note what moved since the last look; end where nothing did for too long."""


@define(eq=False)
class IdleWatch:
    """Everything under way that has an idle time."""

    _under_way: set[Idler] = field(factory=set)
    _sleeping: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot)

    def add(self, idler: Idler) -> None:
        """Look at ``idler`` from now on."""
        self._under_way.add(idler)
        if self._sleeping:
            self._sleeping.unpark()

    def discard(self, idler: Idler) -> None:
        """Look at it no more."""
        self._under_way.discard(idler)

    async def run(self) -> None:
        """Look while anything is under way, for ever. Cancellation: stops the looks."""
        while True:
            while not self._under_way:
                await self._sleeping.park()
            await trio.sleep(LOOK_S)
            now = trio.current_time()
            for idler in tuple(self._under_way):
                idler.look(now)
