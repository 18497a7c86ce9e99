"""cookies.py: which cookies are the gateway's, and what a Domain may reach."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.octets import TEXT, octets
from wormkey import cookies

crumbs = octets(TEXT.replace(b";", b""), max_size=12)
own = st.sampled_from(
    [b"wormkey_route=a", b" __Host-wormkey_x=b", b"=Wormkey=c", b"__secure-wormkey"]
)


@given(st.lists(st.one_of(crumbs, own), max_size=6))
def test_no_cookie_of_ours_is_left_and_all_others_are(pairs: list[bytes]) -> None:
    """Own cookies go wherever they stand; the others stay in order, octet for octet."""
    left = cookies.without_own(b";".join(pairs))
    others = [pair for pair in pairs if not cookies.is_own(pair)]
    if len(others) == len(pairs):
        assert left.strip() == b";".join(pairs).strip()
    else:
        assert left == b";".join(others).strip(b" \t")


@pytest.mark.parametrize("pair", [b"a=wormkey", b"mywormkey=1", b"__Host-a=wormkey", b"", b"w=1"])
def test_other_names_are_not_ours(pair: bytes) -> None:
    """Only the name's beginning counts."""
    assert not cookies.is_own(pair)


def test_values_come_in_order_and_by_exact_name() -> None:
    """Every field and pair is read; names compare with case and whole."""
    fields = [b"a=1; aa=2;a = 3", b"b=4", b"A=5; a=x=y; a"]
    assert cookies.values_of(b"a", fields) == [b"1", b"3", b"x=y", b""]
    assert cookies.values_of(b"c", fields) == []


@pytest.mark.parametrize(
    ("set_cookie", "kept"),
    [
        (b"a=b; Domain=local; Path=/", b"a=b; Path=/"),
        (b"a=b;DOMAIN = .LOCAL", b"a=b"),
        (b"a=b; Domain=other; domain=local", b"a=b; Domain=other"),
        (b"domain=local; Path=/", b"domain=local; Path=/"),
        (b"a=b; x=domain; Domain", b"a=b; x=domain; Domain"),
    ],
)
def test_only_a_matching_domain_goes(set_cookie: bytes, kept: bytes) -> None:
    """The cookie itself is never taken for an attribute, and other attributes stay."""
    assert cookies.without_domain(set_cookie, lambda host: host == b"local") == kept
    assert cookies.has_domain(set_cookie)


def test_a_cookie_without_domain_is_seen_at_once() -> None:
    """Most cookies have none and need no parsing."""
    assert not cookies.has_domain(b"a=b; Path=/; HttpOnly")


@pytest.mark.parametrize(
    ("host", "domain", "reached"),
    [
        (b"a.example", b"a.example", True),
        (b"a.example", b"example", True),
        (b"xexample", b"example", False),
        (b"example", b"a.example", False),
    ],
)
def test_a_domain_reaches_hosts_under_it(host: bytes, domain: bytes, reached: bool) -> None:
    """A browser takes a cookie for its own host's name and those above it."""
    assert cookies.reaches(host, domain) is reached
