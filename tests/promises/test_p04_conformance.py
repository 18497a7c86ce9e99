"""P4: every rule of docs/conformance.md is kept, in both directions."""

from __future__ import annotations

import re
import sys

import trio

from tests.support.promise import QUICK, Promise
from tests.support.rules import ROOT, rules

# These run elsewhere in the same list of promises, or want what `make api` installs.
ELSEWHERE = ("tests/promises/", "tests/api/")


async def test_every_rule_is_kept(promise: Promise) -> None:
    """A whole run takes every test that the page names; a quick one those of its own folder."""
    found = rules()
    named = {node for rule in found for node in rule.tests if not node.startswith(ELSEWHERE)}
    nodes = ["tests/conformance"] if QUICK else sorted(named)
    command = [sys.executable, "-m", "pytest", "-q", "-o", "faulthandler_timeout=0", *nodes]
    done = await trio.run_process(command, cwd=ROOT, capture_stdout=True, check=False)
    last = done.stdout.decode().strip().splitlines()[-1]
    counted = {what: int(count) for count, what in re.findall(r"(\d+) (\w+)", last)}
    print(last)
    promise.at_least("rules", len(found), 150)
    promise.exactly("rules without a test", sum(not rule.tests for rule in found), 0)
    promise.at_least("cases that passed", counted.get("passed", 0), 300 if QUICK else 650)
    failed = done.returncode != 0 or any(what in counted for what in ("failed", "error", "errors"))
    promise.exactly("broken", failed, 0)
