"""Markers of the tests; everything shared lives in tests/support."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import settings

if TYPE_CHECKING:
    import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers, so that a misspelt one fails."""
    config.addinivalue_line("markers", "slow: moves much data or waits for real time-outs")


# No time limit for one example: a busy machine is not a fault of the code.
settings.register_profile("wormkey", deadline=None)
settings.load_profile("wormkey")
