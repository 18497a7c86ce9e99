"""What the house asks of every file, where no linter does: short files, short functions, a test.

The numbers are those of docs/development.md. They are a ceiling for reading, not a goal.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCES = sorted((ROOT / "src" / "wormkey").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
OTHERS = sorted(
    path for name in ("bench", "examples", "scripts") for path in (ROOT / name).glob("*.py")
)

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60

# Parts of one whole, proved by the tests of the whole: module, and the test files that drive it.
PROVED_BY = {
    "__init__": "unit/test_daemon*.py",  # --version
    "__main__": "e2e/test_*.py",
    "admission": "net/test_gateway_tunnels*.py",
    "answers": "net/test_gateway_*.py",
    "calls": "net/test_control*.py",
    "command": "unit/test_daemon*.py",
    "client": "net/test_robustness_client*.py",
    "dialer": "net/test_origin_client*.py",
    "exchange": "net/test_gateway_streaming*.py",
    "handshake": "net/test_gateway_tunnels*.py",
    "links": "net/test_robustness_client*.py",
    "listening": "e2e/test_handover*.py",
    "predecessor": "e2e/test_handover*.py",
    "serving": "e2e/test_handover*.py",
    "successor": "e2e/test_handover*.py",
    "keepalive": "trio/test_tunnel_times*.py",
    "leavers": "net/test_gateway_cancellation*.py",
    "node": "net/test_gateway*.py",
    "nursery": "e2e/test_programs*.py",
    "panel": "net/test_desk*.py",
    "originpool": "net/test_origin_pool*.py",
    "routes_local": "trio/test_routes*.py",
    "store_memory": "trio/test_store*.py",
    "store_rows": "trio/test_store*.py",
    "store_sqlite": "trio/test_store*.py",
    "trail": "trio/test_changes*.py",
    "tokens": "unit/test_daemon*.py",
    "tunnelstream": "trio/test_tunnel*.py",
}


def relative(path: Path) -> str:
    """A file's name in this repository."""
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", [*SOURCES, *TESTS, *OTHERS], ids=relative)
def test_a_file_can_be_read_at_one_sitting(path: Path) -> None:
    """No file is longer than MAX_FILE_LINES, no function longer than MAX_FUNCTION_LINES."""
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_FILE_LINES
    long = {
        node.name: lines
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or 0) - node.lineno + 1) > MAX_FUNCTION_LINES
    }
    assert long == {}


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_a_module_has_a_test_of_its_name(path: Path) -> None:
    """Whoever changes `x.py` finds its promises in `test_x*.py`, or by PROVED_BY."""
    module = path.relative_to(ROOT / "src" / "wormkey").with_suffix("").as_posix()
    name = module.removesuffix("/__init__").replace("/", "_")
    named = {test for test in TESTS if test.name.startswith(f"test_{name}")}
    assert named or list((ROOT / "tests").glob(PROVED_BY.get(name, "-")))
