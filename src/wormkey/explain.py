"""``wormkey explain``: what an error code means, on whose side it is, and what to do.

Owns how a code is found from what a person copied, and how its entry is spelt. The sentences stand
in codes.py and apicodes.py. It asks nobody and reads nothing: it works where nothing else does.
"""

from __future__ import annotations

import re
import textwrap
from json import dumps
from typing import TYPE_CHECKING, Final

import click
from click.shell_completion import CompletionItem

from wormkey.apicodes import ALL_CODES

if TYPE_CHECKING:
    from collections.abc import Sequence

_FIELD: Final = re.compile(r"wormkey-error\s*:", re.IGNORECASE)
_NEAREST: Final = 3
_SHORTEST: Final = 3  # letters that a code must share to be meant
_LONGEST: Final = 100  # characters of a mistyped code that are compared
_WIDTH: Final = 78


def find(text: str) -> list[str]:
    """Return the codes that a text means: one, however spelt, or every code of a status.

    ``Wormkey-Error: no_tunnel``, ``NO-TUNNEL`` and ``no_tunnel`` are the same; ``502`` is several.
    """
    wanted = _plain(text)
    if wanted.isdecimal():
        return [code for code, page in ALL_CODES.items() if str(page.status) == wanted]
    return [wanted] if wanted in ALL_CODES else []


def nearest(text: str) -> list[str]:
    """Return the codes that are most like a text that means none, the nearest first."""
    import difflib  # noqa: PLC0415 - 0.3 MB and 4 ms that only a mistake needs

    wanted = _plain(text)[:_LONGEST]
    alike = difflib.get_close_matches(wanted, ALL_CODES, n=_NEAREST)
    within = [code for code in ALL_CODES if len(wanted) >= _SHORTEST and wanted in code]
    return list(dict.fromkeys([*alike, *within]))[:_NEAREST]


def _plain(text: str) -> str:
    return "_".join(_FIELD.sub("", text, count=1).lower().replace("-", "_").split())


def spell(code: str) -> str:
    """Return a code's entry for a person."""
    page = ALL_CODES[code]
    head = f"{code} ({page.status})" if page.status else code
    return "\n".join(
        [
            f"{head}: {page.title}",
            *textwrap.wrap(page.meaning, _WIDTH),
            f"Whose side: {page.side.value}",
            *textwrap.wrap(f"What to do: {page.remedy}", _WIDTH),
        ]
    )


def spell_all() -> str:
    """Return a table of all codes, one a line: code, status, side, title."""
    width = max(map(len, ALL_CODES))
    return "\n".join(
        f"{code.ljust(width)}  {page.status or '-':>3}  {page.side.value.ljust(8)}  {page.title}"
        for code, page in ALL_CODES.items()
    )


def spell_json(codes: Sequence[str]) -> str:
    """Return the entries of these codes as one JSON list; what has no status has null there."""
    return dumps(
        [
            {
                "code": code,
                "status": ALL_CODES[code].status or None,
                "side": ALL_CODES[code].side.value,
                "title": ALL_CODES[code].title,
                "meaning": ALL_CODES[code].meaning,
                "remedy": ALL_CODES[code].remedy,
            }
            for code in codes
        ]
    )


def _complete(
    _context: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    return [
        CompletionItem(code, help=page.title)
        for code, page in ALL_CODES.items()
        if code.startswith(incomplete.lower())
    ]


@click.command("explain")
@click.argument("words", metavar="[CODE]", nargs=-1, shell_complete=_complete)
@click.option("--json", envvar="WORMKEY_JSON", is_flag=True, help="One JSON value on stdout.")
@click.pass_context
def command(context: click.Context, words: tuple[str, ...], json: bool) -> None:
    """Say what an error CODE means, on whose side it is, and what to do.

    CODE is the value of a Wormkey-Error field, the code at the foot of a page or in a JSON answer,
    or a status such as 502. Without CODE, all codes.
    """
    text = " ".join(words)
    codes = find(text) if words else list(ALL_CODES)
    if not codes:
        near = nearest(text)
        hint = f"did you mean {' or '.join(near)}?" if near else "without a code it lists all"
        raise click.UsageError(f"there is no error code {text[:_LONGEST]!r}; {hint}", context)
    if json:
        print(spell_json(codes))
    elif words:
        print("\n\n".join(spell(code) for code in codes))
    else:
        print(spell_all())
