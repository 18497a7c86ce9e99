"""A constant load of every kind on one session, that counts what a browser would show as broken.

Requests on kept connections and on new ones, answers that stream, uploads, WebSockets. A connection
that closes between two requests is no failure: browsers open another one and ask again
(RFC 9112 §9.3.1).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING

import trio
from attrs import define, field

from tests.support.link import CutError
from tests.support.messages import LAST_CHUNK, Request, compose
from tests.support.origin import Connection, each_head
from tests.support.viewer import Viewer, open_viewer
from tests.support.websocket import accept_websocket, open_websocket

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.support.messages import Response

PIECES = 12  # of a streamed answer, of an upload, and messages of a WebSocket
PIECE = b"p" * 4096
GAP_S = 0.05
_BROKEN = (CutError, trio.BrokenResourceError, trio.ClosedResourceError, OSError, AssertionError)


async def _answer(connection: Connection, request: Request) -> None:
    if request.target == b"/ws":
        socket = await accept_websocket(connection, request)
        try:
            while True:
                message = await socket.receive_message()
                await socket.send_text(f"echo {message!r}")
        except (AssertionError, *_BROKEN):
            return
    if request.target == b"/stream":
        await connection.send(compose(b"HTTP/1.1 200 OK", ((b"Transfer-Encoding", b"chunked"),)))
        for _ in range(PIECES):
            await connection.send_chunk(PIECE)
            await trio.sleep(GAP_S)
        await connection.send(LAST_CHUNK)
        return
    content = await connection.read_content(request)
    await connection.answer(hashlib.sha256(content.data).hexdigest().encode())


app = each_head(_answer)


@define(eq=False)
class Load:
    """The load on one gateway; ``failures`` say what a person would have seen."""

    address: tuple[str, int]
    authority: bytes
    done: Counter[str] = field(factory=Counter)
    failures: list[str] = field(factory=list)
    stopping: bool = False

    async def run(self) -> None:
        """Make all kinds of load until stopped.

        Cancellation: what is under way is cut.
        """
        works = (
            self._kept,
            self._kept,
            self._fresh,
            self._streaming,
            self._uploading,
            self._socket,
        )
        async with trio.open_nursery() as nursery:
            for work in works:
                nursery.start_soon(self._repeat, work)

    async def _repeat(self, work: Callable[[], Awaitable[None]]) -> None:
        name = work.__name__.strip("_")
        while not self.stopping:
            try:
                await work()
            except _BROKEN as error:
                self.failures.append(f"{name}: {type(error).__name__}: {error}")
            else:
                self.done[name] += 1
            await trio.sleep(GAP_S / 10)

    async def _open(self) -> Viewer:
        return await open_viewer(*self.address, self.authority)

    def _check(self, answer: Response, content: bytes) -> None:
        expected = hashlib.sha256(content).hexdigest().encode()
        assert (answer.status, answer.data) == (200, expected), (answer.status, answer.data[:80])

    async def _kept(self) -> None:
        """Twenty requests on one connection, as long as it is kept."""
        viewer = await self._open()
        try:
            for number in range(20):
                target = b"/%d" % number
                try:
                    answer = await viewer.exchange(target)
                except (CutError, trio.BrokenResourceError) as error:
                    if number and not getattr(error, "got", b""):
                        return  # it was closed between two requests
                    raise
                self._check(answer, b"")
                if (answer.head.get(b"Connection") or b"").lower() == b"close":
                    return
                await trio.sleep(GAP_S / 5)
        finally:
            await viewer.aclose()

    async def _fresh(self) -> None:
        viewer = await self._open()
        try:
            self._check(await viewer.exchange(b"/"), b"")
        finally:
            await viewer.aclose()

    async def _streaming(self) -> None:
        viewer = await self._open()
        try:
            answer = await viewer.exchange(b"/stream")
            assert answer.status == 200, (answer.status, answer.data[:80])
            assert answer.content.complete, "an answer was cut"
            assert answer.data == PIECE * PIECES
        finally:
            await viewer.aclose()

    async def _uploading(self) -> None:
        viewer = await self._open()
        try:
            length = (b"Content-Length", b"%d" % (len(PIECE) * PIECES))
            await viewer.request(b"/up", method=b"POST", fields=[length])
            for _ in range(PIECES):
                await viewer.send(PIECE)
                await trio.sleep(GAP_S)
            self._check(await viewer.read_response(b"POST"), PIECE * PIECES)
        finally:
            await viewer.aclose()

    async def _socket(self) -> None:
        viewer = await self._open()
        try:
            socket, _ = await open_websocket(viewer, b"/ws")
            for number in range(PIECES):
                await socket.send_text(str(number))
                assert await socket.receive_message() == f"echo {str(number)!r}"
                await trio.sleep(GAP_S)
        finally:
            await viewer.aclose()
