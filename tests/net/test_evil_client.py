"""A client that floods: its tunnel ends and says why, and nobody else notices."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio
from attrs import frozen

from tests.support.evil import BINARY, CONTINUATION, FIN, PING, PONG, EvilEnd, evil_client, ws_frame
from tests.support.viewer import Viewer
from tests.support.world import Disconnected, World, open_world
from wormkey import wire, wire0
from wormkey.errors import ErrorCode
from wormkey.frames import (
    TUNNEL,
    Data,
    GoAway,
    Pause,
    Pong,
    Request,
    Reset,
    Response,
    ResponseHead,
    Resume,
    StreamId,
    Window,
)
from wormkey.frames import Ping as PingFrame
from wormkey.wire import data_header

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from wormkey.frames import Frame

LIVE, OVER = StreamId(1), StreamId(2)
OK = ResponseHead(200, ())
MANY_BYTES = 64 << 20  # an unbounded flood ends here, and fails the test


@frozen
class Stage:
    """A world with an honest session, and a hostile client of another one with two streams."""

    world: World
    evil: EvilEnd
    viewer: Viewer  # of the stream LIVE; that of OVER has left

    async def check_others(self) -> None:
        """The honest session answers, and its client has noticed nothing."""
        assert (await self.world.exchange()).data == b"hello"
        assert self.world.client is not None
        assert self.world.client.count(Disconnected) == 0


@asynccontextmanager
async def staged(*, version: int = 1, **settings: object) -> AsyncIterator[Stage]:
    """Set the stage: the answer of LIVE has begun, the viewer of OVER has left."""
    async with open_world(limit_s=120, hold_s=0.0, close_timeout_s=0.5, **settings) as world:
        status, other = await world.call("POST", "/sessions", body={"port": 1})
        assert status == 201
        authority = other["slug"].encode() + b"." + world.base
        async with evil_client(world, other["sessionToken"], version=version) as evil:
            viewer = await world.open_viewer(authority)
            await viewer.request()
            await evil.hear(Request)
            await evil.say(Response(LIVE, OK))
            leaver = await world.open_viewer(authority)
            await leaver.request()
            await evil.hear(Request)
            await leaver.reset()
            await evil.hear(Reset)
            yield Stage(world, evil, viewer)


def messages(*frames: Frame | bytes, times: int = 1) -> bytes:
    """One v1 message with these frames, repeated."""
    parts = [each if isinstance(each, bytes) else wire.encode(each) for each in frames]
    return ws_frame(b"".join(parts) * times)


FLOODS = {
    "WebSocket pings": ws_frame(b"", first=FIN | PING) * 1000,
    "WebSocket pings with much in them": ws_frame(bytes(125), first=FIN | PING) * 400,
    "WebSocket pongs": ws_frame(b"", first=FIN | PONG) * 1000,
    "fragments of nothing": ws_frame(b"", first=CONTINUATION) * 1000,
    "fragments of one byte": ws_frame(b"x", first=CONTINUATION) * 1000,
    "empty messages": ws_frame(b"") * 1000,
    "a frame that comes byte by byte": ws_frame(b"x") * 1000,
    "PINGs": messages(PingFrame(b"12345678"), times=60),
    "PONGs": messages(Pong(b"12345678"), times=1000),
    "content of nothing": messages(Data(LIVE, b""), times=1000),
    "content for a stream that is over": messages(Data(OVER, b"x"), times=1000),
    "resets of a stream that is over": messages(Reset(OVER, ErrorCode.CANCELLED), times=1000),
    "heads for a stream that is over": messages(Response(OVER, OK), times=1000),
    "grants of one byte": messages(Window(LIVE, 1), times=1000),
    "grants of one byte for the tunnel": messages(Window(TUNNEL, 1), times=1000),
    "goodbyes": messages(GoAway(StreamId(0), ErrorCode.NO_ERROR), times=1000),
    "pauses": messages(Pause(), Resume(), times=500),
    "frames of unknown types": messages(b"\x7f\0" + bytes(8), times=1000),
}


@pytest.mark.parametrize("name", FLOODS)
async def test_a_flood_that_moves_nothing_ends_its_tunnel(name: str) -> None:
    """ENHANCE_YOUR_CALM, long before it is felt; its viewer is cut, the others are served."""
    async with staged() as stage:
        if name.startswith("fragments"):
            await stage.evil.send_message(b"", first=BINARY)
        elif name.startswith("a frame"):
            await stage.evil.send_message(
                data_header(LIVE, 60_000, end_stream=False, blocked=False)
            )
        sent = await stage.evil.flood(FLOODS[name], MANY_BYTES)
        assert sent < MANY_BYTES
        goodbye = await stage.evil.wait_over()
        assert goodbye is not None
        assert goodbye.code is ErrorCode.ENHANCE_YOUR_CALM
        assert not (await stage.viewer.read_rest()).endswith(b"0\r\n\r\n")
        await stage.check_others()


FLOODS_0 = {
    "WebSocket pings": ws_frame(b"", first=FIN | PING) * 1000,
    "fragments of nothing": ws_frame(b"", first=CONTINUATION) * 1000,
    "messages of four bytes": ws_frame(b"1234") * 1000,
    "messages of unknown types": ws_frame(b"\x7f\0\0\0\1" + bytes(50)) * 500,
    "what existing programs ignore": ws_frame(b"\x07\0\0\0\1" + bytes(50)) * 500,
    "PINGs": ws_frame(wire0.encode0(PingFrame())) * 1000,
    "PONGs": ws_frame(wire0.encode0(Pong())) * 1000,
    "pauses": ws_frame(wire0.encode0(Pause())) * 1000,
    "content for a stream that never was": ws_frame(wire0.encode0(Data(StreamId(9), b"x"))) * 1000,
}


@pytest.mark.parametrize("name", FLOODS_0)
async def test_a_flood_of_a_v0_client_ends_its_tunnel(name: str) -> None:
    """It hears no reason, v0 has none; the connection ends all the same."""
    async with staged(version=0) as stage:
        if name.startswith("fragments"):
            await stage.evil.send_message(b"", first=BINARY)
        sent = await stage.evil.flood(FLOODS_0[name], MANY_BYTES)
        assert sent < MANY_BYTES
        await stage.evil.wait_over()
        await stage.check_others()


async def test_the_limit_of_a_flood_is_an_option() -> None:
    """--max-glitches: a patient daemon takes more, a strict one less."""
    async with staged(max_glitches=10) as stage:
        await stage.evil.say(*[Pong()] * 12)
        goodbye = await stage.evil.wait_over()
        assert goodbye is not None
        assert goodbye.code is ErrorCode.ENHANCE_YOUR_CALM
    async with staged(max_glitches=1_000_000) as stage:
        await stage.evil.flood(messages(Pong(), times=1000), 20 * 10_000)
        await stage.evil.say(PingFrame(b"still here"))
        assert await stage.evil.hear(Pong) == Pong(b"still here")


async def test_others_are_served_while_the_flood_lasts() -> None:
    """A client that stays just below every limit costs time, and not much of it."""
    async with staged() as stage, trio.open_nursery() as nursery:

        async def dribble() -> None:
            while True:
                await stage.evil.say(*[Data(LIVE, b"x")] * 1000)

        nursery.start_soon(dribble)
        for _ in range(20):
            await stage.check_others()
        nursery.cancel_scope.cancel(reason="enough")
