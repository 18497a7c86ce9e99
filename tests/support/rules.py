"""Pages of docs/ that name tests, as data: conformance.md's rules, other tables' rows."""

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
        found.append(Rule(*cells[:4], _tests(cells[4])))
    return found


def _tests(cell: str) -> tuple[str, ...]:
    found = _REFERENCE.findall(cell)
    if len(found) != cell.count("`") // 2:
        raise ValueError(f"not a test's name: {cell}")
    return tuple(f"tests/{path}.py::{name}" for path, name in found)


def shown(page: str) -> dict[str, tuple[str, ...]]:
    """Return the tests that a page's tables "Shown by" name, by each row's first cell."""
    found: dict[str, tuple[str, ...]] = {}
    reading = False
    for line in (ROOT / "docs" / page).read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if not line.startswith("|"):
            reading = False
        elif cells[-1] == "Shown by":
            reading = True
        elif reading and not set(line) <= set("|-"):
            found[cells[0]] = _tests(cells[-1])
    return found


def exists(node: str) -> bool:
    """Tell whether there is a test of this node id."""
    path, _, name = node.partition("::")
    return (ROOT / path).exists() and name in names_in(path)


@cache
def names_in(path: str) -> frozenset[str]:
    """Return the tests that a file defines."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in tree.body if isinstance(node, functions))
