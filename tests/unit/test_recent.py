"""recent.py: what comes again is read once; secrets, long heads and errors are not kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from wormkey.recent import MAX_HEAD_BYTES, MAX_HEADS, remembering

if TYPE_CHECKING:
    from collections.abc import Callable


def reader() -> tuple[list[bytes], Callable[[bytes], int]]:
    """A function that notes what it read, with a memory."""
    read: list[bytes] = []

    @remembering
    def size_of(octets: bytes) -> int:
        read.append(octets)
        if octets == b"bad":
            raise ValueError
        return len(octets)

    return read, size_of


def test_the_same_octets_are_read_once() -> None:
    """Others are read by themselves."""
    read, size_of = reader()
    assert [size_of(each) for each in (b"a", b"bb", b"a", b"bb")] == [1, 2, 1, 2]
    assert read == [b"a", b"bb"]


@pytest.mark.parametrize(
    "octets",
    [
        b"Cookie: a=b",
        b"SET-COOKIE: a=b",
        b"x: y\r\nauthorization: Basic eDp5",
        b"Proxy-Authorization: x",
        b"x" * (MAX_HEAD_BYTES + 1),
    ],
)
def test_secrets_and_long_heads_are_not_kept(octets: bytes) -> None:
    """They are read each time."""
    read, size_of = reader()
    for _ in range(3):
        size_of(octets)
    assert read == [octets] * 3


def test_errors_are_not_kept() -> None:
    """What was refused is looked at again."""
    read, size_of = reader()
    for _ in range(2):
        with pytest.raises(ValueError):  # noqa: PT011 - the reader's own
            size_of(b"bad")
    assert read == [b"bad"] * 2


def test_the_memory_is_bounded() -> None:
    """The oldest goes."""
    read, size_of = reader()
    for number in (*range(MAX_HEADS + 1), MAX_HEADS, 0):
        size_of(b"%d" % number)
    assert len(read) == MAX_HEADS + 2
    assert read[-1] == b"0"
