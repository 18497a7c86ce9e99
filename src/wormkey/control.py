"""The control plane: the sessions API on a Starlette app, served by hypercorn.

Owns what travels over HTTP between clients and the registry: routes, JSON, Bearer tokens, errors.
Only this file and nursery.py know hypercorn. It decides nothing about sessions (registry.py does)
and never sees a viewer. Every error is ``{"error": one sentence, "code": word}``.
"""

from __future__ import annotations

import logging
import os
import socket
from typing import TYPE_CHECKING, Any, Final, cast

import hypercorn.logging
import trio
from attrs import define
from hypercorn.config import Config
from hypercorn.trio import serve
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from wormkey.errors import AdmissionError, StoreError
from wormkey.guard import Cors, Guard, bearer_of, not_routed, read_json, refused, store_failed
from wormkey.node import Node
from wormkey.routing import public_url_of
from wormkey.session import NewSession, Session, SessionState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from datetime import datetime

    from hypercorn.typing import ASGIFramework
    from starlette.requests import Request

logger = logging.getLogger(__name__)

READ_TIMEOUT_S: Final = 30  # hypercorn never cuts a silent peer by itself
RESTART_PAUSE_S: Final = 1.0


# ── the server ──────────────────────────────────────────────────────────────────────────────


async def serve_control(
    node: Node,
    listeners: Sequence[trio.SocketListener],
    shutdown: Callable[[], Awaitable[None]],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve the API at ``listeners`` until ``shutdown`` returns and open requests are answered.

    The listeners stay the caller's; hypercorn gets duplicates. A fault inside hypercorn ends
    its connections, is logged, and it starts again: never the daemon.

    Cancellation: connections are cut.
    """
    app = make_app(node)
    status = _Started(task_status)
    while True:
        try:
            config, descriptors = _configure(node, listeners)
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
            logger.exception("control plane failed, starting again")
            await trio.sleep(RESTART_PAUSE_S)
        else:
            return


def _configure(node: Node, listeners: Sequence[trio.SocketListener]) -> tuple[Config, list[int]]:
    for listener in listeners:
        if listener.socket.family != socket.AF_UNIX and hasattr(socket, "TCP_USER_TIMEOUT"):
            # hypercorn shields its sends without a limit: a peer that does not read would hold
            # the shutdown. The kernel ends such a connection for us.
            timeout_ms = round(node.settings.close_timeout_s * 1000)
            listener.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, timeout_ms)
    # The HTTP/2 parser would write every field of a refused request at level debug, secrets too.
    logging.getLogger("hpack").setLevel(logging.WARNING)
    descriptors = [os.dup(listener.socket.fileno()) for listener in listeners]
    config = Config()
    config.bind = [f"fd://{descriptor}" for descriptor in descriptors]
    config.backlog = 1024  # hypercorn calls listen() once more
    config.read_timeout = READ_TIMEOUT_S
    config.keep_alive_timeout = node.settings.head_timeout_s  # bounds a slow head, too
    config.graceful_timeout = node.settings.close_timeout_s
    config.include_server_header = False
    config.accesslog = None
    config.errorlog = logger
    config.logger_class = _QuietLogger
    return config, descriptors


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
    api = _Api(node)
    middleware = [Middleware(Guard)]
    if node.settings.cors_origins:
        middleware.append(
            Middleware(
                Cors,
                allow_origins=list(node.settings.cors_origins),
                allow_methods=["GET", "POST", "DELETE"],
                allow_headers=["Authorization", "Content-Type"],
                expose_headers=["Retry-After", "WWW-Authenticate"],
            )
        )
    app = Starlette(
        routes=[
            Route("/", api.alive),
            Route("/health", api.health),
            Route("/ready", api.ready),
            Route("/access", api.access),
            Route("/sessions", api.create, methods=["POST"]),
            Route("/sessions/by-slug/{slug}", api.read_public),
            Route("/sessions/by-slug/{slug}/close", api.close_by_slug, methods=["POST"]),
            Route("/sessions/{session_id}", api.read),
            Route("/sessions/{session_id}", api.close, methods=["DELETE"]),
        ],
        middleware=middleware,
        exception_handlers={
            AdmissionError: refused,
            StoreError: store_failed,
            HTTPException: not_routed,
        },
    )
    app.router.redirect_slashes = False
    return app


@define
class _Api:
    """The calls of the API in order: state, access, sessions by id, by slug."""

    node: Node

    async def alive(self, _request: Request) -> Response:
        return JSONResponse({"status": "control plane alive"})

    async def health(self, _request: Request) -> Response:
        return PlainTextResponse("ok")

    async def ready(self, _request: Request) -> Response:
        self._check_draining()
        return PlainTextResponse("ok")

    async def access(self, request: Request) -> Response:
        """Tell whether the token presented may create sessions: what ``wormkey login`` asks."""
        principal = await self._admit_creation(request)
        return JSONResponse({"ok": True, "name": principal.removeprefix("token:")})

    async def create(self, request: Request) -> Response:
        self._check_draining()
        created_by = await self._admit_creation(request)
        wish = NewSession.from_json(
            await read_json(request), max_age_s=self.node.settings.max_session_age_s
        )
        made = await self.node.registry.create(wish, created_by=created_by)
        session = made.session
        base = f"{self.node.public}/.wormkey"
        document: dict[str, object] = {
            "sessionId": session.session_id,
            "slug": session.slug,
            "publicUrl": self._public_url(session),
            "ownerUrl": f"{base}/owner?slug={session.slug}&token={made.owner_token}",
            "overlayScriptUrl": f"{base}/overlay.js?slug={session.slug}",
            "edgeUrl": self.node.edge_url,
            "sessionToken": made.session_token,
            "expiresAt": _rfc3339(session.expires_at),
        }
        if made.password is not None:
            document |= {"username": made.username, "password": made.password}
        location = f"/sessions/{session.session_id}"
        return JSONResponse(document, status_code=201, headers={"Location": location})

    async def read(self, request: Request) -> Response:
        session_id = request.path_params["session_id"]
        session = self.node.registry.authorize(session_id, bearer_of(request.headers))
        return JSONResponse(
            self._public_part(session)
            | {
                "edgeUrl": self.node.edge_url,
                "port": session.port,
                "username": session.username,
                "policy": session.policy.as_json(),
                "closedAt": None if session.closed_at is None else _rfc3339(session.closed_at),
            }
        )

    async def close(self, request: Request) -> Response:
        session_id = request.path_params["session_id"]
        session = self.node.registry.authorize(session_id, bearer_of(request.headers))
        await self.node.registry.close(session)
        return JSONResponse({"ok": True})

    async def read_public(self, request: Request) -> Response:
        entry = self.node.routes.find(request.path_params["slug"].lower())
        if entry is None:
            raise AdmissionError(404, "unknown_session", "there is no such session")
        return JSONResponse(self._public_part(entry.session))

    async def close_by_slug(self, request: Request) -> Response:
        slug = request.path_params["slug"].lower()
        session = self.node.registry.authorize_owner(slug, bearer_of(request.headers))
        await self.node.registry.close(session)
        return JSONResponse({"ok": True})

    def _check_draining(self) -> None:
        if self.node.drain.draining:
            raise AdmissionError(
                503,
                "draining",
                "the server is shutting down; try again soon",
                fields=((b"Retry-After", b"5"),),
            )

    async def _admit_creation(self, request: Request) -> str:
        """Return the principal who may create a session here.

        Raises:
            AdmissionError: 401 without a valid access token in token mode; 403 in open mode for
                a web page of an origin that is not configured.
        """
        if self.node.settings.access == "token":
            name = await self.node.registry.check_access(bearer_of(request.headers))
            if name is None:
                raise AdmissionError(
                    401,
                    "access_token_required",
                    "an access token is needed to create sessions; run wormkey login",
                    fields=((b"WWW-Authenticate", b"Bearer"),),
                )
            return f"token:{name}"
        # Open mode trusts whoever can connect. A browser connects for any page it shows, also
        # after DNS rebinding, and then names that page's origin (Fetch §3.1); programs do not.
        origin = request.headers.get("origin")
        if origin is not None and origin not in self.node.settings.cors_origins:
            raise AdmissionError(
                403, "origin_not_allowed", "this web origin may not create sessions"
            )
        return f"address:{_principal_address(request)}"

    def _public_url(self, session: Session) -> str:
        return public_url_of(session.slug, self.node.public, self.node.settings.routing)

    def _public_part(self, session: Session) -> dict[str, object]:
        """Return what anyone may know of a session."""
        live = session.state(self.node.now()) is SessionState.LIVE
        entry = self.node.routes.find(session.slug)
        connected = entry is not None and entry.upstream is not None
        return {
            "sessionId": session.session_id,
            "slug": session.slug,
            "publicUrl": self._public_url(session),
            "expiresAt": _rfc3339(session.expires_at),
            "createdAt": _rfc3339(session.created_at),
            "authMode": session.auth_mode,
            "closed": not live,
            "available": live and connected,
        }


def _rfc3339(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _principal_address(request: Request) -> str:
    """Return the peer's address; a unix socket and all loopback addresses are one principal."""
    host = "" if request.client is None else request.client.host
    if not host or host == "::1" or host.removeprefix("::ffff:").startswith("127."):
        return "loopback"
    return host
