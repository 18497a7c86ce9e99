"""routing.py: one decision from raw octets, and no spelling that reaches another tunnel."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wormkey.errors import ConfigError
from wormkey.routing import (
    Asterisk,
    Home,
    Misdirected,
    NotFound,
    PublicUrl,
    Redirect,
    Reserved,
    Route,
    ToTunnel,
    is_own_host,
    public_url_of,
    resolve,
    route_cookie,
    url_seen,
)

LOCAL = PublicUrl.parse("http://localhost:3002")
PUBLIC = PublicUrl.parse("https://example.com")
ROUTED = b"a=1; __Host-wormkey_route=otter; b=2"


def route(
    target: bytes, host: bytes = b"example.com", *cookies: bytes, public: PublicUrl = PUBLIC
) -> Route:
    """Return the route of a request with this target, Host and Cookie fields."""
    return resolve(target=target, host=host, cookies=cookies, public=public)


def to_tunnel(found: Route) -> tuple[str, bytes, bytes, str]:
    """Return slug, target, prefix and means of a route to a tunnel."""
    assert isinstance(found, ToTunnel)
    return found.slug, found.target, found.prefix, found.by


# ── by host ───────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "host",
    [b"otter.example.com", b"OTTER.Example.com:8443", b"otter.example.com.", b"otter.localhost:1"],
)
@pytest.mark.parametrize(
    "target", [b"/", b"/s/badger/x?y", b"/health", b"/tunnel", b"//.wormkey/x"]
)
def test_a_slugs_host_leads_to_its_tunnel(host: bytes, target: bytes) -> None:
    """The whole target goes there untouched, whatever its path; cookies do not count."""
    found = route(target, host, b"__Host-wormkey_route=badger")
    assert to_tunnel(found) == ("otter", target, b"", "host")
    assert isinstance(found, ToTunnel)
    assert found.authority == host


def test_on_a_tunnels_host_only_one_folder_is_reserved() -> None:
    """/.wormkey/ is about that tunnel, whatever its query says; its spellings are the app's."""
    found = route(b"/.wormkey/me?slug=badger", b"otter.example.com")
    assert found == Reserved(
        name="wormkey",
        path=b"/.wormkey/me",
        query=b"slug=badger",
        slug="otter",
        authority=b"otter.example.com",
        on_base=False,
    )
    for target in (b"/.wormkey", b"/%2ewormkey/me", b"/x/../.wormkey/me", b"/.wormkey%2fme"):
        assert to_tunnel(route(target, b"otter.example.com"))[0] == "otter"


@pytest.mark.parametrize(
    "host",
    [
        b"example.org",
        b"xexample.com",
        b"com",
        b"a.otter.example.com",
        b"-a.example.com",
        b"1a.example.com",
        b"a_b.example.com",
        b".example.com",
        b"a.127.0.0.1",
        b"1.localhost",
        b"otter.example.com.evil.example",
        b"a" * 64 + b".example.com",
        b"256.1.1.1",
        b"0x7f.1",
        b"a b",
        b"user@example.com",
        b"[::1",
        b"\xff",
    ],
)
def test_any_other_host_is_misdirected(host: bytes) -> None:
    """A rebound or mistyped name gets 421, on every path, with every cookie."""
    for target in (b"/", b"/health", b"/s/otter/", b"/.wormkey/me"):
        assert route(target, host, ROUTED) == Misdirected()


@pytest.mark.parametrize(
    "host",
    [
        b"example.com",
        b"EXAMPLE.com.:443",
        b"localhost:3002",
        b"127.0.0.1",
        b"10.1.2.3:80",
        b"[::1]:1",
    ],
)
def test_the_base_host_has_several_names(host: bytes) -> None:
    """The public host, localhost and IP addresses, on any port."""
    assert route(b"/", host) == Home()


def test_without_host_the_base_host_is_meant() -> None:
    """HTTP/1.0 may leave Host out, as health checks do; the public authority stands in for it."""
    found = route(b"/s/otter/", b"")
    assert isinstance(found, ToTunnel)
    assert found.authority == b"example.com"


# ── by path ───────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("target", "inner"),
    [
        (b"/s/otter/", b"/"),
        (b"/s/otter/x?y=/s/badger/", b"/x?y=/s/badger/"),
        (b"/s/otter//x", b"//x"),
        (b"/s/otter/../badger/x", b"/../badger/x"),
        (b"/s/otter/%2e%2e/badger", b"/%2e%2e/badger"),
        (b"/s/otter/.wormkey/me", b"/.wormkey/me"),
    ],
)
def test_a_path_names_exactly_one_tunnel(target: bytes, inner: bytes) -> None:
    """The rest of the raw target goes to it, dots, slashes and escapes as they are."""
    assert to_tunnel(route(target)) == ("otter", inner, b"/s/otter", "path")


def test_the_prefix_is_what_the_viewer_wrote() -> None:
    """A slug is found without case; the prefix keeps the spelling that the page's URL has."""
    assert to_tunnel(route(b"/s/Otter/x")) == ("otter", b"/x", b"/s/Otter", "path")


def test_a_slug_without_its_slash_is_sent_there() -> None:
    """308 to the folder, query kept, so that the page's relative URLs work."""
    assert route(b"/s/otter") == Redirect(b"/s/otter/")
    assert route(b"/s/otter?a=b/c") == Redirect(b"/s/otter/?a=b/c")


@pytest.mark.parametrize(
    "target",
    [
        b"/s/otter%2fx/",
        b"/s/%6ftter/",
        b"/s/otter\\x",
        b"/s/otter;x/",
        b"/s/../health",
        b"/s//otter/",
        b"/s/",
        b"/s",
        b"/S/otter/",
        b"//s/otter/",
        b"/s/-otter/",
        b"/s/" + b"a" * 64 + b"/",
    ],
)
def test_other_spellings_are_no_slug(target: bytes) -> None:
    """They are paths like any other: nothing on the base host, or the cookie's tunnel's."""
    assert route(target) == NotFound()
    assert to_tunnel(route(target, b"example.com", ROUTED)) == ("otter", target, b"", "cookie")


@pytest.mark.parametrize(("path", "name"), [(b"/health", "health"), (b"/tunnel", "tunnel")])
def test_the_base_hosts_own_paths_win(path: bytes, name: str) -> None:
    """Reserved paths match exactly, before any cookie."""
    found = route(path + b"?slug=otter", b"example.com", ROUTED)
    assert isinstance(found, Reserved)
    assert (found.name, found.slug, found.query, found.on_base) == (name, None, b"slug=otter", True)
    assert isinstance(route(path + b"/", b"example.com", ROUTED), ToTunnel)


@pytest.mark.parametrize(
    ("query", "slug"),
    [
        (b"slug=otter&token=x", "otter"),
        (b"x=1&slug=OTTER", "otter"),
        (b"slug=otter&slug=badger", None),
        (b"slug=otter&slug=otter", None),
        (b"slug=", None),
        (b"slug=../x", None),
        (b"xslug=otter", None),
        (b"", None),
    ],
)
def test_on_the_base_host_the_query_names_the_session(query: bytes, slug: str | None) -> None:
    """?slug= counts for /.wormkey/ only and only once; the routing cookie never does."""
    found = route(b"/.wormkey/state?" + query, b"example.com", ROUTED)
    assert isinstance(found, Reserved)
    assert (found.name, found.path, found.slug) == ("wormkey", b"/.wormkey/state", slug)


# ── by cookie ─────────────────────────────────────────────────────────────────────────────────
def test_the_routing_cookie_finds_a_pages_assets() -> None:
    """Root-absolute paths of a page by path reach its tunnel, their query unread."""
    for target in (b"/", b"/assets/x.js?slug=badger", b"/ws"):
        assert to_tunnel(route(target, b"example.com", ROUTED)) == ("otter", target, b"", "cookie")


@pytest.mark.parametrize(
    "cookie",
    [b"wormkey_route=otter", b"__Host-wormkey_route=", b"__Host-wormkey_route=../x", b"x=otter"],
)
def test_a_cookie_that_is_not_the_gateways_routes_nothing(cookie: bytes) -> None:
    """By https only the __Host- name counts, which no other host can set; odd values do not."""
    assert route(b"/x", b"example.com", cookie) == NotFound()


def test_the_cookie_it_sets_is_the_cookie_it_reads() -> None:
    """The value of route_cookie, sent back by a browser, leads to the same tunnel."""
    for public in (LOCAL, PUBLIC):
        set_cookie = route_cookie("otter", public)
        pair, _, attributes = set_cookie.partition(b"; ")
        assert to_tunnel(route(b"/x", b"localhost", pair, public=public))[0] == "otter"
        assert (b"Secure" in attributes) == (public.scheme == b"https")
        assert b"Domain" not in attributes


# ── any octets ────────────────────────────────────────────────────────────────────────────────
def test_absolute_form_beats_host() -> None:
    """The target's authority counts and the tunnel gets origin-form (RFC 9112 §3.2.2)."""
    found = route(b"http://otter.localhost:3002/x?y", b"example.com")
    assert to_tunnel(found) == ("otter", b"/x?y", b"", "host")
    assert isinstance(found, ToTunnel)
    assert found.authority == b"otter.localhost:3002"
    assert to_tunnel(route(b"HTTP://otter.localhost?y"))[1] == b"/?y"
    assert route(b"http://example.org/x", b"example.com") == Misdirected()
    assert route(b"http:///x", b"example.com") == Misdirected()


def test_the_asterisk_is_the_gateways_own() -> None:
    """OPTIONS * is about the server, never about a tunnel."""
    assert route(b"*", b"otter.example.com") == Asterisk()


@given(
    target=st.one_of(st.binary(max_size=40), st.binary(max_size=30).map(b"/s/otter".__add__)),
    host=st.one_of(
        st.binary(max_size=20), st.sampled_from([b"example.com", b"[::1]", b"a.localhost"])
    ),
    cookies=st.lists(st.binary(max_size=20), max_size=2),
    public=st.sampled_from([LOCAL, PUBLIC]),
)
@example(target=b"", host=b"", cookies=[], public=LOCAL)
def test_routing_never_raises_and_never_invents(
    target: bytes, host: bytes, cookies: list[bytes], public: PublicUrl
) -> None:
    """Any octets get a Route; what reaches a tunnel is a suffix of the target, in origin-form."""
    found = resolve(target=target, host=host, cookies=cookies, public=public)
    if isinstance(found, ToTunnel):
        assert found.target.startswith(b"/")
        assert target.endswith(found.target.removeprefix(b"/"))
        assert found.slug.encode() in (target + host + b"".join(cookies)).lower()


# ── public URLs ───────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("text", "scheme", "host", "port", "authority"),
    [
        ("http://localhost:3002", b"http", b"localhost", 3002, b"localhost:3002"),
        (" HTTPS://Example.COM:443/ ", b"https", b"example.com", 443, b"example.com"),
        ("http://[::1]:80", b"http", b"[::1]", 80, b"[::1]"),
        (
            "https://\u00fc.example:8443",
            b"https",
            b"xn--tda.example",
            8443,
            b"xn--tda.example:8443",
        ),
    ],
)
def test_a_public_url_is_read_in_its_parts(
    text: str, scheme: bytes, host: bytes, port: int, authority: bytes
) -> None:
    """Scheme, host and real port; the authority leaves a default port out."""
    url = PublicUrl.parse(text)
    assert (url.scheme, url.host, url.port, url.authority) == (scheme, host, port, authority)
    assert str(url) == f"{scheme.decode()}://{authority.decode()}"


@pytest.mark.parametrize(
    "text",
    [
        *("", "example.com", "ftp://a", "http://", "http://a/b", "http://u@a", "http://a b"),
        *("http://a:x", "http://a:99999", "http://a?b", "http://\u2024\u2024a", "http://a..b"),
        "http://\u00fc" + "a" * 70,
    ],
)
def test_what_is_no_public_url_is_named(text: str) -> None:
    """The error shows the text and how to write one."""
    with pytest.raises(ConfigError, match=r"is no public URL: write https://"):
        PublicUrl.parse(text)


@pytest.mark.parametrize(
    ("public", "routing", "url"),
    [
        ("https://example.com", "host", "https://otter.example.com"),
        ("https://example.com", "path", "https://example.com/s/otter"),
        ("http://localhost:3002", "host", "http://otter.localhost:3002"),
        ("http://127.0.0.1:3002", "host", "http://otter.localhost:3002"),
        ("http://[::1]:3002", "host", "http://otter.localhost:3002"),
        ("http://192.0.2.1", "host", "http://192.0.2.1/s/otter"),
    ],
)
def test_the_url_that_is_written_is_the_url_that_routes(
    public: str, routing: str, url: str
) -> None:
    """public_url_of writes what resolve reads, also where the host is an address."""
    base = PublicUrl.parse(public)
    assert public_url_of("otter", base, routing) == url
    authority, _, path = url.partition("://")[2].partition("/")
    found = route(f"/{path}/".replace("//", "/").encode(), authority.encode(), public=base)
    assert to_tunnel(found)[:2] == ("otter", b"/")


@pytest.mark.parametrize(
    ("authority", "scheme"),
    [
        (b"example.com", b"https"),
        (b"otter.EXAMPLE.com:443", b"https"),
        (b"example.com.", b"https"),
        (b"example.org", b"http"),
        (b"example.com:3002", b"http"),
        (b"localhost:3002", b"http"),
        (b"a b", b"http"),
    ],
)
def test_a_viewers_scheme_follows_from_his_authority(authority: bytes, scheme: bytes) -> None:
    """Who uses the public URL came through what ends its TLS; all others came directly."""
    assert PUBLIC.scheme_of(authority) == scheme


@pytest.mark.parametrize(
    ("authority", "on_base", "seen"),
    [
        (b"tunnel.example", True, PublicUrl(b"https", b"tunnel.example", 443)),
        (b"Tunnel.Example:8443", True, PublicUrl(b"https", b"tunnel.example", 8443)),
        (b"demo.tunnel.example:8443", False, PublicUrl(b"https", b"tunnel.example", 8443)),
        (b"demo", False, None),
        (b"a b", True, None),
    ],
)
def test_the_base_host_is_told_as_the_viewer_knows_it(
    authority: bytes, on_base: bool, seen: PublicUrl | None
) -> None:
    """From the base host itself, or from a tunnel's host under it; odd ones are nobody's."""
    assert url_seen(b"https", authority, on_base=on_base) == seen


@pytest.mark.parametrize(
    ("host", "own"),
    [
        (b"tunnel.example.com", True),
        (b"demo.tunnel.example.com:3002", True),
        (b"localhost:3001", True),
        (b"127.0.0.1", True),
        (b"[::1]:3001", True),
        (b"build-server:3001", True),  # the public DNS has no names without a dot
        (b"evil.example", False),
        (b"tunnel.example.com.evil.example", False),
        (b"a b", False),
        (b"", False),
    ],
)
def test_a_name_that_a_strangers_dns_could_lead_here_is_not_ours(host: bytes, own: bool) -> None:
    """DNS rebinding: a page of evil.example comes with its own name, wherever that leads."""
    public = PublicUrl.parse("https://tunnel.example.com")
    assert is_own_host(host, public) is own
