"""A viewer who leaves cancels exactly his stream, and the origin sees it within 0.5 s."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from tests.support.link import Ended
from tests.support.messages import Request, compose, response
from tests.support.origin import Connection, Handler, each_head, each_request
from tests.support.websocket import accept_websocket, open_websocket
from tests.support.world import World, open_world

if TYPE_CHECKING:
    from tests.support.viewer import Viewer

CANCEL_S = 0.5  # how long an origin may be kept from knowing; a FIN counts after 0.3 s
CHUNKED = ((b"Transfer-Encoding", b"chunked"),)


async def _before_the_answer(connection: Connection, _request: Request) -> None:
    await connection.wait_left()


async def _within_the_answer(connection: Connection, _request: Request) -> None:
    await connection.send(compose(b"HTTP/1.1 200 OK", CHUNKED))
    await connection.send_chunk(b"first")
    await connection.wait_left()


def _flooding(started: trio.Event) -> Handler:
    async def handler(connection: Connection) -> None:
        await connection.read_request()
        await connection.send(compose(b"HTTP/1.1 200 OK", CHUNKED))
        started.set()
        while True:
            await connection.send_chunk(b"x" * 16_384)

    return handler


async def _leave(viewer: Viewer, how: Ended) -> float:
    """Let the viewer go; return when."""
    if how is Ended.RST:
        await viewer.reset()
    else:
        await viewer.send_eof()
    return trio.current_time()


async def _cancelled_after_s(world: World, left_at: float) -> float:
    """Wait for the end of the origin's first connection; return how long it took."""
    await world.origin.wait_closed(1)
    closed_at = world.origin.connections[0].closed_at
    assert closed_at is not None
    return closed_at - left_at


@pytest.mark.parametrize("how", list(Ended))
async def test_leaving_before_the_answer_closes_the_origins_connection(how: Ended) -> None:
    """A long poll that nobody waits for any more is cancelled."""
    async with open_world(each_request(_before_the_answer)) as world:
        viewer = await world.open_viewer()
        await viewer.request()
        await world.origin.wait_connections(1)
        left_at = await _leave(viewer, how)
        assert await _cancelled_after_s(world, left_at) < CANCEL_S


@pytest.mark.parametrize("how", list(Ended))
async def test_leaving_within_the_answer_closes_the_origins_connection(how: Ended) -> None:
    """An event stream that nobody reads any more is cancelled."""
    async with open_world(each_request(_within_the_answer)) as world:
        viewer = await world.open_viewer()
        await viewer.request()
        await viewer.read_final_head()
        assert await viewer.read_chunk() == b"first"
        left_at = await _leave(viewer, how)
        assert await _cancelled_after_s(world, left_at) < CANCEL_S


async def test_leaving_a_download_under_way_closes_the_origins_connection() -> None:
    """An origin that never stops sending is stopped, windows and buffers or not."""
    started = trio.Event()
    async with open_world(_flooding(started)) as world:
        viewer = await world.open_viewer()
        await viewer.request()
        await started.wait()
        await viewer.read_exactly(1_000_000)
        left_at = await _leave(viewer, Ended.RST)
        assert await _cancelled_after_s(world, left_at) < CANCEL_S


async def test_leaving_with_pipelined_requests_behind_is_still_noticed() -> None:
    """Unread bytes of the next request do not hide that the viewer has gone."""
    async with open_world(each_request(_before_the_answer)) as world:
        viewer = await world.open_viewer()
        await viewer.send(viewer.compose(b"/one") + viewer.compose(b"/two"))
        await world.origin.wait_connections(1)
        left_at = await _leave(viewer, Ended.RST)
        assert await _cancelled_after_s(world, left_at) < CANCEL_S
        assert [request.target for request in world.origin.requests] == [b"/one"]


async def test_leaving_within_an_upload_closes_the_origins_connection() -> None:
    """The origin does not wait for content that will never come."""
    started = trio.Event()

    async def answer(connection: Connection, request: Request) -> None:
        started.set()
        await connection.read_content(request)

    async with open_world(each_head(answer)) as world:
        viewer = await world.open_viewer()
        await viewer.request(method=b"POST", fields=((b"Content-Length", b"1000"),))
        await viewer.send(b"x" * 500)
        await started.wait()
        left_at = await _leave(viewer, Ended.FIN)
        assert await _cancelled_after_s(world, left_at) < CANCEL_S
        assert not world.origin.requests[0].content.complete


async def test_leaving_touches_nobody_else() -> None:
    """Of ten streams in one tunnel the nine others go on."""
    release = trio.Event()
    waiting: list[Connection] = []

    async def answer(connection: Connection, _request: Request) -> None:
        waiting.append(connection)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_when_left, connection, nursery)
            await release.wait()
            nursery.cancel_scope.cancel()
        if not connection.left.is_set():
            await connection.answer(b"still here")

    async with open_world(each_request(answer)) as world:
        viewers = [await world.open_viewer() for _ in range(10)]
        for viewer in viewers:
            await viewer.request()
        await world.origin.wait_connections(10)
        await viewers.pop(3).reset()
        await world.origin.wait_closed(1)
        release.set()
        for viewer in viewers:
            assert (await viewer.read_response()).data == b"still here"


async def _cancel_when_left(connection: Connection, nursery: trio.Nursery) -> None:
    if not await connection.wait_readable():
        nursery.cancel_scope.cancel()


async def test_an_answer_that_is_ready_is_sent_although_the_viewer_half_closed() -> None:
    """``printf | nc`` gets its answer: a FIN right behind the request is not a cancel at once."""
    async with open_world() as world:
        viewer = await world.open_viewer()
        await viewer.request()
        await viewer.send_eof()
        answer = await viewer.read_response()
        assert (answer.status, answer.data) == (200, b"hello")
        assert await viewer.read_rest() == b""


async def test_pipelined_requests_before_a_fin_are_answered() -> None:
    """Both answers come, then the gateway's FIN."""
    async with open_world() as world:
        viewer = await world.open_viewer()
        await viewer.send(viewer.compose(b"/1") + viewer.compose(b"/2"))
        await viewer.send_eof()
        for _ in range(2):
            assert (await viewer.read_response()).data == b"hello"
        assert await viewer.read_rest() == b""


async def test_leaving_a_websocket_closes_the_origins_connection() -> None:
    """After a 101 the viewer's RST is the end of both directions."""

    async def handler(connection: Connection) -> None:
        request = await connection.read_request()
        assert request is not None
        await accept_websocket(connection, request)
        await connection.wait_left()

    async with open_world(handler) as world:
        viewer = await world.open_viewer()
        await open_websocket(viewer)
        left_at = await _leave(viewer, Ended.RST)
        assert await _cancelled_after_s(world, left_at) < CANCEL_S


async def test_a_held_request_whose_viewer_left_is_never_sent() -> None:
    """Nobody waits for it any more when the client comes back."""
    async with open_world(client=False) as world:
        left, stayed = await world.open_viewer(), await world.open_viewer()
        await left.request(b"/left", method=b"POST", content=b"x")
        await stayed.request(b"/stayed", method=b"POST", content=b"x")
        await world.exchange(b"/health", authority=world.base)  # both requests have been read
        await _leave(left, Ended.RST)
        await _until_gone(world)
        await world.restart_client()
        assert (await stayed.read_response()).status == 200
        assert [request.target for request in world.origin.requests] == [b"/stayed"]


async def _until_gone(world: World) -> None:
    """Let the gateway's sweep of open exchanges come round: it promises 0.5 s."""
    with trio.move_on_after(CANCEL_S):
        await trio.sleep_forever()
    assert world.client is None


async def test_a_thousand_requests_whose_viewers_leave_leak_nothing() -> None:
    """Open and cut, again and again: the tunnel has no stream left and serves the next viewer."""

    async def answer(connection: Connection, request: Request) -> None:
        if request.target == b"/last":
            await connection.send(response(b"last"))
        else:
            await connection.wait_left()

    async with open_world(each_request(answer)) as world:
        for _ in range(20):
            viewers = [await world.open_viewer() for _ in range(50)]
            for viewer in viewers:
                await viewer.request()
            for viewer in viewers:
                await viewer.reset()
        assert (await world.exchange(b"/last")).data == b"last"
        while world.origin.open_connections > 1:
            await world.origin.wait_closed(len(world.origin.connections) - 1)
