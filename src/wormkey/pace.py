"""Whether a peer moves at least so much, over the time that somebody waits for it.

An idle time alone lets one octet before each deadline keep a connection for ever. Only time spent
waiting for this peer counts: what another end takes is not its fault. Pure; seconds come in.
"""

from __future__ import annotations

from typing import Final

from attrs import define

GRACE_S: Final = 20.0  # before it, a bad network may do what it likes
MIN_RATE_BYTES: Final = 128  # a second; 2G in a lift moves a thousand


@define
class Pace:
    """One message's. ``min_rate_bytes`` is for a second of waiting; 0 allows any pace."""

    min_rate_bytes: int
    waited_s: float = 0.0
    moved_bytes: int = 0

    def add(self, waited_s: float, moved_bytes: int) -> None:
        """Count a wait, and what came of it."""
        self.waited_s += waited_s
        self.moved_bytes += moved_bytes

    @property
    def too_slow(self) -> bool:
        """Whether less moved than must have by now."""
        over_s = self.waited_s - GRACE_S
        return over_s > 0 and self.moved_bytes < over_s * self.min_rate_bytes
