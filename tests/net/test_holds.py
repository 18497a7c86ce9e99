"""Waiting requests are bounded in number and in bytes; a WebSocket is told why it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
from wsproto.events import CloseConnection

from tests.support.link import Ended
from tests.support.websocket import accept_websocket, echo_websocket, open_websocket
from tests.support.world import Connected, Disconnected, World, open_world
from wormkey.errors import ErrorCode

if TYPE_CHECKING:
    from tests.support.origin import Connection
    from tests.support.viewer import Viewer


async def _wait_held(world: World, count: int) -> None:
    entry = world.node.routes.find(world.slug)
    assert entry is not None
    while entry.waiting < count:  # noqa: ASYNC110 - nothing tells
        await trio.lowlevel.checkpoint()


async def test_requests_that_wait_are_bounded_in_bytes() -> None:
    """One that would be too much gets 502 with Retry-After at once; those that wait are served."""
    async with open_world(client=False, max_held_bytes=20_000) as world:
        waiting: list[Viewer] = []
        for number in range(4):
            viewer = await world.open_viewer()
            await viewer.request(b"/%d" % number)
            waiting.append(viewer)
            await _wait_held(world, number + 1)
        answer = await world.exchange(b"/too-much", fields=((b"X-Large", b"x" * 2000),))
        assert (answer.status, answer.error) == (502, b"no_tunnel")
        assert answer.head.get(b"Retry-After")
        await world.restart_client()
        for viewer in waiting:
            assert (await viewer.read_response()).status == 200
        # What they held is free again.
        assert world.client is not None
        await world.client.stop()
        viewer = await world.open_viewer()
        await viewer.request(b"/later", fields=((b"X-Large", b"x" * 2000),))
        await _wait_held(world, 1)


async def test_a_websocket_is_closed_with_1012_when_its_tunnel_dies() -> None:
    """The viewer's library reads Service Restart, and comes back through the next tunnel."""
    async with open_world(echo_websocket) as world:
        viewer = await world.open_viewer()
        websocket, _ = await open_websocket(viewer)
        await websocket.send_text("hello")
        assert await websocket.receive_message() == "hello"
        assert world.client is not None
        await world.client.stop()
        event = await websocket.receive()
        assert isinstance(event, CloseConnection)
        assert event.code == 1012
        await world.restart_client()
        again, _ = await open_websocket(await world.open_viewer())
        await again.send_text("again")
        assert await again.receive_message() == "again"


async def test_a_websocket_that_the_drain_cuts_is_closed_with_1012() -> None:
    """The server restarts: the page's library comes back, and finds the next one."""
    async with open_world(echo_websocket, drain_timeout_s=0.5) as world:
        websocket, _ = await open_websocket(await world.open_viewer())
        await websocket.send_text("hello")
        assert await websocket.receive_message() == "hello"
        world.node.drain.start()
        event = await websocket.receive()
        assert isinstance(event, CloseConnection)
        assert event.code == 1012


async def test_a_websocket_is_closed_with_1001_when_its_session_ends() -> None:
    """There is nothing to come back to."""
    async with open_world(echo_websocket) as world:
        websocket, _ = await open_websocket(await world.open_viewer())
        status, _ = await world.call(
            "DELETE", f"/sessions/{world.session['sessionId']}", token=world.token
        )
        assert status in {200, 204}
        event = await websocket.receive()
        assert isinstance(event, CloseConnection)
        assert event.code == 1001


async def test_a_websocket_inside_a_frame_is_cut() -> None:
    """A close frame amid another's payload would be read as content: the connection is reset."""
    go = trio.Event()

    async def half(connection: Connection) -> None:
        request = await connection.read_request()
        assert request is not None
        await accept_websocket(connection, request)
        await go.wait()
        await connection.send(b"\x82\x7d" + b"x" * 100)
        await connection.wait_left()

    async with open_world(half) as world:
        viewer = await world.open_viewer()
        await open_websocket(viewer)  # takes what has come by then
        go.set()
        assert await viewer.read_exactly(102) == b"\x82\x7d" + b"x" * 100
        assert world.client is not None
        await world.client.stop()
        assert await viewer.read_to_end() == b""
        assert viewer.ended is Ended.RST


async def test_a_client_whose_machine_slept_dials_at_once() -> None:
    """No silence has to run out: the clocks say it, and viewers have the page again."""
    async with open_world(client=False) as world:
        running = await world.start_client()
        await running.wait(Connected)
        lead_s = 0.0
        wake = running.client.wake
        real = wake.sleep_clock
        wake.sleep_clock = lambda: real() + lead_s
        lead_s = 3600.0
        await running.wait(Connected, 2)
        assert running.count(Disconnected) == 1
        assert (await world.exchange()).status == 200


async def test_handshakes_beyond_the_limit_are_told_to_come_again() -> None:
    """The gateway sheds with 503 and Retry-After; the client comes when there is room."""
    async with open_world(client=False) as world:
        world.node.handshakes["others"] = world.node.settings.max_handshakes
        running = await world.start_client()
        await running.wait(Disconnected)
        (event,) = running.events
        assert isinstance(event, Disconnected)
        assert event.retry_in_s >= 2
        del world.node.handshakes["others"]
        running.client.reconnect_now()
        assert (await world.exchange()).status == 200  # the gateway's end is open, too
        assert not world.node.handshakes.total()


async def test_a_retry_after_is_spread_by_jitter() -> None:
    """All whom the gateway sends away would else come back as one."""
    async with open_world(client=False) as world:
        world.node.handshakes["others"] = world.node.settings.max_handshakes
        waits = set()
        for _ in range(3):
            running = await world.start_client()
            await running.wait(Disconnected)
            (event,) = running.events
            assert isinstance(event, Disconnected)
            waits.add(event.retry_in_s)
            await running.stop()
        assert len(waits) == 3


async def test_a_lost_tunnel_that_cannot_be_held_gives_502_with_retry_after() -> None:
    """A request that may have had its effect is not sent again, and its viewer is told when."""
    arrived = trio.Event()

    async def silent(connection: Connection) -> None:
        await connection.read_request()
        arrived.set()
        await connection.wait_left()

    async with open_world(silent) as world:
        viewer = await world.open_viewer()
        await viewer.request(method=b"POST", content=b"once")
        await arrived.wait()
        entry = world.node.routes.find(world.slug)
        assert entry is not None
        assert entry.upstream is not None
        entry.upstream.close(ErrorCode.INTERNAL_ERROR, "lost")
        answer = await viewer.read_response()
        assert (answer.status, answer.error) == (502, b"tunnel_lost")
        assert answer.head.get(b"Retry-After")
