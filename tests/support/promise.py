"""A promise of docs/promises.md as a test keeps it: a figure, its bound, and a record of both."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

from attrs import define

QUICK: Final = os.environ.get("WORMKEY_PROMISES") == "quick"
RECORDS: Final = "WORMKEY_PROMISES_FILE"  # names the file of records, one JSON object a line


def sized(full: int, quick: int) -> int:
    """Return how much a promise's test does: ``full``, or ``quick`` where minutes are counted."""
    return quick if QUICK else full


@define
class Promise:
    """One promise while its test runs."""

    number: int

    def at_most(self, what: str, value: float, bound: float, unit: str = "") -> None:
        """Record a figure; fail where it is above ``bound``."""
        self._record(what, value, f"≤ {bound:g}", unit, kept=value <= bound)

    def at_least(self, what: str, value: float, bound: float, unit: str = "") -> None:
        """Record a figure; fail where it is below ``bound``."""
        self._record(what, value, f"≥ {bound:g}", unit, kept=value >= bound)

    def exactly(self, what: str, value: float, bound: float, unit: str = "") -> None:
        """Record a count; fail where it is another than ``bound``."""
        self._record(what, value, f"{bound:g}", unit, kept=value == bound)

    def _record(self, what: str, value: float, bound: str, unit: str, *, kept: bool) -> None:
        line = {
            "promise": self.number,
            "what": what,
            "value": value,
            "bound": bound,
            "unit": unit,
            "kept": kept,
            "quick": QUICK,
        }
        print(f"P{self.number} {what}: {value:g} {unit} (promised: {bound})")
        if name := os.environ.get(RECORDS):
            with Path(name).open("a", encoding="utf-8") as records:
                records.write(json.dumps(line, ensure_ascii=False) + "\n")
        assert kept, f"P{self.number} {what}: {value:g} {unit}, promised {bound}"
