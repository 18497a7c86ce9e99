"""Every fuzzed parser holds its promises over the corpus; no fuzzer is needed for that."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fuzz.seeds import CORPUS, SEEDS
from fuzz.targets import TARGETS

if TYPE_CHECKING:
    from pathlib import Path

INPUTS = sorted(path for path in CORPUS.rglob("*") if path.is_file())


def test_each_target_has_seeds_and_each_seed_is_there() -> None:
    """What the script would write is what stands in the repository."""
    assert set(TARGETS) == set(SEEDS) == {path.parent.name for path in INPUTS}
    for target, seeds in SEEDS.items():
        for number, seed in enumerate(seeds):
            assert (CORPUS / target / f"seed-{number:02}").read_bytes() == seed


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_an_input_of_the_corpus_breaks_nothing(path: Path) -> None:
    """Seeds, and what a fuzzer found once."""
    TARGETS[path.parent.name](path.read_bytes())


@pytest.mark.parametrize("target", TARGETS)
def test_cut_and_doubled_inputs_break_nothing(target: str) -> None:
    """Each input without its end, without its beginning, and twice."""
    for path in (CORPUS / target).iterdir():
        data = path.read_bytes()
        for piece in (data[: len(data) // 2], data[len(data) // 2 :], data + data):
            TARGETS[target](piece)
