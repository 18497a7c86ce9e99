"""Tunnels lost again and again under load: nothing is mixed up, doubled or shown as whole."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING

import trio

from tests.support.link import CutError
from tests.support.messages import LAST_CHUNK, Request, compose
from tests.support.origin import Connection, each_request
from tests.support.world import World, open_world
from wormkey.errors import ErrorCode

if TYPE_CHECKING:
    from tests.support.viewer import Viewer

VIEWERS = 20
LOSSES = 10
CHUNKED = ((b"Transfer-Encoding", b"chunked"),)


def _content(number: int, step: int) -> bytes:
    """Return content that no other exchange has, from nothing to 200 kB long."""
    seed = b"%d %d" % (number, step)
    return hashlib.shake_128(seed).digest((number * 7919 + step * 104_729) % 200_000)


async def _echo(connection: Connection, request: Request) -> None:
    """Send the content back, by length or in chunks as the target says."""
    content = request.content.data
    if request.target.startswith(b"/length"):
        await connection.answer(content)
        return
    await connection.send(compose(b"HTTP/1.1 200 OK", CHUNKED))
    for at in range(0, len(content), 10_000):
        await connection.send_chunk(content[at : at + 10_000])
    await connection.send(LAST_CHUNK)


async def _exchange(world: World, number: int, step: int) -> str:
    """Do one exchange; return how it went, or fail if it went wrong unseen."""
    content = _content(number, step)
    kind = b"/length" if step % 2 else b"/chunks"
    viewer: Viewer = await world.open_viewer()
    try:
        answer = await viewer.exchange(
            kind + b"?%d.%d" % (number, step), method=b"POST", content=content
        )
    except (CutError, trio.BrokenResourceError):
        return "cut before its head"
    finally:
        await viewer.aclose()
    if answer.status != 200:
        assert (answer.status, answer.error) in {(502, b"tunnel_lost"), (502, b"origin_failed")}
        return "refused"
    assert content.startswith(answer.data), "somebody else's content"
    if answer.content.complete:
        assert answer.data == content, "shown as whole, and is not"
        return "whole"
    return "cut"


async def test_tunnels_lost_under_load_never_mix_double_or_forge() -> None:
    """Twenty viewers, ten losses: each answer is right, or its viewer can see that it is not."""
    outcomes: Counter[str] = Counter()
    over, turn = trio.Event(), trio.Event()

    async def view(world: World, number: int) -> None:
        nonlocal turn
        step = 0
        while not over.is_set():
            outcomes[await _exchange(world, number, step)] += 1
            step += 1
            turn.set()
            turn = trio.Event()

    async with open_world(each_request(_echo), limit_s=60) as world, trio.open_nursery() as nursery:
        for number in range(VIEWERS):
            nursery.start_soon(view, world, number)
        entry = world.node.routes.find(world.slug)
        assert entry is not None
        for loss in range(LOSSES):
            # Until this tunnel has carried enough to be in the middle of something.
            while outcomes["whole"] < (loss + 1) * VIEWERS:
                await turn.wait()
            upstream = await entry.wait_upstream(10)
            assert upstream is not None
            upstream.close(ErrorCode.INTERNAL_ERROR, "the test drops the tunnel")
        over.set()
    sent = Counter(request.target for request in world.origin.requests)
    assert max(sent.values()) == 1, "a POST was sent twice"
    assert outcomes["whole"] >= LOSSES * VIEWERS
