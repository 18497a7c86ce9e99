"""P17: streaming adds next to nothing, and any amount passes in the same memory."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from tests.support.messages import Request, compose
from tests.support.origin import Connection, each_head, each_request
from tests.support.promise import QUICK, Promise, sized
from tests.support.viewer import open_viewer
from tests.support.world import open_world

if TYPE_CHECKING:
    from tests.support.viewer import Viewer

ROUNDS = sized(full=500, quick=50)
MIB = 1 << 20
BULK_MIB = sized(full=10 * 1024, quick=256)
ADDED_MS = 50.0 if QUICK else 5.0  # a loaded machine; an idle one keeps the first figure
PASSED_MS = 500.0 if QUICK else 50.0
FLAT_MIB = 64.0


def _rss_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError


async def _first_byte_s(viewer: Viewer) -> float:
    began_at = trio.current_time()
    await viewer.request()
    answer = await viewer.read_final_head()
    first_s = trio.current_time() - began_at
    await viewer.read_content(answer)
    return first_s


async def test_the_first_byte_comes_as_soon(promise: Promise) -> None:
    """The median through the tunnel, less that beside the app."""

    async def answer(connection: Connection, _request: Request) -> None:
        await connection.answer(b"x")

    async with open_world(each_request(answer), limit_s=120) as world:
        through = await world.open_viewer()
        direct = await open_viewer("127.0.0.1", world.origin.port, world.origin_authority)
        beside = [await _first_byte_s(direct) for _ in range(ROUNDS)]
        behind = [await _first_byte_s(through) for _ in range(ROUNDS)]
        await direct.aclose()
    added_s = statistics.median(behind) - statistics.median(beside)
    promise.at_most("added to the first byte, median", added_s * 1000, ADDED_MS, "ms")


async def test_a_103_and_an_event_pass_at_once(promise: Promise) -> None:
    """Each is with the viewer soon after the app has written it; nothing waits for more."""
    sent_at = 0.0
    go = trio.Event()

    async def events(connection: Connection, _request: Request) -> None:
        nonlocal sent_at, go
        sent_at = trio.current_time()
        await connection.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n")
        await go.wait()
        await connection.send(
            compose(
                b"HTTP/1.1 200 OK",
                ((b"Content-Type", b"text/event-stream"), (b"Transfer-Encoding", b"chunked")),
            )
        )
        for _ in range(ROUNDS):
            go = trio.Event()
            sent_at = trio.current_time()
            await connection.send_chunk(b"data: 1\n\n")
            await go.wait()

    async with open_world(each_request(events), limit_s=120) as world:
        viewer = await world.open_viewer()
        await viewer.request()
        await viewer.read_head()
        promise.at_most("a 103", (trio.current_time() - sent_at) * 1000, PASSED_MS, "ms")
        go.set()
        await viewer.read_final_head()
        slowest_s = 0.0
        for _ in range(ROUNDS):
            assert await viewer.read_chunk() == b"data: 1\n\n"
            slowest_s = max(slowest_s, trio.current_time() - sent_at)
            go.set()
        promise.at_most("an event, the slowest", slowest_s * 1000, PASSED_MS, "ms")


async def test_any_amount_passes_in_the_same_memory(promise: Promise) -> None:
    """Down and up; daemon, client, app and viewer are one process here, and it stays flat."""
    piece = bytes(MIB)

    async def bulk(connection: Connection, request: Request) -> None:
        if request.method == b"GET":
            length = b"%d" % (BULK_MIB * MIB)
            await connection.send(compose(b"HTTP/1.1 200 OK", ((b"Content-Length", length),)))
            for _ in range(BULK_MIB):
                await connection.send(piece)
            return
        left = BULK_MIB * MIB
        while left:
            left -= len(await connection.read_some())
        await connection.answer(b"got it")

    async with open_world(each_head(bulk), limit_s=3600) as world:
        viewer = await world.open_viewer()
        await world.open_viewer()
        base = peak = _rss_bytes()
        await viewer.request()
        await viewer.read_final_head()
        left, reads = BULK_MIB * MIB, 0
        while left:
            left -= len(await viewer.read_some())
            reads += 1
            if reads % 64 == 0:
                peak = max(peak, _rss_bytes())
        await viewer.send(
            compose(
                b"POST / HTTP/1.1",
                ((b"Host", world.authority), (b"Content-Length", b"%d" % (BULK_MIB * MIB))),
            )
        )
        for _ in range(BULK_MIB):
            await viewer.send(piece)
            peak = max(peak, _rss_bytes())
        assert (await viewer.read_final_head()).status == 200
        promise.at_most(
            f"RSS more for {BULK_MIB} MiB each way", (peak - base) / MIB, FLAT_MIB, "MiB"
        )
