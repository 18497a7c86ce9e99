"""Keeps the promises of docs/promises.md: runs tests/promises and writes the figures into it.

`make promises` takes hours' worth of load where a promise says so; `make promises QUICK=1` a few
minutes, and writes nothing but what it prints. More arguments go to pytest; a promise that a run
left out keeps the figure and the date that it had.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "promises.md"
ROW = re.compile(r"^\| P(\d+) \|")


def machine() -> str:
    """What the figures were taken on, in a few words."""
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    python = platform.python_version()
    return f"{os.cpu_count()} cores, {round(pages * size / 2**30)} GiB, Python {python}"


def run(records: Path, arguments: list[str]) -> int:
    """Run the tests; each figure becomes a line of ``records``. The exit status of pytest."""
    records.parent.mkdir(exist_ok=True)
    records.unlink(missing_ok=True)
    records.touch()
    steady = ("-p", "no:randomly", "-o", "faulthandler_timeout=0", "-s")
    command = [sys.executable, "-m", "pytest", "tests/promises", *steady, *arguments]
    environment = os.environ | {"WORMKEY_PROMISES_FILE": str(records)}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def figures(records: Path) -> dict[int, list[dict[str, Any]]]:
    """The figures of a run, by promise."""
    found: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for line in records.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        found[record["promise"]].append(record)
    return found


def cell(record: dict[str, Any]) -> str:
    """One figure as the table shows it."""
    text = f"{record['what']}: {record['value']:.4g} {record['unit']}".rstrip()
    return f"{text} ({record['bound']})"


def write(found: dict[int, list[dict[str, Any]]]) -> None:
    """Replace the figures of the promises that this run took in the page's table."""
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    lines = []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        row = ROW.match(line)
        if row and (records := found.get(int(row[1]))):
            told = "; ".join(map(cell, records))
            verdict = "kept" if all(record["kept"] for record in records) else "**broken**"
            promised = line.split(" | ")[1]
            line = f"| P{row[1]} | {promised} | {told} | {today}, {machine()} | {verdict} |"
        lines.append(line)
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> int:
    """Run the promises' tests; write the page unless the run was a quick one."""
    records = ROOT / ".work" / "promises.jsonl"
    status = run(records, sys.argv[1:])
    found = figures(records)
    for number in sorted(found):
        for record in found[number]:
            print(f"P{number:<3} {'kept  ' if record['kept'] else 'BROKEN'} {cell(record)}")
    if os.environ.get("WORMKEY_PROMISES") != "quick":
        write(found)
    return status


if __name__ == "__main__":
    sys.exit(main())
