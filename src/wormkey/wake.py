"""Notices that this machine has slept: the clock that counts a sleep ran ahead of the other.

After a sleep the tunnel's connection looks open, and may be dead at its other end. Waiting for the
silence to be long enough would leave viewers without the page for half a minute.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from attrs import define, field

WAKE_CHECK_S: Final = 1.0  # counted while awake, so a sleep is seen so long after it at most
SLEPT_S: Final = 5.0  # shorter ones do no harm: the gateway is still there


def sleep_clock() -> float:
    """Return seconds on a clock that goes on while the machine sleeps."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    # macOS: CLOCK_MONOTONIC goes on, and Python's monotonic is another clock, which stands still.
    return time.clock_gettime(time.CLOCK_MONOTONIC if clock is None else clock)


@define(eq=False)
class Wake:
    """Compares the two clocks, each time since the last."""

    sleep_clock: Callable[[], float] = sleep_clock
    awake_clock: Callable[[], float] = time.monotonic
    _lead_s: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        """What the clocks differ by now is the start."""
        self._lead_s = self._measure()

    def _measure(self) -> float:
        return self.sleep_clock() - self.awake_clock()

    def slept_s(self) -> float:
        """Return how long the machine slept since the last call, 0 for what does not count."""
        lead_s = self._measure()
        slept_s = lead_s - self._lead_s
        self._lead_s = lead_s
        return slept_s if slept_s >= SLEPT_S else 0.0
