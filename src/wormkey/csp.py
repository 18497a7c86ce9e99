"""Content Security Policies: one script and one frame more, and nothing else.

Edits the values of Content-Security-Policy fields (CSP Level 3). A policy that does not stand in
the way stays octet for octet. Knows no heads, no tunnel and no page; a policy in a page's own
``meta`` is out of its sight.

What an addition must not do is loosen the rest, so it never touches a directive that others fall
back on: where a policy has only ``script-src`` or ``default-src``, a ``script-src-elem`` is added
that repeats it (event handlers, ``eval`` and workers look elsewhere); the same with ``frame-src``.
"""

from __future__ import annotations

import re
from typing import Final

from attrs import frozen

_SCRIPTS: Final = (b"script-src-elem", b"script-src", b"default-src")
_FRAMES: Final = (b"frame-src", b"child-src", b"default-src")
_NONCE_OR_HASH: Final = re.compile(
    rb"'(?:nonce|sha256|sha384|sha512)-[A-Za-z0-9+/_-]+={0,2}'", re.IGNORECASE
)
_NEEDED: Final = {b"allow-scripts", b"allow-same-origin"}


@frozen(kw_only=True)
class Grant:
    """Source expressions: the script by its nonce, by its URL, and the frame by its URL."""

    nonce: bytes
    script: bytes
    frame: bytes


def grant(value: bytes, granted: Grant) -> bytes:
    """Return a field's value whose policies let the script and the frame in."""
    return b",".join([_grant_policy(policy, granted) for policy in value.split(b",")])


def forbids(value: bytes) -> bool:
    """Tell whether a policy puts the page into a sandbox that no script, or no cookie, leaves."""
    for policy in value.split(b","):
        sandbox = _directives(policy.split(b";")).get(b"sandbox")
        if sandbox and _NEEDED - {flag.lower() for flag in sandbox[1]}:
            return True
    return False


def _directives(pieces: list[bytes]) -> dict[bytes, tuple[int, list[bytes]]]:
    """Return where each directive stands and what it lists; the first of a name counts (§2.2.1)."""
    found: dict[bytes, tuple[int, list[bytes]]] = {}
    for index, piece in enumerate(pieces):
        words = piece.split()
        if words and piece.isascii():
            found.setdefault(words[0].lower(), (index, words[1:]))
    return found


def _grant_policy(policy: bytes, granted: Grant) -> bytes:
    pieces = policy.split(b";")
    known = _directives(pieces)
    for names in (_SCRIPTS, _FRAMES):
        name = next((name for name in names if name in known), None)
        if name is None:
            continue  # nothing is restricted
        index, sources = known[name]
        added = _script_source(sources, granted) if names is _SCRIPTS else granted.frame
        kept = [source for source in sources if source.lower() != b"'none'"]
        directive = b" ".join([b"", names[0], *kept, added])
        if name == names[0]:
            pieces[index] = directive
        elif pieces[-1].strip():
            pieces.append(directive)
        else:
            pieces[-1] = directive
    return b";".join(pieces)


def _script_source(sources: list[bytes], granted: Grant) -> bytes:
    """Return what lets the script in: its nonce, or its URL where a nonce would shut others out.

    A nonce ends ``'unsafe-inline'``, if it still counts (§6.7.3.2); ``'strict-dynamic'`` ends
    URLs.
    """
    listed = [source.lower() for source in sources]
    inline = (
        b"'unsafe-inline'" in listed
        and b"'strict-dynamic'" not in listed
        and not any(map(_NONCE_OR_HASH.fullmatch, listed))
    )
    return granted.script if inline else granted.nonce
