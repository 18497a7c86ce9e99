"""Counts what tests/unit and tests/pair run, and fails unless the ground layer is covered whole.

The ground is the list of the `ground` import contract in pyproject.toml: what is sans-I/O can be
tested whole. The floors above are proved over real sockets and processes, where a count of lines
says little; their figures are printed, not judged.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def ground_files() -> list[str]:
    """The source files of the modules that the `ground` contract names."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    ground = next(c for c in contracts["contracts"] if c["id"] == "ground")
    return [f"src/{module.replace('.', '/')}.py" for module in ground["source_modules"]]


def coverage(*arguments: str) -> int:
    """Run `coverage` of this interpreter; its exit status."""
    command = [sys.executable, "-m", "coverage", *arguments]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def main() -> int:
    """Run the tests under coverage, print two reports; non-zero if a test or the ground fails."""
    (ROOT / ".work" / "coverage").mkdir(parents=True, exist_ok=True)
    # The same examples in the same order: a line that only luck covers must not pass by luck.
    steady = ("-p", "no:randomly", "--hypothesis-seed=0")
    tests = ("tests/unit", "tests/pair", *steady, *sys.argv[1:])
    if status := coverage("run", "-m", "pytest", *tests):
        return status
    coverage("report")
    print("\nthe ground layer, which must be covered whole:")
    return coverage("report", "--fail-under=100", f"--include={','.join(ground_files())}")


if __name__ == "__main__":
    sys.exit(main())
