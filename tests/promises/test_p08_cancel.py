"""P8: a viewer who leaves takes his request at the app with him."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from tests.support.messages import Request, compose
from tests.support.origin import Connection, each_request
from tests.support.promise import Promise, sized
from tests.support.world import World, open_world

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.support.viewer import Viewer

VIEWERS = sized(full=200, quick=20)


async def _endless(connection: Connection, _request: Request) -> None:
    await connection.send(compose(b"HTTP/1.1 200 OK", ((b"Transfer-Encoding", b"chunked"),)))
    await connection.send_chunk(b"first")
    await connection.wait_left()


async def _slowest_s(world: World, leave: Callable[[Viewer], Awaitable[None]]) -> float:
    """Let VIEWERS viewers leave one by one; how long the app's slowest connection outlived one."""
    slowest = 0.0
    for _ in range(VIEWERS):
        viewer = await world.open_viewer()
        await viewer.request()
        await viewer.read_final_head()
        assert await viewer.read_chunk() == b"first"
        connection = world.origin.connections[-1]
        left_at = trio.current_time()
        await leave(viewer)
        await world.origin.wait_closed(len(world.origin.connections))
        assert connection.closed_at is not None
        slowest = max(slowest, connection.closed_at - left_at)
    return slowest


async def test_a_viewer_who_leaves_ends_his_request(promise: Promise) -> None:
    """The app's connection closes within a second, after a FIN as after a reset."""
    async with open_world(each_request(_endless), limit_s=300) as world:
        by_fin = await _slowest_s(world, lambda viewer: viewer.send_eof())
        by_reset = await _slowest_s(world, lambda viewer: viewer.reset())
    promise.at_most("the app's connection closed after a FIN", by_fin, 1.0, "s")
    promise.at_most("after a reset", by_reset, 1.0, "s")
