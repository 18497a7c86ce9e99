"""Markers of the tests; everything shared lives in tests/support."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers, so that a misspelt one fails."""
    config.addinivalue_line("markers", "slow: moves much data or waits for real time-outs")
