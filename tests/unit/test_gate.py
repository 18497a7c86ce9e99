"""The password gate: its cookie ends when it should, and a shown password never travels on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from attrs import evolve

from wormkey import gate
from wormkey.gate import COOKIE_AGE_S, Shown, shown_in
from wormkey.session import Session
from wormkey.signing import SigningKey

KEY = SigningKey(b"k" * 32)
NOW_S = 1_900_000_000.0
SESSION = Session(
    session_id="1",
    slug="demo",
    created_at=datetime(2030, 1, 1, tzinfo=UTC),
    expires_at=datetime(2030, 1, 1, tzinfo=UTC) + timedelta(hours=1),
    session_token_digest=b"",
    owner_token_digest=b"",
    gate_hash="scrypt$1",
)


def given(session: Session = SESSION, now_s: float = NOW_S) -> bytes:
    """Return the value of the cookie that who shows the password gets."""
    cookie = gate.set_cookie(KEY, session, b"http", now_s)
    return cookie.partition(b";")[0].partition(b"=")[2]


def test_the_cookie_opens_for_a_day() -> None:
    """Among others of its name, and not a second longer."""
    values = [b"planted.x", given()]
    assert gate.opens(KEY, SESSION, values, NOW_S)
    assert gate.opens(KEY, SESSION, values, NOW_S + COOKIE_AGE_S - 1)
    assert not gate.opens(KEY, SESSION, values, NOW_S + COOKIE_AGE_S)
    assert not gate.opens(KEY, SESSION, [], NOW_S)


def test_the_cookie_ends_with_the_password_and_serves_no_other_session() -> None:
    """A new password, none, another session, another daemon: asked again."""
    value = [given()]
    assert not gate.opens(KEY, evolve(SESSION, gate_hash="scrypt$2"), value, NOW_S)
    assert not gate.opens(KEY, evolve(SESSION, gate_hash=None), value, NOW_S)
    assert not gate.opens(KEY, evolve(SESSION, session_id="2"), value, NOW_S)
    assert not gate.opens(SigningKey(b"l" * 32), SESSION, value, NOW_S)


def test_nobody_sets_his_own_end() -> None:
    """The time in the cookie is signed."""
    expires, _, tag = given().partition(b".")
    later = str(int(expires) + 1).encode()
    assert not gate.opens(KEY, SESSION, [later + b"." + tag], NOW_S)


def test_two_sessions_of_one_origin_have_two_cookies() -> None:
    """By path one browser may be let into both."""
    assert gate.cookie_name(SESSION, b"https") == b"__Host-wormkey_gate_demo"
    assert gate.cookie_name(SESSION, b"http") == b"wormkey_gate_demo"


@pytest.mark.parametrize(
    ("target", "authorization", "shown"),
    [
        (b"/", [], None),
        (b"/?a=1", [], None),
        (b"/?xwormkey_password=1", [], None),
        (b"/", [b"Basic d29ybTp4"], None),
        (b"/", [b"Bearer"], None),
        (b"/", [b"Bearer a", b"Bearer b"], None),
        (b"/", [b"bearer  secret "], Shown(b"secret", b"/", by_query=False)),
        (b"/a?wormkey_password=s", [], Shown(b"s", b"/a", by_query=True)),
        (b"/a?x=1&wormkey_password=a+b%26c&y=%20", [], Shown(b"a b&c", b"/a?x=1&y=%20", True)),
        (b"/?wormkey_password=1&wormkey_password=2", [], Shown(b"1", b"/", by_query=True)),
        (b"/?wormkey_password", [], Shown(b"", b"/", by_query=True)),
        (b"/?wormkey_password=q", [b"Bearer b"], Shown(b"q", b"/", by_query=True)),
    ],
)
def test_a_password_is_found_and_cut_out(
    target: bytes, authorization: list[bytes], shown: Shown | None
) -> None:
    """Every time it stands in the query; the rest of the target stays octet for octet."""
    assert shown_in(target, authorization) == shown


@pytest.mark.parametrize("wrong", [False, True])
def test_who_must_show_the_password_is_told_so(wrong: bool) -> None:
    """401, with where he wanted to go, and whether what he showed was wrong."""
    error = gate.PasswordWanted(SESSION, target=b"/x", by_path=True, wrong=wrong)
    assert (error.status, error.code) == (401, "password_required")
    assert (error.session, error.target, error.by_path) == (SESSION, b"/x", True)
    assert error.wrong is wrong
    assert ("not right" in str(error)) is wrong
