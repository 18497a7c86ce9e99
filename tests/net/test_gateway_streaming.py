"""Content streams both ways as it arrives, of any size, with and without a length."""

from __future__ import annotations

import hashlib

import pytest
import trio

from tests.support.messages import LAST_CHUNK, Request, chunk, compose, read_content, response
from tests.support.origin import Connection, each_head, each_request
from tests.support.world import open_world

CHUNKED = ((b"Transfer-Encoding", b"chunked"),)
HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "kind", [b"text/event-stream", b"text/html", b"application/json", b"application/octet-stream"]
)
async def test_an_answer_arrives_chunk_by_chunk_for_every_content_type(kind: bytes) -> None:
    """Each piece is at the viewer before the origin sends the next one."""
    taken = trio.Event()

    async def answer(connection: Connection, _request: Request) -> None:
        nonlocal taken
        await connection.send(compose(HEAD[:-2], ((b"Content-Type", kind), *CHUNKED)))
        for number in range(5):
            await connection.send_chunk(b"data: %d\n\n" % number)
            await taken.wait()
            taken = trio.Event()
        await connection.send(LAST_CHUNK)

    async with open_world(each_request(answer)) as world:
        viewer = await world.open_viewer()
        await viewer.request(fields=((b"Accept-Encoding", b"gzip, br"),))
        head = (await viewer.read_final_head()).head
        assert head.get(b"Content-Type") == kind
        for number in range(5):
            assert await viewer.read_chunk() == b"data: %d\n\n" % number
            taken.set()
        assert await viewer.read_chunk() == ()


async def test_the_head_of_an_answer_does_not_wait_for_its_content() -> None:
    """A long poll shows its status at once, whatever comes later."""

    async def answer(connection: Connection, _request: Request) -> None:
        await connection.send(HEAD + b"Content-Length: 5\r\n\r\n")
        await connection.wait_left()

    async with open_world(each_request(answer)) as world:
        viewer = await world.open_viewer()
        await viewer.request()
        assert (await viewer.read_final_head()).status == 200


@pytest.mark.parametrize("chunked", [False, True])
async def test_an_upload_reaches_the_origin_as_it_arrives(chunked: bool) -> None:
    """Each piece is echoed by the origin before the viewer sends the next one."""

    async def answer(connection: Connection, request: Request) -> None:
        await connection.send(compose(HEAD[:-2], CHUNKED))
        kind = "chunked" if chunked else 500
        await read_content(connection, kind, request.content, connection.send_chunk)
        await connection.send(LAST_CHUNK)

    framing = CHUNKED if chunked else ((b"Content-Length", b"500"),)
    async with open_world(each_head(answer)) as world:
        viewer = await world.open_viewer()
        await viewer.request(method=b"POST", fields=framing)
        await viewer.read_final_head()
        for number in range(5):
            data = bytes([65 + number]) * 100
            await (viewer.send_chunk(data) if chunked else viewer.send(data))
            got = b""
            while len(got) < 100:
                piece = await viewer.read_chunk()
                assert isinstance(piece, bytes)
                got += piece
            assert got == data
        if chunked:
            await viewer.send(LAST_CHUNK)
        assert await viewer.read_chunk() == ()


@pytest.mark.parametrize("chunked", [False, True])
async def test_megabytes_pass_whole_both_ways(chunked: bool) -> None:
    """8 MiB up and the same 8 MiB down: every byte, in order."""
    data = hashlib.shake_128(b"wormkey").digest(8 << 20)

    async def answer(connection: Connection, request: Request) -> None:
        content = request.content.data
        assert hashlib.sha256(content).digest() == hashlib.sha256(data).digest()
        if not chunked:
            await connection.send(response(content))
            return
        await connection.send(compose(HEAD[:-2], CHUNKED))
        for at in range(0, len(content), 100_000):
            await connection.send_chunk(content[at : at + 100_000])
        await connection.send(LAST_CHUNK)

    async with open_world(each_request(answer)) as world:
        viewer = await world.open_viewer()
        if chunked:
            await viewer.request(method=b"PUT", fields=CHUNKED)
            for at in range(0, len(data), 65_521):
                await viewer.send_chunk(data[at : at + 65_521])
            await viewer.send(LAST_CHUNK)
        else:
            await viewer.request(method=b"PUT", content=data)
        got = await viewer.read_response()
        assert got.content.end == ("chunked" if chunked else "length")
        assert hashlib.sha256(got.data).digest() == hashlib.sha256(data).digest()


async def test_chunk_sizes_of_the_viewer_are_not_a_way_past_the_framing() -> None:
    """Chunk extensions are ignored; only the content crosses."""
    async with open_world() as world:
        viewer = await world.open_viewer()
        await viewer.request(method=b"POST", fields=CHUNKED)
        await viewer.send(b'3;name="a;b"\r\nabc\r\n0003\r\ndef\r\n0;last\r\n\r\n')
        assert (await viewer.read_response()).status == 200
        assert world.origin.requests[0].content.data == b"abcdef"


async def test_an_answer_that_comes_before_the_upload_is_read_is_not_lost() -> None:
    """413 from the origin after the head: the viewer gets it although he goes on sending."""

    async def refuse(connection: Connection) -> None:
        await connection.read_head()
        await connection.send(
            response(
                b"too big", status=b"413 Content Too Large", fields=((b"Connection", b"close"),)
            )
        )
        await connection.send_eof()
        await connection.wait_left()

    async with open_world(refuse) as world:
        viewer = await world.open_viewer()
        await viewer.request(method=b"POST", fields=((b"Content-Length", b"50000000"),))
        await viewer.send(b"x" * 100_000)
        answer = await viewer.read_response()
        assert (answer.status, answer.data) == (413, b"too big")


async def test_an_origin_that_resets_after_its_early_answer_has_still_answered() -> None:
    """The answer that was complete before the reset is the viewer's."""

    async def refuse(connection: Connection) -> None:
        await connection.read_head()
        await connection.send(response(b"no", status=b"401 Unauthorized"))
        await connection.aclose()  # unread content: the kernel makes this an RST

    async with open_world(refuse) as world:
        viewer = await world.open_viewer()
        await viewer.request(method=b"POST", content=b"x" * 1000)
        answer = await viewer.read_response()
        assert (answer.status, answer.data) == (401, b"no")


async def test_expect_100_continue_is_answered_by_the_origin() -> None:
    """The origin's 100 reaches the viewer; the content reaches the origin only then."""
    asked = trio.Event()

    async def answer(connection: Connection, request: Request) -> None:
        assert request.head.get(b"Expect") == b"100-continue"
        asked.set()
        await connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        content = await connection.read_content(request)
        await connection.answer(content.data)

    async with open_world(each_head(answer)) as world:
        viewer = await world.open_viewer()
        expect = ((b"Expect", b"100-continue"), (b"Content-Length", b"7"))
        await viewer.request(method=b"POST", fields=expect)
        await asked.wait()
        assert (await viewer.read_head()).start[1] == b"100"
        await viewer.send(b"content")
        assert (await viewer.read_response()).data == b"content"


async def test_expect_100_continue_may_be_answered_with_a_refusal() -> None:
    """A final answer at once: no 100, no content asked for, and none taken for a request."""

    async def answer(connection: Connection, _request: Request) -> None:
        await connection.answer(b"no", status=b"403 Forbidden", fields=((b"Connection", b"close"),))
        await connection.send_eof()
        await connection.wait_left()

    async with open_world(each_head(answer)) as world:
        viewer = await world.open_viewer()
        expect = ((b"Expect", b"100-continue"), (b"Content-Length", b"7"))
        await viewer.request(method=b"POST", fields=expect)
        refusal = await viewer.read_response()
        assert (refusal.status, refusal.interim, refusal.data) == (403, [], b"no")
        assert refusal.head.get(b"Connection") == b"close"
        assert await viewer.read_rest() == b""
        assert world.origin.requests[0].content.data == b""


async def test_an_unknown_expectation_is_refused() -> None:
    """417 by the gateway (RFC 9110 section 10.1.1)."""
    async with open_world() as world:
        answer = await world.exchange(fields=((b"Expect", b"teapot"),))
        assert (answer.status, answer.error) == (417, b"expectation_failed")
        assert world.origin.requests == []


async def test_a_100_that_nobody_asked_for_is_harmless() -> None:
    """It is forwarded or dropped, and the answer behind it is complete."""

    async def answer(connection: Connection, _request: Request) -> None:
        await connection.send(b"HTTP/1.1 100 Continue\r\n\r\n" + response(b"final"))

    async with open_world(each_request(answer)) as world:
        viewer = await world.open_viewer()
        for _ in range(2):
            assert (await viewer.exchange()).data == b"final"


async def test_requests_of_one_connection_are_answered_in_order() -> None:
    """Ten pipelined requests, with content and without, get their ten answers in order."""

    async def answer(connection: Connection, request: Request) -> None:
        await connection.answer(request.target + b" " + request.content.data)

    async with open_world(each_request(answer)) as world:
        viewer = await world.open_viewer()
        requests = [
            viewer.compose(b"/%d" % number, method=b"POST", content=b"x" * number)
            if number % 2
            else viewer.compose(b"/%d" % number)
            for number in range(10)
        ]
        await viewer.send(b"".join(requests))
        for number in range(10):
            expected = b"/%d " % number + (b"x" * number if number % 2 else b"")
            assert (await viewer.read_response()).data == expected


async def test_a_slow_pipelined_answer_is_not_overtaken() -> None:
    """The second answer waits for the first one's last byte."""
    release = trio.Event()

    async def answer(connection: Connection, request: Request) -> None:
        if request.target == b"/slow":
            await connection.send(HEAD + b"Content-Length: 8\r\n\r\nslow")
            await release.wait()
            await connection.send(b"slow")
        else:
            await connection.answer(b"fast")

    async with open_world(each_request(answer)) as world:
        viewer = await world.open_viewer()
        await viewer.send(viewer.compose(b"/slow") + viewer.compose(b"/fast"))
        assert (await viewer.read_final_head()).status == 200
        assert await viewer.read_exactly(4) == b"slow"
        release.set()
        assert await viewer.read_exactly(4) == b"slow"
        assert (await viewer.read_response()).data == b"fast"


async def test_nothing_behind_connection_close_is_answered() -> None:
    """RFC 9112 section 9.6: the connection ends with that answer."""
    async with open_world() as world:
        viewer = await world.open_viewer()
        last = viewer.compose(b"/last", fields=((b"Connection", b"close"),))
        await viewer.send(last + viewer.compose(b"/never"))
        answer = await viewer.read_response()
        assert answer.head.get(b"Connection") == b"close"
        assert await viewer.read_rest() == b""
        assert [request.target for request in world.origin.requests] == [b"/last"]


async def test_chunks_of_one_byte_are_content_too() -> None:
    """Tiny pieces survive; the joined content is the origin's."""

    async def answer(connection: Connection, _request: Request) -> None:
        await connection.send(compose(HEAD[:-2], CHUNKED))
        for byte in b"wormkey" * 20:
            await connection.send(chunk(bytes([byte])))
        await connection.send(LAST_CHUNK)

    async with open_world(each_request(answer)) as world:
        assert (await world.exchange()).data == b"wormkey" * 20
