"""P21: an hour of churn loses and doubles nothing, and leaves nothing behind."""

from __future__ import annotations

import gc
import hashlib
import random
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from statistics import linear_regression
from typing import TYPE_CHECKING

import trio
from attrs import define, field
from wsproto.events import TextMessage

from tests.support.link import CutError
from tests.support.messages import LAST_CHUNK, Request, compose
from tests.support.promise import QUICK, Promise, sized
from tests.support.websocket import accept_websocket, open_websocket
from tests.support.world import World, open_world
from wormkey.client import Exchange

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.support.origin import Connection

SOAK_S = sized(full=3600, quick=20)
KILL_EVERY_S = sized(full=60, quick=4)
SETTLED_S = sized(full=300, quick=10)  # memory is compared with what it is then
MEASURE_EVERY_S = sized(full=60, quick=4)
RATE = 100  # requests a second
MAX_ENDED = sized(full=1000, quick=50)
GROWN = 1.2 if QUICK else 1.1  # twenty seconds are too few to be flat
MIB = 1 << 20


def _rss_bytes() -> int:
    gc.collect()
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError


def _descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def _tasks() -> int:
    return trio.lowlevel.current_statistics().tasks_living


def _content(target: bytes) -> bytes:
    return hashlib.shake_128(target).digest(int(target.rpartition(b"=")[2]))


@define
class Soak:
    """The viewers' side, and what became of each request."""

    world: World
    outcomes: Counter[str] = field(factory=Counter)
    chance: random.Random = field(factory=lambda: random.Random(21))
    number: int = 0

    def kinds(self) -> list[Callable[[bytes], Awaitable[None]]]:
        """Return what a viewer may do, the most frequent most often."""
        plain = [self.plain] * 6
        return [*plain, self.stream, self.upload, self.leave, self.websocket, self.session]

    async def one(self) -> None:
        """Do one thing; a viewer may be cut, and must see it."""
        self.number += 1
        size = self.chance.choice((0, 100, 5_000, 60_000))
        kind = self.chance.choice(self.kinds())
        try:
            await kind(b"/%d?size=%d" % (self.number, size))
        except (CutError, trio.BrokenResourceError):
            self.outcomes["cut"] += 1
        self._forget()

    def _forget(self) -> None:
        """Drop what the test's own app, viewers and client note of each request."""
        connections = self.world.origin.connections
        for connection in connections:
            connection.requests.clear()
        connections[:] = [each for each in connections if not each.closed_at]
        self.world.viewers.clear()
        if self.world.client is not None:  # its record of connections is waited for
            events = self.world.client.events
            events[:] = [each for each in events if not isinstance(each, Exchange)]

    async def _check(self, target: bytes, method: bytes, content: bytes | None) -> None:
        viewer = await self.world.open_viewer()
        try:
            answer = await viewer.exchange(target, method=method, content=content)
        finally:
            await viewer.aclose()
        if answer.status != 200:
            assert answer.status in {502, 503}, answer.status
            self.outcomes["refused"] += 1
        elif not answer.content.complete:
            self.outcomes["cut"] += 1
        elif answer.data == (_content(target) if content is None else content):
            self.outcomes["whole"] += 1
        else:
            self.outcomes["wrong"] += 1

    async def plain(self, target: bytes) -> None:
        """Fetch by length."""
        await self._check(b"/length" + target, b"GET", None)

    async def stream(self, target: bytes) -> None:
        """Fetch in chunks."""
        await self._check(b"/chunks" + target, b"GET", None)

    async def upload(self, target: bytes) -> None:
        """Send content and have it back."""
        await self._check(b"/echo" + target, b"POST", _content(target))

    async def leave(self, target: bytes) -> None:
        """Go away in the middle."""
        viewer = await self.world.open_viewer()
        await viewer.request(b"/chunks" + target)
        await viewer.reset()
        self.outcomes["left"] += 1

    async def websocket(self, target: bytes) -> None:
        """Say something in a WebSocket and hear it again."""
        viewer = await self.world.open_viewer()
        try:
            websocket, _ = await open_websocket(viewer, b"/websocket" + target)
            await websocket.send_text(target.decode())
            back = await websocket.receive_message()
            self.outcomes["whole" if back == target.decode() else "wrong"] += 1
        except AssertionError:
            self.outcomes["cut"] += 1  # closed by 1012, or no 101, while the client was away
        finally:
            await viewer.aclose()

    async def session(self, _target: bytes) -> None:
        """Create a session and close it."""
        status, made = await self.world.call("POST", "/sessions", body={"port": 1})
        assert status == 201, made
        path = f"/sessions/{made['sessionId']}"
        await self.world.call("DELETE", path, token=made["sessionToken"])
        self.outcomes["sessions"] += 1


async def _answer(connection: Connection, request: Request, seen: bytearray) -> None:
    if request.target.startswith(b"/length"):
        await connection.answer(_content(request.target))
    elif request.target.startswith(b"/echo"):
        seen[int(request.target.removeprefix(b"/echo/").partition(b"?")[0])] += 1
        await connection.answer(request.content.data)
    else:
        chunked = ((b"Transfer-Encoding", b"chunked"),)
        await connection.send(compose(b"HTTP/1.1 200 OK", chunked))
        content = _content(request.target)
        for at in range(0, len(content), 10_000):
            await connection.send_chunk(content[at : at + 10_000])
        await connection.send(LAST_CHUNK)


async def _app(connection: Connection, seen: bytearray) -> None:
    while (request := await connection.read_request()) is not None:
        if not request.target.startswith(b"/websocket"):
            await _answer(connection, request, seen)
            continue
        websocket = await accept_websocket(connection, request)
        event = await websocket.receive()
        if isinstance(event, TextMessage):  # None where the tunnel went first
            await websocket.send_text(event.data)
        return


async def test_an_hour_of_churn_leaves_nothing_behind(promise: Promise) -> None:
    """Every answer is compared; memory, tasks and descriptors come back to where they were."""
    seen = bytearray(2 * SOAK_S * RATE)  # how often each request's content came, by its number

    # A store on disk, as users have it: one in memory keeps the names of ended sessions for a day.
    async with open_world(
        partial(_app, seen=seen),
        limit_s=2 * SOAK_S + 120,
        store="sqlite",
        max_session_creations=100_000,
    ) as world:
        # What is kept of ended sessions has a bound: reached before memory is first looked at.
        world.node.routes.max_ended = MAX_ENDED
        soak = Soak(world)
        assert (await world.exchange(b"/length/?size=1")).status == 200
        tasks, descriptors = _tasks(), _descriptors()
        memory: list[tuple[float, float]] = []  # hours since the beginning, MiB
        blocks: list[int] = []  # what Python holds alive at the same moments, for who looks why
        began_at = trio.current_time()
        killed_at, measured_at = began_at, began_at + SETTLED_S
        async with trio.open_nursery() as nursery:
            while (now := trio.current_time()) < began_at + SOAK_S:
                nursery.start_soon(soak.one)
                if now > killed_at + KILL_EVERY_S:
                    killed_at = now
                    await world.restart_client()
                if now > measured_at:
                    measured_at = now + MEASURE_EVERY_S
                    memory.append(((now - began_at) / 3600, _rss_bytes() / MIB))
                    blocks.append(sys.getallocatedblocks())
                await trio.sleep_until(began_at + soak.number / RATE)
        memory.append(((trio.current_time() - began_at) / 3600, _rss_bytes() / MIB))
        await world.restart_client()  # its idle connections to the app are gone
        with trio.move_on_after(30):
            while _tasks() > tasks or _descriptors() > descriptors:  # noqa: ASYNC110
                await trio.sleep(0.1)  # nothing tells when the last has gone
        print(dict(soak.outcomes), "RSS", *(f"{mib:.1f}" for _, mib in memory), "blocks", *blocks)
        promise.exactly("wrong bodies", soak.outcomes["wrong"], 0)
        promise.exactly("uploads doubled", sum(count > 1 for count in seen), 0)
        grown = memory[-1][1] / memory[0][1]
        promise.at_most("RSS at the end, against minute five", grown, GROWN)
        if not QUICK:  # no slope shows in seconds
            slope = linear_regression(*zip(*memory, strict=True)).slope
            promise.at_most("RSS grows, by all its minutes", slope, 1, "MiB an hour")
        promise.at_most("tasks more than before", _tasks() - tasks, 0)
        promise.at_most("descriptors more than before", _descriptors() - descriptors, 0)
        promise.at_least("answers whole", soak.outcomes["whole"], SOAK_S * RATE / 4)
