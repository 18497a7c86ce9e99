"""Secrets are planted wherever one can be said, and are then looked for wherever one could stay."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.support.canaries import PLANTED, plant_everywhere

if TYPE_CHECKING:
    from pathlib import Path


async def test_no_secret_stays_anywhere(tmp_path: Path) -> None:
    """Not in a log, the store, a command line, a figure or a fact; and a record is one line."""
    left = await plant_everywhere(tmp_path)
    assert {"audit.log", "wormkeyd.sqlite3", "figures", "status"} <= set(left.places)
    for place in ("stderr", "audit.log", "wormkeyd.sqlite3"):
        assert left.slug in left.places[place]  # it is the right one
    assert len(left.secrets) == 6
    assert all(len(secret) >= 16 for secret in (*PLANTED, *left.secrets))
    assert left.found() == {}
    for line in left.log:
        record = json.loads(line)
        assert {"time", "level", "logger", "event"} <= set(record)
