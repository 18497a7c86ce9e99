"""What was read from octets that come again: the heads of pollers, of checks, of an app's answers.

A pure function of octets gives the same value for the same octets, so the last values are kept. Not
those of heads that may hold a secret, in a field or in a query string: nobody's outlives its
exchange here. Bounded in number and in length, and compared whole, so that nothing can be mistaken
for something else.

What was made of such a head last stays with it (``derive``): the next hop's head, its octets.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeVar

from wormkey.frames import Head

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_HEADS: Final = 64  # of each function
MAX_HEAD_BYTES: Final = 1024  # a longer one is read each time

T = TypeVar("T")


class _MayHoldSecretError(Exception):
    """Raised for octets that are not to be kept."""


def remembering(read: Callable[[bytes], T]) -> Callable[[bytes], T]:
    """Return ``read`` with a memory; its values must be immutable. Errors are not kept."""

    @lru_cache(maxsize=MAX_HEADS)
    def known(octets: bytes) -> T:
        # Looked at here, so that what is kept costs one search: what is raised is not kept.
        if _may_hold_secret(octets.lower()):
            raise _MayHoldSecretError
        value = read(octets)
        head = getattr(value, "head", value)
        if isinstance(head, Head):
            _begin_memo(head)
        return value

    def read_or_recall(octets: bytes) -> T:
        if len(octets) <= MAX_HEAD_BYTES:
            try:  # suppress() would cost three calls
                return known(octets)
            except _MayHoldSecretError:
                pass
        return read(octets)

    return read_or_recall


def _may_hold_secret(lower: bytes) -> bool:
    # A row of searches: any() over a tuple of words takes four times as long.
    return (
        b"cookie" in lower
        or b"auth" in lower  # Authorization, Proxy-Authorization, X-Auth-Token
        or b"token" in lower
        or b"password" in lower
        or b"secret" in lower
        or b"-key" in lower
        or b"_key" in lower
        or b"apikey" in lower
    )


def derive(head: Head, name: str, source: object, make: Callable[[], T]) -> T:
    """Return ``make()``, which depends on ``head`` and ``source`` alone; kept with a kept head.

    One value for each ``name``: that of the last source, or of one that equals it. What is made
    must be immutable. Errors are not kept.
    """
    memo = head.memo
    if memo is None:
        return make()
    kept = memo.get(name)
    if kept is not None and (kept[0] is source or kept[0] == source):
        recalled: T = kept[1]
        return recalled
    value = make()
    if isinstance(value, Head):
        _begin_memo(value)
    memo[name] = (source, value)
    return value


def _begin_memo(head: Head) -> None:
    """Let a head keep what is made of it. The one place that writes into a frozen value."""
    if head.memo is None:
        object.__setattr__(head, "memo", {})
