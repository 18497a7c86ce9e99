"""The files of the owner's bar, as they are served: content, type, and a tag that names it.

Owns which files of assets/ leave the daemon, and the fields that go with each. Nothing in them is
secret: anybody may fetch them.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib import resources
from typing import Final

from attrs import frozen

_SCRIPT: Final = b"text/javascript; charset=utf-8"
FILES: Final = {
    "overlay.js": ("overlay.js", _SCRIPT),
    "bar": ("bar.html", b"text/html; charset=utf-8"),
    "bar.js": ("bar.js", _SCRIPT),
    "bar.css": ("bar.css", b"text/css; charset=utf-8"),
}


@frozen
class Asset:
    """One file; ``etag`` is strong: other content has another one."""

    content: bytes
    content_type: bytes
    etag: bytes

    @property
    def fields(self) -> tuple[tuple[bytes, bytes], ...]:
        """Return its fields beside Content-Type, which a 304 does not have.

        A page of any origin may load it, and asks each time for changes.
        """
        return (
            (b"ETag", self.etag),
            (b"Cache-Control", b"no-cache"),
            (b"X-Content-Type-Options", b"nosniff"),
            (b"Cross-Origin-Resource-Policy", b"cross-origin"),
            (b"Referrer-Policy", b"no-referrer"),
            (b"Access-Control-Allow-Origin", b"*"),  # pages compare a digest of what they can read
        )

    @property
    def integrity(self) -> bytes:
        """Return its digest as a tag's integrity attribute has it (Subresource Integrity §3.5)."""
        return b"sha256-" + base64.b64encode(hashlib.sha256(self.content).digest())


@cache
def asset(name: str) -> Asset:
    """Return a file by its name under /.wormkey/, read once.

    Raises:
        KeyError: there is no such file.
    """
    file, content_type = FILES[name]
    content = resources.files("wormkey").joinpath(f"assets/{file}").read_bytes()
    return Asset(content, content_type, b'"%b"' % hashlib.sha256(content).hexdigest()[:32].encode())


def bar_fields(ancestors: tuple[bytes, ...]) -> tuple[tuple[bytes, bytes], ...]:
    """Return what the bar's page says of itself: which origins may frame it, and no more power.

    Of a page that embeds only what asks for it, a frame must do so, too (COEP).
    """
    policy = (
        b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        b"img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors "
    )
    return (
        (b"Content-Security-Policy", policy + b" ".join(ancestors)),
        (b"Cross-Origin-Embedder-Policy", b"require-corp"),
    )
