"""WebSocket ends (RFC 6455) on raw links, by wsproto: a viewer's and an origin's.

The handshake is written and read as plain bytes, so that a test sees every field of it; frames
go through wsproto, which the project uses nowhere between viewer and origin.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

from wsproto.connection import Connection as Frames
from wsproto.connection import ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Message, Ping, Pong, TextMessage
from wsproto.extensions import Extension, PerMessageDeflate

from tests.support.messages import compose

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.support.link import Link
    from tests.support.messages import Head, Request
    from tests.support.origin import Connection
    from tests.support.viewer import Viewer

KEY = base64.b64encode(b"sixteen bytes ok")
DEFLATE = b"permessage-deflate; client_no_context_takeover; server_no_context_takeover"


def accept_of(key: bytes) -> bytes:
    """Return Sec-WebSocket-Accept for this key (RFC 6455 section 4.2.2)."""
    digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11", usedforsecurity=False)
    return base64.b64encode(digest.digest())


class WebSocket:
    """One end of an established WebSocket."""

    def __init__(self, link: Link, kind: ConnectionType, *, deflate: bool = False) -> None:
        """Speak frames on ``link`` from here on; what it has buffered is read first."""
        trailing, link.buffer = link.buffer, b""
        extensions: list[Extension] = []
        if deflate:
            extensions.append(PerMessageDeflate())
            extensions[0].finalize(DEFLATE.decode())
        self.link = link
        self._frames = Frames(kind, extensions, trailing)
        self._ready = list(self._frames.events())

    async def send(self, event: Event) -> None:
        """Send one event's frame: part of a message, a ping, a close."""
        await self.link.send(self._frames.send(event))

    async def send_text(self, text: str) -> None:
        """Send a text message in one frame."""
        await self.send(TextMessage(data=text))

    async def send_bytes(self, data: bytes) -> None:
        """Send a binary message in one frame."""
        await self.send(BytesMessage(data=data))

    async def receive(self) -> Event | None:
        """Return the next event as it came; None when the connection ended without a close."""
        while not self._ready:
            data = await self.link.read_some()
            if not data:
                return None
            self._frames.receive_data(data)
            self._ready += self._frames.events()
        return self._ready.pop(0)

    async def receive_message(self) -> str | bytes:
        """Return the next whole message, fragments joined; pings are answered meanwhile."""
        texts: list[str] = []
        pieces: list[bytes] = []
        while True:
            event = await self.receive()
            if isinstance(event, Ping):
                await self.send(event.response())
            elif isinstance(event, TextMessage):
                texts.append(event.data)
                if event.message_finished:
                    return "".join(texts)
            elif isinstance(event, BytesMessage):
                pieces.append(bytes(event.data))
                if event.message_finished:
                    return b"".join(pieces)
            else:
                assert isinstance(event, Pong), event

    async def close(self, code: int, reason: str = "") -> CloseConnection | None:
        """Send a close frame and return the peer's answer to it."""
        await self.send(CloseConnection(code=code, reason=reason))
        while (event := await self.receive()) is not None:
            if isinstance(event, CloseConnection):
                return event
        return None


async def open_websocket(
    viewer: Viewer,
    target: bytes = b"/",
    *,
    fields: Iterable[tuple[bytes, bytes]] = (),
    deflate: bool = False,
) -> tuple[WebSocket, Head]:
    """Shake hands as a viewer; return the WebSocket and the head of the 101."""
    offer = [(b"Sec-WebSocket-Extensions", DEFLATE)] if deflate else []
    await viewer.request(target, fields=[*handshake_fields(), *offer, *fields])
    answer = await viewer.read_final_head()
    assert answer.status == 101, answer
    assert answer.head.get(b"Sec-WebSocket-Accept") == accept_of(KEY)
    assert (answer.head.get(b"Upgrade") or b"").lower() == b"websocket"
    assert b"upgrade" in (answer.head.get(b"Connection") or b"").lower()
    agreed = answer.head.has(b"Sec-WebSocket-Extensions")
    return WebSocket(viewer, ConnectionType.CLIENT, deflate=deflate and agreed), answer.head


def handshake_fields() -> list[tuple[bytes, bytes]]:
    """Return the fields of an opening handshake, beside Host."""
    return [
        (b"Upgrade", b"websocket"),
        (b"Connection", b"Upgrade"),
        (b"Sec-WebSocket-Key", KEY),
        (b"Sec-WebSocket-Version", b"13"),
    ]


async def accept_websocket(
    connection: Connection,
    request: Request,
    *,
    fields: Iterable[tuple[bytes, bytes]] = (),
    deflate: bool = False,
) -> WebSocket:
    """Answer a handshake as an origin with 101 and return the WebSocket."""
    key = request.head.get(b"Sec-WebSocket-Key")
    assert key is not None, "no Sec-WebSocket-Key"
    answer = [
        (b"Upgrade", b"websocket"),
        (b"Connection", b"Upgrade"),
        (b"Sec-WebSocket-Accept", accept_of(key)),
        *([(b"Sec-WebSocket-Extensions", DEFLATE)] if deflate else []),
        *fields,
    ]
    await connection.send(compose(b"HTTP/1.1 101 Switching Protocols", answer))
    return WebSocket(connection, ConnectionType.SERVER, deflate=deflate)


async def echo_websocket(connection: Connection) -> None:
    """Handle a connection as an echo server does: messages back, close codes back."""
    request = await connection.read_request()
    if request is None:
        return
    websocket = await accept_websocket(connection, request)
    while (event := await websocket.receive()) is not None:
        if isinstance(event, Ping | CloseConnection):
            await websocket.send(event.response())
            if isinstance(event, CloseConnection):
                return
        elif isinstance(event, Message):
            await websocket.send(event)
