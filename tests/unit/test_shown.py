"""docs/limits.md and docs/faults.md name a test for each attack and each fault."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.rules import ROOT, exists, names_in, shown

SHOWN = {page: shown(page) for page in ("limits.md", "faults.md")}
ROWS = [(page, *row) for page, rows in SHOWN.items() for row in rows.items()]


def test_the_pages_have_their_tables() -> None:
    """The reader finds them: neither is empty for want of a blank."""
    assert len(SHOWN["limits.md"]) >= 20
    assert len(SHOWN["faults.md"]) >= 15


@pytest.mark.parametrize(("page", "what", "tests"), ROWS, ids=lambda cell: str(cell)[:40])
def test_each_row_has_a_test_that_exists(page: str, what: str, tests: tuple[str, ...]) -> None:
    """What is said to hold is tried."""
    assert tests, (page, what)
    assert [node for node in tests if not exists(node)] == []


def test_each_fault_that_is_tried_is_told() -> None:
    """Every test of tests/faults/ stands in the page."""
    told = {node for tests in SHOWN["faults.md"].values() for node in tests}
    for path in (ROOT / "tests" / "faults").glob("test_*.py"):
        relative = str(Path(path).relative_to(ROOT))
        tried = {f"{relative}::{name}" for name in names_in(relative) if name.startswith("test_")}
        assert tried <= told
