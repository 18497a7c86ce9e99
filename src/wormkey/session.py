"""The session: the lease that gives an app a public name, and the rules of its life.

Owns the Session value, its states, names and slugs, and token digests; what callers may ask for is
wishes.py's. Time and randomness come in as arguments; no clock, no store, no trio. Outside
contract: the control plane's API. Secrets are kept as digests only, never as text.
"""

from __future__ import annotations

import base64
import enum
import hashlib
import hmac
import re
from datetime import datetime, timedelta
from typing import Final, Literal, TypeAlias

from attrs import field, frozen

from wormkey.errors import AdmissionError
from wormkey.rules import OPEN_TO_ALL, Policy

AuthMode: TypeAlias = Literal["none", "basic"]

DEFAULT_EXPIRES_IN_S: Final = 24 * 60 * 60
ENDED_GRACE_S: Final = 24 * 60 * 60  # how long an ended session's slug answers 410 and stays taken
DEFAULT_USERNAME: Final = "worm"
MIN_NAME_LENGTH: Final = 3
MAX_NAME_LENGTH: Final = 40  # a DNS label takes 63 octets; the rest is room for prefixes
MAX_USERNAME_LENGTH: Final = 128
MAX_PASSWORD_LENGTH: Final = 1024  # bounds the work of the hash; nobody types more
SLUG_RANDOM_BYTES: Final = 9  # three for words and digits, five (40 bits) for the tail, one spare


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# Names that users of the same host would take for the operator's own.
RESERVED_NAMES: Final = frozenset(
    _words(
        "abuse account admin administrator api app apps assets auth autoconfig autodiscover "
        "billing blog cdn control dashboard dev dns docs edge email errors ftp gateway health "
        "help host hostmaster imap info internal localdomain localhost login logout mail "
        "metrics mta-sts ns1 ns2 oauth openapi owner pop pop3 postmaster proxy public ready "
        "register root secure security server session sessions signin signup smtp ssl static "
        "status support system test tunnel tunnels webmail webmaster wildcard wormkey "
        "wormkeyd wpad www www1 www2 "
    )
)

_LABEL = re.compile(r"[a-z](?:[a-z0-9-]*[a-z0-9])?\Z")  # RFC 1035 §2.3.1, lower case
_DURATION = re.compile(r"([0-9]{1,9})([smhd])\Z", re.ASCII)
_UNIT_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}

# 64 words each, so that six bits choose one without bias. Short, plain, hard to misread aloud.
_ADJECTIVES: Final = _words(
    "amber ample bold brave brief bright brisk broad calm clear clever cool cosy crisp dapper "
    "deep eager early easy fair fancy fast fine firm fleet fond fresh frosty gentle glad golden "
    "grand happy hardy jolly keen kind light lively loyal lucky mellow merry mild neat noble "
    "plain proud quick quiet rapid ready royal silent simple sleek smooth snug solid steady "
    "sunny swift tidy vivid"
)
_NOUNS: Final = _words(
    "acorn aspen badger basil beacon birch breeze brook canyon cedar cliff clover comet coral "
    "crane creek delta dune eagle ember falcon fern finch fjord forest fox garnet glade harbor "
    "hare hazel heron hill island ivy jasper lake lark lemon lily linden lotus lynx maple "
    "meadow moss oak otter owl pebble pine plum quail raven reef river robin sparrow spruce "
    "stone summit tulip willow wren"
)


class SessionState(enum.Enum):
    """Where a session stands in its life; EXPIRED and CLOSED are final."""

    LIVE = "live"
    EXPIRED = "expired"
    CLOSED = "closed"


@frozen(kw_only=True)
class Session:
    """One lease: immutable, secrets only as digests (hidden from repr), times aware UTC.

    ``port`` is what the client said; it is recorded, never dialled. ``created_by`` names the
    principal that may take the slug again after the session's end. ``gate_hash`` is of the
    password that the form asks for; ``claimed_by`` the digest of the browser that claimed the
    owner's link; ``claim_digest`` of a further link's one-time code, while it is not spent.
    ``kicked`` are the ids of the viewers that the owner removed.
    """

    session_id: str
    slug: str
    created_at: datetime
    expires_at: datetime
    closed_at: datetime | None = None
    port: int = 0
    auth_mode: AuthMode = "none"
    username: str | None = None
    password_hash: str | None = field(default=None, repr=False)
    session_token_digest: bytes = field(repr=False)
    owner_token_digest: bytes = field(repr=False)
    policy: Policy = OPEN_TO_ALL
    gate_hash: str | None = field(default=None, repr=False)
    paused: bool = False
    claimed_by: bytes | None = field(default=None, repr=False)
    claim_digest: bytes | None = field(default=None, repr=False)
    kicked: tuple[str, ...] = ()
    created_by: str = ""

    def state(self, now: datetime) -> SessionState:
        """Return where the session stands at ``now`` (aware, wall clock)."""
        if self.closed_at is not None:
            return SessionState.CLOSED
        return SessionState.EXPIRED if now >= self.expires_at else SessionState.LIVE

    def remaining_s(self, now: datetime) -> float:
        """Return the seconds of life left at ``now``; 0 once ended.

        The one place where wall time becomes a duration: a tunnel's deadline is the monotonic
        clock plus this, checked again by the sweep because the wall clock may jump.
        """
        if self.state(now) is not SessionState.LIVE:
            return 0.0
        return (self.expires_at - now).total_seconds()

    @property
    def ended_at(self) -> datetime:
        """When the session ended or will end."""
        if self.closed_at is None:
            return self.expires_at
        return min(self.closed_at, self.expires_at)

    def policy_document(self) -> dict[str, object]:
        """Return the policy with the API's names; of the password, that there is one."""
        return self.policy.as_json() | {"passwordProtected": self.gate_hash is not None}

    def accepts_session_token(self, token: bytes) -> bool:
        """Tell whether ``token`` (``<slug>.<secret>``) is this session's; constant time."""
        parts = split_session_token(token)
        if parts is None or parts[0] != self.slug:
            return False
        return matches_digest(parts[1], self.session_token_digest)

    def accepts_owner_token(self, token: bytes) -> bool:
        """Tell whether ``token`` is this session's owner token; constant time."""
        return matches_digest(token, self.owner_token_digest)


def digest_of(secret: bytes) -> bytes:
    """Return the SHA-256 that is stored instead of a secret of 128 bits or more."""
    return hashlib.sha256(secret).digest()


def matches_digest(secret: bytes, digest: bytes) -> bool:
    """Compare a presented secret with a stored digest in constant time; empty never matches."""
    if not secret or len(digest) != hashlib.sha256().digest_size:
        return False
    return hmac.compare_digest(digest_of(secret), digest)


def split_session_token(token: bytes) -> tuple[str, bytes] | None:
    """Split ``<slug>.<secret>``; None for anything that cannot be a session token."""
    slug, dot, secret = token.partition(b".")
    if not dot or not secret or not slug.isascii():
        return None
    text = slug.decode("ascii")
    return (text, secret) if is_slug(text) else None


def is_slug(text: str) -> bool:
    """Tell whether ``text`` is a lower case RFC 1035 label of a length that a slug can have."""
    return MIN_NAME_LENGTH <= len(text) <= MAX_NAME_LENGTH and _LABEL.match(text) is not None


def make_slug(random: bytes) -> str:
    """Spell SLUG_RANDOM_BYTES random bytes as two words, two digits and 40 random bits.

    The tail alone makes guessing hopeless; words and digits are for people. The tail is
    lower case base32 (RFC 4648 §6).
    """
    if len(random) != SLUG_RANDOM_BYTES:
        raise ValueError(f"make_slug takes {SLUG_RANDOM_BYTES} bytes, not {len(random)}")
    adjective = _ADJECTIVES[random[0] % len(_ADJECTIVES)]
    noun = _NOUNS[random[1] % len(_NOUNS)]
    digits = int.from_bytes(random[2:4], "big") % 100
    tail = base64.b32encode(random[4:9]).decode("ascii").lower()
    return f"{adjective}-{noun}-{digits:02d}-{tail}"


def check_name(name: str) -> str:
    """Return a name that a user may ask for.

    Raises:
        AdmissionError: 400 ``invalid_name`` off the grammar, 409 ``name_reserved``.
    """
    if not is_slug(name) or name[2:4] == "--":  # RFC 5890 §2.3.1 reserves "--" at 3 and 4
        raise bad_wish(
            "invalid_name",
            f"name must be a lower case DNS label of {MIN_NAME_LENGTH} to {MAX_NAME_LENGTH} "
            "characters: letters, digits and hyphens, a letter first, no hyphen last",
        )
    if name in RESERVED_NAMES:
        raise AdmissionError(409, "name_reserved", f"the name {name} is reserved; choose another")
    return name


def parse_expires_in(text: str, *, max_age_s: float) -> int:
    """Return the seconds of a duration such as ``30m`` (units s, m, h, d).

    Raises:
        AdmissionError: 400 ``invalid_expires_in`` off the grammar, zero, or over ``max_age_s``.
    """
    match = _DURATION.match(text)
    seconds = int(match[1]) * _UNIT_S[match[2]] if match else 0
    if seconds == 0:
        raise bad_wish(
            "invalid_expires_in", "expiresIn must be a number and a unit, such as 30m: s m h d"
        )
    if seconds > max_age_s:
        raise bad_wish(
            "invalid_expires_in", f"expiresIn may be at most {spell_duration(max_age_s)} here"
        )
    return seconds


def spell_duration(seconds: float) -> str:
    """Spell whole seconds in the largest unit that divides them, as ``parse_expires_in`` reads."""
    whole = int(seconds)
    for unit in ("d", "h", "m"):
        if whole and whole % _UNIT_S[unit] == 0:
            return f"{whole // _UNIT_S[unit]}{unit}"
    return f"{whole}s"


def bad_wish(code: str, message: str) -> AdmissionError:
    """Return the 400 for a wish that cannot be granted as it is written."""
    return AdmissionError(400, code, message)


def expiry_of(created_at: datetime, expires_in_s: int) -> datetime:
    """Return when a session made at ``created_at`` ends."""
    return created_at + timedelta(seconds=expires_in_s)
