"""Window credit at both ends: what the next hop has not taken is not given back."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import trio
import trio.testing
from attrs import define, field

from wormkey.config import Settings
from wormkey.errors import ErrorCode, TunnelError
from wormkey.exchange import Exchange
from wormkey.fields import OriginView, ViewerFacts
from wormkey.frames import Data, RequestHead, Response, ResponseHead, StreamId, Trailers
from wormkey.http1 import Http1Limits
from wormkey.http1_origin import OriginConnection
from wormkey.http1_viewer import ViewerConnection
from wormkey.idlewatch import IdleWatch
from wormkey.metrics import Metrics
from wormkey.origin import Origin
from wormkey.scopes import Drain, Work, Workers
from wormkey.tally import Tally

if TYPE_CHECKING:
    from wormkey.originpool import OriginPool
    from wormkey.tunnelstream import TunnelStream

ONE = StreamId(1)
PIECE = bytes(64 * 1024)
HEAD = RequestHead(b"GET", b"/", ())


@define(eq=False)
class Gate(trio.abc.Stream):
    """A transport that takes nothing until it is opened."""

    request: bytes = b""
    free_sends: int = 0  # before it closes
    opened: trio.Event = field(factory=trio.Event)
    taken_bytes: int = 0

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Say the request once, then nothing for ever."""
        del max_bytes
        if not self.request:
            await trio.sleep_forever()
        said, self.request = self.request, b""
        return said

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Wait for the test."""
        if not self.free_sends:
            await self.opened.wait()
        self.free_sends = max(0, self.free_sends - 1)
        self.taken_bytes += len(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait for the test."""
        await self.opened.wait()

    async def aclose(self) -> None:
        """Nothing is held."""
        await trio.lowlevel.checkpoint()


@define(eq=False)
class Scripted:
    """A tunnel's stream that has these frames ready, and notes what is given back."""

    frames: deque[Response | Data | Trailers]
    released_bytes: int = 0
    ended: bool = False

    @property
    def ready(self) -> bool:
        """Whether a frame is here."""
        return bool(self.frames)

    async def receive(self) -> Response | Data | Trailers:
        """Return the next frame."""
        await trio.lowlevel.checkpoint()
        frame = self.frames.popleft()
        self.ended = isinstance(frame, Data) and frame.end_stream
        return frame

    def release(self, count: int) -> None:
        """Note the credit."""
        self.released_bytes += count

    def close(self, code: ErrorCode) -> None:
        """Nothing is held."""


@define(eq=False)
class OneStreamTunnel:
    """Leads to the scripted stream."""

    stream: Scripted
    start_work: Callable[[Work], None]
    version: int = 1

    def open_stream(self, head: RequestHead, *, end_stream: bool) -> Scripted:
        """Return the one stream."""
        assert (head, end_stream) == (HEAD, True)
        return self.stream

    def lost(self) -> TunnelError:
        """It never is."""
        return TunnelError("lost")


async def test_credit_is_given_only_for_what_the_viewers_socket_has_taken() -> None:
    """A viewer who takes nothing gets no more sent: neither first piece nor second is released."""
    frames: deque[Response | Data | Trailers] = deque(
        [
            Response(ONE, ResponseHead(200, ())),
            Data(ONE, PIECE),
            Data(ONE, PIECE, end_stream=True),
        ]
    )
    stream = Scripted(frames)
    gate = Gate(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    viewer = ViewerConnection(gate, Http1Limits())
    facts = ViewerFacts(peer="127.0.0.1", scheme=b"http", authority=b"localhost")
    with trio.fail_after(5):
        request = await viewer.receive_request()
        assert request is not None
        exchange = Exchange(
            viewer, request, HEAD, facts, Settings(), Drain(), Tally(Metrics(), 0.0), IdleWatch()
        )
        async with trio.open_nursery() as nursery:
            tunnel = OneStreamTunnel(stream, Workers(nursery).start)
            nursery.start_soon(exchange.run, tunnel)
            await trio.testing.wait_all_tasks_blocked()
            assert stream.released_bytes == 0
            gate.opened.set()
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel(reason="its worker waits for more")
        assert stream.released_bytes == 2 * len(PIECE)
        assert gate.taken_bytes > 2 * len(PIECE)


@define(eq=False)
class OneConnection:
    """A pool of one connection, over the gate."""

    gate: Gate

    async def connect(self) -> OriginConnection:
        """Return the connection."""
        await trio.lowlevel.checkpoint()
        return OriginConnection(self.gate, Http1Limits())


async def test_credit_is_given_only_for_what_the_apps_socket_has_taken() -> None:
    """An app that stops reading an upload gets no more of it sent."""
    head = RequestHead(b"POST", b"/", ((b"Content-Length", b"%d" % (2 * len(PIECE))),))
    frames: deque[Response | Data | Trailers] = deque(
        [Data(ONE, PIECE), Data(ONE, PIECE, end_stream=True)]
    )
    stream, gate = Scripted(frames), Gate(free_sends=1)  # the head goes through
    view = OriginView(scheme=b"http", authority=b"localhost:5173")
    origin = Origin(view, cast("OriginPool", OneConnection(gate)), Http1Limits())
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(origin.serve_stream, cast("TunnelStream", stream), head)
            await trio.testing.wait_all_tasks_blocked()
            assert gate.taken_bytes > 0
            assert stream.released_bytes == 0
            gate.opened.set()
            await trio.testing.wait_all_tasks_blocked()
            assert stream.released_bytes == 2 * len(PIECE)
            nursery.cancel_scope.cancel(reason="the app never answers")
