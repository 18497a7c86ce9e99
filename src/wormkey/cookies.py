"""Cookies as an intermediary sees them: the gateway's own names, and a cookie's Domain.

Which names are the gateway's stands here and nowhere else, so that what routing.py reads, what
fields.py keeps from the local apps and what a tunnel may not set are the same cookies (RFC 6265).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# Prefixes as RFC 6265bis §4.1.3 has them; browsers compare them without case. A nameless cookie,
# "=wormkey…", comes back in a request as one that has the name.
_OWN: Final = re.compile(rb"[= \t]*(?:__host-|__secure-)?wormkey", re.IGNORECASE)


def is_own(cookie: bytes) -> bool:
    """Tell whether a cookie pair, or a whole Set-Cookie value, bears a name of the gateway's."""
    return _OWN.match(cookie) is not None


def without_own(value: bytes) -> bytes:
    """Return a Cookie value without the gateway's own cookies, b"" when nothing is left.

    The rest stays octet for octet.
    """
    if b"wormkey" not in value.lower():
        return value
    pairs = [pair for pair in value.split(b";") if not is_own(pair)]
    return b";".join(pairs).strip(b" \t")


def values_of(name: bytes, fields: Iterable[bytes]) -> list[bytes]:
    """Return the values of every cookie of this name in Cookie fields, in order."""
    found = []
    for field in fields:
        if name in field:
            for pair in field.split(b";"):
                key, _, value = pair.partition(b"=")
                if key.strip(b" \t") == name:
                    found.append(value.strip(b" \t"))
    return found


def has_domain(set_cookie: bytes) -> bool:
    """Tell whether a Set-Cookie value may hold a Domain attribute: a cheap first look."""
    return b"domain" in set_cookie.lower()


def without_domain(set_cookie: bytes, names: Callable[[bytes], bool]) -> bytes:
    """Return a Set-Cookie value without the Domain attributes whose host ``names`` accepts.

    A cookie without Domain belongs to the host that set it alone. The host arrives in lower
    case, without a leading dot (RFC 6265 §5.2.3).
    """
    pair, *attributes = set_cookie.split(b";")
    kept = [pair]
    for attribute in attributes:
        key, _, value = attribute.partition(b"=")
        host = value.strip(b" \t").lower().removeprefix(b".")
        if key.strip(b" \t").lower() != b"domain" or not names(host):
            kept.append(attribute)
    return b";".join(kept)


def reaches(host: bytes, domain: bytes) -> bool:
    """Tell whether a browser at ``host`` would take a cookie for ``domain`` (RFC 6265 §5.1.3)."""
    return host == domain or host.endswith(b"." + domain)
