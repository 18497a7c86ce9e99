"""What an intermediary does to fields: drop those of one hop, add its own, map local names.

Four functions, one for each edge that a head crosses: ``for_tunnel`` (viewer to tunnel),
``for_origin`` (tunnel to app), ``for_gateway`` (app to tunnel), ``for_viewer`` (tunnel to viewer).
Names compare without case; order, repeats and spelling stay. Heads have passed grammar.py before.
No routing, no policy, no framing decisions (RFC 9110 §7.6).
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

from attrs import evolve, frozen

from wormkey import cookies, isolation
from wormkey.errors import RemoteProtocolError
from wormkey.forwarded import last
from wormkey.frames import RequestHead, ResponseHead
from wormkey.grammar import is_authority
from wormkey.names import PublicName, host_of, move_page

if TYPE_CHECKING:
    from wormkey.frames import Fields

Named: TypeAlias = dict[bytes, list[bytes]]

HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"http2-settings",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"transfer-encoding",
        b"upgrade",
    }
)
PSEUDONYM: Final = b"wormkey"  # in Via, so that no host name leaks

# Not for Connection to name: framing and routing are decided already, the others say nothing here.
_NOT_NOMINATED: Final = HOP_BY_HOP | {b"", b"close", b"content-length", b"host"}
_OURS: Final = frozenset(
    {b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-prefix"}
)
_FORWARDING: Final = frozenset({b"forwarded", b"x-real-ip"})
_FROM_PROXY: Final = HOP_BY_HOP | _OURS | {b"host", b"cookie", b"expect"}
_FROM_VIEWER: Final = _FROM_PROXY | _FORWARDING
# CGI and WSGI turn "-" into "_": a field spelled with "_" would stand in for one that is guarded.
_TWINNED: Final = HOP_BY_HOP | _FORWARDING | _OURS | {b"content-length"}
# RFC 9110 §6.5.1: framing, routing, modifiers and authentication have no place in trailers.
_NOT_TRAILERS: Final = HOP_BY_HOP | {
    *(b"authorization", b"cache-control", b"content-encoding", b"content-length"),
    *(b"content-range", b"content-type", b"cookie", b"expect", b"forwarded", b"host"),
    *(b"max-forwards", b"set-cookie", b"trailer", b"via", b"x-real-ip"),
}
# Other protocols for the connection itself, which would take it away from these rules.
_REFUSED_UPGRADES: Final = frozenset({b"h2", b"h2c", b"http", b"tls"})
_SAFE: Final = frozenset({b"GET", b"HEAD"})
_PAGES: Final = frozenset({b"origin", b"referer"})
_PUBLIC_SIZES: Final = frozenset({16, 17, 18})  # of X-Forwarded-Host, -Proto and -Prefix
_SCHEMES: Final = {b"http": b"http", b"https": b"https", b"ws": b"http", b"wss": b"https"}
_LOCATED: Final = frozenset({b"content-location", b"location", b"refresh", b"set-cookie"})

_PROTOCOL: Final = re.compile(rb"[-!#$%&'*+.^_`|~0-9A-Za-z]+(?:/[-!#$%&'*+.^_`|~0-9A-Za-z]+)?")


@frozen(kw_only=True)
class ViewerFacts:
    """What the gateway itself knows of a request's sender, whatever its fields claim.

    ``authority`` is the one the viewer used, port included; ``prefix`` is what routing took off
    the path; ``trusted`` marks a peer among the operator's proxies; ``shared_origin`` marks a page
    on the base host, whose origin belongs to all tunnels, ``sandboxed`` one that gets none of it.
    """

    peer: str
    scheme: bytes
    authority: bytes
    prefix: bytes = b""
    http_version: bytes = b"1.1"
    trusted: bool = False
    shared_origin: bool = False
    sandboxed: bool = False


@frozen(kw_only=True)
class OriginView:
    """How the local app is reached and which authorities name it.

    ``host_header`` is ``rewrite`` (the app sees its own authority), ``preserve`` (the viewer's)
    or the value itself.
    """

    scheme: bytes
    authority: bytes
    aliases: frozenset[bytes] = frozenset()
    host_header: bytes = b"rewrite"


def get(fields: Fields, name: bytes) -> list[bytes]:
    """Return the values of every field of this name (lower case), in order."""
    size = len(name)
    return [value for key, value in fields if len(key) == size and key.lower() == name]


def by_name(fields: Fields) -> Named:
    """Return all values of each field, in order, by its name in lower case (RFC 9110 §5.3)."""
    found: dict[bytes, list[bytes]] = {}
    for name, value in fields:
        found.setdefault(name.lower(), []).append(value)
    return found


def content_length(fields: Fields) -> int | None:
    """Return the one Content-Length in octets, None where there is none.

    Raises:
        RemoteProtocolError: repeated, or not a number; grammar.py refuses both before.
    """
    values = get(fields, b"content-length")
    if not values:
        return None
    if len(values) > 1 or not values[0].isdigit():
        raise RemoteProtocolError("a Content-Length that is repeated or no number")
    return int(values[0])


def is_shared(received: Fields) -> bool:
    """Tell whether an answer says that shared caches may keep it (RFC 9111 §5.2.2)."""
    values = b",".join(get(received, b"cache-control")).lower()
    return b"public" in values or b"s-maxage" in values


def strip_trailers(fields: Fields) -> Fields:
    """Return the trailer fields that may pass: none that frame, route, authenticate or forward."""
    return tuple(
        [
            field
            for field in fields
            if (name := field[0].lower()) not in _NOT_TRAILERS
            and not name.startswith((b"x-forwarded-", b"wormkey-"))
        ]
    )


def upgrade_offer(fields: Fields) -> bytes:
    """Return the protocols offered (or chosen, in a 101), b"" for none (RFC 9110 §7.8).

    Only with ``Connection: upgrade``. Never h2c, HTTP or TLS: those would take the whole
    connection out of the gateway's sight.
    """
    if b"upgrade" not in _connection_options(fields):
        return b""
    return _offered(fields)


def behind_proxy(fields: Fields, viewer: ViewerFacts) -> ViewerFacts:
    """Return the facts with the scheme and authority that a trusted proxy reports.

    The last value of a list counts: the nearest proxy wrote it. Nothing changes for other peers.
    """
    if not viewer.trusted:
        return viewer
    scheme = _SCHEMES.get(last(get(fields, b"x-forwarded-proto")).lower(), viewer.scheme)
    authority = last(get(fields, b"x-forwarded-host"))
    if not is_authority(authority):
        authority = viewer.authority
    return evolve(viewer, scheme=scheme, authority=authority)


def for_tunnel(head: RequestHead, viewer: ViewerFacts) -> RequestHead:
    """Return a viewer's request as it enters the tunnel: no Host, no hop, our X-Forwarded-*.

    What a viewer claims about forwarding is dropped unless he is a trusted proxy; names spelled
    with ``_`` are dropped always. The gateway's own cookies stay here. ``TE: trailers`` is the
    one field of a hop that travels on, as a wish.
    """
    options = _connection_options(head.fields)
    nominated = options - _NOT_NOMINATED
    touched = _FROM_PROXY if viewer.trusted else _FROM_VIEWER
    touched = touched | nominated if nominated else touched
    kept: list[tuple[bytes, bytes]] = []
    hops: list[bytes] = []
    trailers = False
    for field in head.fields:
        name = field[0].lower()
        if name in touched:
            if name in nominated:
                continue
            if name == b"cookie":
                value = cookies.without_own(field[1])
                if value:
                    kept.append((field[0], value))
            elif name == b"x-forwarded-for":
                hops.append(field[1])
            elif name == b"te":
                trailers = trailers or _wants_trailers(field[1])
            elif name == b"expect" and viewer.http_version != b"1.0":
                kept.append(field)  # RFC 9110 §10.1.1: HTTP/1.0 has no expectations
        elif b"_" in name and _is_twin(name):
            continue
        elif viewer.trusted or name[:11] != b"x-forwarded":
            kept.append(field)
    hops = hops if viewer.trusted else []
    if viewer.peer:
        hops.append(viewer.peer.encode())
    if hops:
        kept.append((b"X-Forwarded-For", b", ".join(hops)))
    kept.append((b"X-Forwarded-Host", viewer.authority))
    kept.append((b"X-Forwarded-Proto", viewer.scheme))
    if viewer.prefix:
        kept.append((b"X-Forwarded-Prefix", viewer.prefix))
    kept.append((b"Via", viewer.http_version + b" " + PSEUDONYM))
    if trailers:
        kept.append((b"TE", b"trailers"))
    upgrade = b""
    if b"upgrade" in options and viewer.http_version != b"1.0":
        upgrade = _offered(head.fields)
    return RequestHead(head.method, head.target, tuple(kept), upgrade)


def for_origin(head: RequestHead, view: OriginView) -> Fields:
    """Return the fields for the app: its Host first, then the request's, then those of this hop.

    Where Host is not the viewer's, an Origin or Referer of the public page becomes the local one
    on GET, HEAD and upgrades: dev servers compare those with Host. It stays on other methods,
    whose frameworks compare Origin with X-Forwarded-Host; another site's is never touched.
    """
    dropped = _dropped(_connection_options(head.fields))
    host = _host_for(head, view)
    kept: list[tuple[bytes, bytes]] = [(b"Host", host)]
    pages: list[int] = []
    trailers = False
    for field in head.fields:
        name = field[0].lower()
        if name in dropped or name == b"host":
            trailers = trailers or (name == b"te" and _wants_trailers(field[1]))
            continue
        if name in _PAGES:
            pages.append(len(kept))
        kept.append(field)
    if pages and view.host_header != b"preserve" and (head.method in _SAFE or head.upgrade):
        public, prefix = _public_site(head)
        for at in pages:
            name, value = kept[at]
            kept[at] = (name, move_page(value, public, view.scheme + b"://" + host, prefix))
    if head.upgrade:
        kept.append((b"Connection", b"Upgrade"))
        kept.append((b"Upgrade", head.upgrade))
    elif trailers:
        kept.append((b"Connection", b"TE"))
        kept.append((b"TE", b"trailers"))
    return tuple(kept)


def for_gateway(head: ResponseHead, request: RequestHead, view: OriginView) -> ResponseHead:
    """Return the app's answer as it enters the tunnel, its local names mapped to the public ones.

    Location, Content-Location and Refresh that name the app become public URLs; a root-absolute
    path gets the prefix that the gateway took off; a cookie's Domain that names the app goes.
    URLs of other sites stay as they are.
    """
    options = _connection_options(head.fields)
    dropped = _dropped(options)
    names: PublicName | None = None
    kept: list[tuple[bytes, bytes]] = []
    for field in head.fields:
        name = field[0].lower()
        if name in dropped:
            continue
        if name in _LOCATED and (name != b"set-cookie" or cookies.has_domain(field[1])):
            names = names or _public_name(request, view)
            kept.append((field[0], _in_public(name, field[1], names)))
        else:
            kept.append(field)
    switching = head.status == 101 and b"upgrade" in options
    upgrade = _offered(head.fields) if switching else b""
    return ResponseHead(head.status, tuple(kept), head.reason, upgrade)


def for_viewer(head: ResponseHead, viewer: ViewerFacts) -> ResponseHead:
    """Return a tunnel's answer as the viewer may see it: the tunnel's client is not trusted.

    It cannot set the gateway's cookies, forge its error marks, widen a cookie beyond its host or,
    on the shared base host, speak for the whole origin.
    """
    dropped = _dropped(_connection_options(head.fields))
    shared = viewer.shared_origin or viewer.prefix != b""
    no_content = head.status < 200 or head.status == 204  # RFC 9110 §8.6
    kept: list[tuple[bytes, bytes]] = []
    for field in head.fields:
        name = field[0].lower()
        if name in dropped or name[:8] == b"wormkey-":
            continue
        if name == b"set-cookie":
            if cookies.is_own(field[1]):
                continue
            if cookies.has_domain(field[1]):
                reaches = partial(cookies.reaches, host_of(viewer.authority))
                kept.append((field[0], cookies.without_domain(field[1], reaches)))
            else:
                kept.append(field)
        elif name == b"content-length":
            if not no_content:
                kept.append(field)
        elif not (shared and isolation.is_origin_wide(name, field[1], viewer.prefix)):
            kept.append(field)
    if viewer.sandboxed and not head.interim:
        kept.append(isolation.SANDBOX)
    upgrade = head.upgrade if head.status == 101 else b""
    return ResponseHead(head.status, tuple(kept), head.reason, upgrade)


def _connection_options(fields: Fields) -> set[bytes]:
    """Return the Connection options in lower case (RFC 9110 §7.6.1)."""
    options: set[bytes] = set()
    for name, value in fields:
        if len(name) == 10 and name.lower() == b"connection":
            options.update([option.strip(b" \t") for option in value.lower().split(b",")])
    return options


def _dropped(options: set[bytes]) -> frozenset[bytes]:
    """Return the names of one hop: those that always are, and those that Connection names."""
    nominated = options - _NOT_NOMINATED
    return HOP_BY_HOP | nominated if nominated else HOP_BY_HOP


def _offered(fields: Fields) -> bytes:
    offers = b",".join(get(fields, b"upgrade")).split(b",")
    protocols = [offer.strip(b" \t") for offer in offers]
    return b", ".join(
        [
            protocol
            for protocol in protocols
            if _PROTOCOL.fullmatch(protocol)
            and protocol.lower().partition(b"/")[0] not in _REFUSED_UPGRADES
        ]
    )


def _wants_trailers(te: bytes) -> bool:
    return any(
        part.partition(b";")[0].strip(b" \t") == b"trailers" for part in te.lower().split(b",")
    )


def _is_twin(name: bytes) -> bool:
    """Tell whether a name with ``_`` would pass for a guarded one once an app has mapped it."""
    canonical = name.replace(b"_", b"-")
    return canonical in _TWINNED or canonical.startswith(b"x-forwarded")


def _host_for(head: RequestHead, view: OriginView) -> bytes:
    if view.host_header == b"rewrite":
        return view.authority
    if view.host_header == b"preserve":
        return last(get(head.fields, b"x-forwarded-host")) or view.authority
    return view.host_header


def _public_site(head: RequestHead) -> tuple[bytes, bytes]:
    """Return the public ``scheme://authority`` and prefix that the gateway reported, or b""."""
    told = {name.lower(): value for name, value in head.fields if len(name) in _PUBLIC_SIZES}
    scheme = last((told.get(b"x-forwarded-proto", b""),)).lower()
    authority = last((told.get(b"x-forwarded-host", b""),))
    known = scheme in (b"http", b"https") and authority
    return (
        scheme + b"://" + authority if known else b"",
        last((told.get(b"x-forwarded-prefix", b""),)),
    )


def _public_name(request: RequestHead, view: OriginView) -> PublicName:
    """Return how the app may have named itself: by each name it has, told http or https."""
    site, prefix = _public_site(request)
    schemes = {view.scheme, site.partition(b":")[0] or view.scheme}
    authorities = view.aliases | {view.authority}
    if view.host_header not in (b"rewrite", b"preserve"):
        authorities |= {view.host_header}
    return PublicName(site, prefix, frozenset(schemes), authorities)


def _in_public(name: bytes, value: bytes, names: PublicName) -> bytes:
    if name == b"set-cookie":
        return cookies.without_domain(value, names.is_local_host)
    if name == b"refresh":
        return names.of_refresh(value)
    return names.of_url(value)
