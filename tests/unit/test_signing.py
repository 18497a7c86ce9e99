"""The daemon's signature: nothing changed, foreign, mixed up or made for another purpose passes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wormkey.signing import SigningKey, own_cookie, own_cookie_name

KEY = SigningKey(b"k" * 32)
OTHER = SigningKey(b"l" * 32)


@given(st.binary(max_size=60))
def test_no_value_but_a_sealed_one_opens(value: bytes) -> None:
    """Made up, empty, cut."""
    assert KEY.open("cookie", value) is None


def test_a_sealed_value_opens_as_it_is_and_no_other_way() -> None:
    """Not with an octet changed, not for another purpose or thing, not by another key."""
    sealed = KEY.seal("cookie", b"value", b"about")
    assert KEY.open("cookie", sealed, b"about") == b"value"
    for place in range(len(sealed)):
        other = b"A" if sealed[place : place + 1] != b"A" else b"B"
        assert KEY.open("cookie", sealed[:place] + other + sealed[place + 1 :], b"about") is None
    assert KEY.open("cookie", sealed[:-1], b"about") is None
    assert KEY.open("cookie", sealed + b"A", b"about") is None
    assert KEY.open("owner", sealed, b"about") is None
    assert KEY.open("cookie", sealed) is None
    assert KEY.open("cookie", sealed, b"another") is None
    assert OTHER.open("cookie", sealed, b"about") is None


@given(st.lists(st.binary(max_size=4), max_size=3), st.lists(st.binary(max_size=4), max_size=3))
def test_parts_cannot_be_shifted(one: list[bytes], two: list[bytes]) -> None:
    """("ab", "c") is another thing than ("a", "bc")."""
    assert (KEY.tag("x", *one) == KEY.tag("x", *two)) == (one == two)


def test_the_key_is_not_shown() -> None:
    """Not in a traceback's repr either."""
    assert "kkk" not in repr(KEY)


def test_cookies_are_the_hosts_own() -> None:
    """By https no sibling host can plant one; scripts never read it; 0 deletes it."""
    assert own_cookie_name("viewer", b"https") == b"__Host-wormkey_viewer"
    assert own_cookie("viewer", b"v", b"https", age_s=60) == (
        b"__Host-wormkey_viewer=v; Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure"
    )
    assert own_cookie("viewer", b"", b"http", age_s=0, same_site="Strict") == (
        b"wormkey_viewer=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict"
    )
