"""The options by which ``wormkey expose`` sets a session's rules, and the policy that they make.

Owns their one table: flag, type, and the member of the API's policy. What a rule means is the
server's affair, and its limits, too: here only the form of a value is looked at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import click
from attrs import frozen

from wormkey import options as o
from wormkey.errors import ConfigError
from wormkey.values import parse_count, parse_network, parse_size

F = TypeVar("F", bound=Callable[..., Any])
_METHOD: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}", re.ASCII)


def _password(text: str) -> str:
    if not text or not text.isprintable():
        raise ConfigError("it has at least one character, and no control characters")
    return text


def _block_path(text: str) -> str:
    if not text.startswith("/") or any(mark in text for mark in "?#%\\"):
        raise ConfigError(f"{text!r} is not a path such as /admin, without % or a query")
    return text


def _network(text: str) -> str:
    return str(parse_network(text))


def _method(text: str) -> str:
    if _METHOD.fullmatch(text) is None:
        raise ConfigError(f"{text!r} is not a method such as GET")
    return text.upper()


class _Number(o.Parsed):
    """A number, which TOML may hold without quotes."""

    def convert(
        self,
        value: Any,  # noqa: ANN401 - click's signature
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Any:  # noqa: ANN401 - as above
        """Return the value of a text or a whole number."""
        whole = isinstance(value, int) and not isinstance(value, bool)
        return super().convert(str(value) if whole else value, param, ctx)


@frozen
class _Term:
    """One option, and the member that it sets."""

    flag: str
    member: str
    type: click.ParamType | None  # type: ignore[type-arg]  # None for a flag; click 8.1 has no parameter
    help: str
    many: bool = False


TERMS: Final = (
    _Term(
        "--password",
        "password",
        o.Parsed("password", _password),
        "A form asks viewers for it; others can see it in the process list.",
    ),
    _Term("--private", "public", None, "Nobody but you, until you open it in your bar."),
    _Term(
        "--max-viewers",
        "maxConcurrentViewers",
        _Number("count", parse_count),
        "At a time; 0: any number.",
    ),
    _Term(
        "--block-path",
        "blockPaths",
        o.Parsed("path", _block_path),
        "Keep this path and all under it to yourself; may be repeated.",
        many=True,
    ),
    _Term("--match-case", "ignoreCase", None, "--block-path /a does not mean /A."),
    _Term(
        "--allow-network",
        "allowedNetworks",
        o.Parsed("cidr", _network),
        "Admit viewers of this network only; may be repeated.",
        many=True,
    ),
    _Term(
        "--deny-network",
        "deniedNetworks",
        o.Parsed("cidr", _network),
        "Admit no viewers of this network; may be repeated.",
        many=True,
    ),
    _Term(
        "--allow-method",
        "allowedMethods",
        o.Parsed("method", _method),
        "Admit this method only; may be repeated.",
        many=True,
    ),
    _Term(
        "--viewer-rate",
        "viewerRate",
        _Number("count", parse_count),
        "Requests a second of each viewer; 0: any number.",
    ),
    _Term(
        "--tunnel-rate",
        "tunnelRate",
        _Number("count", parse_count),
        "Requests a second in all; 0: any number.",
    ),
    _Term(
        "--viewer-streams",
        "maxStreamsPerViewer",
        _Number("count", parse_count),
        "Requests of one viewer at a time; 0: any number.",
    ),
    _Term(
        "--tunnel-streams",
        "maxStreams",
        _Number("count", parse_count),
        "Requests of all viewers at a time; 0: any number.",
    ),
    _Term(
        "--max-upload",
        "maxContentBytes",
        _Number("size", parse_size),
        "The content of one request: 10MiB, say; 0: any size.",
    ),
)


def _of(term: _Term) -> Callable[[F], F]:
    if term.type is None:
        return o.option(term.flag, is_flag=True, help=term.help)
    if term.many:
        return o.option(term.flag, type=term.type, multiple=True, help=term.help)
    return o.option(term.flag, type=term.type, help=term.help)


term_options: Final = o.together(*(_of(term) for term in TERMS))


def policy_of(given: Mapping[str, Any]) -> dict[str, object]:
    """Return the policy that the options ask for: what is not given is not in it."""
    policy: dict[str, object] = {}
    for term in TERMS:
        value = given[term.flag.removeprefix("--").replace("-", "_")]
        if term.type is None:
            if value:
                policy[term.member] = False  # --private, --match-case
        elif term.many:
            if value:
                policy[term.member] = list(value)
        elif value is not None:
            policy[term.member] = value
    return policy
