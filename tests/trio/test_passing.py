"""The conversation of two daemons: whole lines, and silence where the other one is gone."""

from __future__ import annotations

import socket
from datetime import UTC, datetime

import pytest
import trio

from wormkey.passing import MAX_LINE_BYTES, Channel, usage_in
from wormkey.usage import Usage

NOW = datetime(2030, 1, 2, tzinfo=UTC)


def two_ends() -> tuple[Channel, Channel]:
    """A channel's two ends."""
    ends = socket.socketpair()
    one, other = (trio.SocketStream(trio.socket.from_stdlib_socket(end)) for end in ends)
    return Channel(one), Channel(other)


async def test_words_arrive_one_by_one() -> None:
    """Several lines in one read are several words."""
    one, other = two_ends()
    async with one.stream, other.stream:
        assert await one.say("prepared")
        assert await one.say("changed", session="s")
        assert await other.hear_word("prepared")
        assert await other.hear() == {"say": "changed", "session": "s"}


async def test_who_is_gone_says_nothing() -> None:
    """The end is None, another word is no assent, and nothing can be said any more."""
    one, other = two_ends()
    async with other.stream:
        await one.say("ready")
        await one.stream.aclose()
        assert not await other.hear_word("go")
        assert await other.hear() is None
        assert not await other.say("go")


@pytest.mark.parametrize("line", [b"nonsense\n", b"[]\n", b"x" * (MAX_LINE_BYTES + 2)])
async def test_nonsense_ends_the_conversation(line: bytes) -> None:
    """Another program at the other end, or a line without end."""
    one, other = two_ends()
    async with one.stream, other.stream:
        await one.stream.send_all(line)
        assert await other.hear() is None


@pytest.mark.parametrize("seen", [None, NOW])
async def test_usage_arrives_whole(seen: datetime | None) -> None:
    """What is told of a session is what is heard."""
    usage = Usage(requests=1, received_bytes=2, sent_bytes=3, last_seen_at=seen)
    one, other = two_ends()
    async with one.stream, other.stream:
        assert await one.say_usage({"id": usage})
        told = await other.hear()
        assert told is not None
        assert usage_in(told) == ("id", usage)
        await other.stream.aclose()
        assert not await one.say_usage({"id": usage})


@pytest.mark.parametrize(
    "told", [{}, {"session": "s", "seen": 1}, {"session": "s", "seen": None, "requests": "many"}]
)
def test_what_is_no_usage_is_none(told: dict[str, object]) -> None:
    """A line of another kind counts for nothing."""
    assert usage_in(told) is None
