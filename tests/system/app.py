"""An app to share: a page at /, and a WebSocket at /echo that says back what it hears. $1: port."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from websockets.sync.server import ServerConnection, serve

if TYPE_CHECKING:
    from websockets.http11 import Request, Response


def answer(connection: ServerConnection, request: Request) -> Response | None:
    """Serve the page; let /echo through to the handshake."""
    return None if request.path == "/echo" else connection.respond(200, "hello from the laptop\n")


def echo(connection: ServerConnection) -> None:
    """Say back each message until the peer leaves."""
    for message in connection:
        connection.send(message)


with serve(echo, "127.0.0.1", int(sys.argv[1]), process_request=answer) as server:
    print("listening", flush=True)
    server.serve_forever()
