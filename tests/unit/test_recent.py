"""recent.py: what comes again is read once; secrets, long heads and errors are not kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from attrs import evolve

from wormkey.frames import RequestHead, ResponseHead
from wormkey.recent import MAX_HEAD_BYTES, MAX_HEADS, derive, remembering

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
        b"GET /?a=b&wormkey_password=x HTTP/1.1",
        b"GET /?access_token=x HTTP/1.1",
        b"x-api-key: x",
        b"X_API_KEY: x",
        b"GET /?ApiKey=x HTTP/1.1",
        b"Client-Secret: x",
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


@remembering
def read_head(octets: bytes) -> RequestHead:
    """A head whose target is these octets."""
    return RequestHead(b"GET", octets, ((b"a", b"b"),))


def test_what_was_made_of_a_head_stays_with_it() -> None:
    """Made once for a source and what equals it, anew for another; what is made keeps, too."""
    made: list[str] = []

    def make(source: list[int]) -> ResponseHead:
        made.append(str(source))
        return ResponseHead(200, ((b"s", str(source).encode()),))

    head = read_head(b"/kept")
    assert read_head(b"/kept") is head
    for source in ([1], [1], [2], [2], [1]):
        value = derive(head, "next", source, lambda source=source: make(source))  # type: ignore[misc]
        assert value.fields == ((b"s", str(source).encode()),)
        assert derive(value, "octets", None, lambda: bytes(1)) == bytes(1)
    assert made == ["[1]", "[2]", "[1]"]
    assert derive(head, "other", [1], lambda: "apart") == "apart"
    assert derive(head, "itself", None, lambda: head) is head
    assert derive(head, "other", [1], lambda: "made anew") == "apart"


def test_a_head_that_is_not_kept_keeps_nothing() -> None:
    """Neither one with a secret, nor a copy that differs, nor one that was made here."""
    kept = read_head(b"/kept")
    secret = read_head(b"/?cookie")
    for head in (secret, evolve(kept, method=b"PUT"), RequestHead(b"GET", b"/kept", ())):
        made = [derive(head, "next", None, object) for _ in range(2)]
        assert made[0] is not made[1]
    assert kept == RequestHead(b"GET", b"/kept", ((b"a", b"b"),))
    assert hash(kept) == hash(RequestHead(b"GET", b"/kept", ((b"a", b"b"),)))


def test_errors_of_what_is_made_are_not_kept() -> None:
    """The next one is made again."""
    head = read_head(b"/errs")
    with pytest.raises(ZeroDivisionError):
        derive(head, "next", None, lambda: 1 // 0)
    assert derive(head, "next", None, lambda: 1) == 1
