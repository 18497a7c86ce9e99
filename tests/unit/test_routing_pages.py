"""routing.py: the page that asks chooses among tunnels by path, where the cookie would."""

from __future__ import annotations

import pytest

from wormkey.routing import NotFound, Page, PublicUrl, Reserved, Route, ToTunnel, resolve

PUBLIC = PublicUrl.parse("https://example.com")
ROUTED = b"__Host-wormkey_route=otter"


def to_tunnel(found: Route) -> tuple[str, bytes, bytes, str]:
    """Return slug, target, prefix and means of a route to a tunnel."""
    assert isinstance(found, ToTunnel)
    return found.slug, found.target, found.prefix, found.by


def by_page(target: bytes, referer: bytes, mode: bytes = b"", cookie: bytes = ROUTED) -> Route:
    """Return the route of a request that a page on the base host makes."""
    cookies = (cookie,) if cookie else ()
    page = Page(referer, mode)
    return resolve(target=target, host=b"example.com", cookies=cookies, public=PUBLIC, page=page)


@pytest.mark.parametrize(
    "referer",
    [
        b"https://example.com/s/badger/",
        b"http://EXAMPLE.com/s/Badger/a?b",
        b"https://example.com/s/badger",
    ],
)
def test_a_page_by_path_finds_its_own_assets(referer: bytes) -> None:
    """Whatever the other tab visited last."""
    assert to_tunnel(by_page(b"/a.js", referer)) == ("badger", b"/a.js", b"", "referer")


@pytest.mark.parametrize(
    "referer",
    [
        *(b"", b"https://example.com/a", b"https://evil.example/s/badger/", b"/s/badger/"),
        *(b"https://example.com.evil/s/badger/", b"https://x@example.com/s/badger/"),
        *(b"https://example.com/s/badgers_/", b"https://example.com/x?/s/badger/"),
    ],
)
def test_another_page_leaves_it_to_the_cookie(referer: bytes) -> None:
    """Another host's page names no tunnel here."""
    assert to_tunnel(by_page(b"/a.js", referer))[::3] == ("otter", "cookie")


def test_without_the_cookie_no_page_leads_anywhere() -> None:
    """First match counts: a path, a host, then the cookie, among whose tunnels the page chooses."""
    referer = b"https://example.com/s/badger/"
    assert isinstance(by_page(b"/a.js", referer, cookie=b""), NotFound)
    assert to_tunnel(by_page(b"/s/otter/a", referer))[::3] == ("otter", "path")
    found = by_page(b"/.wormkey/me?slug=otter", referer)
    assert isinstance(found, Reserved)
    assert found.slug == "otter"


@pytest.mark.parametrize(
    ("target", "mode", "visit"),
    [
        (b"/s/otter/", b"", True),
        (b"/s/otter/", b"navigate", True),
        (b"/s/otter/poll", b"cors", False),
        (b"/s/otter/a.js", b"no-cors", False),
        (b"/s/otter/ws", b"websocket", False),
        (b"/about", b"navigate", True),
        (b"/a.js", b"", False),
        (b"/a.js", b"no-cors", False),
    ],
)
def test_a_visit_is_a_page_not_an_asset(target: bytes, mode: bytes, visit: bool) -> None:
    """A tab that polls takes nothing from another one."""
    found = by_page(target, b"https://example.com/s/badger/", mode)
    assert isinstance(found, ToTunnel)
    assert found.visit is visit
