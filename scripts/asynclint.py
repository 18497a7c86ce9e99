"""flake8-async by itself, and of it no more than a file can need.

The plugin has two halves. One walks Python's own tree and is quick. The other walks libcst's, once
for each of its visitors, costs four fifths of the time, and finds only a `yield` inside a nursery
or a cancel scope (ASYNC101) and the `noqa` comments. So the quick half goes over every file, and
the whole plugin over those that may hold such a `yield` or in which the quick half found something.
Samples with known faults come first, so that a plugin that finds nothing any more fails the check.
"""

from __future__ import annotations

import ast
import multiprocessing
import sys
import tempfile
from argparse import ArgumentParser
from pathlib import Path
from typing import Final

from flake8_async import Plugin
from flake8_async.runner import Flake8AsyncRunner

# ASYNC100, ASYNC300: ruff finds the first, too (it selects ASYNC), and bans asyncio, which the
# second is about (TID251).
# ASYNC109: a `timeout_s` parameter is the deadline of a peer's step, taken at the call's edge.
# ASYNC114, ASYNC128: a function that hands its task_status on to the library starts all the same.
# ASYNC124: a fake keeps the `async` of what it stands for.
# ASYNC9: optional; checkpoints are a promise of each docstring, not of each function.
DISABLED: Final = "ASYNC100,ASYNC109,ASYNC114,ASYNC124,ASYNC128,ASYNC300,ASYNC9"
MANAGERS: Final = frozenset({"contextmanager", "asynccontextmanager", "fixture"})
# The faults of each sample; the second has no yield, so only the quick half finds the way to it.
SAMPLES: Final = {
    """\
import trio


async def generate():
    async with trio.open_nursery():
        yield 1
""": {"ASYNC101", "ASYNC119"},
    """\
import trio


async def close(stream):
    try:
        await trio.sleep(1)
    except BaseException:
        pass
    finally:
        await stream.send_all(b"")
""": {"ASYNC102", "ASYNC103"},
    """\
import trio


async def poll(done):
    while not done():  # noqa: ASYNC110 - nothing tells
        await trio.sleep(1)
""": set(),
}


def configure() -> None:
    """Give the plugin its options, in this process."""
    parser = ArgumentParser()
    Plugin.add_options(parser)
    Plugin.parse_options(parser.parse_args(["--disable", DISABLED]))


def may_yield_inside(tree: ast.AST) -> bool:
    """Whether some function that is no context manager's has a yield in a `with` block."""
    functions = ast.FunctionDef | ast.AsyncFunctionDef
    return any(
        isinstance(inner, ast.Yield | ast.YieldFrom)
        for function in ast.walk(tree)
        if isinstance(function, functions) and not is_manager(function)
        for block in ast.walk(function)
        if isinstance(block, ast.With | ast.AsyncWith)
        for inner in ast.walk(block)
    )


def is_manager(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a decorator makes a context manager, or a fixture, of it: there a yield may stand."""
    names = [ast.unparse(each).partition("(")[0] for each in function.decorator_list]
    return any(name.rpartition(".")[2] in MANAGERS for name in names)


def faults(path: str) -> list[str]:
    """The faults of one file, as lines to print."""
    tree = ast.parse(Path(path).read_text(encoding="utf-8"), path)
    if not may_yield_inside(tree) and not list(Flake8AsyncRunner.run(tree, Plugin._options)):
        return []
    return [f"{path}:{error}" for error in sorted(Plugin.from_filename(path).run())]


def missed() -> list[str]:
    """What is not found in the samples, or found and not there."""
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        sample = Path(folder) / "sample.py"
        for text, expected in SAMPLES.items():
            sample.write_text(text, encoding="utf-8")
            found = {word for line in faults(str(sample)) for word in line.split()[1:2]}
            wrong += sorted(expected ^ found)
    return wrong


def main() -> int:
    """Lint the files that are named; 1 where one has a fault, or the samples have not theirs."""
    configure()
    if codes := missed():
        print(f"flake8-async is wrong about {', '.join(codes)} in its samples", file=sys.stderr)
        return 1
    with multiprocessing.Pool(initializer=configure) as pool:
        found = pool.map(faults, sys.argv[1:], chunksize=4)
    lines = [line for each in found for line in each]
    print(*lines, sep="\n", end="\n" if lines else "")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
