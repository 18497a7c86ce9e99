"""docs/conformance.md names a test for each rule, and every test of this folder for some rule."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.rules import LEVELS, ROOT, Rule, exists, names_in, rules

RULES = rules()


def test_the_page_has_the_rules() -> None:
    """The reader finds the tables: none of them is empty for want of a blank."""
    assert len(RULES) >= 140
    assert {rule.section.split()[0] for rule in RULES} >= {"9110", "9112", "6455"}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.section}: {rule.text}"[:60])
def test_each_rule_has_a_test_that_exists(rule: Rule) -> None:
    """A level that RFC 2119 knows (or our own), what happens here, and at least one test."""
    assert rule.level in LEVELS
    assert rule.here
    assert rule.tests
    assert [node for node in rule.tests if not exists(node)] == []


def test_each_case_of_this_folder_is_named() -> None:
    """What is tried here is written there."""
    named = {node for rule in RULES for node in rule.tests}
    here = Path(__file__)
    for path in sorted(here.parent.glob("test_*.py")):
        if path == here:
            continue
        relative = str(path.relative_to(ROOT))
        for name in names_in(relative):
            assert not name.startswith("test_") or f"{relative}::{name}" in named, name
