"""Who may see a session: viewers' credentials, password hashes, and the policy's verdicts.

Pure decisions: a verdict is a value, not an exception. ``hashlib.scrypt`` is slow on purpose, so
whoever checks a chosen password calls ``check_basic`` in a worker thread (registry.py does).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from typing import Final, TypeAlias
from urllib.parse import unquote_to_bytes

from attrs import field, frozen

from wormkey.forwarded import parse_address
from wormkey.rules import Policy
from wormkey.session import MAX_PASSWORD_LENGTH, MAX_USERNAME_LENGTH, Session

__all__ = [
    "Admit",
    "AskPassword",
    "Challenge",
    "Credentials",
    "Facts",
    "Policy",
    "Refuse",
    "Verdict",
    "admit",
    "challenge_field",
    "check_basic",
    "hash_chosen",
    "hash_generated",
    "is_slow",
    "parse_basic",
    "verify_password",
]

# OWASP's password storage cheat sheet lists this row for scrypt: 16 MiB and about 0.2 s a check.
SCRYPT_N: Final = 2**14
SCRYPT_R: Final = 8
SCRYPT_P: Final = 5
SALT_BYTES: Final = 16
_SCRYPT_MEMORY_BYTES: Final = 64 * 1024 * 1024
# Four octets for a character in UTF-8, four characters of base64 for three octets, and the colon.
MAX_BASIC_BYTES: Final = 8 + (MAX_PASSWORD_LENGTH + MAX_USERNAME_LENGTH) * 4 * 4 // 3
_BASIC = re.compile(rb"basic +([A-Za-z0-9+/]+={0,2})[ \t]*\Z", re.IGNORECASE)


@frozen
class Credentials:
    """What a viewer typed: raw bytes, because browsers do not agree on an encoding."""

    username: bytes
    password: bytes = field(repr=False)


@frozen
class Admit:
    """The policy lets the request pass."""


@frozen
class Challenge:
    """Credentials are wanted: 401 with ``challenge_field``."""


@frozen
class AskPassword:
    """The session's password is wanted: 401 with a form."""


@frozen
class Refuse:
    """The request is answered with this status, error code and sentence."""

    status: int
    code: str
    message: str
    fields: tuple[tuple[bytes, bytes], ...] = ()


Verdict: TypeAlias = Admit | Challenge | AskPassword | Refuse


@frozen(kw_only=True)
class Facts:
    """What a verdict looks at: the request, and what its sender has shown.

    ``target`` is the request target as the origin gets it; ``content_length`` None is unknown;
    ``authenticated`` and ``knows_password`` are about the session's two kinds of credentials.
    """

    target: bytes
    method: bytes = b"GET"
    address: str = ""
    content_length: int | None = None
    authenticated: bool = False
    knows_password: bool = False
    owner: bool = False


def admit(session: Session, facts: Facts) -> Verdict:
    """Decide on one request; ask again for every stream, never once for a connection.

    The owner is let past the lock, the networks and the credentials, which are his own; what
    protects his app (paths, methods, sizes) binds him, too. How many viewers there are and how
    fast they ask is crowd.py's.
    """
    rules = session.policy
    if not facts.owner:
        if not rules.public:
            return Refuse(403, "locked", "The owner has locked this page for now.")
        if not is_network_allowed(rules, facts.address):
            return Refuse(403, "network_not_allowed", "The owner does not admit your network.")
        if session.auth_mode != "none" and not facts.authenticated:
            return Challenge()
        if session.gate_hash is not None and not facts.knows_password:
            return AskPassword()
    if is_blocked(rules, facts.target):
        return Refuse(403, "path_blocked", "The owner does not share this path.")
    if rules.allowed_methods and facts.method.decode("ascii") not in rules.allowed_methods:
        allow = ((b"Allow", ", ".join(rules.allowed_methods).encode("ascii")),)
        return Refuse(405, "method_refused", "The owner does not admit this method.", allow)
    limit = rules.max_content_bytes
    if limit and facts.content_length is not None and facts.content_length > limit:
        return Refuse(413, "content_too_large", f"The owner takes up to {limit} bytes at a time.")
    return Admit()


def is_network_allowed(rules: Policy, address: str) -> bool:
    """Tell whether the rules admit an address; one that cannot be read is in no network.

    A denied network counts before an allowed one. With a list of allowed ones, all others are
    refused: fail closed.
    """
    if not (rules.allowed_networks or rules.denied_networks):
        return True
    parsed = parse_address(address.encode("ascii", "replace"))
    if parsed is None:
        return not rules.allowed_networks
    if any(parsed in network for network in rules.denied_networks):
        return False
    return not rules.allowed_networks or any(
        parsed in network for network in rules.allowed_networks
    )


def is_blocked(policy: Policy, target: bytes) -> bool:
    """Tell whether the target is under a blocked path, however its path is spelt.

    Origins disagree on ``%61``, ``//``, ``/./``, backslashes and letter case, so the path counts as
    blocked if any of these readings is: fail closed.
    """
    if not policy.block_paths:
        return False
    path = target.partition(b"?")[0]
    once = unquote_to_bytes(path)
    fold = policy.ignore_case
    spellings = {_segments(each, fold) for each in (path, once, unquote_to_bytes(once))}
    prefixes = [_segments(blocked.encode(), fold) for blocked in policy.block_paths]
    return any(spelt[: len(prefix)] == prefix for spelt in spellings for prefix in prefixes)


def _segments(path: bytes, fold: bool) -> tuple[bytes, ...]:
    """Return the path's segments with empty and dot segments resolved (RFC 3986 §5.2.4)."""
    kept: list[bytes] = []
    path = path.lower() if fold else path
    for segment in path.replace(b"\\", b"/").split(b"/"):
        name = segment.partition(b";")[0]  # servlet containers cut path parameters off
        if name == b"..":
            del kept[-1:]
        elif name not in {b"", b"."}:
            kept.append(name)
    return tuple(kept)


def challenge_field(session: Session) -> tuple[bytes, bytes]:
    """Return the WWW-Authenticate field of a 401 for this session (RFC 7617 §2, §2.1)."""
    return b"WWW-Authenticate", b'Basic realm="%s", charset="UTF-8"' % session.slug.encode("ascii")


def parse_basic(authorization: bytes | None) -> Credentials | None:
    """Read an Authorization value of the Basic scheme (RFC 7617 §2); None for anything else."""
    if authorization is None or len(authorization) > MAX_BASIC_BYTES:
        return None
    match = _BASIC.match(authorization)
    if match is None:
        return None
    try:
        text = base64.b64decode(match[1], validate=True)
    except binascii.Error:
        return None
    username, colon, password = text.partition(b":")
    return Credentials(username, password) if colon else None


def check_basic(session: Session, authorization: bytes | None) -> bool:
    """Tell whether the field holds the session's credentials. Denies whatever is empty or missing.

    Takes about 0.2 s for a chosen password: see ``is_slow``.
    """
    if session.auth_mode != "basic" or not session.username or not session.password_hash:
        return False
    given = parse_basic(authorization)
    if given is None:
        return False
    # Both are always checked, so that a wrong user takes as long as a wrong password.
    right_user = hmac.compare_digest(given.username, session.username.encode())
    right_password = verify_password(given.password, session.password_hash)
    return right_user and right_password


def hash_generated(password: str) -> str:
    """Return what is stored of a generated password (128 bits or more): a plain SHA-256."""
    return f"sha256${_b64(hashlib.sha256(password.encode()).digest())}"


def hash_chosen(password: str, salt: bytes) -> str:
    """Return what is stored of a password that a person chose: scrypt (RFC 7914). About 0.2 s."""
    derived = _scrypt(password.encode(), salt, SCRYPT_N, SCRYPT_R, SCRYPT_P)
    return f"scrypt${SCRYPT_N}${SCRYPT_R}${SCRYPT_P}${_b64(salt)}${_b64(derived)}"


def is_slow(password_hash: str) -> bool:
    """Tell whether checking against this hash belongs in a worker thread."""
    return not password_hash.startswith("sha256$")


def verify_password(password: bytes, password_hash: str) -> bool:
    """Compare a password with a stored hash in constant time; an unreadable hash denies."""
    if not password or len(password) > 4 * MAX_PASSWORD_LENGTH:
        return False
    match password_hash.split("$"):
        case ["sha256", digest]:
            return _equal(hashlib.sha256(password).digest(), digest)
        case ["scrypt", n, r, p, salt, digest]:
            try:
                derived = _scrypt(password, base64.b64decode(salt), int(n), int(r), int(p))
            except ValueError:
                return False
            return _equal(derived, digest)
        case _:
            return False


def _scrypt(password: bytes, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(password, salt=salt, n=n, r=r, p=p, maxmem=_SCRYPT_MEMORY_BYTES, dklen=32)


def _equal(computed: bytes, stored: str) -> bool:
    return hmac.compare_digest(_b64(computed).encode("ascii"), stored.encode())


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
