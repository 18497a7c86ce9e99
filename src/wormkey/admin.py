"""The admin socket: what the operator's own commands ask the running daemon for.

Owns the calls behind ``wormkeyd status``, ``token add`` and ``token revoke``. They are served at a
unix socket in the state folder, 0600, and nowhere else: the file's mode decides who may, so nothing
here asks for a token, and nothing here may ever be reachable by TCP. Knows no server.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from attrs import define
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from wormkey.access import principal_of
from wormkey.audit import OPERATOR
from wormkey.errors import AdmissionError, ConfigError, StoreError
from wormkey.guard import Guard, not_routed, read_json, refused, store_failed
from wormkey.node import Node

if TYPE_CHECKING:
    from starlette.requests import Request


@define
class Admin:
    """The calls; ``facts`` says how the daemon is, as JSON has it."""

    node: Node
    facts: Callable[[], dict[str, object]]

    async def status(self, _request: Request) -> Response:
        """Tell how the daemon is."""
        return JSONResponse(self.facts())

    async def add(self, request: Request) -> Response:
        """Make an access token and tell its text, this once."""
        document = await read_json(request)
        name = document.get("name") if isinstance(document, dict) else None
        if not isinstance(name, str):
            raise AdmissionError(400, "bad_request", "name must be text")
        try:
            token = await self.node.access.add(name)
        except ConfigError as error:
            raise AdmissionError(400, "bad_request", str(error)) from None
        return JSONResponse({"token": token})

    async def revoke(self, request: Request) -> Response:
        """End an access token, and the sessions that it created if that is asked for."""
        document = await read_json(request)
        wish = document if isinstance(document, dict) else {}
        name, close = wish.get("name"), wish.get("close", False)
        if not isinstance(name, str) or not isinstance(close, bool):
            raise AdmissionError(400, "bad_request", "name must be text, close true or false")
        # In this order: afterwards the token creates nothing that would be missed.
        revoked = await self.node.access.revoke(name)
        closed = 0
        if close:
            closed = await self.node.registry.close_created_by(principal_of(name), OPERATOR)
        return JSONResponse({"revoked": revoked, "closed": closed})


def make_admin_app(node: Node, facts: Callable[[], dict[str, object]]) -> Starlette:
    """Return the ASGI app of the admin socket."""
    admin = Admin(node, facts)
    app = Starlette(
        routes=[
            Route("/status", admin.status),
            Route("/tokens/add", admin.add, methods=["POST"]),
            Route("/tokens/revoke", admin.revoke, methods=["POST"]),
        ],
        middleware=[Middleware(Guard, node=node)],
        exception_handlers={
            AdmissionError: refused,
            StoreError: store_failed,
            HTTPException: not_routed,
        },
    )
    app.router.redirect_slashes = False
    return app
