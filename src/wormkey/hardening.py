"""The fields that tell a browser how little an answer of our own may do.

Owns their values, and when Strict-Transport-Security has its place. They go out with what the
daemon itself says, on both listeners, and never with an origin's answer: that app's policy is its
owner's. pages.py widens the content policy by its own style sheet. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from wormkey.grammar import split_authority
from wormkey.values import is_ip

if TYPE_CHECKING:
    from wormkey.frames import Fields

NOTHING_MAY_RUN: Final = b"default-src 'none'; frame-ancestors 'none'"
OWN_ANSWER: Final[Fields] = (
    (b"Cache-Control", b"no-store"),
    (b"Content-Security-Policy", NOTHING_MAY_RUN),
    (b"Referrer-Policy", b"no-referrer"),
    (b"X-Content-Type-Options", b"nosniff"),
    (b"X-Frame-Options", b"DENY"),
)
# A year (RFC 6797 §6.1.1). Without includeSubDomains: names under this one may be another's, and
# his plain http would be gone for a year. Every tunnel's host sends its own.
_STRICT: Final = (b"Strict-Transport-Security", b"max-age=31536000")
_HTTPS_PORT: Final = 443


def strict_transport(public: tuple[bytes, int], scheme: bytes, authority: bytes) -> Fields:
    """Return Strict-Transport-Security for an answer to who came by ``scheme`` to ``authority``.

    ``public`` is the public URL's scheme and port. Nothing where it is not https, where this
    request did not come by https (RFC 6797 §7.2), and where the rule would hit others: it counts
    for all ports of a host (§8.3), so a host is bound only where https has its own port, and
    this machine's names never.
    """
    if public != (b"https", _HTTPS_PORT) or scheme != b"https":
        return ()
    name, port = split_authority(authority) or (b"", None)
    host = name.decode("ascii", "replace").lower().removesuffix(".")
    if not host or port not in (None, _HTTPS_PORT) or is_ip(host.strip("[]")):
        return ()
    return () if f".{host}".endswith(".localhost") else (_STRICT,)
