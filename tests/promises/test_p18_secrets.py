"""P18: secrets that were planted stay nowhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve

from tests.support.canaries import PLANTED, plant_everywhere

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.promise import Promise


async def test_planted_secrets_stay_nowhere(promise: Promise, tmp_path: Path) -> None:
    """Logs, command lines, answers of the daemon's own, figures, trail and store are looked at."""
    left = await plant_everywhere(tmp_path)
    promise.at_least("secrets planted", len(PLANTED), 12)
    promise.at_least("secrets that the daemon made", len(left.secrets), 6)
    promise.at_least("places looked at", len(left.places), 8)
    promise.exactly("secrets found", len(left.found()), 0)
    one = next(iter(PLANTED))
    assert evolve(left, places={"log": f"x{one}x"}).found() == {one: ["log"]}  # it would be seen
