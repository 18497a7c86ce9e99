"""A client that answers with lies: wrong streams, wrong order, heads no app would send."""

from __future__ import annotations

import struct

import pytest

from tests.support.evil import OK, ONE, TWO, asked, evil_client, lone_world, other_session
from tests.support.world import open_world
from wormkey.errors import ErrorCode
from wormkey.frames import (
    TUNNEL,
    Data,
    Frame,
    Hello,
    Request,
    Reset,
    Response,
    ResponseHead,
    StreamId,
    Trailers,
    Window,
)


def response(status: int, *fields: tuple[bytes, bytes], count: int | None = None) -> bytes:
    """A RESPONSE frame that no encoder would make."""
    u16 = struct.Struct(">H").pack
    parts = [u16(status), u16(0), u16(0), u16(len(fields) if count is None else count)]
    for name, value in fields:
        parts += (u16(len(name)), name, u16(len(value)), value)
    payload = b"".join(parts)
    return struct.pack(">BBII", 3, 0, 1, len(payload)) + payload


# ── streams ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("stream", [3, 7, 1000, 2**31 - 1])
@pytest.mark.parametrize("version", [1, 0])
async def test_nobody_answers_the_stream_of_another_tunnel(stream: int, version: int) -> None:
    """Ids count in their own tunnel: the other session's viewer gets his own client's answer."""
    async with open_world(hold_s=0.0, close_timeout_s=0.5) as world:
        token, _ = await other_session(world)
        for _ in range(2):
            assert (await world.exchange()).data == b"hello"
        async with (
            evil_client(world) as honest,  # replaces the world's own client, and takes its time
            evil_client(world, token, version=version) as evil,
        ):
            viewers = [await asked(world, honest) for _ in range(7)]
            lie = ResponseHead(200, ((b"X-Lie", b"1"),))
            await evil.say(
                Response(StreamId(stream), lie),
                Data(StreamId(stream), b"a lie"),
                Data(StreamId(stream), b"", end_stream=True),
            )
            if version:
                goodbye = await evil.wait_over()
                assert goodbye is not None
                assert goodbye.code is ErrorCode.PROTOCOL_ERROR
            for number, viewer in enumerate(viewers, 1):
                length = ((b"Content-Length", b"5"),)
                await honest.say(
                    Response(StreamId(number), ResponseHead(200, length)),
                    Data(StreamId(number), b"truth", end_stream=True),
                )
                answer = await viewer.read_response()
                assert answer.data == b"truth"
                assert not answer.head.has(b"X-Lie")


async def test_a_stream_that_is_over_is_answered_to_nobody() -> None:
    """What comes for it is dropped; the next stream of the same viewer gets its own answer."""
    async with lone_world() as world, evil_client(world) as evil:
        viewer = await asked(world, evil)
        length = ResponseHead(200, ((b"Content-Length", b"5"),))
        await evil.say(Response(ONE, length), Data(ONE, b"first", end_stream=True))
        assert (await viewer.read_response()).data == b"first"
        await viewer.request()
        await evil.hear(Request)
        await evil.say(
            Response(ONE, length), Data(ONE, b"again", end_stream=True), Trailers(ONE, ())
        )
        await evil.say(Response(TWO, length), Data(TWO, b"truth", end_stream=True))
        assert (await viewer.read_response()).data == b"truth"


async def test_two_heads_cut_the_answer() -> None:
    """The stream is reset, the viewer sees a cut and no second head."""
    async with lone_world() as world, evil_client(world) as evil:
        viewer = await asked(world, evil)
        await evil.say(Response(ONE, OK), Data(ONE, b"begun"))
        await viewer.read_until(b"begun")
        await evil.say(Response(ONE, ResponseHead(200, ((b"X-Second", b"1"),))))
        reset = await evil.hear(Reset)
        assert reset.code is ErrorCode.PROTOCOL_ERROR
        rest = await viewer.read_rest()
        assert b"X-Second" not in rest
        assert not rest.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize(
    ("method", "status"), [(b"HEAD", 200), (b"GET", 204), (b"GET", 304), (b"HEAD", 404)]
)
async def test_content_where_none_may_be_is_not_sent(method: bytes, status: int) -> None:
    """It would be read as the next answer: the connection carries no octet of it."""
    async with lone_world() as world, evil_client(world) as evil:
        viewer = await asked(world, evil, method)
        await evil.say(
            Response(ONE, ResponseHead(status, ())),
            Data(ONE, b"HTTP/1.1 200 OK\r\nX-Lie: 1\r\n\r\n", end_stream=True),
        )
        head = await viewer.read_final_head()
        assert head.status == status
        await viewer.send_eof()
        assert await viewer.read_rest() == b""


async def test_content_under_its_length_is_a_cut() -> None:
    """An end that comes too early is no end."""
    async with lone_world() as world, evil_client(world) as evil:
        viewer = await asked(world, evil)
        length = ResponseHead(200, ((b"Content-Length", b"10"),))
        await evil.say(Response(ONE, length), Data(ONE, b"five!", end_stream=True))
        answer = await viewer.read_response()
        assert answer.data == b"five!"
        assert answer.content.end is not None
        assert viewer.ended is not None


# ── heads ───────────────────────────────────────────────────────────────────────────────────

BAD_FIELDS: list[tuple[bytes, bytes]] = [
    (b"X", b"a\rb"),
    (b"X", b"a\nb"),
    (b"X", b"a\0b"),
    (b"X", b"a\x7fb"),
    (b"X", b" padded "),
    (b"X\r\nInjected", b"1"),
    (b"X\0", b"1"),
    (b"X:", b"1"),
    (b"", b"1"),
    (b"\xc3\xa4", b"1"),
    (b"Content-Length", b"1_0"),
    (b"Content-Length", b"-1"),
    (b"Content-Length", b"9" * 40),
]


@pytest.mark.parametrize("field", BAD_FIELDS)
@pytest.mark.parametrize("status", [200, 103])
async def test_a_field_off_the_grammar_is_a_502(field: tuple[bytes, bytes], status: int) -> None:
    """In an interim head, too."""
    async with lone_world() as world, evil_client(world) as evil:
        viewer = await asked(world, evil)
        await evil.say(response(status, field))
        answer = await viewer.read_response()
        assert (answer.status, answer.error) == (502, b"origin_failed")
        assert not answer.interim
        assert not answer.head.has(b"Injected")


async def test_framing_fields_of_a_client_never_reach_the_viewer() -> None:
    """Each hop frames anew (RFC 9112 §6): what the client says of framing is dropped."""
    async with lone_world() as world, evil_client(world) as evil:
        viewer = await asked(world, evil)
        lies = (
            (b"Transfer-Encoding", b"identity"),
            (b"Connection", b"X-Secret, keep-alive"),
            (b"X-Secret", b"1"),
            (b"Keep-Alive", b"timeout=1000000"),
            (b"Upgrade", b"h2c"),
            (b"Proxy-Connection", b"keep-alive"),
        )
        await evil.say(response(200, *lies), Data(ONE, b"content", end_stream=True))
        answer = await viewer.read_response()
        assert (answer.status, answer.data) == (200, b"content")
        assert answer.head.get(b"Transfer-Encoding") == b"chunked"
        for name in (b"X-Secret", b"Keep-Alive", b"Upgrade", b"Proxy-Connection"):
            assert not answer.head.has(name)


@pytest.mark.parametrize("status", [0, 99, 1000, 65535])
async def test_a_status_that_is_none_ends_the_tunnel(status: int) -> None:
    """Three digits, or it is no frame of this protocol; the viewer gets a 502."""
    async with lone_world() as world, evil_client(world) as evil:
        viewer = await asked(world, evil)
        await evil.say(response(status))
        goodbye = await evil.wait_over()
        assert goodbye is not None
        assert goodbye.code is ErrorCode.PROTOCOL_ERROR
        assert (await viewer.read_response()).status == 502


@pytest.mark.parametrize("status", [600, 799, 999])
async def test_a_status_of_no_class_passes_as_it_is(status: int) -> None:
    """RFC 9110 §15 takes it for a 500: it is the viewer's affair."""
    async with lone_world() as world, evil_client(world) as evil:
        viewer = await asked(world, evil)
        await evil.say(response(status, (b"Content-Length", b"0")))
        line = await viewer.read_until(b"\r\n")
        assert line.startswith(b"HTTP/1.1 %d " % status)


async def test_ten_thousand_fields_end_the_tunnel() -> None:
    """The frame is refused by the number it states, before a field is looked at."""
    async with lone_world() as world, evil_client(world) as evil:
        viewer = await asked(world, evil)
        await evil.say(response(200, *[(b"a", b"")] * 10_000))
        goodbye = await evil.wait_over()
        assert goodbye is not None
        assert goodbye.code is ErrorCode.FRAME_SIZE_ERROR
        assert (await viewer.read_response()).status == 502


async def test_a_head_that_states_more_than_it_has_ends_the_tunnel() -> None:
    """No field is made up of what is not there."""
    async with lone_world() as world, evil_client(world) as evil:
        viewer = await asked(world, evil)
        await evil.say(response(200, (b"a", b"b"), count=200))
        goodbye = await evil.wait_over()
        assert goodbye is not None
        assert goodbye.code is ErrorCode.PROTOCOL_ERROR
        assert (await viewer.read_response()).status == 502


async def test_interim_heads_without_end_are_a_502() -> None:
    """Thirty-two pass; the loop ends with its stream, and the tunnel goes on."""
    async with lone_world() as world, evil_client(world) as evil:
        viewer = await asked(world, evil)
        await evil.say(*[Response(ONE, ResponseHead(103, ()))] * 200)
        reset = await evil.hear(Reset)
        assert reset.code is ErrorCode.PROTOCOL_ERROR
        answer = await viewer.read_response()
        assert (answer.status, answer.error) == (502, b"origin_failed")
        assert len(answer.interim) <= 32
        again = await asked(world, evil)
        await evil.say(Response(TWO, OK), Data(TWO, b"fine", end_stream=True))
        assert (await again.read_response()).data == b"fine"


async def test_a_switch_that_nobody_asked_for_is_a_502() -> None:
    """The viewer's connection stays HTTP."""
    async with lone_world() as world, evil_client(world) as evil:
        viewer = await asked(world, evil)
        await evil.say(Response(ONE, ResponseHead(101, (), b"", b"websocket")), Data(ONE, b"raw"))
        answer = await viewer.read_response()
        assert answer.status == 502


# ── windows ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (Window(TUNNEL, 0), ErrorCode.PROTOCOL_ERROR),
        (Window(TUNNEL, 2**31 - 1), ErrorCode.FLOW_CONTROL_ERROR),
        (Window(TUNNEL, 2**32 - 1), ErrorCode.FLOW_CONTROL_ERROR),
        (Window(StreamId(50), 1), ErrorCode.PROTOCOL_ERROR),
        (Hello(), ErrorCode.PROTOCOL_ERROR),
        (b"\x01\0\0\0\0\0\0\0\0\x01\x01" * 2, ErrorCode.PROTOCOL_ERROR),
    ],
)
async def test_impossible_grants_and_settings_end_the_tunnel(
    frame: Frame | bytes, code: ErrorCode
) -> None:
    """Nothing, too much, for a stream that never was; a second HELLO."""
    async with lone_world() as world, evil_client(world) as evil:
        await evil.say(frame)
        goodbye = await evil.wait_over()
        assert goodbye is not None
        assert goodbye.code is code


@pytest.mark.parametrize("increment", [0, 2**31 - 1, 2**32 - 1])
async def test_an_impossible_grant_resets_its_stream_alone(increment: int) -> None:
    """The tunnel and its next stream go on."""
    async with lone_world() as world, evil_client(world) as evil:
        viewer = await asked(world, evil)
        await evil.say(Window(ONE, increment))
        await evil.hear(Reset)
        assert (await viewer.read_response()).status == 502
        again = await asked(world, evil)
        await evil.say(Response(TWO, OK), Data(TWO, b"fine", end_stream=True))
        assert (await again.read_response()).data == b"fine"
