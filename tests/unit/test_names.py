"""names.py: only URLs that name the app are mapped, and only in a form all browsers read alike."""

from __future__ import annotations

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from tests.support.octets import TEXT, octets
from wormkey.names import PublicName, host_of, move_page, origin_of

NAME = PublicName(
    site=b"https://pub.example",
    prefix=b"/s/otter",
    schemes=frozenset({b"http", b"https"}),
    authorities=frozenset({b"localhost:5173", b"[::1]:5173"}),
)

FOREIGN = [
    b"http://example.org/x",
    b"http://localhost/x",
    b"http://localhost:51730/x",
    b"http://localhost:5173@evil.example/",
    b"http://localhost:5173\\@evil.example/",
    b"http://localhost:5173.evil.example/",
    b"http://u@localhost:5173/x",
    b"ftp://localhost:5173/x",
    b"http:/localhost:5173/x",
    b"http:localhost:5173",
    b"https://pub.example/x",
    b"//evil.example/x",
    b"///localhost:5173/x",
    b"/\\evil.example",
    b"/\t/evil.example",
    b"\\\\evil.example",
    b"http://",
    b"//",
    b"",
    b"x/y",
    b"?q",
    b"#f",
    b"mailto:a@localhost",
]


@pytest.mark.parametrize("url", FOREIGN)
@pytest.mark.parametrize("prefix", [b"", b"/s/otter"])
def test_other_sites_urls_and_relative_ones_stay(url: bytes, prefix: bytes) -> None:
    """What does not name the app, or only seems to, passes octet for octet."""
    name = evolve(NAME, prefix=prefix)
    assert name.of_url(url) == url
    assert name.of_refresh(b"0; url=" + url) == b"0; url=" + url


@given(st.one_of(octets(TEXT), octets(TEXT).map(b"http://localhost:5173".__add__)))
def test_any_url_stays_or_lands_on_the_public_site(url: bytes) -> None:
    """Nothing raises, and what changes begins with the public site or the prefix."""
    mapped = NAME.of_url(url)
    assert mapped == url or mapped.startswith((b"https://pub.example/s/otter/", b"/s/otter/"))
    NAME.of_refresh(url)


@pytest.mark.parametrize(
    ("url", "mapped"),
    [
        (b"/", b"/s/otter/"),
        (b"/x?y", b"/s/otter/x?y"),
        (b"/s/otter", b"/s/otter"),
        (b"/s/otter/x", b"/s/otter/x"),
        (b"/s/otter?q", b"/s/otter?q"),
        (b"/s/otters", b"/s/otter/s/otters"),
        (b"http://localhost:5173", b"https://pub.example/s/otter/"),
        (b"http://localhost:5173?q", b"https://pub.example/s/otter/?q"),
        (b"http://localhost:5173/s/otter/x", b"https://pub.example/s/otter/x"),
        (b"//[::1]:5173//x", b"https://pub.example/s/otter//x"),
    ],
)
def test_the_prefix_comes_back_once(url: bytes, mapped: bytes) -> None:
    """What the gateway took off the path is put before it, unless the app has done so."""
    assert NAME.of_url(url) == mapped


def test_without_prefix_paths_stay() -> None:
    """On a host of its own the app's paths are the public ones."""
    name = evolve(NAME, prefix=b"")
    assert name.of_url(b"/x") == b"/x"
    assert name.of_url(b"http://localhost:5173") == b"https://pub.example/"


def test_an_unknown_site_leaves_no_open_redirect() -> None:
    """A path that a browser would read as another authority is not cut out of its URL."""
    name = evolve(NAME, site=b"", prefix=b"")
    assert name.of_url(b"http://localhost:5173/x") == b"/x"
    for path in (b"//evil.example", b"/\\evil.example", b"/\t/evil.example"):
        assert name.of_url(b"http://localhost:5173" + path) == b"http://localhost:5173" + path


def test_default_ports_count_as_none() -> None:
    """No port means port 80 for http and 443 for https, and neither is the other."""
    name = evolve(NAME, authorities=frozenset({b"app.test"}), schemes=frozenset({b"http"}))
    assert name.of_url(b"http://app.test:80/x") == b"https://pub.example/s/otter/x"
    assert name.of_url(b"https://app.test/x") == b"https://app.test/x"
    assert name.of_url(b"http://app.test:443/x") == b"http://app.test:443/x"


@pytest.mark.parametrize(
    ("value", "mapped"),
    [
        (b"5; url=/x", b"5; url=/s/otter/x"),
        (b"0;URL='/x' ", b"0;URL='/s/otter/x' "),
        (b'1.5 , "http://localhost:5173/x"', b'1.5 , "https://pub.example/s/otter/x"'),
        (b"0; url='/x", b"0; url='/s/otter/x"),
        (b"5", b"5"),
        (b"soon; url=/x", b"soon; url=/x"),
    ],
)
def test_refresh_is_mapped_inside_its_syntax(value: bytes, mapped: bytes) -> None:
    """Delay, quotes and what follows stay; a value of another shape is left alone."""
    assert NAME.of_refresh(value) == mapped


@pytest.mark.parametrize(
    ("url", "moved"),
    [
        (b"https://pub.example", b"http://localhost:5173"),
        (b"https://PUB.example:443/a", b"http://localhost:5173/a"),
        (b"https://pub.example/s/otter/a?b", b"http://localhost:5173/a?b"),
        (b"https://pub.example/s/otters", b"http://localhost:5173/s/otters"),
        (b"http://pub.example/", b"http://pub.example/"),
        (b"https://pub.example:8443", b"https://pub.example:8443"),
        (b"https://pub.example.evil.example", b"https://pub.example.evil.example"),
        (b"https://u@pub.example/", b"https://u@pub.example/"),
        (b"//pub.example/", b"//pub.example/"),
        (b"null", b"null"),
        (b"", b""),
    ],
)
def test_only_the_public_pages_move(url: bytes, moved: bytes) -> None:
    """An Origin or Referer moves when scheme, host and port are the public ones, else never."""
    local = b"http://localhost:5173"
    assert move_page(url, b"https://pub.example", local, b"/s/otter") == moved


@pytest.mark.parametrize("public", [b"", b"//pub.example", b"https://a b"])
def test_no_page_moves_from_an_unknown_site(public: bytes) -> None:
    """Without a valid public site nothing equals it, not even something as odd."""
    for url in (b"https://pub.example", b"https://a b", b"//pub.example"):
        assert move_page(url, public, b"http://localhost:5173") == url


def test_origins_compare_in_one_form() -> None:
    """Case and default ports do not tell origins apart; odd ones equal nothing."""
    assert origin_of(b"HTTP", b"A:80") == origin_of(b"http", b"a") == (b"http", b"a", 80)
    assert origin_of(b"ftp", b"a") is None
    assert origin_of(b"http", b"a/b") is None


def test_hosts_and_cookie_domains() -> None:
    """A host is compared in lower case, without port and brackets."""
    assert [host_of(text) for text in (b"A:1", b"[::1]:2", b"a b")] == [b"a", b"::1", b""]
    assert NAME.is_local_host(b"localhost")
    assert NAME.is_local_host(b"[::1]")
    assert not NAME.is_local_host(b"example.org")
