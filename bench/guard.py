"""Holds the hot paths to what they cost: fails where one has become twice as dear as it was.

Reads what pytest-benchmark wrote. The unit is one h11 cycle of the same run, so the machine does
not matter; bench/hot-paths.json has each step's cost in that unit. `--accept` writes it anew.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

UNIT: Final = "test_h11_cycle"
RECORD: Final = Path(__file__).with_name("hot-paths.json")
MAX_RATIO: Final = 2.0


def costs(path: Path) -> dict[str, float]:
    """Each step's least time in a run, in h11 cycles."""
    runs = json.loads(path.read_text(encoding="utf-8"))["benchmarks"]
    least = {run["name"]: run["stats"]["min"] for run in runs}
    return {name: value / least[UNIT] for name, value in least.items() if name != UNIT}


def main() -> int:
    """Compare, or accept; 1 where a step has doubled or has no record."""
    measured = costs(Path(sys.argv[1]))
    if "--accept" in sys.argv:
        rounded = {name: round(value, 4) for name, value in sorted(measured.items())}
        RECORD.write_text(json.dumps(rounded, indent=1) + "\n", encoding="utf-8")
        return 0
    recorded: dict[str, float] = json.loads(RECORD.read_text(encoding="utf-8"))
    status = 0
    for name in sorted(measured.keys() | recorded.keys()):
        now, then = measured.get(name), recorded.get(name)
        if now is None or then is None:
            print(f"{name}: measured {now}, recorded {then}: run `make bench-hot ACCEPT=1`")
            status = 1
            continue
        doubled = now > then * MAX_RATIO
        status |= doubled
        mark = "  DOUBLED" if doubled else ""
        print(f"{name:22} {now:7.3f} h11 cycles, was {then:7.3f}{mark}")
    return status


if __name__ == "__main__":
    sys.exit(main())
