"""A client that breaks RFC 6455, falls silent or goes away without going, and text of v0."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio

from tests.support.evil import (
    BINARY,
    CLOSE,
    FIN,
    OK,
    ONE,
    PING,
    TEXT,
    asked,
    evil_client,
    lone_world,
    other_session,
    ws_frame,
)
from tests.support.link import Ended
from tests.support.messages import read_response_head
from tests.support.viewer import open_viewer
from tests.support.websocket import handshake_fields
from tests.support.world import Disconnected, open_world
from wormkey.errors import ErrorCode
from wormkey.frames import (
    Data,
    GoAway,
    Response,
    StreamId,
)

# ── the WebSocket ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "raw",
    [
        ws_frame(b"text", first=FIN | TEXT),
        ws_frame(b"x" * 100_000),
        ws_frame(b"x", first=FIN | BINARY | 0x40),
        ws_frame(b"x", first=FIN | 3),
        ws_frame(b"x", first=FIN),
        ws_frame(b"x" * 126, first=FIN | PING),
        ws_frame(b"x", first=PING),
        ws_frame(b"x", masked=False),
        ws_frame(b"x", first=FIN | CLOSE),
        b"\x82\xff" + b"\xff" * 8,
    ],
    ids=[
        "text", "too long", "compressed", "no such type", "a continuation of nothing",
        "a long ping", "a ping in pieces", "not masked", "a close of one byte", "2^64 bytes",
    ],
)  # fmt: skip
@pytest.mark.parametrize("version", [1, 0])
async def test_what_is_no_websocket_message_of_a_tunnel_ends_it(raw: bytes, version: int) -> None:
    """Text, compression that was not agreed on, bad frames; v0 takes longer messages."""
    if not version and raw == ws_frame(b"x" * 100_000):
        raw = ws_frame(bytes(17 << 20))
    async with open_world(close_timeout_s=0.5, tunnel_timeout_s=2.0) as world:
        token, _ = await other_session(world)
        async with (
            evil_client(world, token, version=version) as evil,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(evil.wait_over)
            with suppress(trio.BrokenResourceError):
                await evil.send(raw)
            await evil.left.wait()
        assert (await world.exchange()).data == b"hello"
        assert world.client is not None
        assert world.client.count(Disconnected) == 0


async def test_compression_is_offered_in_vain() -> None:
    """A tunnel agrees on no extension: nothing in it can unfold to a thousand times its size."""
    async with lone_world() as world:
        viewer = await open_viewer(*world.gateway, world.base)
        fields = (
            *handshake_fields(),
            (b"Authorization", b"Bearer " + world.token.encode()),
            (b"Sec-WebSocket-Protocol", b"wormkey.v1"),
            (b"Sec-WebSocket-Extensions", b"permessage-deflate; client_max_window_bits"),
        )
        await viewer.request(b"/tunnel", fields=fields)
        head = await read_response_head(viewer)
        assert head.start[1] == b"101"
        assert not head.has(b"Sec-WebSocket-Extensions")
        await viewer.aclose()


# ── silence ─────────────────────────────────────────────────────────────────────────────────


async def test_a_client_that_says_nothing_after_its_handshake_is_cut() -> None:
    """It has --tunnel-timeout to say HELLO at most; it is no route meanwhile."""
    async with lone_world() as world, evil_client(world, hello=None):
        answer = await world.exchange()
        assert (answer.status, answer.error) == (502, b"no_tunnel")


async def test_a_close_that_never_completes_ends_the_tunnel_in_time() -> None:
    """Half of a close frame, then silence: PING finds it out."""
    async with (
        lone_world(tunnel_timeout_s=0.6, ping_interval_s=0.2) as world,
        evil_client(world) as evil,
    ):
        await evil.send(b"\x88\x82\0\0\0\0\x03")
        await evil.wait_over()
        assert evil.ended in (Ended.FIN, Ended.RST)
        assert (await world.exchange()).error == b"no_tunnel"


async def test_goodbyes_take_no_new_streams_and_break_none() -> None:
    """A client that has said GOAWAY is no route; what was open is answered."""
    async with lone_world() as world, evil_client(world) as evil:
        viewer = await asked(world, evil)
        for last in (1, 0, 2**31 - 1):
            await evil.say(GoAway(StreamId(last), ErrorCode.NO_ERROR))
        assert (await world.exchange()).status == 502
        await evil.say(Response(ONE, OK), Data(ONE, b"still", end_stream=True))
        assert (await viewer.read_response()).data == b"still"


async def test_a_v0_client_injects_nothing_by_its_text() -> None:
    """Heads are text there: two lines in one value are two fields, checked as such, or an end."""
    async with lone_world() as world, evil_client(world, version=0) as evil:
        viewer = await asked(world, evil)
        await evil.send_message(b"\x05\0\0\0\1HTTP/1.1 200 OK\r\nX: a\nInjected: 1\r\n\r\n")
        assert (await viewer.read_response()).status == 502
        await evil.wait_over()
    async with lone_world() as world, evil_client(world, version=0) as evil:
        viewer = await asked(world, evil)
        await evil.send_message(b"\x05\0\0\0\1HTTP/1.1 200\r\nTransfer-Encoding: gzip\r\n\r\n")
        await evil.say(Data(ONE, b"plain"), Data(ONE, b"", end_stream=True))
        answer = await viewer.read_response()
        assert (answer.status, answer.data) == (200, b"plain")
        assert answer.head.get(b"Transfer-Encoding") == b"chunked"
