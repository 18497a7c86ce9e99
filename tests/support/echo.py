"""An app that answers each WebSocket message with the same one; permessage-deflate too.

A program: prints its port and serves until it is killed. wsproto alone stands between it and the
socket, so that what a test case says of it is what RFC 6455 says.
"""

from __future__ import annotations

from typing import Final

import trio
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    Request,
    TextMessage,
)
from wsproto.extensions import PerMessageDeflate
from wsproto.utilities import RemoteProtocolError

READ_BYTES: Final = 1 << 18


async def echo(stream: trio.SocketStream) -> None:
    """Serve one connection to its end."""
    connection = WSConnection(ConnectionType.SERVER)
    pieces: list[str | bytes] = []
    try:
        while data := await stream.receive_some(READ_BYTES):
            try:
                connection.receive_data(data)
            except RemoteProtocolError as error:
                if error.event_hint is not None:
                    await stream.send_all(connection.send(error.event_hint))
                break
            for event in connection.events():
                answer = _answer(event, pieces)
                if answer is not None:
                    await stream.send_all(connection.send(answer))
                if isinstance(event, CloseConnection):
                    await stream.send_eof()
    except trio.BrokenResourceError:
        pass
    finally:
        await trio.aclose_forcefully(stream)


def _answer(event: Event, pieces: list[str | bytes]) -> Event | None:
    match event:
        case Request():
            return AcceptConnection(extensions=[PerMessageDeflate()])
        case Ping() | CloseConnection():
            return event.response()
        case TextMessage() | BytesMessage():
            pieces.append(event.data)
        case _:
            return None
    if not event.message_finished:
        return None
    texts = [piece for piece in pieces if isinstance(piece, str)]
    octets = [piece for piece in pieces if isinstance(piece, bytes)]
    pieces.clear()
    return TextMessage("".join(texts)) if texts else BytesMessage(b"".join(octets))


async def main() -> None:
    """Listen on a free port of 127.0.0.1 until killed."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    print(listener.socket.getsockname()[1], flush=True)
    await trio.serve_listeners(echo, [listener])


if __name__ == "__main__":
    trio.run(main)
