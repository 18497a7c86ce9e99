"""The daemon's signature: what it gave to a browser, it knows again, and nobody else can make.

Owns one secret and the tags made with it. Every purpose has its own word, so a tag made for one
never serves another. Pure; where the secret lies is statefolder.py's.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Final

from attrs import field, frozen

KEY_BYTES: Final = 32
TAG_BYTES: Final = 16  # 128 bits: guessing one takes longer than a session lives


@frozen
class SigningKey:
    """The secret of one daemon; it outlives restarts, so that cookies do."""

    secret: bytes = field(repr=False)

    def tag(self, purpose: str, *parts: bytes, size_bytes: int = TAG_BYTES) -> bytes:
        """Return what proves that these parts are the daemon's, as base64url text."""
        # Lengths first: no two rows of parts make the same text.
        text = b"".join(len(part).to_bytes(4, "big") + part for part in (purpose.encode(), *parts))
        return base64url(hmac.digest(self.secret, text, hashlib.sha256)[:size_bytes])

    def verify(self, tag: bytes, purpose: str, *parts: bytes) -> bool:
        """Tell in constant time whether ``tag`` was made here for these parts."""
        return hmac.compare_digest(self.tag(purpose, *parts), tag)

    def seal(self, purpose: str, value: bytes, *about: bytes) -> bytes:
        """Return ``value.tag``: a value (without a dot) that ``open`` gives back."""
        return value + b"." + self.tag(purpose, value, *about)

    def open(self, purpose: str, sealed: bytes, *about: bytes) -> bytes | None:
        """Return the value of what ``seal`` made for the same purpose and things; else None."""
        value, _, tag = sealed.partition(b".")
        return value if value and self.verify(tag, purpose, value, *about) else None


def base64url(data: bytes) -> bytes:
    """Return bytes as text for cookies and URLs (RFC 4648 §5), without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def own_cookie_name(name: str, scheme: bytes) -> bytes:
    """Return a cookie's name with the prefix by which only this host itself can have set it.

    Browsers take ``__Host-`` on secure connections alone (RFC 6265bis §4.1.3).
    """
    prefix = "__Host-" if scheme == b"https" else ""
    return f"{prefix}wormkey_{name}".encode("ascii")


def own_cookie(
    name: str, value: bytes, scheme: bytes, *, age_s: int, same_site: str = "Lax"
) -> bytes:
    """Return the Set-Cookie value of a cookie that no script reads; an age of 0 deletes it."""
    secure = "; Secure" if scheme == b"https" else ""
    rest = f"; Path=/; Max-Age={age_s}; HttpOnly; SameSite={same_site}{secure}"
    return own_cookie_name(name, scheme) + b"=" + value + rest.encode("ascii")
