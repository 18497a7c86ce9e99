"""What an intermediary does to a request on its way, and what it leaves alone."""

from __future__ import annotations

import pytest

from tests.support.messages import response
from tests.support.origin import answering
from tests.support.world import open_world

LEFT_ALONE = (
    (b"Range", b"bytes=0-9, 20-"),
    (b"If-Range", b'"tag"'),
    (b"If-None-Match", b'W/"a", "b"'),
    (b"If-Match", b"*"),
    (b"If-Modified-Since", b"Sat, 29 Oct 1994 19:43:31 GMT"),
    (b"Accept", b"text/html;q=0.5, */*;q=0.1"),
    (b"Accept-Encoding", b"zstd, br;q=0.9, identity;q=0"),
    (b"Cache-Control", b"no-cache, ext"),
    (b"Authorization", b"Digest username=x"),
    (b"From", b"a@b.example"),
    (b"X-Unknown", b"kept"),
)
ANSWERED = (
    (b"Accept-Ranges", b"bytes"),
    (b"Age", b"3"),
    (b"Allow", b"GET"),
    (b"Content-Encoding", b"zstd"),
    (b"Content-Language", b"de"),
    (b"Content-Range", b"bytes 0-4/10"),
    (b"ETag", b'"tag"'),
    (b"Retry-After", b"7"),
    (b"Server", b"app/1"),
    (b"Vary", b"Accept"),
    (b"WWW-Authenticate", b"Digest realm=x"),
    (b"X-Unknown", b"kept"),
)


async def test_fields_that_are_the_ends_affair_pass_both_ways() -> None:
    """Conditions, ranges, negotiation, caches' words and names that nobody knows."""
    partial = response(b"hello", status=b"206 Partial Content", fields=ANSWERED)
    async with open_world(answering(partial)) as world:
        told = await world.exchange(fields=LEFT_ALONE)
        (request,) = world.origin.requests
        assert [pair for pair in request.head.fields if pair in LEFT_ALONE] == list(LEFT_ALONE)
        assert [pair for pair in told.fields if pair in ANSWERED] == list(ANSWERED)
        assert told.status == 206


@pytest.mark.parametrize(("sent", "forwarded"), [(b"1", b"0"), (b"070", b"69"), (b"x", b"x")])
async def test_max_forwards_counts_down_for_options(sent: bytes, forwarded: bytes) -> None:
    """RFC 9110 §7.6.2; what is no number limits nothing."""
    async with open_world() as world:
        answer = await world.exchange(method=b"OPTIONS", fields=[(b"Max-Forwards", sent)])
        assert answer.status == 200
        assert world.origin.requests[0].head.all(b"Max-Forwards") == [forwarded]


async def test_options_that_may_go_no_further_are_answered_here() -> None:
    """The gateway is the last recipient; other methods are not bound by the field."""
    async with open_world() as world:
        none = [(b"Max-Forwards", b"0")]
        answer = await world.exchange(method=b"OPTIONS", fields=none)
        assert (answer.status, answer.head.get(b"Allow")) == (204, b"*")
        assert world.origin.requests == []
        assert (await world.exchange(fields=none)).status == 200
        assert world.origin.requests[0].head.all(b"Max-Forwards") == [b"0"]
