"""fields.py, toward the viewer: local names become public, and a tunnel cannot overstep."""

from __future__ import annotations

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from tests.support.octets import tokens, values
from wormkey.fields import HOP_BY_HOP, OriginView, ViewerFacts, for_gateway, for_viewer, is_shared
from wormkey.frames import Fields, RequestHead, ResponseHead

VIEWER = ViewerFacts(peer="192.0.2.7", scheme=b"https", authority=b"otter.example.com:8443")
VIEW = OriginView(
    scheme=b"http",
    authority=b"localhost:5173",
    aliases=frozenset({b"localhost:5173", b"127.0.0.1:5173", b"[::1]:5173"}),
)
BY_HOST = RequestHead(
    b"GET",
    b"/",
    ((b"X-Forwarded-Host", b"otter.example.com:8443"), (b"X-Forwarded-Proto", b"https")),
)
BY_PATH = RequestHead(b"GET", b"/", (*BY_HOST.fields, (b"X-Forwarded-Prefix", b"/s/otter")))
PUBLIC = b"https://otter.example.com:8443"

answers = st.lists(
    st.tuples(
        st.one_of(tokens, st.sampled_from([b"Set-Cookie", b"Keep-Alive", b"Upgrade"])), values
    ),
    max_size=8,
).map(tuple)


def told(
    name: bytes, value: bytes, request: RequestHead = BY_HOST, view: OriginView = VIEW
) -> bytes:
    """Return what the gateway is told of one field of the app's answer."""
    [(kept, mapped)] = for_gateway(ResponseHead(302, ((name, value),)), request, view).fields
    assert kept == name
    return mapped


def shown(*pairs: tuple[bytes, bytes], viewer: ViewerFacts = VIEWER, status: int = 200) -> Fields:
    """Return what a viewer is shown of an answer that came through a tunnel."""
    return for_viewer(ResponseHead(status, pairs), viewer).fields


@given(answers)
def test_an_answer_keeps_order_repeats_and_spelling(pairs: Fields) -> None:
    """Fields that are not of one hop pass both ends as they are, Set-Cookie above all."""
    kept = tuple(pair for pair in pairs if pair[0].lower() not in HOP_BY_HOP)
    head = ResponseHead(200, pairs, b"Fine")
    through = for_viewer(for_gateway(head, BY_HOST, VIEW), VIEWER)
    assert through == ResponseHead(200, kept, b"Fine")


def test_what_connection_names_goes_at_both_ends() -> None:
    """A field of one hop is dropped by the client, and by the gateway if the client lets it by."""
    pairs = (
        (b"Connection", b"close, X-Hop"),
        (b"x-hop", b"1"),
        (b"Keep-Alive", b"a"),
        (b"b", b"c"),
    )
    assert for_gateway(ResponseHead(200, pairs), BY_HOST, VIEW).fields == ((b"b", b"c"),)
    assert shown(*pairs) == ((b"b", b"c"),)


def test_a_101_carries_its_protocol_apart() -> None:
    """Only a 101 with Connection: upgrade switches; on other answers Upgrade is just dropped."""
    pairs = ((b"Connection", b"Upgrade"), (b"Upgrade", b"websocket"))
    switched = for_gateway(ResponseHead(101, pairs), BY_HOST, VIEW)
    assert switched == ResponseHead(101, (), upgrade=b"websocket")
    assert for_viewer(switched, VIEWER) == switched
    assert for_gateway(ResponseHead(426, pairs), BY_HOST, VIEW).upgrade == b""
    assert for_gateway(ResponseHead(101, pairs[1:]), BY_HOST, VIEW).upgrade == b""
    assert for_viewer(ResponseHead(200, (), upgrade=b"websocket"), VIEWER).upgrade == b""


# ── local names ───────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("name", [b"Location", b"content-location"])
@pytest.mark.parametrize(
    "own",
    [b"http://localhost:5173", b"HTTP://LocalHost:5173", b"http://[::1]:5173", b"//127.0.0.1:5173"],
)
def test_urls_of_the_app_become_public(name: bytes, own: bytes) -> None:
    """Every name of the app, absolute or without scheme, becomes the URL the viewer knows."""
    assert told(name, own + b"/x?y#z") == PUBLIC + b"/x?y#z"
    assert told(name, own + b"/x?y#z", BY_PATH) == PUBLIC + b"/s/otter/x?y#z"


def test_an_app_that_believes_x_forwarded_proto_is_understood() -> None:
    """https://<its own host> is how an http app names itself behind an https gateway."""
    assert told(b"Location", b"https://localhost:5173/x") == PUBLIC + b"/x"
    plain = RequestHead(
        b"GET", b"/", ((b"X-Forwarded-Host", b"a"), (b"X-Forwarded-Proto", b"http"))
    )
    assert told(b"Location", b"https://localhost:5173/x", plain) == b"https://localhost:5173/x"


def test_a_host_header_of_ones_own_names_the_app() -> None:
    """With --host-header VALUE the app redirects to that value, which is mapped as well."""
    view = evolve(VIEW, host_header=b"app.test")
    assert told(b"Location", b"http://app.test/x", view=view) == PUBLIC + b"/x"
    assert told(b"Location", b"http://app.test/x") == b"http://app.test/x"
    assert told(b"Location", b"http://preserve/", view=evolve(VIEW, host_header=b"preserve")) == (
        b"http://preserve/"
    )


def test_without_a_report_the_path_is_all_that_is_known() -> None:
    """A gateway that does not say its authority gets a path, which stays on its site."""
    silent = RequestHead(b"GET", b"/", ())
    assert told(b"Location", b"http://localhost:5173/x", silent) == b"/x"
    assert told(b"Location", b"/x", silent) == b"/x"


def test_a_refresh_is_mapped_and_a_cookie_freed() -> None:
    """Refresh follows Location; a Domain that names the app would lose the cookie, so it goes."""
    assert told(b"Refresh", b"5; url=http://localhost:5173/x") == b"5; url=" + PUBLIC + b"/x"
    assert told(b"Set-Cookie", b"a=b; Domain=localhost; Path=/") == b"a=b; Path=/"
    assert told(b"Set-Cookie", b"a=b; Domain=example.org") == b"a=b; Domain=example.org"
    assert told(b"Set-Cookie", b"a=b; Path=/") == b"a=b; Path=/"


# ── what a tunnel may not do ──────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "cookie",
    [
        b"wormkey_route=x",
        b"__Host-wormkey_owner=x; Path=/",
        b"__secure-Wormkey=",
        b"=wormkey_route=x",
    ],
)
def test_a_tunnel_cannot_set_the_gateways_cookies(cookie: bytes) -> None:
    """Not by name, not by prefix, not by a nameless cookie that comes back with the name."""
    assert shown((b"set-cookie", cookie), (b"Set-Cookie", b"a=wormkey")) == (
        (b"Set-Cookie", b"a=wormkey"),
    )


@pytest.mark.parametrize("domain", [b"example.com", b".Example.COM", b"otter.example.com", b"com"])
def test_a_tunnels_cookie_reaches_its_own_host_only(domain: bytes) -> None:
    """A Domain that other tunnels' hosts share is taken off; one that no browser takes stays."""
    assert shown((b"Set-Cookie", b"a=b; domain=" + domain + b"; Secure")) == (
        (b"Set-Cookie", b"a=b; Secure"),
    )
    foreign = (b"Set-Cookie", b"a=b; Domain=x" + domain)
    assert shown(foreign) == (foreign,)


def test_a_tunnel_cannot_forge_the_gateways_marks() -> None:
    """Wormkey-* fields come from the gateway alone."""
    assert shown((b"Wormkey-Error", b"no_tunnel"), (b"wormkey-request-id", b"1"), (b"a", b"b")) == (
        (b"a", b"b"),
    )


@pytest.mark.parametrize(
    "viewer", [evolve(VIEWER, shared_origin=True), evolve(VIEWER, prefix=b"/s/a")]
)
def test_on_the_base_host_no_page_speaks_for_the_origin(viewer: ViewerFacts) -> None:
    """Fields that reach the whole origin pass on a tunnel's own host only."""
    wide = (
        (b"Clear-Site-Data", b"*"),
        (b"Service-Worker-Allowed", b"/"),
        (b"Strict-Transport-Security", b"max-age=9"),
        (b"Alt-Svc", b"h3"),
        (b"NEL", b"{}"),
        (b"Report-To", b"{}"),
    )
    assert shown(*wide) == wide
    assert shown(*wide, (b"a", b"b"), viewer=viewer) == ((b"a", b"b"),)
    own = (b"Service-Worker-Allowed", b"/s/a/")
    assert shown(own, viewer=viewer) == ((own,) if viewer.prefix else ())


def test_a_page_by_path_runs_in_a_sandbox_where_tunnels_have_hosts() -> None:
    """With nobody's origin; beside the app's own policy, and not on interim heads."""
    viewer = evolve(VIEWER, shared_origin=True, sandboxed=True)
    own = (b"Content-Security-Policy", b"sandbox allow-same-origin allow-scripts")
    shut = shown(own, viewer=viewer)
    assert shut[0] == own
    assert shut[1][1].startswith(b"sandbox ")
    assert b"allow-same-origin" not in shut[1][1]
    assert shown(own, viewer=viewer, status=103) == (own,)


@pytest.mark.parametrize(("status", "kept"), [(103, 0), (204, 0), (200, 1), (304, 1)])
def test_answers_without_content_have_no_length(status: int, kept: int) -> None:
    """1xx and 204 lose Content-Length, a 304 keeps the length it speaks of."""
    assert len(shown((b"Content-Length", b"5"), status=status)) == kept


@pytest.mark.parametrize(
    ("values", "shared"),
    [
        ([], False),
        ([b"no-store"], False),
        ([b"max-age=60"], False),
        ([b"private, max-age=60"], False),
        ([b"Public, max-age=60"], True),
        ([b"max-age=1", b"S-MaxAge=60"], True),
    ],
)
def test_an_answer_for_shared_caches_is_known(values: list[bytes], shared: bool) -> None:
    """Such an answer must not give one viewer's cookie to others (RFC 9111 section 5.2.2)."""
    fields = tuple((b"Cache-Control", value) for value in values)
    assert is_shared(fields) is shared
