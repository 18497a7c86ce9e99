"""The figures that this project holds itself to: as ratios to `ssh -R` in the same run.

One table: what is measured, whether more or less is better, the floor and the goal.
"""

from __future__ import annotations

from typing import Final

from attrs import frozen


@frozen
class Target:
    """A floor that every release keeps and a goal beyond it."""

    figure: str
    floor: float
    goal: float
    more: bool = True  # more is better
    ratio: bool = True  # to the reference; else as it is

    def verdict(self, value: float) -> str:
        """In one word how ``value`` does."""
        if value >= self.goal if self.more else value <= self.goal:
            return "goal"
        if value >= self.floor if self.more else value <= self.floor:
            return "floor"
        return "BELOW"


REFERENCE: Final = "ssh -R"
TARGETS: Final = (
    Target("requests/s at 1", 0.36, 0.50),
    Target("requests/s at 16", 0.22, 0.30),
    Target("requests/s at 64", 0.16, 0.22),
    Target("p50 ms at 1", 3.5, 2.2, more=False),
    Target("p99 ms at 16", 1.0, 0.25, more=False),
    Target("download MB/s", 0.75, 1.0),
    Target("upload MB/s", 0.55, 1.0),
    Target("CPU ms a request at 16", 0.45, 0.30, more=False, ratio=False),
)
