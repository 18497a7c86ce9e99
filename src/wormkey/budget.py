"""How much memory strangers may hold in this process, and what happens when they do.

Each tunnel and each connection has bounds of its own; all of them together must fit the machine.
From nine tenths of the budget on, new viewers are told to come again; beyond all of it, tunnels
give up the streams that nobody reads. Pure: counts come in, a verdict goes out.
"""

from __future__ import annotations

from typing import Final

from attrs import define

CONNECTION_BYTES: Final = 24 * 1024  # a viewer's connection with its task, head and one read
TUNNEL_BYTES: Final = 44 * 1024  # an idle tunnel and its connection, measured at 41 KiB
MIN_SHARE_BYTES: Final = 1024 * 1024  # a tunnel that is squeezed still carries a stream
_SHED: Final = 0.9
_RECOVERED: Final = 0.8  # lower, so that a crowd at the edge is not let in and out


@define
class Budget:
    """One daemon's. ``limit_bytes`` 0 is no bound."""

    limit_bytes: int
    shedding: bool = False  # new viewers are refused
    squeezing: bool = False  # tunnels give up streams that nobody reads

    def look(self, held_bytes: int) -> bool:
        """Take in what is held now; return whether shedding has begun or ended with it."""
        before, limit = self.shedding, self.limit_bytes
        if not limit:
            self.shedding = self.squeezing = False
            return before
        self.squeezing = held_bytes > limit
        self.shedding = held_bytes > limit * (_RECOVERED if before else _SHED)
        return self.shedding is not before

    def share_bytes(self, tunnels: int) -> int:
        """Return what each of so many tunnels may hold while there is too much."""
        return max(MIN_SHARE_BYTES, self.limit_bytes // max(1, tunnels))
