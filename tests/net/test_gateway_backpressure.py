"""Whoever stops reading costs a bounded buffer and slows nobody else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from tests.support.messages import Request, compose, response
from tests.support.origin import Connection, Handler, each_head
from tests.support.world import World, open_world

if TYPE_CHECKING:
    from tests.support.viewer import Viewer

OFFERED_BYTES = 300 << 20
# What may sit between a writer and a reader who has stopped: a stream's window, and the socket
# buffers of the three connections on the way, which the kernel alone may grow to some 4 MiB each.
BOUND_BYTES = 24 << 20
QUIET_S = 0.5  # no byte for so long: the flow has stopped
STEP = b"x" * 65_536


def _serving() -> Handler:
    """Offer OFFERED_BYTES on /big, swallow nothing on /sink, and say hello otherwise."""

    async def answer(connection: Connection, request: Request) -> None:
        if request.target == b"/big":
            length = (b"Content-Length", b"%d" % OFFERED_BYTES)
            await connection.send(compose(b"HTTP/1.1 200 OK", (length,)))
            for _ in range(OFFERED_BYTES // len(STEP)):
                await connection.send(STEP)
        elif request.target == b"/sink":
            await trio.sleep_forever()
        else:
            await connection.send(response(b"hello"))

    return each_head(answer)


async def _wait_quiet(counter: object, name: str) -> int:
    """Wait until a counter has not moved for QUIET_S; return it."""
    before = -1
    while (now := int(getattr(counter, name))) != before:
        before = now
        await trio.sleep(QUIET_S)
    return now


async def _stall(world: World) -> Connection:
    """Have a viewer ask for /big and read nothing; return the origin's connection, at rest."""
    viewer = await world.open_viewer(receive_buffer_bytes=65_536)
    await viewer.request(b"/big")
    await world.origin.wait_connections(1)
    connection = world.origin.connections[0]
    await _wait_quiet(connection, "sent_bytes")
    return connection


async def test_a_viewer_who_reads_nothing_holds_a_bounded_amount() -> None:
    """Of 300 MiB only windows and socket buffers leave the origin."""
    async with open_world(_serving()) as world:
        connection = await _stall(world)
        assert 0 < connection.sent_bytes < BOUND_BYTES


async def test_a_stalled_viewer_slows_nobody_else() -> None:
    """A hundred exchanges of others pass the stalled stream in the same tunnel."""
    async with open_world(_serving()) as world:
        for _ in range(4):
            await _stall(world)
        viewer = await world.open_viewer()
        with trio.fail_after(5):
            for _ in range(100):
                assert (await viewer.exchange()).data == b"hello"


async def test_a_viewer_who_reads_again_gets_the_rest_unharmed() -> None:
    """The stream goes on where it stopped; grants come as the viewer takes."""
    async with open_world(_serving()) as world:
        connection = await _stall(world)
        stopped_at = connection.sent_bytes
        viewer = world.viewers[0]
        await viewer.read_final_head()
        for _ in range(2 * BOUND_BYTES // len(STEP)):
            assert await viewer.read_exactly(len(STEP)) == STEP
        assert connection.sent_bytes > stopped_at


async def test_a_stalled_viewer_is_cut_after_the_write_time_out() -> None:
    """``--write-idle-timeout`` of no progress ends the stream, the origin's connection too."""
    async with open_world(_serving(), write_idle_timeout_s=0.3) as world:
        viewer = await world.open_viewer(receive_buffer_bytes=65_536)
        await viewer.request(b"/big")
        await world.origin.wait_closed(1)
        got = await viewer.read_rest()
        assert len(got) < BOUND_BYTES
        assert (await world.exchange()).data == b"hello"


async def test_an_origin_that_stops_reading_an_upload_stops_the_viewer() -> None:
    """Of 300 MiB only windows and socket buffers leave the viewer; others go on."""
    async with open_world(_serving()) as world:
        viewer = await world.open_viewer()
        length = ((b"Content-Length", b"%d" % OFFERED_BYTES),)
        await viewer.request(b"/sink", method=b"POST", fields=length)
        world.nursery.start_soon(_upload, viewer)
        sent = await _wait_quiet(viewer, "sent_bytes")
        assert 0 < sent < BOUND_BYTES
        other = await world.open_viewer()
        with trio.fail_after(5):
            for _ in range(100):
                assert (await other.exchange()).data == b"hello"
        await viewer.reset()


async def _upload(viewer: Viewer) -> None:
    try:
        for _ in range(OFFERED_BYTES // len(STEP)):
            await viewer.send(STEP)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass


@pytest.mark.parametrize("streams", [32])
async def test_many_stalled_viewers_share_the_tunnels_bound(streams: int) -> None:
    """All streams of a tunnel together hold a bounded amount, and one more viewer is served."""
    async with open_world(_serving(), tunnel_window_bytes=4 << 20, limit_s=60) as world:
        for _ in range(streams):
            viewer = await world.open_viewer(receive_buffer_bytes=65_536)
            await viewer.request(b"/big")
        await world.origin.wait_connections(streams)
        await _wait_quiet(world.origin, "sent_bytes")
        viewer = await world.open_viewer()
        with trio.fail_after(5):
            assert (await viewer.exchange()).data == b"hello"
