"""A small app to expose: a form, an upload, a streamed answer, server-sent events, a WebSocket.

Run it with `python examples/sample_app.py [--port N]` and open the URL it prints. Everything a
tunnel must carry is in it, and nothing of it knows of a tunnel; the page tells by which URL the
viewer came, as any app could from the X-Forwarded fields. It keeps the last greetings in memory,
stores no upload, and uses what Wormkey itself depends on: Starlette on hypercorn on trio.
"""

from __future__ import annotations

import argparse
import hashlib
import html
import json
import signal
import socket
from collections import deque
from functools import partial
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.websockets import WebSocket

ASSETS = Path(__file__).with_name("sample_app")
PAGE = Template((ASSETS / "page.html").read_text(encoding="utf-8"))

MAX_GREETING_CHARACTERS = 200
MAX_FORM_BYTES = 16 * 1024
EVENT_INTERVAL_S = 0.5
CHUNKS = 5
CHUNK_INTERVAL_S = 0.4

greetings: deque[str] = deque(maxlen=8)


def public_url(request: Request) -> str:
    """The URL by which the viewer came, as an intermediary tells it or as the request says."""
    fields = request.headers
    scheme = fields.get("x-forwarded-proto", request.url.scheme)
    authority = fields.get("x-forwarded-host", request.url.netloc)
    return f"{scheme}://{authority}{fields.get('x-forwarded-prefix', '')}/"


async def page(request: Request) -> Response:
    """The page; it sets two cookies, to see that both arrive."""
    visits = request.cookies.get("visits", "0")
    count = int(visits) + 1 if visits.isdecimal() and len(visits) < 9 else 1
    entries = "".join(f"<li>{html.escape(greeting)}</li>" for greeting in greetings)
    text = PAGE.substitute(
        url=html.escape(public_url(request)),
        host=html.escape(request.headers.get("host", "")),
        visits=count,
        greetings=entries or '<li class="empty">Nobody has said hello yet.</li>',
        max_greeting=MAX_GREETING_CHARACTERS,
    )
    response = HTMLResponse(text, headers={"Cache-Control": "no-store"})
    response.set_cookie("visits", str(count), max_age=86_400, samesite="lax")
    response.set_cookie("last_page", "home", max_age=86_400, samesite="lax", httponly=True)
    return response


async def greet(request: Request) -> Response:
    """Take the form and send the browser back to the page (RFC 9110 §15.4.4)."""
    content = b""
    async for chunk in request.stream():
        content += chunk
        if len(content) > MAX_FORM_BYTES:
            return JSONResponse({"error": "that greeting is too long"}, status_code=413)
    form = parse_qs(content.decode("utf-8", "replace"), max_num_fields=8)
    if greeting := form.get("greeting", [""])[0].strip()[:MAX_GREETING_CHARACTERS]:
        greetings.appendleft(greeting)
    return RedirectResponse("/", status_code=303)


async def upload(request: Request) -> Response:
    """Count and digest the content as it arrives; nothing is kept."""
    digest, size = hashlib.sha256(), 0
    async for chunk in request.stream():
        digest.update(chunk)
        size += len(chunk)
    return JSONResponse({"bytes": size, "sha256": digest.hexdigest()})


async def slowly() -> AsyncIterator[bytes]:
    """A few lines with a pause between them."""
    for number in range(1, CHUNKS + 1):
        yield f"line {number} of {CHUNKS}\n".encode()
        await trio.sleep(CHUNK_INTERVAL_S)


async def stream(_request: Request) -> Response:
    """An answer that takes its time: a viewer must see each line when it is written."""
    return StreamingResponse(slowly(), media_type="text/plain")


async def count_up() -> AsyncIterator[bytes]:
    """One event at once, then one every interval, until the viewer leaves."""
    number = 0
    while True:
        number += 1
        yield f"id: {number}\ndata: {json.dumps({'count': number})}\n\n".encode()
        await trio.sleep(EVENT_INTERVAL_S)


async def events(_request: Request) -> Response:
    """The counter, as server-sent events."""
    return StreamingResponse(
        count_up(), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
    )


async def echo(websocket: WebSocket) -> None:
    """Send back what comes, text as text and bytes as bytes; `close CODE` closes with that code."""
    offered = websocket.scope["subprotocols"]
    await websocket.accept(subprotocol="echo" if "echo" in offered else None)
    while True:
        message = await websocket.receive()
        if message["type"] == "websocket.disconnect":
            return
        if message.get("bytes") is not None:
            await websocket.send_bytes(message["bytes"])
            continue
        command, _, argument = message["text"].partition(" ")
        if command == "close" and argument.isdecimal() and 3000 <= int(argument) <= 4999:
            await websocket.close(int(argument), "as you asked")
            return
        await websocket.send_text(message["text"])


app = Starlette(
    routes=[
        Route("/", page),
        Route("/greetings", greet, methods=["POST"]),
        Route("/upload", upload, methods=["POST", "PUT"]),
        Route("/stream", stream),
        Route("/events", events),
        WebSocketRoute("/echo", echo),
        Mount("/assets", StaticFiles(directory=ASSETS)),
    ]
)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, made here so that port 0 can be told by its real number."""
    listener = socket.create_server((host, port), backlog=128)
    listener.setblocking(False)
    return listener


async def run(listener: socket.socket) -> None:
    """Serve until SIGINT or SIGTERM.

    Cancellation: open exchanges end at once.
    """
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]  # hypercorn closes it
    config.loglevel = "WARNING"
    config.graceful_timeout = 0.5  # the counter never ends by itself
    config.keep_alive_timeout = 75
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            nursery.start_soon(partial(serve, app, config, shutdown_trigger=stop.wait))  # type: ignore[arg-type]
            await anext(signals)
            stop.set()


def main() -> None:
    """Parse the arguments, print the URL alone on stdout, serve."""
    parser = argparse.ArgumentParser(description="A small app to try a tunnel with.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8000, help="port; 0 picks a free one")
    arguments = parser.parse_args()
    try:
        listener = listen(arguments.host, arguments.port)
    except OSError as error:
        parser.exit(1, f"cannot listen on {arguments.host}:{arguments.port}: {error.strerror}\n")
    host, port = listener.getsockname()[:2]
    print(f"http://{host}:{port}/", flush=True)
    trio.run(run, listener)


if __name__ == "__main__":
    main()
