"""A gateway whose place another process takes: what it still gets is sent on, not refused."""

from __future__ import annotations

import pytest
import trio

from tests.support.world import open_world
from wormkey.serving import Accepting


@pytest.mark.parametrize(
    ("target", "location"),
    [
        (b"/.wormkey/state?x=1", b"/.wormkey/state?x=1"),
        (b"http://localhost/.wormkey/me", b"/.wormkey/me"),
    ],
)
async def test_the_owners_desk_is_the_next_process(target: bytes, location: bytes) -> None:
    """What it shows or changes is asked for again, on a new connection, method and content kept."""
    async with open_world() as world:
        world.node.drain.passing = True
        viewer = await world.open_viewer(world.base)
        answer = await viewer.exchange(target, method=b"POST", content=b"{}")
        assert (answer.status, answer.head.get(b"Location")) == (307, location)
        assert answer.head.get(b"Connection") == b"close"
        assert await viewer.read_rest() == b""


@pytest.mark.parametrize(
    ("target", "location"),
    [
        (b"/page?q=1", b"/page?q=1"),
        (b"//elsewhere.example/page", b"/.//elsewhere.example/page"),
    ],
)
async def test_a_request_without_a_tunnel_is_sent_on(target: bytes, location: bytes) -> None:
    """Its client is at the next process by now; and no target leads to another host."""
    async with open_world(client=False) as world:
        viewer = await world.open_viewer()
        await viewer.send(viewer.compose(target)[:-2])
        world.node.drain.passing = True
        world.node.drain.start()
        await viewer.send(b"\r\n")
        answer = await viewer.read_response()
        assert (answer.status, answer.head.get(b"Location")) == (307, location)


async def test_a_client_is_told_to_come_back() -> None:
    """A handshake that reaches the old process by an old connection is for the new one."""
    async with open_world(client=False) as world:
        world.node.drain.passing = True
        viewer = await world.open_viewer(world.base)
        await viewer.request(
            b"/tunnel",
            fields=[
                (b"Connection", b"Upgrade"),
                (b"Upgrade", b"websocket"),
                (b"Sec-WebSocket-Version", b"13"),
                (b"Sec-WebSocket-Key", b"c2l4dGVlbiBieXRlcyBvaw=="),
                (b"Authorization", b"Bearer " + world.token.encode()),
            ],
        )
        answer = await viewer.read_response()
        assert (answer.status, answer.head.get(b"Retry-After")) == (503, b"2")


async def test_viewers_are_served_meanwhile() -> None:
    """Until the next process is ready the old one answers what it has, and asks to be left."""
    async with open_world() as world:
        assert (await world.exchange(b"/")).status == 200
        world.node.drain.passing = True
        answer = await world.exchange(b"/")
        assert (answer.status, answer.data) == (200, b"hello")
        assert answer.head.get(b"Connection") == b"close"


@pytest.mark.parametrize("passing", [True, False])
async def test_who_waits_in_the_queue_is_the_next_process_s(
    passing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have the socket: what this process has not accepted yet, it leaves to the other."""
    taken: list[Accepting] = []
    monkeypatch.setattr(Accepting, "take_waiting", lambda self: taken.append(self))
    async with open_world(client=False) as world:
        world.node.drain.passing = passing
        world.node.drain.start()
        while not world.facts.gateway._closing:  # noqa: ASYNC110 - nothing tells
            await trio.sleep(0.01)
    assert len(taken) == (not passing)
