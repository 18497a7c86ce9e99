"""How often one address or one token may do a thing: rates with a burst, in bounded tables.

The generic cell rate algorithm (ITU-T I.371): one number for each key, the time at which it
would be even with its rate again. Time comes in as seconds of any monotonic clock. Pure; what is
counted is the caller's affair.
"""

from __future__ import annotations

import ipaddress
import math
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from attrs import define, field, frozen

from wormkey.errors import AdmissionError

if TYPE_CHECKING:
    from wormkey.config import Settings

MAX_KEYS: Final = 50_000  # about 150 B each; beyond it the key that moved longest ago is forgotten
WINDOW_S: Final = 60.0  # a daemon's rate is "so many in a minute", and may be used up at once
LOOPBACK: Final = "loopback"  # this machine, by whichever of its addresses
_IPV6_SITE_BITS: Final = 64  # RFC 4291 §2.5.4: one subscriber has at least a whole /64


@define(eq=False)
class Throttle:
    """At most ``limit`` events of each key in ``window_s`` seconds, refilled evenly."""

    limit: int
    max_keys: int = MAX_KEYS
    refused: int = 0  # how often somebody was told to wait
    window_s: float = WINDOW_S
    _even_at: OrderedDict[str, float] = field(factory=OrderedDict, repr=False)

    def wait_s(self, key: str, now: float) -> float:
        """Return how many seconds until ``key`` may do it again; 0 if now. Counts nothing."""
        even_at = self._even_at.get(key, now)
        return max(0.0, even_at - now - (self.window_s - self._interval_s))

    def count(self, key: str, now: float) -> None:
        """Count one event of ``key``, allowed or not; a debt never exceeds one window."""
        even_at = max(self._even_at.pop(key, now), now) + self._interval_s
        self._even_at[key] = min(even_at, now + self.window_s)
        while len(self._even_at) > self.max_keys:
            self._even_at.popitem(last=False)

    def ask(self, key: str, now: float) -> float:
        """Return the same as wait_s, for a caller who refuses if that is not 0."""
        wait_s = self.wait_s(key, now)
        if wait_s:
            self.refused += 1
        return wait_s

    def take(self, key: str, now: float) -> float:
        """Count an event if it is allowed and return 0; else return the seconds to wait."""
        wait_s = self.ask(key, now)
        if not wait_s:
            self.count(key, now)
        return wait_s

    @property
    def _interval_s(self) -> float:
        return self.window_s / self.limit

    def __len__(self) -> int:
        """Return how many keys are remembered."""
        return len(self._even_at)


@frozen
class Throttles:
    """The rates of one daemon, by what they bound (docs/limits.md)."""

    creations: Throttle  # sessions, by address
    token_creations: Throttle  # sessions, by access token
    failures: Throttle  # authentications that failed, by address
    misses: Throttle  # names that nobody has, by address

    @classmethod
    def of(cls, settings: Settings) -> Throttles:
        """Return the rates that the settings ask for, with nothing counted yet."""
        return cls(
            creations=Throttle(settings.max_session_creations),
            token_creations=Throttle(settings.max_token_creations),
            failures=Throttle(settings.max_auth_failures),
            misses=Throttle(settings.max_misses),
        )

    def apply(self, settings: Settings) -> None:
        """Take changed limits. What was counted stays counted, as time at the old rate."""
        self.creations.limit = settings.max_session_creations
        self.token_creations.limit = settings.max_token_creations
        self.failures.limit = settings.max_auth_failures
        self.misses.limit = settings.max_misses


def address_key(address: str) -> str:
    """Return what an address is counted as: itself, or for IPv6 its /64.

    Who has one IPv6 address has 2**64 of them. All loopback addresses are ``loopback``; that,
    ``unix`` and other words are kept.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.is_loopback:
        return LOOPBACK
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, _IPV6_SITE_BITS), strict=False))


def take(rate: Throttle, address: str, now: float, sentence: str) -> None:
    """Count an event of an address.

    Raises:
        AdmissionError: 429, with ``sentence`` as its reason; nothing is counted then.
    """
    wait_s = rate.take(address_key(address), now)
    if wait_s:
        raise too_many(sentence, wait_s)


def check(rate: Throttle, address: str, now: float, sentence: str) -> None:
    """Refuse an address that used up its share; count nothing.

    Raises:
        AdmissionError: 429, with ``sentence`` as its reason.
    """
    wait_s = rate.ask(address_key(address), now)
    if wait_s:
        raise too_many(sentence, wait_s)


def too_many(sentence: str, wait_s: float) -> AdmissionError:
    """Return a 429 that says when to come again, in whole seconds (RFC 9110 §10.2.3)."""
    return AdmissionError(
        429,
        "too_many_requests",
        f"{sentence}; try again in {math.ceil(wait_s)} s",
        fields=((b"Retry-After", str(math.ceil(wait_s)).encode("ascii")),),
    )
