"""codes.py: every code that the source can say has an entry, and every entry can be read."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from wormkey.apicodes import ALL_CODES
from wormkey.codes import ERRORS, SIDES, Side
from wormkey.grammar import _CODES as STRICT

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCES = Path(__file__).resolve().parents[2] / "src" / "wormkey"
# Who says a code: the call's name, and where in its arguments the code stands.
SAYERS = {"AdmissionError": 1, "Refuse": 1, "error_response": 1, "bad_wish": 0}
# A status other than the usual one: a tunnel that took nothing of the request yet.
UNUSUAL = {("tunnel_lost", 503)}


def said() -> Iterator[tuple[str, int, str]]:
    """Each code in the source as file, status and code."""
    for path in sorted(SOURCES.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            at = SAYERS.get(node.func.id, len(node.args))
            values = [each.value for each in node.args[: at + 1] if isinstance(each, ast.Constant)]
            if len(node.args) > at and len(values) == at + 1:
                status = values[0] if at else 400
                yield path.name, int(str(status)), str(values[at])


def test_every_code_in_the_source_has_an_entry_of_its_status() -> None:
    """Nobody meets a code that `wormkey explain` does not know, or with another status."""
    found = list(said())
    assert len({code for _, _, code in found}) > 30  # the search itself works
    wrong = [
        (name, status, code)
        for name, status, code in found
        if (code not in ALL_CODES or ALL_CODES[code].status != status)
        and (code, status) not in UNUSUAL
    ]
    assert wrong == []
    assert {code: ERRORS[code].status for code in STRICT.values()} == {
        code: status for status, code in STRICT.items()
    }


@pytest.mark.parametrize("code", ALL_CODES)
def test_an_entry_is_short_whole_sentences(code: str) -> None:
    """Title without a full stop, meaning and remedy with one, all short enough for a phone."""
    page = ALL_CODES[code]
    assert not page.title.endswith(".")
    assert 3 <= len(page.title) <= 45
    for text in (page.meaning, page.remedy):
        assert text.endswith(".")
        assert len(text) <= 120
        assert text[0].isupper()
        assert "  " not in text


def test_every_side_is_used_and_has_its_sentence() -> None:
    """Each of the five words leads somewhere."""
    assert set(SIDES) == set(Side) == {page.side for page in ERRORS.values()}
