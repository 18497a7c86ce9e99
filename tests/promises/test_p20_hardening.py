"""P20: the unit is tight, the source has no severe finding, and dependencies have floors."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.rules import ROOT

if TYPE_CHECKING:
    from tests.support.promise import Promise

# The first releases without a known fault that matters here.
FLOORS = {
    "h11": (0, 16),
    "wsproto": (1, 3),
    "trio-websocket": (0, 12),
    "hypercorn": (0, 18),
    "brotli": (1, 2),
}


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return done.stdout


def test_the_sandbox_is_tight(promise: Promise) -> None:
    """What systemd-analyze says of the unit's exposure, 9.6 for one that is not hardened."""
    told = _run(
        *("systemd-analyze", "security", "--offline=true", "--no-pager"),
        str(ROOT / "wormkey.service"),
    )
    found = re.search(r"exposure level for wormkey\.service: (\d+\.\d)", told)
    assert found is not None, told
    promise.at_most("exposure of the unit", float(found[1]), 2.0)


def test_the_source_has_no_severe_finding(promise: Promise) -> None:
    """Bandit reads every file; what it calls high is none here."""
    bandit = str(Path(sys.executable).with_name("bandit"))
    told = json.loads(_run(bandit, "-q", "-r", str(ROOT / "src"), "-f", "json"))
    high = [found for found in told["results"] if found["issue_severity"] == "HIGH"]
    promise.at_least("lines that bandit read", told["metrics"]["_totals"]["loc"], 15_000)
    promise.exactly("files it could not read", len(told["errors"]), 0)
    promise.exactly("findings of high severity", len(high), 0)


def test_the_floors_are_pinned(promise: Promise) -> None:
    """No older release than these can be installed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    floors = {}
    for requirement in project["dependencies"]:
        name, _, floor = requirement.partition(">=")
        floors[name] = tuple(int(part) for part in floor.split("."))
    low = [name for name, floor in FLOORS.items() if floors.get(name, (0,)) < floor]
    promise.exactly("dependencies without their floor", len(low), 0)
