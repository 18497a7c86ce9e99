"""Wishes: what callers may ask for, each member checked by type and by value."""

from __future__ import annotations

import pytest

from tests.support.wishes import DAY_S, refusal, wish
from wormkey.errors import AdmissionError
from wormkey.rules import Policy
from wormkey.session import DEFAULT_EXPIRES_IN_S, DEFAULT_USERNAME
from wormkey.wishes import NewSession, PolicyChange, parse_kick


def test_default_life_is_a_day_or_the_cap() -> None:
    """Who asks for nothing gets 24 h, or what the operator allows."""
    assert wish().expires_in_s == DEFAULT_EXPIRES_IN_S
    assert NewSession.from_json({"port": 1}, max_age_s=60).expires_in_s == 60


@pytest.mark.parametrize("document", [None, [], "x", 1, True])
def test_wish_is_an_object(document: object) -> None:
    """Other JSON values answer 400."""
    with pytest.raises(AdmissionError) as caught:
        NewSession.from_json(document, max_age_s=DAY_S)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("member", "values"),
    [
        ("port", [None, "5173", 1.5, True, -1, 65536, [], {}]),
        ("authMode", [1, "Basic", "digest", True, []]),
        ("expiresIn", [24, True, ["1h"], {"h": 1}]),
        ("name", [1, True, ["abc"], {}]),
        ("policy", [1, True, "x", [1]]),
        ("username", [1, "x"]),
        ("password", [1, "x"]),
    ],
)
def test_wrong_types_and_values_answer_400(member: str, values: list[object]) -> None:
    """Each member is checked by type and by value; credentials without basic protect nothing."""
    for value in values:
        assert refusal(**{member: value}).status == 400


def test_missing_port_is_refused() -> None:
    """The port is the one member without a default."""
    with pytest.raises(AdmissionError, match="port"):
        NewSession.from_json({}, max_age_s=DAY_S)


def test_unknown_members_are_ignored_and_null_is_absent() -> None:
    """Newer clients may say more; null says nothing."""
    assert wish(colour="red", name=None, authMode=None, policy=None) == wish()


def test_existing_clients_wish_is_read() -> None:
    """The wish of a v0 client is taken with its defaults."""
    made = wish(authMode="none", expiresIn="24h")
    assert (made.auth_mode, made.username, made.password, made.name) == ("none", None, None, None)


def test_basic_has_a_default_user_and_leaves_the_password_to_us() -> None:
    """Asking for basic is enough."""
    made = wish(authMode="basic")
    assert (made.auth_mode, made.username, made.password) == ("basic", DEFAULT_USERNAME, None)
    assert wish(authMode="basic", username="ann", password="pw").password == "pw"


@pytest.mark.parametrize(
    "members",
    [
        {"username": ""},
        {"username": "a:b"},
        {"username": "a\n"},
        {"username": "x" * 129},
        {"password": ""},
        {"password": "a\x00"},
        {"password": "x" * 1025},
        {"password": "\ud800"},
    ],
)
def test_unusable_credentials_answer_400(members: dict[str, str]) -> None:
    """Empty, endless, or what Basic cannot carry (RFC 7617 §2)."""
    assert refusal(authMode="basic", **members).status == 400


def test_the_policys_password_is_its_own() -> None:
    """A form asks for it; HTTP Basic is another thing, and both may be wanted."""
    made = wish(policy={"password": "open sesame"})
    assert (made.auth_mode, made.password, made.gate_password) == ("none", None, "open sesame")
    both = wish(authMode="basic", password="pw", policy={"password": "open sesame"})
    assert (both.auth_mode, both.password, both.gate_password) == ("basic", "pw", "open sesame")
    assert wish(policy={"password": None}).gate_password is None
    assert wish(policy={"password": ""}).gate_password is None
    assert refusal(policy={"password": 1}).status == 400
    assert refusal(policy={"password": "a\nb"}).code == "invalid_password"


def test_a_policy_change_leaves_what_it_does_not_name() -> None:
    """Only the members that are there change; 0 viewers means no limit."""
    base = Policy(public=False, max_concurrent_viewers=3, block_paths=("/a",))
    assert PolicyChange.from_json({}).applied_to(base) == base
    assert PolicyChange.from_json({"public": True}).applied_to(base) == Policy(
        public=True, max_concurrent_viewers=3, block_paths=("/a",)
    )
    unlimited = PolicyChange.from_json({"maxConcurrentViewers": 0}).applied_to(base)
    assert unlimited.max_concurrent_viewers == 0


@pytest.mark.parametrize(
    ("document", "password", "unprotect"),
    [
        ({}, None, False),
        ({"password": "open sesame"}, "open sesame", False),
        ({"password": None}, None, True),
        ({"password": ""}, None, True),
    ],
)
def test_a_password_is_set_taken_away_or_left(
    document: dict[str, object], password: str | None, unprotect: bool
) -> None:
    """Absent leaves it, null and the empty text take it away."""
    change = PolicyChange.from_json(document)
    assert (change.password, change.unprotect) == (password, unprotect)


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {"public": "yes"},
        {"maxConcurrentViewers": -1},
        {"blockPaths": "/a"},
        {"password": 1},
        {"password": "a\nb"},
        {"password": "x" * 1025},
    ],
)
def test_policy_changes_off_the_grammar_answer_400(document: object) -> None:
    """Wrong types and values change nothing, whatever else the document says."""
    with pytest.raises(AdmissionError) as caught:
        PolicyChange.from_json(document)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "document",
    [None, [], {}, {"viewerId": 1}, {"viewerId": ""}, {"viewerId": "a b"}, {"viewerId": "x" * 65}],
)
def test_a_kick_names_a_viewer(document: object) -> None:
    """Anything else answers 400."""
    with pytest.raises(AdmissionError) as caught:
        parse_kick(document)
    assert caught.value.status == 400
    assert parse_kick({"viewerId": "Ab_9-"}) == "Ab_9-"


@pytest.mark.parametrize(
    ("document", "names"),
    [
        ({}, ()),
        ({"public": True, "colour": 1, "blockPaths": []}, ("public", "blockPaths")),
        ({"password": "x"}, ("password",)),
        ({"public": True, "password": None}, ("public", "password")),
    ],
)
def test_a_change_tells_what_it_names(document: dict[str, object], names: tuple[str, ...]) -> None:
    """For the audit trail: the rules by name, a password without its value."""
    assert PolicyChange.from_json(document).names == names
