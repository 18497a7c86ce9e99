"""A gateway with more connections than places: who gets in, who goes, what tunnels keep."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from tests.support.messages import Request, compose
from tests.support.origin import Connection, each_request
from tests.support.world import Connected, World, open_world
from wormkey import gateway

if TYPE_CHECKING:
    import pytest

    from tests.support.viewer import Viewer


async def _endless(connection: Connection, _request: Request) -> None:
    await connection.send(compose(b"HTTP/1.1 200 OK", ((b"Transfer-Encoding", b"chunked"),)))
    await connection.send_chunk(b"first")
    await connection.wait_left()


async def _busy(world: World) -> Viewer:
    viewer = await world.open_viewer()
    await viewer.request()
    await viewer.read_final_head()
    return viewer


async def _fill(world: World) -> list[Viewer]:
    """Take all of the viewers' places, with streams that do not end."""
    seats = world.facts.gateway.seats
    return [await _busy(world) for _ in range(seats.viewers_limit - seats.viewers)]


async def test_beyond_the_viewers_share_the_next_gets_503() -> None:
    """With Retry-After and Connection's end; its health is told, and place is free afterwards."""
    async with open_world(each_request(_endless), max_connections=16) as world:
        taken = await _fill(world)
        late = await world.open_viewer()
        answer = await late.exchange()
        assert answer.status == 503
        names = {name.lower() for name, _ in answer.fields}
        assert {b"retry-after", b"connection"} <= names
        assert await late.read_rest() == b""
        assert world.node.metrics.refusals["overloaded"] == 1
        health = await world.open_viewer(b"localhost:%d" % world.gateway[1])
        assert (await health.exchange(target=b"/health")).status == 200
        await taken[0].aclose()
        while world.facts.gateway.seats.viewers == len(taken):  # noqa: ASYNC110 - nothing tells
            await trio.lowlevel.checkpoint()
        await _busy(world)


async def test_a_flood_of_viewers_keeps_no_client_out() -> None:
    """All of the viewers' places are busy and all others say nothing: a client connects."""
    async with open_world(each_request(_endless), max_connections=16) as world:
        await _fill(world)
        silent = [await trio.open_tcp_stream(*world.gateway) for _ in range(30)]
        client = await world.start_client()
        await client.wait(Connected)
        for stream in silent:
            await stream.aclose()


async def test_idle_connections_make_room_for_honest_viewers() -> None:
    """Silent ones and slow heads beyond all places: each new viewer is served at once."""
    async with open_world(max_connections=16) as world:
        silent = [await trio.open_tcp_stream(*world.gateway) for _ in range(20)]
        for stream in silent[10:]:
            await stream.send_all(b"GET / HT")
        for _ in range(10):
            viewer = await world.open_viewer()
            assert (await viewer.exchange()).status == 200
        assert await silent[0].receive_some() == b""
        assert world.node.metrics.dismissed >= 10
        for stream in silent:
            await stream.aclose()


async def test_an_address_has_a_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond --max-connections-per-address it gets 503, while others are served."""
    peers = iter(["192.0.2.1"] * 3 + ["192.0.2.2"])
    async with open_world(each_request(_endless), max_connections_per_address=2) as world:
        monkeypatch.setattr(gateway, "peer_address", lambda _stream: next(peers))
        await _busy(world)
        await _busy(world)
        third = await world.open_viewer()
        assert (await third.exchange()).status == 503
        await _busy(world)
