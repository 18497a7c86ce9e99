"""A whole Wormkey in one trio process: daemon, client and origin, on ports of their own.

The only helper that imports the project. Everything listens on 127.0.0.1 port 0; the store is
memory; what a test does not set has the defaults that users get.
"""

from __future__ import annotations

import json
import tempfile
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import trio
from attrs import define, field

from tests.support.origin import Handler, Origin, saying, start_origin
from tests.support.viewer import Viewer, open_viewer
from wormkey import nursery as wormkey_nursery
from wormkey.client import Client, ClientEvent, ClientSettings, Connected, Disconnected
from wormkey.config import Settings, parse_address
from wormkey.facts import Facts
from wormkey.node import Node
from wormkey.target import parse_target

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from tests.support.messages import Response

ANY_PORT = parse_address("127.0.0.1:0")


@define(eq=False)
class RunningClient:
    """A client in a task of its own, with the record of what it said."""

    client: Client
    events: list[ClientEvent] = field(factory=list)
    scope: trio.CancelScope = field(factory=trio.CancelScope)
    ended: trio.Event = field(factory=trio.Event)
    error: BaseException | None = None
    _news: trio.Event = field(factory=trio.Event)

    def take(self, event: ClientEvent) -> None:
        """Record an event of the client."""
        self.events.append(event)
        self._news.set()
        self._news = trio.Event()

    async def run(self) -> None:
        """Run the client until it is stopped; keep the error that ends it, for the test to see."""
        try:
            with self.scope:
                await self.client.run()
        except Exception as error:  # noqa: BLE001 - whatever ended it is what the test asks about
            self.error = error
        self.ended.set()

    def count(self, kind: type[ClientEvent]) -> int:
        """Return how many events of this kind there were."""
        return sum(isinstance(event, kind) for event in self.events)

    async def wait(self, kind: type[ClientEvent], count: int = 1) -> None:
        """Wait until there were this many events of this kind."""
        while self.count(kind) < count:
            assert not self.ended.is_set(), self.error
            await self._news.wait()

    async def stop(self) -> None:
        """Cut the client off, as a machine that loses its power, and wait for its task."""
        self.scope.cancel(reason="the test stops the client")
        await self.ended.wait()


@define(eq=False)
class World:
    """A running daemon with one session, its origin and its client."""

    nursery: trio.Nursery
    node: Node
    facts: Facts
    control: tuple[str, int]
    gateway: tuple[str, int]
    origin: Origin
    session: dict[str, Any]
    client: RunningClient | None = None
    viewers: list[Viewer] = field(factory=list)

    @property
    def slug(self) -> str:
        """The session's slug."""
        return str(self.session["slug"])

    @property
    def token(self) -> str:
        """The session's token, which opens the tunnel."""
        return str(self.session["sessionToken"])

    @property
    def edge_url(self) -> str:
        """Where clients connect."""
        return f"ws://127.0.0.1:{self.gateway[1]}"

    @property
    def base(self) -> bytes:
        """The authority of the public URL."""
        return b"localhost:%d" % self.gateway[1]

    @property
    def authority(self) -> bytes:
        """The authority of the session's own host."""
        return self.slug.encode() + b"." + self.base

    @property
    def origin_authority(self) -> bytes:
        """What the origin is called by itself: the Host it must see."""
        return b"localhost:%d" % self.origin.port

    async def open_viewer(
        self, authority: bytes | None = None, *, receive_buffer_bytes: int | None = None
    ) -> Viewer:
        """Connect a viewer to the gateway; its Host is the session's own unless told."""
        viewer = await open_viewer(
            *self.gateway, authority or self.authority, receive_buffer_bytes=receive_buffer_bytes
        )
        self.viewers.append(viewer)
        return viewer

    async def exchange(
        self,
        target: bytes = b"/",
        *,
        authority: bytes | None = None,
        method: bytes = b"GET",
        fields: Iterable[tuple[bytes, bytes]] = (),
        content: bytes | None = None,
    ) -> Response:
        """Send one request on a connection of its own and read the whole answer."""
        viewer = await self.open_viewer(authority)
        answer = await viewer.exchange(target, method=method, fields=fields, content=content)
        await viewer.aclose()
        return answer

    async def call(
        self, method: str, path: str, *, token: str | None = None, body: object = None
    ) -> tuple[int, Any]:
        """Call the control plane; return the status and the JSON."""
        return await call(self.control, method, path, token=token, body=body)

    async def start_client(
        self, target: str | None = None, *, token: str | None = None, **settings: Any
    ) -> RunningClient:
        """Start a client for the session and return at once, without waiting for its tunnel."""
        return start_client(
            self.nursery,
            edge_url=self.edge_url,
            token=self.token if token is None else token,
            target=target or str(self.origin.port),
            **settings,
        )

    async def restart_client(self, target: str | None = None, **settings: Any) -> RunningClient:
        """Stop the client, start another one for the same session and wait for its tunnel."""
        if self.client is not None:
            await self.client.stop()
        self.client = await self.start_client(target, **settings)
        await self.client.wait(Connected)
        return self.client

    async def aclose(self) -> None:
        """Close every viewer."""
        for viewer in self.viewers:
            await viewer.aclose()


def start_client(
    nursery: trio.Nursery, *, edge_url: str, token: str, target: str, **settings: Any
) -> RunningClient:
    """Start a client in this process, as `wormkey expose` runs it."""
    events: list[RunningClient] = []
    client = Client(
        settings=ClientSettings(**settings),
        edge_url=edge_url,
        token=token,
        target=parse_target(target),
        on_event=lambda event: events[0].take(event),
    )
    running = RunningClient(client)
    events.append(running)
    nursery.start_soon(running.run)
    return running


async def call(
    address: tuple[str, int],
    method: str,
    path: str,
    *,
    token: str | None = None,
    body: object = None,
) -> tuple[int, Any]:
    """Call a control plane at ``address``; return the status and the JSON."""
    fields = [(b"Accept", b"application/json"), (b"Connection", b"close")]
    if token is not None:
        fields.append((b"Authorization", b"Bearer " + token.encode()))
    content = None
    if body is not None:
        content = json.dumps(body).encode()
        fields.append((b"Content-Type", b"application/json"))
    viewer = await open_viewer(*address, b"localhost:%d" % address[1])
    try:
        answer = await viewer.exchange(
            path.encode(), method=method.encode(), fields=fields, content=content
        )
    finally:
        await viewer.aclose()
    return answer.status, json.loads(answer.data)


def address_of(url: str) -> tuple[str, int]:
    """Return host and port of a URL; localhost is 127.0.0.1 here."""
    parts = urlsplit(url)
    host = "127.0.0.1" if parts.hostname == "localhost" else parts.hostname
    assert host is not None
    assert parts.port is not None
    return host, parts.port


@asynccontextmanager
async def open_world(
    handler: Handler | None = None,
    *,
    client: bool = True,
    client_settings: dict[str, Any] | None = None,
    session: dict[str, Any] | None = None,
    limit_s: float = 20.0,
    **settings: Any,
) -> AsyncIterator[World]:
    """Start a daemon with one session, an origin, and (unless told) its connected client.

    The world is the test's outer deadline too: after ``limit_s`` everything in it is cancelled.
    ``settings`` are attributes of config.Settings, ``client_settings`` of ClientSettings,
    ``session`` the body of POST /sessions beside the port.
    """
    with trio.fail_after(limit_s), tempfile.TemporaryDirectory(prefix="wormkey-") as folder:
        options = {
            "control": ANY_PORT,
            "gateway": ANY_PORT,
            "store": "memory",
            "state_dir": Path(folder),
            **settings,
        }
        async with trio.open_nursery() as nursery:
            origin = await start_origin(nursery, handler or saying())
            running = await nursery.start(partial(wormkey_nursery.serve, Settings(**options)))
            control = address_of(running.control_url)
            status, made = await call(
                control, "POST", "/sessions", body={"port": origin.port, **(session or {})}
            )
            assert status == 201, made
            world = World(
                nursery,
                running.node,
                running.facts,
                control,
                address_of(running.gateway_url),
                origin,
                made,
            )
            if client:
                await world.restart_client(**(client_settings or {}))
            try:
                yield world
            finally:
                with trio.CancelScope(shield=True):  # forced closes: nothing here waits
                    await world.aclose()
            nursery.cancel_scope.cancel(reason="the test is over")


__all__ = [
    "Connected",
    "Disconnected",
    "RunningClient",
    "World",
    "call",
    "open_world",
    "start_client",
]
