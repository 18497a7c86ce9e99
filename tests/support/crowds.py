"""A real daemon and client with an app in this process, and crowds of viewers at it."""

from __future__ import annotations

import math
import resource
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import trio
from attrs import define

from tests.support.messages import Request, compose
from tests.support.origin import Connection, each_request, start_origin
from tests.support.process import Daemon, Running, running_client, running_daemon
from tests.support.viewer import Viewer, open_viewer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

PIECE = bytes(64 * 1024)
GIB = 1 << 30
MIB = 1 << 20
STALLED_BUFFER_BYTES = 4096


@define
class Stand:
    """The processes, and what the app has sent."""

    daemon: Daemon
    clients: list[tuple[Running, bytes]]
    sent: list[int]

    def memory_bytes(self) -> int:
        """Return the resident memory of daemon and clients together."""
        return self.daemon.process.memory_bytes() + sum(
            client.memory_bytes() for client, _ in self.clients
        )

    async def open(self, path: bytes, client: int = 0, *, stalled: bool = False) -> Viewer:
        """Send a request for the app's ``path``; a stalled viewer has a tiny buffer."""
        host, port = self.daemon.gateway
        size = STALLED_BUFFER_BYTES if stalled else None
        viewer = await open_viewer(host, port, b"localhost:%d" % port, receive_buffer_bytes=size)
        await viewer.request(self.clients[client][1] + path)
        return viewer

    async def times_s(self, count: int) -> list[float]:
        """Return how long ``count`` requests took on one connection, one after another, sorted."""
        host, port = self.daemon.gateway
        viewer = await open_viewer(host, port, b"localhost:%d" % port)
        times = []
        for _ in range(count):
            began = trio.current_time()
            answer = await viewer.exchange(self.clients[0][1] + b"small")
            assert answer.status == 200, answer
            times.append(trio.current_time() - began)
        await viewer.aclose()
        return sorted(times)

    async def wait_stalled(self) -> None:
        """Wait until the app could send nothing for a second."""
        before = -1
        while before != self.sent[0]:
            before = self.sent[0]
            await trio.sleep(1)


def p99(times: list[float]) -> float:
    """Return the 99th percentile of sorted times."""
    return times[math.ceil(len(times) * 0.99) - 1]


@asynccontextmanager
async def open_stand(home: Path, *options: str, clients: int = 1) -> AsyncIterator[Stand]:
    """Start all of it: /big is a GiB, /events an open event stream, everything else is small."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard < 65536 and hard > 0 else 65536, hard))
    sent = [0]

    async def answer(connection: Connection, request: Request) -> None:
        if request.target.endswith(b"/big"):
            await connection.send(compose(b"HTTP/1.1 200 OK", ((b"Content-Length", b"%d" % GIB),)))
            for _ in range(GIB // len(PIECE)):
                await connection.send(PIECE)
                sent[0] += len(PIECE)
        elif request.target.endswith(b"/events"):
            kind = (b"Content-Type", b"text/event-stream")
            head = (kind, (b"Transfer-Encoding", b"chunked"))
            await connection.send(compose(b"HTTP/1.1 200 OK", head))
            await connection.send_chunk(b"data: 1\n\n")
            await connection.wait_left()
        else:
            await connection.send(compose(b"HTTP/1.1 200 OK", ((b"Content-Length", b"2"),), b"ok"))

    async with trio.open_nursery() as nursery, AsyncExitStack() as opened:
        origin = await start_origin(nursery, each_request(answer))
        daemon = await opened.enter_async_context(running_daemon(home, *options))
        started = []
        for _ in range(clients):
            client, made = await opened.enter_async_context(
                running_client(daemon, home, str(origin.port))
            )
            started.append((client, b"/s/" + made["slug"].encode() + b"/"))
        yield Stand(daemon, started, sent)
        nursery.cancel_scope.cancel(reason="the test is over")
