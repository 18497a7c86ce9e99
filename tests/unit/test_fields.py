"""fields.py, toward the origin: what enters the tunnel and what the local app sees of it."""

from __future__ import annotations

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from tests.support.octets import tokens, values
from wormkey import fields
from wormkey.errors import RemoteProtocolError
from wormkey.fields import HOP_BY_HOP, OriginView, ViewerFacts, for_origin, for_tunnel, get
from wormkey.frames import Fields, RequestHead
from wormkey.grammar import check_tunnel_request

VIEWER = ViewerFacts(peer="192.0.2.7", scheme=b"https", authority=b"otter.example.com:8443")
VIEW = OriginView(
    scheme=b"http",
    authority=b"localhost:5173",
    aliases=frozenset({b"localhost:5173", b"127.0.0.1:5173", b"[::1]:5173"}),
)
PUBLIC = b"https://otter.example.com:8443"

odd_names = st.sampled_from(
    [name.title() for name in sorted(HOP_BY_HOP)]
    + [b"X-Forwarded-For", b"x_forwarded_host", b"X-FORWARDED_Port", b"X-Real-IP", b"Forwarded"]
    + [b"Set-Cookie", b"Cookie", b"Host", b"Expect", b"X-Secret", b"Content_Length"]
)
names = st.one_of(tokens, odd_names)
any_fields = st.lists(
    st.one_of(
        st.tuples(names, values),
        st.tuples(st.just(b"Connection"), st.lists(names, max_size=3).map(b" , ".join)),
        st.tuples(st.just(b"Cookie"), st.lists(values, max_size=3).map(b"; wormkey_a=b;".join)),
    ),
    max_size=10,
).map(tuple)


def request(*pairs: tuple[bytes, bytes], method: bytes = b"GET") -> RequestHead:
    """Return a request for ``/`` with these fields."""
    return RequestHead(method, b"/", pairs)


def inbound(*pairs: tuple[bytes, bytes], viewer: ViewerFacts = VIEWER) -> Fields:
    """Return what ``for_tunnel`` makes of these fields."""
    return for_tunnel(request(*pairs), viewer).fields


def nominated(pairs: Fields) -> set[bytes]:
    """Return the names that Connection fields name, in lower case."""
    return {
        name.strip(b" \t").lower()
        for value in get(pairs, b"connection")
        for name in value.split(b",")
    }


# ── access ────────────────────────────────────────────────────────────────────────────────────
def test_get_keeps_order_and_repeats() -> None:
    """All values of a name come back in order, however each is spelled."""
    pairs = ((b"A", b"1"), (b"b", b"2"), (b"a", b"3"), (b"A", b""))
    assert get(pairs, b"a") == [b"1", b"3", b""]
    assert get(pairs, b"c") == []


def test_content_length_is_one_number_or_none() -> None:
    """A length is read once; a second or odd one is the peer's fault."""
    assert fields.content_length(()) is None
    assert fields.content_length(((b"Content-length", b"007"),)) == 7
    for pairs in (
        ((b"Content-Length", b"1"), (b"content-length", b"1")),
        ((b"Content-Length", b"+1"),),
        ((b"Content-Length", b""),),
    ):
        with pytest.raises(RemoteProtocolError):
            fields.content_length(pairs)


# ── hop by hop ────────────────────────────────────────────────────────────────────────────────
@given(any_fields)
def test_no_field_of_the_viewers_hop_enters_the_tunnel(pairs: Fields) -> None:
    """Neither the listed names nor those Connection names; ours come after, and TE's wish."""
    ours = {b"via", b"te", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto"}
    gone = HOP_BY_HOP | (nominated(pairs) - {b"content-length", b"host"})
    assert {name.lower() for name, _ in inbound(*pairs)}.isdisjoint(gone - ours)


def test_connection_cannot_unframe() -> None:
    """Content-Length stays even if Connection names it; Trailer stays as it is."""
    pairs = ((b"Content-Length", b"1"), (b"Trailer", b"x"))
    assert inbound((b"Connection", b"content-length,host"), *pairs)[:2] == pairs


@pytest.mark.parametrize(
    ("connection", "upgrade", "offer"),
    [
        (b"Upgrade", b"websocket", b"websocket"),
        (b"keep-alive, UPGRADE", b"WebSocket", b"WebSocket"),
        (b"upgrade", b"foo/2 ,websocket", b"foo/2, websocket"),
        (b"upgrade", b"h2c", b""),
        (b"upgrade, http2-settings", b"H2C, websocket", b"websocket"),
        (b"upgrade", b"TLS/1.2, HTTP/3", b""),
        (b"upgrade", b"a b, =, ,c/", b""),
        (b"keep-alive", b"websocket", b""),
    ],
)
def test_upgrades_need_connection_and_never_leave_http_behind(
    connection: bytes, upgrade: bytes, offer: bytes
) -> None:
    """An offer counts with Connection only; h2c, HTTP and TLS are never passed on."""
    pairs = ((b"Connection", connection), (b"Upgrade", upgrade))
    assert fields.upgrade_offer(pairs) == offer
    head = for_tunnel(request(*pairs), VIEWER)
    assert head.upgrade == offer
    assert not get(head.fields, b"upgrade") + get(head.fields, b"connection")
    old = for_tunnel(request(*pairs), evolve(VIEWER, http_version=b"1.0"))
    assert old.upgrade == b""


def test_trailers_lose_what_frames_routes_or_authenticates() -> None:
    """A trailer section cannot smuggle in what only a header section may say."""
    good = ((b"X-Checksum", b"1"), (b"Server-Timing", b"a"), (b"X-Checksum", b"2"))
    bad = [b"Content-Length", b"HOST", b"Set-Cookie", b"X-Forwarded-For", b"Authorization"]
    bad += [b"Wormkey-Error", b"Transfer-Encoding", b"TE", b"Trailer"]
    assert fields.strip_trailers((*[(name, b"") for name in bad], *good)) == good


# ── into the tunnel ───────────────────────────────────────────────────────────────────────────
@given(any_fields, st.booleans(), st.sampled_from([b"1.0", b"1.1"]))
def test_no_claim_of_a_viewer_enters_the_tunnel(
    pairs: Fields, trusted: bool, version: bytes
) -> None:
    """Whatever is sent, one hop's fields, forged forwarding and our cookies stay outside."""
    viewer = evolve(VIEWER, trusted=trusted, http_version=version, prefix=b"/s/otter")
    head = for_tunnel(request(*pairs), viewer)
    check_tunnel_request(head)
    left = [name.lower() for name, _ in head.fields]
    assert not {*left} & (HOP_BY_HOP | {b"host"}) - {b"te"}
    assert not [name for name in left if name.startswith((b"x_forwarded", b"x-forwarded_"))]
    for name in (b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-prefix"):
        assert left.count(name) == 1
    assert get(head.fields, b"x-forwarded-for")[-1].endswith(b"192.0.2.7")
    if not trusted:
        assert get(head.fields, b"x-forwarded-for") == [b"192.0.2.7"]
        assert not {b"forwarded", b"x-real-ip"} & {*left}
    assert all(b"wormkey" not in value for value in get(head.fields, b"cookie"))
    plain = [pair for pair in pairs if pair in head.fields]
    order = iter(head.fields)
    assert all(pair in order for pair in plain), "order or repeats changed"


def test_a_request_gets_the_gateways_own_fields() -> None:
    """X-Forwarded-*, Via and the wish for trailers are added, after everything else."""
    sent = (
        (b"Host", b"otter.example.com:8443"),
        (b"Accept", b"*/*"),
        (b"TE", b"gzip, Trailers;q=1"),
    )
    assert inbound(*sent, viewer=evolve(VIEWER, prefix=b"/s/otter")) == (
        (b"Accept", b"*/*"),
        (b"X-Forwarded-For", b"192.0.2.7"),
        (b"X-Forwarded-Host", b"otter.example.com:8443"),
        (b"X-Forwarded-Proto", b"https"),
        (b"X-Forwarded-Prefix", b"/s/otter"),
        (b"Via", b"1.1 wormkey"),
        (b"TE", b"trailers"),
    )


def test_a_trusted_proxys_chain_is_continued() -> None:
    """Its X-Forwarded-For is appended to, its other fields stay, Via keeps its elders."""
    proxy = evolve(VIEWER, trusted=True)
    sent = ((b"X-Forwarded-For", b"198.51.100.1"), (b"x-forwarded-for", b"10.0.0.1"))
    kept = inbound(
        *sent, (b"X-Forwarded-Port", b"1"), (b"Forwarded", b"a"), (b"Via", b"2 x"), viewer=proxy
    )
    assert get(kept, b"x-forwarded-for") == [b"198.51.100.1, 10.0.0.1, 192.0.2.7"]
    assert get(kept, b"x-forwarded-port") + get(kept, b"forwarded") == [b"1", b"a"]
    assert get(kept, b"via") == [b"2 x", b"1.1 wormkey"]


@pytest.mark.parametrize("trusted", [False, True])
def test_forwarding_fields_that_the_gateway_does_not_set_are_only_a_proxys(trusted: bool) -> None:
    """X-Forwarded-Port and its kind: believed from the operator's proxy, dropped from viewers."""
    got = inbound((b"X-Forwarded-Port", b"8443"), viewer=evolve(VIEWER, trusted=trusted))
    assert get(got, b"x-forwarded-port") == ([b"8443"] if trusted else [])


def test_a_peer_without_address_adds_none() -> None:
    """A unix socket has no address: no X-Forwarded-For is made up."""
    assert get(inbound(viewer=evolve(VIEWER, peer="")), b"x-forwarded-for") == []


def test_own_cookies_stay_at_the_gateway() -> None:
    """The rest of Cookie stays octet for octet; a field with nothing left is dropped."""
    sent = ((b"Cookie", b"a=1; __Host-wormkey_route=x;  b=2"), (b"cookie", b"wormkey_owner=y"))
    assert get(inbound(*sent), b"cookie") == [b"a=1;  b=2"]


def test_expectations_are_for_http_1_1() -> None:
    """Expect travels on, except from HTTP/1.0, which does not know it."""
    sent = (b"Expect", b"100-continue")
    assert sent in inbound(sent)
    assert sent not in inbound(sent, viewer=evolve(VIEWER, http_version=b"1.0"))


@pytest.mark.parametrize(
    "name",
    [b"X_Forwarded_For", b"x-forwarded_host", b"Content_Length", b"X_Real_IP", b"Keep_Alive"],
)
@pytest.mark.parametrize("trusted", [True, False])
def test_spellings_that_apps_take_for_guarded_names_go(name: bytes, trusted: bool) -> None:
    """CGI turns "-" into "_": such twins pass from nobody; other names with "_" do."""
    kept = inbound((name, b"1"), (b"api_key", b"2"), viewer=evolve(VIEWER, trusted=trusted))
    assert [pair for pair in kept if b"_" in pair[0]] == [(b"api_key", b"2")]


def test_a_trusted_proxy_reports_scheme_and_authority() -> None:
    """The nearest proxy's word counts, if it is valid and the peer is trusted."""
    proxy = ViewerFacts(peer="10.0.0.1", scheme=b"http", authority=b"inner:3002", trusted=True)
    sent = ((b"X-Forwarded-Proto", b"http, WSS"), (b"X-Forwarded-Host", b"evil, a.example"))
    told = fields.behind_proxy(sent, proxy)
    assert (told.scheme, told.authority) == (b"https", b"a.example")
    odd = ((b"X-Forwarded-Proto", b"gopher"), (b"X-Forwarded-Host", b"a/b"))
    assert fields.behind_proxy(odd, proxy) == proxy
    assert fields.behind_proxy(sent, evolve(proxy, trusted=False)).authority == b"inner:3002"


# ── to the local app ──────────────────────────────────────────────────────────────────────────
def at_origin(
    *pairs: tuple[bytes, bytes],
    method: bytes = b"GET",
    upgrade: bytes = b"",
    view: OriginView = VIEW,
    viewer: ViewerFacts = VIEWER,
) -> Fields:
    """Return what the app sees of a viewer's fields, through both ends of the tunnel."""
    head = for_tunnel(request(*pairs, method=method), viewer)
    return for_origin(evolve(head, upgrade=upgrade), view)


@given(any_fields)
def test_the_app_gets_one_host_and_no_foreign_hop(pairs: Fields) -> None:
    """Even a head that a gateway left as it was reaches the app with its own Host, once, first."""
    sent = for_origin(request(*pairs), VIEW)
    assert sent[0] == (b"Host", b"localhost:5173")
    assert len(get(sent, b"host")) == 1
    assert not {name.lower() for name, _ in sent} & HOP_BY_HOP - {b"te", b"connection"}


@pytest.mark.parametrize(
    ("host_header", "host"),
    [
        (b"rewrite", b"localhost:5173"),
        (b"preserve", b"otter.example.com:8443"),
        (b"app.test", b"app.test"),
    ],
)
def test_the_host_is_the_one_asked_for(host_header: bytes, host: bytes) -> None:
    """--host-header decides the Host; X-Forwarded-Host tells the viewer's in each case."""
    sent = at_origin(view=evolve(VIEW, host_header=host_header))
    assert get(sent, b"host") == [host]
    assert get(sent, b"x-forwarded-host") == [b"otter.example.com:8443"]


def test_preserving_without_a_report_falls_back() -> None:
    """A gateway that does not say the viewer's authority leaves the app its own."""
    assert for_origin(request(), evolve(VIEW, host_header=b"preserve"))[0][1] == VIEW.authority


@pytest.mark.parametrize("name", [b"Origin", b"Referer"])
@pytest.mark.parametrize(
    ("method", "upgrade"), [(b"GET", b""), (b"HEAD", b""), (b"X", b"websocket")]
)
def test_the_public_page_becomes_the_local_one(name: bytes, method: bytes, upgrade: bytes) -> None:
    """On GET, HEAD and upgrades an Origin or Referer of the public page names the local app."""
    sent = at_origin((name, PUBLIC), method=method, upgrade=upgrade)
    assert get(sent, name.lower()) == [b"http://localhost:5173"]
    literal = at_origin((name, PUBLIC), view=evolve(VIEW, host_header=b"app.test"))
    assert get(literal, name.lower()) == [b"http://app.test"]


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"DELETE", b"OPTIONS", b"get"])
def test_other_methods_keep_their_origin(method: bytes) -> None:
    """Frameworks compare it with X-Forwarded-Host there, so it stays."""
    assert get(at_origin((b"Origin", PUBLIC), method=method), b"origin") == [PUBLIC]


def test_a_preserved_host_keeps_its_origin() -> None:
    """Where Host is the viewer's, Origin already agrees with it."""
    view = evolve(VIEW, host_header=b"preserve")
    assert get(at_origin((b"Origin", PUBLIC), view=view), b"origin") == [PUBLIC]


def test_the_apps_hop_is_made_anew() -> None:
    """Upgrades get their two fields; a wish for trailers gets TE and its Connection."""
    assert at_origin(upgrade=b"websocket")[-2:] == (
        (b"Connection", b"Upgrade"),
        (b"Upgrade", b"websocket"),
    )
    assert at_origin((b"TE", b"trailers"))[-2:] == ((b"Connection", b"TE"), (b"TE", b"trailers"))
    assert not get(at_origin((b"TE", b"gzip")), b"te")


def test_values_are_found_by_name_in_any_case_and_in_order() -> None:
    """RFC 9110 §5.1 and §5.3: names have no case, the order of repeated fields stays."""
    received = ((b"Accept", b"a"), (b"HOST", b"h"), (b"accept", b"b"))
    assert fields.by_name(received) == {b"accept": [b"a", b"b"], b"host": [b"h"]}
    assert fields.by_name(()) == {}
