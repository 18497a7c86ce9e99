"""The schemas of requests accept what the checks behind them accept, and nothing else."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wormkey.errors import AdmissionError
from wormkey.session import parse_expires_in
from wormkey.shapes import schemas
from wormkey.wishes import NewSession, PolicyChange, parse_kick

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_AGE_S = 30 * 86400
ABSENT = object()
TEXTS: list[Any] = [ABSENT, None, "", "ann", "a:b", "a\0", "\u2028", "x" * 128, "x" * 129, 5, True]
POLICIES: list[Any] = [
    *(ABSENT, None, [], {}, {"more": 1}, {"public": False}, {"public": None}, {"public": 1}),
    *({"maxConcurrentViewers": count} for count in (None, -1, 0, 1, 10_000, 10_001, True, "1")),
    *({"blockPaths": paths} for paths in (None, [], ["/a"], ["a"], ["/a?"], ["/%41"], "/a", [1])),
    {"blockPaths": ["/"] * 64},
    {"blockPaths": ["/"] * 65},
    {"blockPaths": ["/" + "a" * 255]},
    {"blockPaths": ["/" + "a" * 256]},
    *({"password": text} for text in (None, "", "secret", "\x7f", "x" * 1025, 1)),
]
MEMBERS: dict[str, list[Any]] = {
    "port": [ABSENT, None, -1, 0, 5173, 65535, 65536, True, "5173", 1.5],
    "authMode": [ABSENT, None, "none", "basic", "", "digest", 1],
    "expiresIn": [ABSENT, None, "24h", "0h", "30d", "31d", "2592000s", "2592001s", "007m", "1w", 1],
    "name": [ABSENT, None, "demo", "a--b", "ab--c", "Demo", "ab", "a" * 40, "a" * 41, "a-", 1],
    "username": TEXTS,
    "password": [*TEXTS, "x" * 1024, "x" * 1025],
    "policy": POLICIES,
    "more": [ABSENT, {"deep": [1]}],
}


def pairs() -> Iterator[dict[str, Any]]:
    """Every wish in which two members, of these values, are added to a right one."""
    bases = ({"port": 5173}, {"port": 5173, "authMode": "basic", "username": "ann"})
    for base, (one, other) in itertools.product(bases, itertools.combinations(MEMBERS, 2)):
        for first, second in itertools.product(MEMBERS[one], MEMBERS[other]):
            wish = {**base, one: first, other: second}
            yield {name: value for name, value in wish.items() if value is not ABSENT}


def validator(name: str, max_age_s: float = MAX_AGE_S) -> Any:
    """The validator of a request's schema."""
    return jsonschema_rs.Draft202012Validator(schemas(max_age_s)[name], validate_formats=True)


def is_taken(wish: object) -> bool:
    """Whether the check takes a wish; a name that is reserved is well-formed."""
    try:
        NewSession.from_json(wish, max_age_s=MAX_AGE_S)
    except AdmissionError as error:
        return error.status == 409
    return True


def passes(check: type[PolicyChange], wish: object) -> bool:
    """Whether the check of a change takes a wish."""
    try:
        check.from_json(wish)
    except AdmissionError:
        return False
    return True


NEW_SESSION = validator("NewSession")


def test_a_new_session_is_described_as_it_is_checked() -> None:
    """Whoever keeps to the schema is not refused, whoever does not is."""
    wrong = [wish for wish in pairs() if NEW_SESSION.is_valid(wish) != is_taken(wish)]
    assert wrong == []


def changes() -> Iterator[dict[str, Any]]:
    """Every change of a policy in which two of these members and a password stand."""
    policies = [each for each in POLICIES if isinstance(each, dict)]
    for first, second in itertools.combinations(policies, 2):
        yield {**first, **second}


def test_a_change_of_policy_is_described_as_it_is_checked() -> None:
    """The same for POST …/policy, where a password may also be taken away."""
    schema = validator("Policy")
    wrong = [wish for wish in changes() if schema.is_valid(wish) != passes(PolicyChange, wish)]
    assert wrong == []


@pytest.mark.parametrize(
    "viewer_id", [None, 1, "", "a", "A-_9", "x" * 64, "x" * 65, "a b", "a\n", "\0", "\ud800", "é"]
)
def test_a_kick_is_described_as_it_is_checked(viewer_id: object) -> None:
    """The id of a viewer, with nothing in it that a log or a page could trip over."""
    wish = {"viewerId": viewer_id}
    try:
        parse_kick(wish)
    except AdmissionError:
        assert viewer_id == "\ud800" or not validator("Kick").is_valid(wish)
    else:
        assert validator("Kick").is_valid(wish)


NETWORKS = [
    *("203.0.113.0/24", "10.0.0.0/8", "192.168.0.0/16", "192.0.2.1", "192.0.2.1/32", "::", "::1"),
    *("2001:db8::/32", "2001:db8:1::/48", "2001:db8:1:2::/64", "fe80::/64", "192.0.2.1/24"),
    *("10.1.0.0/8", "2001:db8::1/64", "2001:db8:1::/32", "256.0.0.1", "1.2.3", "x", "", "::/129"),
]


@pytest.mark.parametrize("text", NETWORKS)
def test_a_network_is_described_as_it_is_checked(text: str) -> None:
    """The usual lengths of a prefix, without bits behind it; anything that is no network is not."""
    wish = {"allowedNetworks": [text]}
    assert validator("Policy").is_valid(wish) == passes(PolicyChange, wish)


@pytest.mark.parametrize("content", [None, [], "", 1, True])
def test_only_objects_are_wishes(content: object) -> None:
    """Nothing else is a session, a policy or a kick."""
    for name in ("NewSession", "Policy", "Kick"):
        assert not validator(name).is_valid(content)


@given(st.integers(1, 10**9 - 1), st.integers(0, 10**9 - 1), st.sampled_from("smhd"))
def test_the_longest_life_is_in_the_pattern(most_s: int, number: int, unit: str) -> None:
    """Durations up to the daemon's own limit match, longer ones do not."""
    description: dict[str, Any] = schemas(most_s)["NewSession"]
    pattern = description["anyOf"][0]["properties"]["expiresIn"]["pattern"]
    for each in (number, most_s // {"s": 1, "m": 60, "h": 3600, "d": 86400}[unit]):
        text = f"{each}{unit}"
        try:
            parse_expires_in(text, max_age_s=most_s)
        except AdmissionError:
            assert re.search(pattern, text) is None, (pattern, text)
        else:
            assert re.search(pattern, text) is not None, (pattern, text)
