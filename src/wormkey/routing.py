"""Where a request goes: the only place that reads Host, path, cookie, page or ``?slug=``.

One function decides once, on raw octets: nothing is decoded or normalised, so no spelling of a
slash or a dot reaches another tunnel. It answers any octets with a Route and never raises. What
a slug leads to, and whether the request may enter, are others' affairs.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from attrs import Factory, field, frozen

from wormkey.cookies import reaches, values_of
from wormkey.errors import ConfigError
from wormkey.grammar import split_authority

if TYPE_CHECKING:
    from collections.abc import Sequence

_SLUG: Final = re.compile(rb"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")  # RFC 1035 §2.3.1, lower case
_BY_PATH: Final = re.compile(rb"/s/([A-Za-z](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)(?![^/?])")
_ABSOLUTE: Final = re.compile(rb"(?i:https?)://([^/?]*)(.*)", re.DOTALL)
_URL: Final = re.compile(r"(https?)://([^/?#@\s]+)/?", re.IGNORECASE)
_DEFAULT_PORTS: Final = {b"http": 80, b"https": 443}
_LOCALHOST: Final = b"localhost"

RESERVED_PREFIX: Final = b"/.wormkey/"
_OWN_PATHS: Final[dict[bytes, Literal["health", "tunnel"]]] = {
    b"/health": "health",
    b"/tunnel": "tunnel",
}


@frozen
class PublicUrl:
    """The gateway's public URL: scheme, host (lower case, IPv6 in brackets) and real port."""

    scheme: bytes
    host: bytes
    port: int
    authority: bytes = field(init=False, default=Factory(lambda url: url.spell(), takes_self=True))

    @classmethod
    def parse(cls, text: str) -> PublicUrl:
        """Read ``http://host``, ``https://host:port`` or the same with a closing slash.

        Raises:
            ConfigError: anything else, with one sentence that shows the text.
        """
        found = _URL.fullmatch(text.strip())
        parts = split_authority(_ascii_host(found[2])) if found else None
        if found is None or parts is None or b".." in parts[0] or parts[0][:1] == b".":
            msg = f"{text!r} is no public URL: write https://example.com or http://host:3002"
            raise ConfigError(msg)
        scheme = found[1].lower().encode()
        port = _DEFAULT_PORTS[scheme] if parts[1] is None else parts[1]
        return cls(scheme, parts[0].lower(), port)

    def spell(self, label: bytes = b"") -> bytes:
        """Return the authority, of ``label`` under the host if given; a default port is left out.

        An IP address has no names under it: there a label stands under ``localhost``.
        """
        host = self.host
        if label:
            host = label + b"." + (_LOCALHOST if _is_ip(host) else host)
        return host if self.port == _DEFAULT_PORTS[self.scheme] else b"%b:%d" % (host, self.port)

    def scheme_of(self, authority: bytes) -> bytes:
        """Return the scheme a viewer used to get to ``authority``, as far as the operator says.

        The public URL's own for its host and the names under it, whoever ends TLS there; plain
        http, which is what the gateway itself speaks, for other names of this machine and for
        another port. A missing port says nothing: some proxies leave it out of Host.
        """
        name, port = split_authority(authority) or (b"", None)
        public = reaches(name.lower().removesuffix(b"."), self.host)
        return self.scheme if public and port in (None, self.port) else b"http"

    def __str__(self) -> str:
        """Return the URL without a path."""
        return f"{self.scheme.decode()}://{self.authority.decode()}"


@frozen(kw_only=True)
class Reserved:
    """The gateway's own path. ``slug`` is the session it is about, None where none is named.

    ``on_base`` tells the base host from a tunnel's own; ``authority`` is the viewer's spelling.
    """

    name: Literal["health", "tunnel", "wormkey"]
    path: bytes
    query: bytes
    slug: str | None
    authority: bytes
    on_base: bool


@frozen(kw_only=True)
class ToTunnel:
    """A request for a slug's tunnel. ``target`` is what the origin gets, in origin-form.

    ``prefix`` is what was taken off the path, as the viewer spelled it. ``visit`` marks a page
    whose root-absolute paths are this tunnel's from now on: its answer sets the routing cookie.
    """

    slug: str
    target: bytes
    prefix: bytes
    by: Literal["path", "host", "cookie", "referer"]
    authority: bytes
    visit: bool = False


@frozen
class Redirect:
    """Answer 308 with this Location: ``/s/<slug>`` without its slash."""

    location: bytes


@frozen
class Asterisk:
    """``OPTIONS *``: about the gateway itself, never for a tunnel (RFC 9110 §9.3.7)."""


@frozen
class NotFound:
    """Nothing answers here: a path of the base host that names no tunnel."""


@frozen
class Misdirected:
    """A Host that is not this gateway's: 421 (RFC 9110 §15.5.20)."""


@frozen
class Home:
    """The base host's own front page."""


Route: TypeAlias = Reserved | ToTunnel | Redirect | Asterisk | NotFound | Misdirected | Home


@frozen
class Page:
    """What a browser says of the page that asks: Referer and Sec-Fetch-Mode, b"" where absent."""

    referer: bytes = b""
    mode: bytes = b""

    def slug_at(self, authority: bytes) -> str | None:
        """Return the tunnel whose page asks, if it is by path on this very host."""
        found = _ABSOLUTE.fullmatch(self.referer)
        if found is None or found[1].lower() != authority.lower():
            return None
        path = _BY_PATH.match(found[2])
        return path[1].lower().decode() if path else None


NO_PAGE: Final = Page()


def resolve(
    *,
    target: bytes,
    host: bytes,
    cookies: Sequence[bytes],
    public: PublicUrl,
    page: Page = NO_PAGE,
) -> Route:
    """Return where a request goes.

    Args:
        target: the request target as received, any form.
        host: the Host field's value; b"" where HTTP/1.0 sent none, which means the base host.
        cookies: the values of the Cookie fields.
        public: the gateway's public URL; its port is not compared, viewers may come by others.
        page: whose page asks; it chooses among tunnels where the routing cookie would.
    """
    if target == b"*":
        return Asterisk()
    if target[:1] != b"/":
        absolute = _ABSOLUTE.fullmatch(target)
        if absolute is None:
            return NotFound()
        host, target = absolute[1], absolute[2]  # its authority beats Host: RFC 9112 §3.2.2
        if not host:
            return Misdirected()
        target = target if target[:1] == b"/" else b"/" + target
    label = _label_of(host, public) if host else b""
    if label is None:
        return Misdirected()
    authority = host or public.authority
    if not label:
        return _on_base_host(target, authority, cookies, public, page)
    slug = label.decode()
    if target.startswith(RESERVED_PREFIX):
        path, _, query = target.partition(b"?")
        return Reserved(
            name="wormkey", path=path, query=query, slug=slug, authority=authority, on_base=False
        )
    return ToTunnel(slug=slug, target=target, prefix=b"", by="host", authority=authority)


def url_seen(scheme: bytes, authority: bytes, *, on_base: bool) -> PublicUrl | None:
    """Return the base host as a viewer knows it, from the authority that he used; None if odd.

    ``authority`` is of the base host, or of a tunnel's own host under it.
    """
    if not on_base:
        authority = authority.partition(b".")[2]
    parts = split_authority(authority)
    if parts is None or not parts[0]:
        return None
    port = _DEFAULT_PORTS[scheme] if parts[1] is None else parts[1]
    return PublicUrl(scheme, parts[0].lower(), port)


def public_url_of(slug: str, public: PublicUrl, routing: str) -> str:
    """Return a session's public URL: ``https://slug.host`` or, by path, ``https://host/s/slug``.

    Under an IP address there are no host names: a loopback one is written ``slug.localhost``,
    any other by path.
    """
    by_host = routing == "host" and (not _is_ip(public.host) or _is_loopback(public.host))
    if not by_host:
        return f"{public}/s/{slug}"
    return f"{public.scheme.decode()}://{public.spell(slug.encode()).decode()}"


def route_cookie_name(public: PublicUrl) -> bytes:
    """Return the routing cookie's name; by https only this host itself can have set it."""
    return b"__Host-wormkey_route" if public.scheme == b"https" else b"wormkey_route"


def route_cookie(slug: str, public: PublicUrl) -> bytes:
    """Return the Set-Cookie value that a visit to ``/s/<slug>/`` sets on the base host.

    It lasts for the browser's session; Lax, so that a link from elsewhere still finds the page's
    root-absolute assets.
    """
    secure = b"; Secure" if public.scheme == b"https" else b""
    name = route_cookie_name(public)
    return b"%b=%b; Path=/; HttpOnly; SameSite=Lax%b" % (name, slug.encode(), secure)


def _label_of(host: bytes, public: PublicUrl) -> bytes | None:
    """Return the slug that a host names, b"" for the base host, None for a host of others."""
    parts = split_authority(host)
    if parts is None:
        return None
    name = parts[0].lower().removesuffix(b".")
    if name in (public.host, _LOCALHOST):
        return b""
    label, _, parent = name.partition(b".")
    if parent in (public.host, _LOCALHOST):
        return label if _SLUG.fullmatch(label) else None
    return b"" if _is_ip(name) else None


def is_own_host(host: bytes, public: PublicUrl) -> bool:
    """Tell whether a Host is no name by which a stranger's DNS could lead a browser here.

    It is this server's, an IP address, or a name without a dot, as a private network has them:
    the public DNS has no such names (DNS rebinding).
    """
    parts = split_authority(host)
    if parts is None:
        return False
    return _label_of(host, public) is not None or b"." not in parts[0].removesuffix(b".")


def _on_base_host(
    target: bytes, authority: bytes, fields: Sequence[bytes], public: PublicUrl, page: Page
) -> Route:
    path, _, query = target.partition(b"?")
    own: Literal["health", "tunnel", "wormkey"] | None = _OWN_PATHS.get(path)
    if own is None and path.startswith(RESERVED_PREFIX):
        own = "wormkey"
    if own is not None:
        slug = _slug_in(query) if own == "wormkey" else None
        return Reserved(
            name=own, path=path, query=query, slug=slug, authority=authority, on_base=True
        )
    found = _BY_PATH.match(target)
    if found:
        prefix = found[0]
        rest = target[len(prefix) :]
        if rest[:1] != b"/":
            return Redirect(prefix + b"/" + rest)
        name = found[1].lower().decode()
        # A page that polls in another tab is no visit; who does not say may be one.
        visit = page.mode in (b"", b"navigate")
        return ToTunnel(
            slug=name, target=rest, prefix=prefix, by="path", authority=authority, visit=visit
        )
    values = values_of(route_cookie_name(public), fields)
    if values and _SLUG.fullmatch(values[0]):
        slug = page.slug_at(authority)
        return ToTunnel(
            slug=slug or values[0].decode(),
            target=target,
            prefix=b"",
            by="referer" if slug else "cookie",
            authority=authority,
            visit=slug is not None and page.mode == b"navigate",
        )
    return Home() if path == b"/" else NotFound()


def _slug_in(query: bytes) -> str | None:
    """Return the one ``slug`` of a query; none, odd or repeated ones name no session."""
    values = [part[5:] for part in query.split(b"&") if part.startswith(b"slug=")]
    if len(values) != 1 or not _SLUG.fullmatch(values[0].lower()):
        return None
    return values[0].lower().decode()


def _is_ip(host: bytes) -> bool:
    return host[:1] == b"[" or (host[-1:].isdigit() and _address(host) is not None)


def _is_loopback(host: bytes) -> bool:
    address = _address(host)
    return address is not None and address.is_loopback


def _address(host: bytes) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.strip(b"[]").decode())
    except ValueError:
        return None


def _ascii_host(authority: str) -> bytes:
    """Spell a host of other scripts as DNS does (RFC 5890), b"" where that cannot be."""
    try:
        return authority.encode("ascii" if authority.isascii() else "idna")
    except UnicodeError:
        return b""
