"""What was read from octets that come again: the heads of pollers, of checks, of an app's answers.

A pure function of octets gives the same value for the same octets, so the last values are kept. Not
those of heads with a cookie or credentials: nobody's secrets outlive their exchange here. Bounded
in number and in length, and compared whole, so that nothing can be mistaken for something else.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_HEADS: Final = 64  # of each function
MAX_HEAD_BYTES: Final = 1024  # a longer one is read each time

T = TypeVar("T")


def remembering(read: Callable[[bytes], T]) -> Callable[[bytes], T]:
    """Return ``read`` with a memory; its values must be immutable. Errors are not kept."""
    known = lru_cache(maxsize=MAX_HEADS)(read)

    def read_or_recall(octets: bytes) -> T:
        if len(octets) > MAX_HEAD_BYTES:
            return read(octets)
        lower = octets.lower()
        if b"cookie" in lower or b"authorization" in lower:
            return read(octets)
        return known(octets)

    return read_or_recall
