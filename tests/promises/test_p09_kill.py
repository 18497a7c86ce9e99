"""P9: a client that is killed takes its exchanges with it at once, and no answer looks whole."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import trio

from tests.support.crowds import open_stand
from tests.support.messages import Request, compose
from tests.support.origin import Connection, each_request
from tests.support.promise import QUICK, Promise, sized
from tests.support.world import open_world

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.viewer import Viewer

VIEWERS = sized(full=50, quick=10)
AT_ONCE_S = 1.0 if QUICK else 0.1  # a loaded machine may take its time


async def _endless(connection: Connection, request: Request) -> None:
    if request.target == b"/plain":
        await connection.answer(b"back")
        return
    await connection.send(compose(b"HTTP/1.1 200 OK", ((b"Transfer-Encoding", b"chunked"),)))
    await connection.send_chunk(b"first")
    await connection.wait_left()


async def test_a_killed_client_cuts_its_viewers_and_holds_the_new_ones(promise: Promise) -> None:
    """What is under way is cut within two seconds; what is new waits, and is served."""
    async with open_world(each_request(_endless), limit_s=120) as world:
        viewers: list[Viewer] = []
        for _ in range(VIEWERS):
            viewer = await world.open_viewer()
            await viewer.request()
            await viewer.read_final_head()
            assert await viewer.read_chunk() == b"first"
            viewers.append(viewer)
        assert world.client is not None
        killed_at = trio.current_time()
        await world.client.stop()
        whole = 0
        for viewer in viewers:
            whole += b"0\r\n\r\n" in await viewer.read_to_end()
        promise.at_most("viewers cut", trio.current_time() - killed_at, 2.0, "s")
        promise.exactly("answers that look whole", whole, 0)
        waiting = await world.open_viewer()
        await waiting.request(b"/plain")
        await world.restart_client()
        answer = await waiting.read_response()
        promise.exactly("the status of one that came meanwhile", answer.status, 200)


async def test_a_client_process_that_is_killed_cuts_its_viewers(
    promise: Promise, tmp_path: Path
) -> None:
    """The same with real processes, and SIGKILL; the kernel alone says goodbye."""
    async with open_stand(tmp_path) as stand:
        viewers = [await stand.open(b"events") for _ in range(VIEWERS)]
        for viewer in viewers:
            await viewer.read_final_head()
            assert await viewer.read_chunk() == b"data: 1\n\n"
        client, _ = stand.clients[0]
        killed_at = trio.current_time()
        assert await client.end(signal.SIGKILL) == -signal.SIGKILL
        whole = 0
        with trio.fail_after(30):
            for viewer in viewers:
                whole += b"0\r\n\r\n" in await viewer.read_to_end()
                await viewer.aclose()
        took_s = trio.current_time() - killed_at
        promise.at_most("viewers of a process cut", took_s, 2.0, "s")
        promise.exactly("answers of it that look whole", whole, 0)


async def test_without_a_hold_a_viewer_is_told_at_once(promise: Promise) -> None:
    """With --hold 0s the answer is 502, and it is there at once."""
    async with open_world(client=False, hold_s=0.0) as world:
        slowest_s = 0.0
        for _ in range(VIEWERS):
            began_at = trio.current_time()
            answer = await world.exchange()
            slowest_s = max(slowest_s, trio.current_time() - began_at)
            assert answer.status == 502
            assert answer.head.get(b"Retry-After")
        promise.at_most("502 with --hold 0s", slowest_s, AT_ONCE_S, "s")
