"""The event stream of the bar: what is told, when, to how many, and how it ends."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.support.owner import Browser, owner_of
from tests.support.world import World, open_world
from wormkey import events
from wormkey.watch import MAX_WATCHERS

if TYPE_CHECKING:
    from tests.support.viewer import Viewer


async def watch(world: World, owner: Browser) -> Viewer:
    """Open an event stream."""
    viewer = await world.open_viewer(world.base)
    target = f"/.wormkey/events?slug={world.slug}".encode()
    await viewer.request(target, fields=owner.cookie(world.base))
    answer = await viewer.read_final_head()
    assert answer.status == 200
    assert answer.head.get(b"Content-Type") == b"text/event-stream"
    assert answer.head.get(b"Cache-Control") == b"no-store"
    return viewer


async def next_state(viewer: Viewer) -> Any:
    """Return the next state that is told."""
    while True:
        piece = await viewer.read_chunk()
        assert isinstance(piece, bytes), piece
        _, mark, data = piece.partition(b"event: state\ndata: ")
        if mark:
            return json.loads(data)


async def wait_for(viewer: Viewer, **members: object) -> Any:
    """Return the first state that has these members."""
    while True:
        state = await next_state(viewer)
        if all(state[name] == value for name, value in members.items()):
            return state


async def test_the_state_is_told_at_once_and_at_each_change() -> None:
    """A viewer comes, rules change, the client goes and comes back, the app answers."""
    async with open_world() as world:
        owner = await owner_of(world)
        viewer = await watch(world, owner)
        first = await next_state(viewer)
        assert (first["connected"], first["activeViewers"]) == (True, 0)
        await world.exchange(b"/x")
        seen = await wait_for(viewer, activeViewers=1, activeStreams=0)
        assert [each["path"] for each in seen["requests"]] == ["/x"]
        await owner.act("policy", {"public": False})
        assert not (await next_state(viewer))["policy"]["public"]
        await owner.act("pause")
        await wait_for(viewer, paused=True)
        assert world.client is not None
        await world.client.stop()
        await wait_for(viewer, connected=False)
        await world.restart_client()
        await wait_for(viewer, connected=True)


async def test_a_pause_in_the_terminal_is_told() -> None:
    """As if it were pressed in the bar."""
    async with open_world() as world:
        viewer = await watch(world, await owner_of(world))
        assert world.client is not None
        world.client.client.pause()
        await wait_for(viewer, paused=True)
        world.client.client.resume()
        await wait_for(viewer, paused=False)


async def test_many_changes_are_told_together() -> None:
    """A burst of requests is a few events, the last of which is up to date."""
    async with open_world() as world:
        viewer = await watch(world, await owner_of(world))
        await next_state(viewer)
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for number in range(30):
                nursery.start_soon(world.exchange, b"/%d" % number)
        told = 0
        while True:
            state = await next_state(viewer)
            told += 1
            if len(state["requests"]) == 30:
                break
        assert told <= (trio.current_time() - began) / events.GAP_S + 2


async def test_a_quiet_stream_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    """A comment shows that it lives."""
    monkeypatch.setattr(events, "BEAT_S", 0.01)
    async with open_world() as world:
        viewer = await watch(world, await owner_of(world))
        await next_state(viewer)
        while await viewer.read_chunk() != b":\n\n":
            pass


@pytest.mark.parametrize("ending", ["close", "drain"])
async def test_it_ends_with_its_session_or_the_daemon(ending: str) -> None:
    """Whole, so that the browser knows; of a session that is over it is told so."""
    async with open_world() as world:
        owner = await owner_of(world)
        viewer = await watch(world, owner)
        await next_state(viewer)
        if ending == "close":
            await owner.act("close")
        else:
            world.node.drain.start()
        rest = await viewer.read_rest()
        assert rest.endswith(b"0\r\n\r\n")
        assert (b"event: end\n" in rest) == (ending == "close")


async def test_so_many_windows_watch_and_no_more() -> None:
    """429 for the next one; a place is free when one leaves."""
    async with open_world() as world:
        owner = await owner_of(world)
        viewers = [await watch(world, owner) for _ in range(MAX_WATCHERS)]
        status, answer = await owner.read("events")
        assert (status, answer["code"]) == (429, "too_many_streams")
        await viewers[0].aclose()
        entry = world.node.routes.find(world.slug)
        assert entry is not None
        while entry.watched().watchers == MAX_WATCHERS:  # noqa: ASYNC110 - the world has a deadline
            await trio.sleep(0.01)
        await watch(world, owner)


async def test_a_session_that_nobody_watches_keeps_nothing() -> None:
    """No bell, no record of its requests."""
    async with open_world() as world:
        await world.exchange()
        entry = world.node.routes.find(world.slug)
        assert entry is not None
        assert entry.watch is None
        head = await Browser(world).exchange(f"/.wormkey/events?slug={world.slug}".encode())
        assert head.status == 403
        assert entry.watch is None
