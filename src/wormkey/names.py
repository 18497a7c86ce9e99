"""The local app's names and its public one: how URLs are mapped between the two.

A URL is mapped only where its authority is one that names the app, in a form that every browser
reads alike; anything else, another site's above all, passes octet for octet.
"""

from __future__ import annotations

import re
from typing import Final

from attrs import frozen

from wormkey.grammar import split_authority

_DEFAULT_PORTS: Final = {b"http": 80, b"https": 443}
_URL: Final = re.compile(rb"(?:(https?):)?//([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)
_REFRESH: Final = re.compile(
    rb"([0-9. \t]*[;,][ \t]*(?:url[ \t]*=[ \t]*)?)(['\"]?)(.*)", re.IGNORECASE | re.DOTALL
)


def host_of(authority: bytes) -> bytes:
    """Return an authority's host in lower case, IPv6 without brackets; b"" for an invalid one."""
    parts = split_authority(authority)
    return parts[0].lower().strip(b"[]") if parts else b""


def origin_of(scheme: bytes, authority: bytes) -> tuple[bytes, bytes, int] | None:
    """Return scheme, host and port in the one form that compares (RFC 6454 §4); None if invalid."""
    scheme = scheme.lower()
    parts = split_authority(authority)
    if parts is None or scheme not in _DEFAULT_PORTS:
        return None
    host, port = parts
    return scheme, host.lower(), _DEFAULT_PORTS[scheme] if port is None else port


def move_page(url: bytes, public: bytes, local: bytes, prefix: bytes = b"") -> bytes:
    """Return an Origin or Referer of the public site as the local site's, others unchanged.

    ``public`` and ``local`` are ``scheme://authority``; ``prefix`` is taken off the path, as
    routing took it off the target.
    """
    found, site = _URL.fullmatch(url), _URL.fullmatch(public)
    if not (found and found[1] and site and site[1]):
        return url
    named = origin_of(found[1], found[2])
    same = found.group(1, 2) == site.group(1, 2)  # nearly always; another spelling may do too
    if named is None or not (same or named == origin_of(*site.group(1, 2))):
        return url
    path: bytes = found[3]
    if prefix and path.startswith(prefix + b"/"):
        path = path[len(prefix) :]
    return local + path


@frozen
class PublicName:
    """Where the viewer finds the app, and under which names the app knows itself.

    ``site`` is the public ``scheme://authority`` (b"" when no gateway said it), ``prefix`` the
    path that the gateway takes off, ``schemes`` and ``authorities`` how the app may name itself.
    """

    site: bytes
    prefix: bytes
    schemes: frozenset[bytes]
    authorities: frozenset[bytes]

    def is_local_host(self, host: bytes) -> bool:
        """Tell whether a cookie's Domain, in lower case, is one of the app's own hosts."""
        return any(host.strip(b"[]") == host_of(own) for own in self.authorities)

    def of_url(self, url: bytes) -> bytes:
        """Return a Location or Content-Location as the viewer's browser must see it."""
        if url[:1] == b"/" and url[1:2] not in (b"/", b"\\", b"\t"):
            return self._prefixed(url)
        found = _URL.fullmatch(url)
        if found is None or not self._names_app(found[1], found[2]):
            return url
        path: bytes = found[3] if found[3][:1] == b"/" else b"/" + found[3]
        if not self.site and path[1:2] in (b"/", b"\\", b"\t"):
            return url  # a path that a browser would take for an authority
        return self.site + self._prefixed(path)

    def of_refresh(self, value: bytes) -> bytes:
        """Return a Refresh field, ``5; url=…``, with its URL mapped the same way."""
        found = _REFRESH.fullmatch(value)
        if found is None:
            return value
        lead, quote, rest = found.groups()
        url, closing, tail = rest.partition(quote) if quote else (rest, b"", b"")
        return b"".join((lead, quote, self.of_url(url), closing, tail))

    def _names_app(self, scheme: bytes | None, authority: bytes) -> bool:
        schemes = self.schemes if scheme is None else self.schemes & {scheme.lower()}
        return any(
            (named := origin_of(known, authority)) is not None
            and any(named == origin_of(known, own) for own in self.authorities)
            for known in schemes
        )

    def _prefixed(self, path: bytes) -> bytes:
        end = path[len(self.prefix) : len(self.prefix) + 1]
        if path.startswith(self.prefix) and end in (b"", b"/", b"?", b"#"):
            return path
        return self.prefix + path
