"""The control plane: the sessions API on a Starlette app, and the server for it on hypercorn.

Owns the table of routes (calls.py has the calls) and the server, which the admin socket uses too.
Only this file and nursery.py know hypercorn. It never sees a viewer. Every error is
``{"error": one sentence, "code": word}``.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any, Final, cast

import hypercorn.logging
import trio
from attrs import define
from hypercorn.config import Config
from hypercorn.trio import serve
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import Route
from starlette.types import ASGIApp

from wormkey.calls import Api
from wormkey.errors import AdmissionError, StoreError
from wormkey.front import Front, new_introduction
from wormkey.guard import Cors, Guard, Introduced, not_routed, refused, store_failed
from wormkey.hardening import OWN_ANSWER
from wormkey.listeners import inner_socket
from wormkey.node import Node
from wormkey.seats import Seats

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from hypercorn.typing import ASGIFramework
    from starlette.types import Receive, Scope, Send

    from wormkey.config import Settings

logger = logging.getLogger(__name__)

READ_TIMEOUT_S: Final = 30  # hypercorn never cuts a silent peer by itself
RESTART_PAUSE_S: Final = 1.0


# ── the server ──────────────────────────────────────────────────────────────────────────────


async def serve_control(
    node: Node,
    listeners: Sequence[trio.SocketListener],
    shutdown: Callable[[], Awaitable[None]],
    *,
    max_connections: int = 0,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve the API at ``listeners`` until ``shutdown`` returns and open calls are answered.

    Strangers meet the front; the API's server listens behind it, at a socket of this process.
    ``max_connections`` is the settings' number, or fewer.

    Cancellation: connections are cut.
    """
    introduction = new_introduction()
    app = Introduced(make_app(node), introduction)
    over = trio.Event()
    most = max_connections or node.settings.max_control_connections
    with inner_socket() as (listener, dial):
        async with trio.open_nursery() as nursery:
            await nursery.start(serve_app, app, node.settings, [listener], over.wait)
            front = Front(node, introduction, dial, Seats(most, tunnels=0))
            await front.run(listeners, shutdown, task_status=task_status)
            over.set()


async def serve_app(
    app: ASGIApp,
    settings: Settings,
    listeners: Sequence[trio.SocketListener],
    shutdown: Callable[[], Awaitable[None]],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve ``app`` at ``listeners`` until ``shutdown`` returns and open requests are answered.

    The listeners stay the caller's; hypercorn gets duplicates. A fault inside hypercorn ends
    its connections, is logged, and it starts again: never the daemon. The time-outs in
    ``settings`` count as they are now, whatever a reload changes.

    Cancellation: connections are cut.
    """
    status = _Started(task_status)
    while True:
        try:
            config, descriptors = _configure(settings, listeners)
            await serve(
                cast("ASGIFramework", app),  # the two write ASGI's messages as different types
                config,
                shutdown_trigger=shutdown,
                task_status=_Adopted(descriptors, status),
                mode="asgi",
            )
        except Exception:
            if not status.done:
                raise
            logger.exception("API server failed, starting again")
            await trio.sleep(RESTART_PAUSE_S)
        else:
            return


def _configure(
    settings: Settings, listeners: Sequence[trio.SocketListener]
) -> tuple[Config, list[int]]:
    # The HTTP/2 parser would write every field of a refused request at level debug, secrets too.
    logging.getLogger("hpack").setLevel(logging.WARNING)
    descriptors = [os.dup(listener.socket.fileno()) for listener in listeners]
    config = _Config()
    config.bind = [f"fd://{descriptor}" for descriptor in descriptors]
    config.backlog = 1024  # hypercorn calls listen() once more
    config.read_timeout = READ_TIMEOUT_S
    config.keep_alive_timeout = settings.head_timeout_s  # bounds a slow head, too
    config.graceful_timeout = settings.close_timeout_s
    config.include_server_header = False
    config.accesslog = None
    config.errorlog = logger
    config.logger_class = _QuietLogger
    return config, descriptors


class _Config(Config):
    """hypercorn's configuration, with our fields on every answer: also those to no request."""

    def response_headers(self, protocol: str) -> list[tuple[bytes, bytes]]:
        return [*super().response_headers(protocol), *OWN_ANSWER]


class _QuietLogger(hypercorn.logging.Logger):
    """hypercorn's log as ours: what it calls info is our debug."""

    async def info(self, message: str, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        logger.debug(message, *args, **kwargs)


@define
class _Started:
    """Reports the first start only."""

    task_status: trio.TaskStatus[None]
    done: bool = False

    def report(self) -> None:
        if not self.done:
            self.done = True
            self.task_status.started()


@define
class _Adopted:
    """What hypercorn calls when its sockets listen (a trio.TaskStatus)."""

    descriptors: list[int]
    status: _Started

    def started(self, value: object = None) -> None:
        """Take back the inheritance that hypercorn grants: children must not hold our port."""
        for descriptor in self.descriptors:
            os.set_inheritable(descriptor, False)
        self.status.report()


# ── the app ─────────────────────────────────────────────────────────────────────────────────


def make_app(node: Node) -> Starlette:
    """Return the ASGI app of the API."""
    api = Api(node)
    app = Starlette(
        routes=[
            Route("/", api.alive),
            Route("/health", api.health),
            Route("/ready", api.ready),
            Route("/metrics", api.metrics),
            Route("/openapi.json", api.describe),
            Route("/access", api.access),
            Route("/sessions", api.create, methods=["POST"]),
            Route("/sessions/by-slug/{slug}", api.read_public),
            Route("/sessions/by-slug/{slug}/policy", api.change_policy, methods=["POST"]),
            Route("/sessions/by-slug/{slug}/kick", api.kick, methods=["POST"]),
            Route("/sessions/by-slug/{slug}/close", api.close_by_slug, methods=["POST"]),
            Route("/sessions/by-slug/{slug}/owner-link", api.new_owner_link, methods=["POST"]),
            Route("/sessions/{session_id}", api.read),
            Route("/sessions/{session_id}", api.close, methods=["DELETE"]),
        ],
        middleware=[Middleware(Guard, node=node), Middleware(_Origins, node=node)],
        exception_handlers={
            AdmissionError: refused,
            StoreError: store_failed,
            HTTPException: not_routed,
        },
    )
    app.router.redirect_slashes = False
    return app


@define
class _Origins:
    """CORS for the origins of the settings at the moment; without any, no CORS at all."""

    app: ASGIApp
    node: Node
    _allowed: tuple[str, ...] = ()
    _cors: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        allowed = self.node.settings.cors_origins
        if allowed != self._allowed:
            self._allowed, self._cors = (
                allowed,
                Cors(
                    self.app,
                    allow_origins=list(allowed),
                    allow_methods=["GET", "POST", "DELETE"],
                    allow_headers=["Authorization", "Content-Type"],
                    expose_headers=["Retry-After", "WWW-Authenticate"],
                ),
            )
        await (self._cors if self._cors and allowed else self.app)(scope, receive, send)
