"""An origin whose every byte the test writes: no HTTP library stands between.

A handler is called once for each connection and plays a script on it: answer before reading,
reset half way, never answer, push 103, send trailers, echo an upload piece by piece. When it
returns, the connection is closed as a careful server does it: FIN, then reading until the peer
has gone. What arrived, and when each connection ended, stays on record.
"""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import trio
from attrs import define, field

from tests.support.link import CutError, Link
from tests.support.messages import (
    Content,
    Request,
    chunk,
    framing,
    read_content,
    read_request_head,
    response,
)

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable


class Connection(Link):
    """One connection to the origin, with the requests that came on it."""

    def __init__(self, stream: trio.SocketStream, number: int) -> None:
        """``number`` counts the origin's connections from 1."""
        super().__init__(stream)
        self.number = number
        self.requests: list[Request] = []
        self.closed = trio.Event()
        self.closed_at: float | None = None

    async def read_head(self) -> Request | None:
        """Read the next request's head only; None when the peer left between requests."""
        head = await read_request_head(self)
        if head is None:
            return None
        request = Request(head)
        self.requests.append(request)
        return request

    async def read_content(self, request: Request) -> Content:
        """Read the content of this request; it fills ``request.content`` as it arrives."""
        return await read_content(self, framing(request.head, request=True), request.content)

    async def read_request(self) -> Request | None:
        """Read a whole request; None when the peer left before or within it."""
        request = await self.read_head()
        if request is None or not (await self.read_content(request)).complete:
            return None
        return request

    async def answer(
        self,
        content: bytes = b"",
        *,
        status: bytes = b"200 OK",
        fields: Iterable[tuple[bytes, bytes]] = (),
    ) -> None:
        """Send a response with Content-Length."""
        await self.send(response(content, status=status, fields=fields))

    async def send_chunk(self, data: bytes) -> None:
        """Send one chunk of chunked content."""
        await self.send(chunk(data))


Handler: TypeAlias = Callable[[Connection], Awaitable[None]]
Answer: TypeAlias = Callable[[Connection, Request], Awaitable[None]]


def each_request(answer: Answer) -> Handler:
    """Return a handler that reads requests whole and calls ``answer`` for each."""

    async def handler(connection: Connection) -> None:
        while (request := await connection.read_request()) is not None:
            await answer(connection, request)

    return handler


def each_head(answer: Answer) -> Handler:
    """Return a handler that calls ``answer`` as soon as a head is there; the rest is its affair."""

    async def handler(connection: Connection) -> None:
        while (request := await connection.read_head()) is not None:
            await answer(connection, request)

    return handler


def answering(raw: bytes) -> Handler:
    """Return a handler that answers every request with exactly these bytes."""

    async def answer(connection: Connection, _request: Request) -> None:
        await connection.send(raw)

    return each_request(answer)


def saying(content: bytes = b"hello", fields: Iterable[tuple[bytes, bytes]] = ()) -> Handler:
    """Return a handler that answers every request with 200 and this content."""
    return answering(response(content, fields=fields))


@define(eq=False)
class Origin:
    """A listening origin and its record."""

    handler: Handler
    port: int = 0
    path: Path | None = None
    connections: list[Connection] = field(factory=list)
    _scope: trio.CancelScope = field(factory=trio.CancelScope)
    _news: trio.Condition = field(factory=trio.Condition)

    @property
    def requests(self) -> list[Request]:
        """Every request seen on any connection, in the order of their heads' connections."""
        return [request for connection in self.connections for request in connection.requests]

    @property
    def open_connections(self) -> int:
        """How many connections have not ended."""
        return sum(not connection.closed.is_set() for connection in self.connections)

    @property
    def sent_bytes(self) -> int:
        """How many bytes the kernel took from all connections."""
        return sum(connection.sent_bytes for connection in self.connections)

    async def wait_connections(self, count: int) -> None:
        """Wait until this many connections have been made since the start."""
        async with self._news:
            while len(self.connections) < count:
                await self._news.wait()

    async def wait_closed(self, count: int) -> None:
        """Wait until this many connections have ended since the start."""
        async with self._news:
            while sum(c.closed.is_set() for c in self.connections) < count:
                await self._news.wait()

    def stop(self) -> None:
        """Stop listening and cut every connection: a dev server that died."""
        self._scope.cancel(reason="the origin is stopped")

    async def _serve_one(self, stream: trio.SocketStream, tls: ssl.SSLContext | None) -> None:
        connection = Connection(stream, len(self.connections) + 1)
        self.connections.append(connection)
        try:
            async with self._news:
                self._news.notify_all()
            if tls is not None:
                secure = trio.SSLStream(stream, tls, server_side=True, https_compatible=True)
                await secure.do_handshake()
                connection.stream = secure
            await self.handler(connection)
            if tls is None:
                await connection.send_eof()
            else:
                await connection.stream.aclose()
            await connection.wait_left()
        except (trio.BrokenResourceError, trio.ClosedResourceError, CutError):
            pass  # the peer left in the middle, or the handler closed: both are on record
        except OSError as error:
            if error.errno not in (errno.ENOTCONN, errno.EBADF):
                raise
        finally:
            connection.closed_at = trio.current_time()
            connection.closed.set()
            with trio.CancelScope(shield=True):  # a condition's lock and a forced close: no waiting
                await connection.aclose()
                async with self._news:
                    self._news.notify_all()

    async def serve(
        self,
        *,
        host: str = "127.0.0.1",
        tls: ssl.SSLContext | None = None,
        task_status: trio.TaskStatus[Origin] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Listen on ``host`` (or on ``path``), report by ``started`` and serve until stopped."""
        if self.path is None:
            listener = (await trio.open_tcp_listeners(self.port, host=host))[0]
            self.port = listener.socket.getsockname()[1]
        else:
            unix = trio.socket.socket(trio.socket.AF_UNIX)
            await unix.bind(str(self.path))
            unix.listen(16)
            listener = trio.SocketListener(unix)
        with self._scope:
            async with trio.open_nursery() as nursery, listener:
                task_status.started(self)
                while True:
                    nursery.start_soon(self._serve_one, await listener.accept(), tls)


async def start_origin(
    nursery: trio.Nursery,
    handler: Handler,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    path: Path | None = None,
    tls: ssl.SSLContext | None = None,
) -> Origin:
    """Start an origin in ``nursery`` and return it once it listens."""
    origin = Origin(handler, port=port, path=path)

    async def serve(task_status: trio.TaskStatus[Origin]) -> None:
        await origin.serve(host=host, tls=tls, task_status=task_status)

    await nursery.start(serve)
    return origin
