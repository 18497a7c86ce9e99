"""docs/conformance.md as data: the rules, and the tests that it names for each."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import Final

from attrs import frozen

ROOT: Final = Path(__file__).resolve().parents[2]
PAGE: Final = ROOT / "docs" / "conformance.md"
LEVELS: Final = frozenset({"MUST", "MUST NOT", "SHOULD", "SHOULD NOT", "MAY", "own"})

_REFERENCE: Final = re.compile(r"`([a-z0-9_/]+)::(test_\w+)`")


@frozen
class Rule:
    """One row: where it stands, how strong it is, and the node ids of the tests that show it."""

    section: str
    level: str
    text: str
    here: str
    tests: tuple[str, ...]


def rules() -> list[Rule]:
    """Return every row of every table of the page."""
    found = []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if not line.startswith("|") or cells[0] == "Where" or set(line) <= set("|-"):
            continue
        if len(cells) != 5:
            raise ValueError(f"not a row of five cells: {line}")
        if len(_REFERENCE.findall(cells[4])) != cells[4].count("`") // 2:
            raise ValueError(f"not a test's name: {cells[4]}")
        tests = tuple(f"tests/{path}.py::{name}" for path, name in _REFERENCE.findall(cells[4]))
        found.append(Rule(*cells[:4], tests))
    return found


@cache
def names_in(path: str) -> frozenset[str]:
    """Return the tests that a file defines."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in tree.body if isinstance(node, functions))
