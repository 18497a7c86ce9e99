"""relief.py: all strangers together hold no more than the budget, and the rest lives on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
from attrs import evolve

from tests.support.messages import Request, compose
from tests.support.origin import Connection, each_request
from tests.support.world import World, open_world

if TYPE_CHECKING:
    from tests.support.viewer import Viewer

MIB = 1024 * 1024


async def _endless(connection: Connection, request: Request) -> None:
    """Sends content for ever to who asks for it; a word to others."""
    if request.head.start[1] != b"/endless":
        await connection.answer(b"hello")
        return
    await connection.send(compose(b"HTTP/1.1 200 OK", ((b"Transfer-Encoding", b"chunked"),)))
    while True:
        await connection.send_chunk(bytes(64 * 1024))


async def _stall(world: World, count: int) -> list[Viewer]:
    """Viewers who ask for much and read nothing but the head."""
    viewers = []
    for _ in range(count):
        viewer = await world.open_viewer(receive_buffer_bytes=4096)
        await viewer.request(b"/endless")
        await viewer.read_final_head()
        viewers.append(viewer)
    return viewers


async def _wait_held(world: World, least_bytes: float) -> None:
    """Wait until the tunnel holds so much that nobody takes."""
    (tunnel,) = world.node.tunnels
    while tunnel.mux.inbox.held_bytes < least_bytes:  # noqa: ASYNC110 - nothing tells
        await trio.sleep(0.01)


async def _wait_status(world: World, status: int) -> None:
    while (await world.exchange()).status != status:  # noqa: ASYNC110 - looks are the gateway's
        await trio.sleep(0.05)


async def test_beyond_the_budget_new_viewers_wait_and_everything_else_goes_on() -> None:
    """503 with Retry-After; health, the API and the tunnel are spared; it ends when they leave."""
    async with open_world(each_request(_endless), limit_s=60, memory_budget_bytes=MIB) as world:
        stalled = await _stall(world, 4)
        await _wait_held(world, 0.95 * MIB)
        await _wait_status(world, 503)
        refused = await world.exchange()
        assert (refused.status, refused.error) == (503, b"overloaded")
        assert refused.head.has(b"Retry-After")
        assert (await world.exchange(b"/health", authority=world.base)).status == 200
        assert (await world.call("GET", "/access"))[0] == 200
        assert len(world.node.tunnels) == 1
        for viewer in stalled:
            await viewer.reset()
        await _wait_status(world, 200)
        assert len(world.node.tunnels) == 1


async def test_without_a_budget_nobody_is_refused() -> None:
    """0 leaves each tunnel to its own bounds."""
    async with open_world(each_request(_endless), limit_s=60, memory_budget_bytes=0) as world:
        await _stall(world, 8)
        await _wait_held(world, 1.5 * MIB)
        world.facts.gateway._relief.look()
        assert (await world.exchange()).status == 200


async def test_a_squeezed_tunnel_gives_up_streams_that_nobody_reads() -> None:
    """Beyond the whole budget those stalled longest are ended at once; others go on."""
    # Nothing else ends who does not read: the time for that is longer than the test.
    async with open_world(
        each_request(_endless), limit_s=60, memory_budget_bytes=0, write_idle_timeout_s=120.0
    ) as world:
        reader = await world.open_viewer()
        await reader.request(b"/endless")
        await reader.read_final_head()
        pieces = 0

        async def read() -> None:
            nonlocal pieces
            while await reader.read_chunk():
                pieces += 1

        async with trio.open_nursery() as reading:
            reading.start_soon(read)
            await _stall(world, 8)
            await _wait_held(world, 1.5 * MIB)
            (tunnel,) = world.node.tunnels
            world.node.settings = evolve(world.node.settings, memory_budget_bytes=MIB)
            world.facts.gateway._relief.look()
            assert tunnel.mux.inbox.held_bytes <= MIB  # though nothing has arrived
            assert tunnel.mux.statistics().streams < 9
            seen = pieces
            while pieces < seen + 100:  # noqa: ASYNC110 - who reads goes on
                await trio.sleep(0.01)
            reading.cancel_scope.cancel()


async def test_uploads_that_the_client_does_not_take_are_counted() -> None:
    """What waits for a tunnel costs as much as what came from it."""

    async def deaf(connection: Connection) -> None:
        await connection.read_head()
        await connection.wait_left()

    async with open_world(deaf, limit_s=60) as world:
        while not world.node.tunnels:  # noqa: ASYNC110 - the client knows of it a moment before
            await trio.sleep(0.01)
        (tunnel,) = world.node.tunnels
        relief = world.facts.gateway._relief
        viewers = []
        for _ in range(4):
            viewer = await world.open_viewer()
            await viewer.request(method=b"POST", fields=((b"Content-Length", b"99999999"),))
            viewers.append(viewer)
        async with trio.open_nursery() as nursery:
            for viewer in viewers:
                nursery.start_soon(viewer.send, bytes(16 * MIB))
            while tunnel.mux.statistics().queued_bytes < 4 * 64 * 1024:  # noqa: ASYNC110
                await trio.sleep(0.01)
            # Connections and the tunnel itself count 140 KiB: it is the content that is too much.
            world.node.settings = evolve(world.node.settings, memory_budget_bytes=300 * 1024)
            relief.look()
            assert relief.budget.shedding
            nursery.cancel_scope.cancel()


async def test_a_tunnel_counts_once() -> None:
    """Not as a viewer's connection too: three thousand idle ones would be taken for five."""
    async with open_world(each_request(_endless)) as world:
        assert (await world.exchange()).status == 200
        relief = world.facts.gateway._relief
        while world.facts.gateway.connections > 1:  # noqa: ASYNC110 - that viewer's
            await trio.sleep(0.01)
        assert relief.viewers_bytes() == 0
