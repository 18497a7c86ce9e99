"""The owner's browser: each proof serves its own place, session and time, and no other."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from attrs import evolve

from wormkey import owners
from wormkey.owners import PASS_CODE_S
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
)
OTHER = evolve(SESSION, session_id="2")
BROWSER = owners.new_browser(b"b" * 16)


def sent(set_cookie: bytes) -> list[bytes]:
    """Return the Cookie fields of a browser that was given this cookie, and another one."""
    return [b"a=b; " + set_cookie.partition(b";")[0]]


@pytest.mark.parametrize("scheme", [b"http", b"https"])
def test_each_cookie_is_good_in_its_place(scheme: bytes) -> None:
    """The owner's where it acts, the pass where it sees; neither in the other's place."""
    owner = sent(owners.owner_cookie(KEY, SESSION, BROWSER, scheme, 60))
    viewing = sent(owners.pass_cookie(KEY, SESSION, BROWSER, scheme, 60))
    assert owners.owner_browser(KEY, SESSION, owner, scheme) == BROWSER
    assert owners.pass_browser(KEY, SESSION, viewing, scheme) == BROWSER
    assert owners.owner_browser(KEY, SESSION, viewing, scheme) is None
    assert owners.pass_browser(KEY, SESSION, owner, scheme) is None


def test_a_pass_under_the_owners_name_is_nothing() -> None:
    """What a page of the tunnel could copy acts nowhere: the purpose is signed too."""
    value = owners.pass_cookie(KEY, SESSION, BROWSER, b"http", 60).partition(b";")[0]
    renamed = [b"wormkey_owner_demo=" + value.partition(b"=")[2]]
    assert owners.owner_browser(KEY, SESSION, renamed, b"http") is None


def test_no_cookie_serves_another_session_or_daemon() -> None:
    """Of the same name even: it is the session that is signed."""
    owner = sent(owners.owner_cookie(KEY, SESSION, BROWSER, b"http", 60))
    assert owners.owner_browser(KEY, OTHER, owner, b"http") is None
    assert owners.owner_browser(SigningKey(b"l" * 32), SESSION, owner, b"http") is None
    assert owners.owner_browser(KEY, SESSION, [], b"http") is None


def test_a_pass_code_is_good_for_a_minute() -> None:
    """For its session, unchanged; the cookie made of it is what lasts."""
    code = owners.pass_code(KEY, SESSION, BROWSER, NOW_S)
    assert owners.read_pass_code(KEY, SESSION, code, NOW_S + PASS_CODE_S - 1) == BROWSER
    assert owners.read_pass_code(KEY, SESSION, code, NOW_S + PASS_CODE_S) is None
    assert owners.read_pass_code(KEY, OTHER, code, NOW_S) is None
    assert owners.read_pass_code(KEY, SESSION, code[:-1], NOW_S) is None
    assert owners.read_pass_code(KEY, SESSION, b"", NOW_S) is None


def test_a_csrf_token_is_one_browsers_for_one_session() -> None:
    """Another browser's, another session's, none: refused."""
    token = owners.csrf_token(KEY, SESSION, BROWSER)
    assert owners.is_csrf_token(KEY, SESSION, BROWSER, token)
    assert not owners.is_csrf_token(KEY, SESSION, owners.new_browser(b"c" * 16), token)
    assert not owners.is_csrf_token(KEY, OTHER, BROWSER, token)
    assert not owners.is_csrf_token(KEY, SESSION, BROWSER, b"")


def test_too_little_randomness_is_a_bug() -> None:
    """A short name could be guessed."""
    with pytest.raises(ValueError, match="16"):
        owners.new_browser(b"x")
