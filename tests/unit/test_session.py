"""Sessions: states over time, names and slugs, tokens as digests, and what a wish may say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from tests.support.wishes import refusal, wish
from wormkey.errors import AdmissionError
from wormkey.session import (
    MAX_NAME_LENGTH,
    RESERVED_NAMES,
    SLUG_RANDOM_BYTES,
    Session,
    SessionState,
    check_name,
    digest_of,
    expiry_of,
    is_slug,
    make_slug,
    matches_digest,
    parse_expires_in,
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


@given(st.integers(min_value=1, max_value=999_999_999))
def test_spelt_durations_read_back(seconds: int) -> None:
    """What an error says can be typed in."""
    assert parse_expires_in(spell_duration(seconds), max_age_s=float("inf")) == seconds


def test_expiry_is_creation_plus_life() -> None:
    """Expiry is a wall clock time."""
    assert expiry_of(NOW, 3600) == NOW + HOUR


def test_a_policy_is_told_with_whether_there_is_a_password() -> None:
    """And never with the password, nor with what is stored of it."""
    assert SESSION.policy_document()["passwordProtected"] is False
    document = evolve(SESSION, gate_hash="scrypt$x").policy_document()
    assert document["passwordProtected"] is True
    assert "scrypt" not in str(document)
