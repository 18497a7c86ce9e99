"""flake8 for its plugin for async code, with each file's positions worked out once, not six times.

The plugin hands a file from visitor to visitor and reads it anew for each, because a visitor may
have rewritten it. None does without --autofix, so here all of them get the first reading: half the
time. Where the plugin's inside has changed, it is left as it is. A sample with known faults comes
first, so that a plugin which finds nothing any more fails the check.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any, Final

SAMPLE: Final = """\
import trio


async def generate():
    async with trio.open_nursery():
        yield 1


async def close(stream):
    try:
        await trio.sleep(1)
    except BaseException:
        pass
    finally:
        await stream.send_all(b"")
"""
EXPECTED: Final = ("ASYNC101", "ASYNC102", "ASYNC103")
_SELF: Final = [sys.executable, __file__]


def share_readings() -> None:
    """Let all visitors of a file have its first reading."""
    runner: Any = import_module("flake8_async.runner")
    library: Any = getattr(runner, "cst", None)
    wrapper_of: Any = getattr(library, "MetadataWrapper", None)
    if wrapper_of is None:
        return

    class Reading:
        """A file's tree with its positions; a visit changes nothing."""

        def __init__(self, module: object, **options: bool) -> None:
            self.module, self.wrapper = module, wrapper_of(module, **options)

        def visit(self, visitor: object) -> object:
            self.wrapper.visit(visitor)
            return self.module

    latest: list[Reading] = []

    def reading_of(module: object, **options: bool) -> Reading:
        if not latest or latest[0].module is not module:
            latest[:] = [Reading(module, **options)]
        return latest[0]

    class Library:
        """libcst, but for the one thing."""

        MetadataWrapper = staticmethod(reading_of)

        def __getattr__(self, name: str) -> object:
            return getattr(library, name)

    runner.cst = Library()


def missed() -> list[str]:
    """The faults of the sample that are not found."""
    with tempfile.TemporaryDirectory() as folder:
        sample = Path(folder) / "sample.py"
        sample.write_text(SAMPLE, encoding="utf-8")
        command = [*_SELF, "--sample", str(sample)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    return [code for code in EXPECTED if code not in done.stdout]


def main() -> int:
    """Lint the files that are named; the exit status of flake8, 1 where the sample passes."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["--sample"]:
        del arguments[0]
    elif codes := missed():
        print(f"flake8 does not find {', '.join(codes)} in a sample that has them", file=sys.stderr)
        return 1
    share_readings()
    flake8: Any = import_module("flake8.main.cli")
    return int(flake8.main(arguments))


if __name__ == "__main__":
    sys.exit(main())
