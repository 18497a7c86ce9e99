"""A running control plane on a memory store, and calls to it over real sockets."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import trio
from attrs import define

from tests.support import described
from tests.support.sessions import Daemon
from tests.support.viewer import open_viewer
from wormkey.config import Settings
from wormkey.control import serve_control
from wormkey.listeners import open_listeners
from wormkey.node import Node
from wormkey.routing import PublicUrl
from wormkey.scopes import Drain
from wormkey.values import TcpAddress

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.messages import Response
    from tests.support.viewer import Viewer

PUBLIC = "https://tunnels.example"
EDGE = "wss://edge.example"
BODY = {"port": 5173, "authMode": "none", "expiresIn": "24h"}


@define
class Plane:
    """A running control plane and a way to call it."""

    node: Node
    daemon: Daemon
    port: int
    nursery: trio.Nursery
    listeners: list[trio.SocketListener]
    stop: trio.Event

    async def connect(self) -> Viewer:
        """Open a connection."""
        return await open_viewer("127.0.0.1", self.port, b"localhost:%d" % self.port)

    async def answer(
        self,
        method: str,
        target: str,
        *,
        token: str | None = None,
        content: bytes | None = None,
        fields: tuple[tuple[bytes, bytes], ...] = (),
    ) -> Response:
        """Make one request on a connection of its own; the answer is held to the description."""
        if token is not None:
            fields += ((b"Authorization", b"Bearer " + token.encode()),)
        viewer = await self.connect()
        try:
            answer = await viewer.exchange(
                target.encode(), method=method.encode(), fields=fields, content=content
            )
            described.check(method, target, answer)
            return answer
        finally:
            await viewer.aclose()

    async def call(
        self, method: str, target: str, *, token: str | None = None, body: object = None
    ) -> tuple[int, Any]:
        """Make one call; return status and JSON."""
        content: bytes | None = None
        fields: tuple[tuple[bytes, bytes], ...] = ()
        if body is not None:
            content = json.dumps(body).encode()
            fields = ((b"Content-Type", b"application/json"),)
        answer = await self.answer(method, target, token=token, content=content, fields=fields)
        return answer.status, json.loads(answer.data)

    async def create(self, **members: object) -> Any:
        """Create a session; return the answer."""
        status, made = await self.call("POST", "/sessions", body=BODY | members)
        assert status == 201, made
        return made


@asynccontextmanager
async def open_plane(tmp_path: Path, **settings: Any) -> AsyncIterator[Plane]:
    """Serve a control plane for at most ten seconds; it is stopped by its trigger at the end."""
    options = {
        "state_dir": tmp_path / "state",
        "control": TcpAddress("127.0.0.1", 0),
        "close_timeout_s": 1.0,
        **settings,
    }
    daemon = Daemon(Settings(**options))
    node = Node(
        settings=daemon.settings,
        registry=daemon.registry,
        access=daemon.access,
        journal=daemon.journal,
        routes=daemon.routes,
        public=PublicUrl.parse(PUBLIC),
        edge_url=EDGE,
        now=daemon.clock,
        drain=Drain(),
        version="0",
    )
    node.started.set()
    with trio.fail_after(10):
        listeners = await open_listeners(daemon.settings.control)
        stop = trio.Event()
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(partial(serve_control, node, listeners, stop.wait))
                name = listeners[0].socket.getsockname()
                port = name[1] if isinstance(name, tuple) else 0
                yield Plane(node, daemon, port, nursery, listeners, stop)
                stop.set()
        finally:
            for listener in listeners:
                await listener.aclose()
