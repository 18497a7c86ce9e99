"""Sessions: states over time, names and slugs, tokens as digests, and what a wish may say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from wormkey.errors import AdmissionError
from wormkey.session import (
    DEFAULT_EXPIRES_IN_S,
    DEFAULT_USERNAME,
    MAX_BLOCK_PATHS,
    MAX_NAME_LENGTH,
    RESERVED_NAMES,
    SLUG_RANDOM_BYTES,
    NewSession,
    Policy,
    Session,
    SessionState,
    check_name,
    digest_of,
    expiry_of,
    is_slug,
    make_slug,
    matches_digest,
    parse_expires_in,
    parse_policy,
    spell_duration,
    split_session_token,
)

NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY_S = 86400
SESSION = Session(
    session_id="1",
    slug="demo",
    created_at=NOW,
    expires_at=NOW + HOUR,
    session_token_digest=digest_of(b"tunnel-secret"),
    owner_token_digest=digest_of(b"owner-secret"),
    password_hash="sha256$hash",
)


def wish(**members: Any) -> NewSession:
    """Read a wish for port 5173 with these members."""
    return NewSession.from_json({"port": 5173, **members}, max_age_s=30 * DAY_S)


def refusal(**members: Any) -> AdmissionError:
    """Return the error that such a wish meets."""
    with pytest.raises(AdmissionError) as caught:
        wish(**members)
    return caught.value


def test_session_expires_at_its_instant_and_not_before() -> None:
    """A session lives until its expiry, exclusive; the seconds left fall to zero there."""
    last = SESSION.expires_at - timedelta(microseconds=1)
    assert SESSION.state(last) is SessionState.LIVE
    assert SESSION.remaining_s(NOW) == HOUR.total_seconds()
    assert SESSION.remaining_s(last) > 0
    assert SESSION.state(SESSION.expires_at) is SessionState.EXPIRED
    assert SESSION.remaining_s(SESSION.expires_at) == 0


def test_closed_session_stays_closed_whatever_the_clock_says() -> None:
    """Closing is final: neither expiry nor a clock set back changes the state."""
    closed = evolve(SESSION, closed_at=NOW)
    for now in (NOW - HOUR, NOW, NOW + 2 * HOUR):
        assert closed.state(now) is SessionState.CLOSED
        assert closed.remaining_s(now) == 0


def test_session_ends_when_it_closes_or_expires_whichever_is_first() -> None:
    """The grace period counts from the true end."""
    assert SESSION.ended_at == SESSION.expires_at
    assert evolve(SESSION, closed_at=NOW).ended_at == NOW
    assert evolve(SESSION, closed_at=NOW + 2 * HOUR).ended_at == SESSION.expires_at


def test_repr_shows_no_digest() -> None:
    """A session in a log line gives nothing away."""
    text = repr(SESSION)
    assert repr(SESSION.session_token_digest) not in text
    assert repr(SESSION.owner_token_digest) not in text
    assert "sha256" not in text
    assert "hunter2" not in repr(wish(authMode="basic", password="hunter2"))


@pytest.mark.parametrize(
    "token",
    [
        b"",
        b"demo",
        b"demo.",
        b".tunnel-secret",
        b"tunnel-secret",
        b"demo.owner-secret",
        b"other.tunnel-secret",
        b"DEMO.tunnel-secret",
        b"demo.tunnel-secret ",
        b"demo.tunnel-secre",
        b"d\xffmo.tunnel-secret",
        b"null",
    ],
)
def test_session_token_opens_only_its_own_session(token: bytes) -> None:
    """Empty, cut, foreign and misspelt tokens are refused; the right one is taken."""
    assert not SESSION.accepts_session_token(token)
    assert SESSION.accepts_session_token(b"demo.tunnel-secret")


def test_tunnel_token_cannot_act_as_owner() -> None:
    """The two secrets are apart, whole or in part."""
    assert SESSION.accepts_owner_token(b"owner-secret")
    for token in (b"", b"tunnel-secret", b"demo.tunnel-secret", b"demo.owner-secret"):
        assert not SESSION.accepts_owner_token(token)


def test_missing_digest_denies() -> None:
    """A session without a digest accepts nothing: not even the empty secret."""
    for digest in (b"", digest_of(b"")[:-1]):
        assert not matches_digest(b"", digest)
        assert not matches_digest(b"x", digest)
    assert not matches_digest(b"", digest_of(b""))


def test_token_splits_at_its_first_dot() -> None:
    """A secret may hold dots; a slug never does."""
    assert split_session_token(b"demo.a.b") == ("demo", b"a.b")
    assert split_session_token(b"-demo.a") is None


@given(st.binary(min_size=SLUG_RANDOM_BYTES, max_size=SLUG_RANDOM_BYTES))
def test_made_slugs_are_labels(random: bytes) -> None:
    """Any random bytes spell a slug that routing accepts and that is not reserved."""
    slug = make_slug(random)
    assert is_slug(slug)
    assert slug not in RESERVED_NAMES
    adjective, noun, digits, tail = slug.split("-")
    assert adjective.isalpha()
    assert noun.isalpha()
    assert len(digits) == 2
    assert len(tail) == 8


@given(st.binary(min_size=5, max_size=5), st.binary(min_size=5, max_size=5))
def test_forty_random_bits_survive_in_the_slug(one: bytes, other: bytes) -> None:
    """Two tails are equal only if all 40 bits behind them are."""
    lead = bytes(SLUG_RANDOM_BYTES - 5)
    assert (make_slug(lead + one) == make_slug(lead + other)) == (one == other)


def test_slug_needs_its_random_bytes() -> None:
    """Too few random bytes are a bug, not a weak slug."""
    with pytest.raises(ValueError, match="bytes"):
        make_slug(b"short")


@pytest.mark.parametrize("name", ["abc", "my-app", "a1b", "x" * MAX_NAME_LENGTH])
def test_labels_may_be_asked_for(name: str) -> None:
    """RFC 1035 labels of 3 to 40 characters are taken as they are."""
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "ab",
        "x" * (MAX_NAME_LENGTH + 1),
        "Abc",
        "1abc",
        "-abc",
        "abc-",
        "a_b",
        "a.b.c",
        "abc\n",
        "a/../b",
        "xn--bcher-kva",
        "bücher",
        "abc ",
    ],
)
def test_other_names_are_refused_as_invalid(name: str) -> None:
    """What is no lower case label, or an encoded international one, answers 400."""
    with pytest.raises(AdmissionError) as caught:
        check_name(name)
    assert (caught.value.status, caught.value.code) == (400, "invalid_name")


@pytest.mark.parametrize("name", sorted(RESERVED_NAMES))
def test_reserved_names_are_refused(name: str) -> None:
    """Names that look like the operator's own are never given away."""
    with pytest.raises(AdmissionError) as caught:
        check_name(name)
    assert caught.value.status in {400, 409}


@pytest.mark.parametrize(("text", "unit_s"), [("s", 1), ("m", 60), ("h", 3600), ("d", DAY_S)])
def test_durations_have_units(text: str, unit_s: int) -> None:
    """Seconds, minutes, hours and days count."""
    assert parse_expires_in(f"3{text}", max_age_s=9 * DAY_S) == 3 * unit_s


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0s",
        "000m",
        "30",
        "m",
        "-1h",
        "1.5h",
        "1 h",
        "1H",
        "1w",
        "\u0661h",
        "1h\n",
        "9" * 40 + "s",
    ],
)
def test_nonsense_durations_are_refused(text: str) -> None:
    """No unit, zero, signs, fractions, other digits: 400."""
    assert refusal(expiresIn=text).status == 400


def test_longest_life_is_capped() -> None:
    """A wish for more than the operator allows is refused, and the sentence says the limit."""
    assert parse_expires_in("2h", max_age_s=7200) == 7200
    with pytest.raises(AdmissionError, match="2h"):
        parse_expires_in("3h", max_age_s=7200)


def test_default_life_is_a_day_or_the_cap() -> None:
    """Who asks for nothing gets 24 h, or what the operator allows."""
    assert wish().expires_in_s == DEFAULT_EXPIRES_IN_S
    assert NewSession.from_json({"port": 1}, max_age_s=60).expires_in_s == 60


@given(st.integers(min_value=1, max_value=999_999_999))
def test_spelt_durations_read_back(seconds: int) -> None:
    """What an error says can be typed in."""
    assert parse_expires_in(spell_duration(seconds), max_age_s=float("inf")) == seconds


def test_expiry_is_creation_plus_life() -> None:
    """Expiry is a wall clock time."""
    assert expiry_of(NOW, 3600) == NOW + HOUR


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


def test_password_within_the_policy_turns_basic_on() -> None:
    """A password is never taken and then ignored."""
    made = wish(policy={"password": "pw"})
    assert (made.auth_mode, made.password) == ("basic", "pw")
    assert wish(policy={"password": "a"}, password="b", authMode="basic").password == "b"
    assert refusal(policy={"password": "pw"}, authMode="none").status == 400
    assert refusal(policy={"password": 1}).status == 400


def test_policy_reads_back_and_changes_by_parts() -> None:
    """JSON made from a policy makes the same policy; absent members stay."""
    policy = Policy(public=False, max_concurrent_viewers=3, block_paths=("/admin",))
    assert parse_policy(policy.as_json()) == policy
    assert parse_policy({}, policy) == policy
    assert parse_policy({"public": True}, policy) == evolve(policy, public=True)
    assert parse_policy({"blockPaths": None}, policy).block_paths == ()
    assert parse_policy({"maxConcurrentViewers": None}, policy).max_concurrent_viewers is None
    assert parse_policy(None, policy) == policy


@pytest.mark.parametrize(
    "document",
    [
        {"public": 1},
        {"public": None},
        {"maxConcurrentViewers": 0},
        {"maxConcurrentViewers": True},
        {"maxConcurrentViewers": "3"},
        {"maxConcurrentViewers": 10**9},
        {"blockPaths": "/admin"},
        {"blockPaths": {"a": 1}},
        {"blockPaths": ["admin"]},
        {"blockPaths": [1]},
        {"blockPaths": ["/a?b"]},
        {"blockPaths": ["/%61"]},
        {"blockPaths": ["/a\n"]},
        {"blockPaths": ["/" + "a" * 256]},
        {"blockPaths": ["/a"] * (MAX_BLOCK_PATHS + 1)},
    ],
)
def test_bad_policies_are_refused(document: dict[str, object]) -> None:
    """Wrong types and values that could not be enforced answer 400."""
    with pytest.raises(AdmissionError) as caught:
        parse_policy(document)
    assert (caught.value.status, caught.value.code) == (400, "invalid_policy")
