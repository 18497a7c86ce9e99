"""What the tests of the listeners share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.plane import Plane, open_plane

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[Plane]:
    """Give a control plane in open mode."""
    async with open_plane(tmp_path) as opened:
        yield opened
