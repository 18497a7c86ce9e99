"""What happens at the gateway when a tunnel or the server goes while requests are under way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from tests.support.link import Ended
from tests.support.origin import Connection, each_head, each_request, saying
from tests.support.world import World, open_world
from wormkey.seats import DRAIN_GRACE_S
from wormkey.tunnel import Tunnel

if TYPE_CHECKING:
    from tests.support.messages import Request


async def lose_the_client(world: World) -> None:
    """Cut the client off and start another one a moment later."""
    assert world.client is not None
    await world.client.stop()
    await trio.sleep(0.1)
    await world.restart_client()


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
async def test_a_request_whose_tunnel_is_lost_is_served_by_the_next_one(method: bytes) -> None:
    """A client that is killed before the answer costs its viewers time, not an error."""
    got = trio.Event()

    async def answer(connection: Connection, _: Request) -> None:
        if not got.is_set():
            got.set()
            await connection.wait_left()
        else:
            await connection.answer(b"second")

    async with open_world(each_request(answer)) as world:
        viewer = await world.open_viewer()
        await viewer.request(method=method)
        await got.wait()
        await lose_the_client(world)
        answered = await viewer.read_response(method)
        assert (answered.status, answered.error) == (200, None)


async def test_a_request_that_meets_a_draining_client_waits_for_the_next_one() -> None:
    """A client that goes in order takes nothing new: requests wait as if it were away."""
    got, go_on = trio.Event(), trio.Event()

    async def answer(connection: Connection, request: Request) -> None:
        if request.target == b"/slow":
            got.set()
            await go_on.wait()
        await connection.answer(request.target)

    async with open_world(each_request(answer)) as world:
        slow, late = await world.open_viewer(), await world.open_viewer()
        await slow.request(b"/slow")
        await got.wait()
        draining = world.client
        assert draining is not None
        world.nursery.start_soon(draining.client.drain)
        entry = world.node.routes.find(world.slug)
        assert entry is not None
        assert isinstance(entry.upstream, Tunnel)
        while entry.upstream.mux.peer_going_away is None:  # noqa: ASYNC110 - nothing tells
            await trio.sleep(0.01)
        await late.request(b"/late", method=b"POST", content=b"once")
        go_on.set()
        assert (await slow.read_response()).data == b"/slow"
        await draining.ended.wait()
        await world.restart_client()
        assert (await late.read_response()).data == b"/late"


async def test_a_request_within_the_drains_grace_is_served() -> None:
    """A restart loses no request of a connection that was open when it began."""
    async with open_world(saying(b"hello")) as world:
        used, fresh = await world.open_viewer(), await world.open_viewer()
        await used.exchange()
        world.node.drain.start()
        for viewer in (used, fresh):
            answer = await viewer.exchange()
            assert (answer.status, answer.data) == (200, b"hello")
            assert answer.head.get(b"Connection") == b"close"


async def test_a_held_request_does_not_hold_the_drain() -> None:
    """No client is admitted any more: who waits for one is told at once."""
    async with open_world(client=False) as world:
        viewer = await world.open_viewer()
        await viewer.request()
        entry = world.node.routes.find(world.slug)
        assert entry is not None
        while not entry.waiting:  # noqa: ASYNC110 - nothing tells
            await trio.sleep(0.01)
        with trio.fail_after(2):
            world.node.drain.start()
            answer = await viewer.read_response()
        assert (answer.status, answer.error) == (503, b"draining")
        assert answer.head.has(b"Retry-After")


async def start_close_delimited(connection: Connection, _: Request) -> None:
    """Answer with a head and a piece of content, and never come to the end."""
    await connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n")
    await connection.wait_left()


async def test_a_close_delimited_answer_that_a_half_close_ends_is_reset() -> None:
    """A FIN counts as leaving; the one who still reads must not take a part for the whole."""
    async with open_world(each_request(start_close_delimited)) as world:
        viewer = await world.open_viewer()
        await viewer.send(b"GET / HTTP/1.0\r\nHost: %b\r\n\r\n" % world.authority)
        await viewer.send_eof()
        await viewer.read_rest()
        assert viewer.ended is Ended.RST


async def test_a_close_delimited_answer_that_the_drain_cuts_is_reset() -> None:
    """The deadline of a drain is no end of content either."""
    async with open_world(each_request(start_close_delimited), drain_timeout_s=0.8) as world:
        viewer = await world.open_viewer()
        await viewer.send(b"GET / HTTP/1.0\r\nHost: %b\r\n\r\n" % world.authority)
        await viewer.read_until(b"part")
        world.node.drain.start()
        await viewer.read_rest()
        assert viewer.ended is Ended.RST


async def test_a_refusal_that_leaves_content_unread_announces_its_close() -> None:
    """RFC 9112 section 9.6: who closes says so, or the next request of the viewer is lost."""
    async with open_world(client=False, hold_s=0.0) as world:
        viewer = await world.open_viewer()
        await viewer.send(
            b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Length: 5\r\n\r\n" % world.authority
        )
        answer = await viewer.read_response()
        assert answer.head.get(b"Connection") == b"close"


async def test_an_upgraded_connection_that_the_drain_cuts_is_reset() -> None:
    """After a 101 a FIN is an end like any other: a cut must not look like one."""

    async def switch(connection: Connection) -> None:
        await connection.read_head()
        await connection.send(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\n"
        )
        await connection.wait_left()

    async with open_world(switch, drain_timeout_s=0.8) as world:
        viewer = await world.open_viewer()
        await viewer.request(fields=((b"Connection", b"upgrade"), (b"Upgrade", b"raw")))
        assert (await viewer.read_final_head()).status == 101
        world.node.drain.start()
        await viewer.read_rest()
        assert viewer.ended is Ended.RST


async def test_an_answer_before_the_end_of_its_request_announces_the_close() -> None:
    """RFC 9112 section 9.6: the rest of the upload may never be read."""

    async def refuse(connection: Connection, _: Request) -> None:
        await connection.answer(b"too early")

    async with open_world(each_head(refuse)) as world:
        viewer = await world.open_viewer()
        await viewer.send(
            b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Length: 5\r\n\r\n" % world.authority
        )
        answer = await viewer.read_response()
        assert answer.data == b"too early"
        assert answer.head.get(b"Connection") == b"close"


async def test_a_head_that_is_half_in_at_the_end_of_the_grace_is_answered() -> None:
    """Only connections that say nothing are closed then; this one is told to come again."""
    async with open_world(saying(b"hello")) as world:
        viewer = await world.open_viewer()
        await viewer.send(b"GET / HTTP/1.1\r\n")
        await world.open_viewer()
        world.node.drain.start()
        await trio.sleep(DRAIN_GRACE_S + 0.2)
        await viewer.send(b"Host: %b\r\n\r\n" % world.authority)
        answer = await viewer.read_response()
        assert (answer.status, answer.error) == (503, b"draining")
