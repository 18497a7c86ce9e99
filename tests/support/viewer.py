"""A viewer on a raw socket: sends the bytes it is told to, reads strictly, tells FIN from RST."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import trio

from tests.support.link import CutError, Link
from tests.support.messages import (
    Content,
    Head,
    Response,
    chunk,
    compose,
    framing,
    read_chunk,
    read_content,
    read_response_head,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.support.messages import Fields


class Viewer(Link):
    """One connection of a viewer."""

    def __init__(self, stream: trio.SocketStream, authority: bytes) -> None:
        """``authority`` is the Host that composed requests carry."""
        super().__init__(stream)
        self.authority = authority

    def compose(
        self,
        target: bytes = b"/",
        *,
        method: bytes = b"GET",
        fields: Iterable[tuple[bytes, bytes]] = (),
        content: bytes | None = None,
    ) -> bytes:
        """Return a request's bytes: Host, then ``fields``, then a Content-Length with content."""
        lines = [(b"Host", self.authority), *fields]
        if content is not None:
            lines.append((b"Content-Length", b"%d" % len(content)))
        return compose(b"%s %s HTTP/1.1" % (method, target), lines, content or b"")

    async def request(
        self,
        target: bytes = b"/",
        *,
        method: bytes = b"GET",
        fields: Iterable[tuple[bytes, bytes]] = (),
        content: bytes | None = None,
    ) -> None:
        """Send a request and read nothing."""
        await self.send(self.compose(target, method=method, fields=fields, content=content))

    async def exchange(
        self,
        target: bytes = b"/",
        *,
        method: bytes = b"GET",
        fields: Iterable[tuple[bytes, bytes]] = (),
        content: bytes | None = None,
    ) -> Response:
        """Send a request and read its whole answer."""
        await self.request(target, method=method, fields=fields, content=content)
        return await self.read_response(method)

    async def send_chunk(self, data: bytes) -> None:
        """Send one chunk of chunked content."""
        await self.send(chunk(data))

    async def read_head(self) -> Head:
        """Read the next head, interim or final."""
        return await read_response_head(self)

    async def read_final_head(self) -> Response:
        """Read heads up to the final one (101 is final); leave the content unread."""
        interim = []
        while (head := await self.read_head()).start[1].startswith(b"1"):
            if head.start[1] == b"101":
                break
            interim.append(head)
        return Response(head, interim)

    async def read_response(self, method: bytes = b"GET") -> Response:
        """Read one whole answer; a cut shows in ``content.end``, not as an exception."""
        answer = await self.read_final_head()
        if answer.status != 101:
            await self.read_content(answer, method)
        return answer

    async def read_content(self, answer: Response, method: bytes = b"GET") -> Content:
        """Read the content of this answer; it fills ``answer.content`` as it arrives."""
        kind = framing(answer.head, request=False, method=method)
        return await read_content(self, kind, answer.content)

    async def read_chunk(self) -> bytes | Fields:
        """Read one chunk, or the trailer section behind the last one."""
        return await read_chunk(self)

    async def read_rest(self) -> bytes:
        """Read to the end of the connection; ``ended`` says which end."""
        return await self.read_to_end()


async def open_viewer(
    host: str, port: int, authority: bytes, *, receive_buffer_bytes: int | None = None
) -> Viewer:
    """Connect a viewer; a small ``receive_buffer_bytes`` makes one that fills up soon."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = trio.socket.socket(family, socket.SOCK_STREAM)
    if receive_buffer_bytes is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
    try:
        await sock.connect((host, port))
    except BaseException:
        sock.close()
        raise
    return Viewer(trio.SocketStream(sock), authority)


__all__ = ["CutError", "Viewer", "open_viewer"]
