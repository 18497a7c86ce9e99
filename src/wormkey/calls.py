"""The calls of the control plane's API: from a checked request to the registry, and back to JSON.

Owns what each path answers (docs/api.md has the whole, ``GET /openapi.json`` the shapes). Decides
nothing about sessions: registry.py does; who may call is door.py's. Knows no server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define
from starlette.responses import JSONResponse, PlainTextResponse, Response

from wormkey import door, openapi
from wormkey.audit import Actor
from wormkey.errors import AdmissionError
from wormkey.guard import read_json
from wormkey.node import Node
from wormkey.routing import public_url_of
from wormkey.session import Session, SessionState
from wormkey.usage import Usage
from wormkey.wishes import NewSession, PolicyChange, parse_kick

if TYPE_CHECKING:
    from datetime import datetime

    from starlette.requests import Request


@define
class Api:
    """The calls of the API in order: state, access, sessions by id, by slug."""

    node: Node

    async def alive(self, _request: Request) -> Response:
        """Tell that something of this project is here."""
        return JSONResponse({"status": "control plane alive"})

    async def health(self, _request: Request) -> Response:
        """Answer as long as the process does."""
        return PlainTextResponse("ok")

    async def ready(self, _request: Request) -> Response:
        """Answer unless the daemon starts or drains."""
        self._check_draining()
        if not self.node.started.is_set():
            raise AdmissionError(
                503,
                "starting",
                "the server is starting; try again soon",
                fields=((b"Retry-After", b"1"),),
            )
        return PlainTextResponse("ok")

    async def metrics(self, request: Request) -> Response:
        """Show the figures of the daemon to who may create sessions."""
        await door.admit_caller(self.node, request)
        # Lazy: prometheus_client takes 20 ms and 1 MB that a daemon nobody scrapes does not need.
        from wormkey.exposition import expose  # noqa: PLC0415

        text, content_type = expose(self.node)
        return Response(text, media_type=content_type)

    async def describe(self, _request: Request) -> Response:
        """Describe the API to programs."""
        settings = self.node.settings
        content = openapi.render(
            version=self.node.version, access=settings.access, max_age_s=settings.max_session_age_s
        )
        return Response(content, media_type="application/json")

    async def access(self, request: Request) -> Response:
        """Tell whether the token presented may create sessions: what ``wormkey login`` asks."""
        caller = await door.admit_caller(self.node, request)
        return JSONResponse({"ok": True, "name": caller.principal.removeprefix("token:")})

    async def create(self, request: Request) -> Response:
        """Make a session and tell its secrets, this once."""
        self._check_draining()
        caller = await door.admit_caller(self.node, request)
        wish = NewSession.from_json(
            await read_json(request), max_age_s=self.node.settings.max_session_age_s
        )
        door.admit_creation(self.node, caller)
        actor = Actor(caller.principal, caller.address)
        made = await self.node.registry.create(wish, actor)
        session = made.session
        if not await door.is_still_admitted(self.node, request, caller):
            await self.node.registry.close(session, actor)
            raise door.no_access()
        script = f"{self.node.public}/.wormkey/overlay.js?slug={session.slug}"
        document: dict[str, object] = {
            "sessionId": session.session_id,
            "slug": session.slug,
            "publicUrl": self._public_url(session),
            "ownerUrl": self._owner_url(session, made.owner_token),
            "overlayScriptUrl": script,
            "edgeUrl": self.node.edge_url,
            "sessionToken": made.session_token,
            "expiresAt": _rfc3339(session.expires_at),
        }
        if made.password is not None:
            document |= {"username": made.username, "password": made.password}
        location = f"/sessions/{session.session_id}"
        return JSONResponse(document, status_code=201, headers={"Location": location})

    async def read(self, request: Request) -> Response:
        """Describe a session to who has one of its tokens."""
        session, _ = self._session(request)
        entry = self.node.routes.find_id(session.session_id)
        return JSONResponse(
            self._public_part(session)
            | {
                "edgeUrl": self.node.edge_url,
                "port": session.port,
                "username": session.username,
                "policy": session.policy_document(),
                "closedAt": None if session.closed_at is None else _rfc3339(session.closed_at),
                "usage": _usage(Usage() if entry is None else entry.meter.snapshot()),
            }
        )

    async def close(self, request: Request) -> Response:
        """End a session for who has one of its tokens."""
        session, actor = self._session(request)
        await self.node.registry.close(session, actor)
        return JSONResponse({"ok": True})

    async def read_public(self, request: Request) -> Response:
        """Tell anyone what anyone may know of a slug."""
        entry = self.node.routes.find(request.path_params["slug"].lower())
        if entry is None:
            door.count_miss(self.node, door.address_of(self.node, request))
            raise AdmissionError(404, "unknown_session", "there is no such session")
        return JSONResponse(self._public_part(entry.session))

    async def close_by_slug(self, request: Request) -> Response:
        """End a session for its owner."""
        session, owner = self._owned(request)
        await self.node.registry.close(session, owner)
        return JSONResponse({"ok": True})

    async def change_policy(self, request: Request) -> Response:
        """Change who may see a session, for its owner."""
        session, owner = self._owned(request)
        wish = PolicyChange.from_json(await read_json(request))
        session = await self.node.changes.change_policy(session, wish, owner)
        return JSONResponse({"ok": True, "policy": session.policy_document()})

    async def kick(self, request: Request) -> Response:
        """Remove a viewer for good, for the session's owner."""
        session, owner = self._owned(request)
        viewer_id = parse_kick(await read_json(request))
        session = await self.node.changes.kick(session, [viewer_id], owner)
        return JSONResponse({"ok": True, "kickedViewerIds": list(session.kicked)})

    async def new_owner_link(self, request: Request) -> Response:
        """Make a link that makes one more browser the owner's, for who holds the owner token."""
        session, owner = self._owned(request)
        code = await self.node.changes.new_link(session, owner)
        return JSONResponse({"ok": True, "ownerUrl": self._owner_url(session, code)})

    def _check_draining(self) -> None:
        if self.node.drain.draining:
            raise AdmissionError(
                503,
                "draining",
                "the server is shutting down; try again soon",
                fields=((b"Retry-After", b"5"),),
            )

    def _session(self, request: Request) -> tuple[Session, Actor]:
        """Return the session of the path's id, for one of its two tokens."""
        session_id, registry = request.path_params["session_id"], self.node.registry
        session, role = door.authenticated(
            self.node, request, lambda bearer: registry.authorize(session_id, bearer)
        )
        return session, Actor(role, door.address_of(self.node, request))

    def _owned(self, request: Request) -> tuple[Session, Actor]:
        """Return the session of the path's slug, for its owner token."""
        slug, registry = request.path_params["slug"].lower(), self.node.registry
        session = door.authenticated(
            self.node, request, lambda bearer: registry.authorize_owner(slug, bearer)
        )
        return session, Actor("owner", door.address_of(self.node, request))

    def _public_url(self, session: Session) -> str:
        return public_url_of(session.slug, self.node.public, self.node.settings.routing)

    def _owner_url(self, session: Session, token: str) -> str:
        return f"{self.node.public}/.wormkey/owner?slug={session.slug}&token={token}"

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


def _usage(usage: Usage) -> dict[str, object]:
    seen = usage.last_seen_at
    return {
        "requests": usage.requests,
        "receivedBytes": usage.received_bytes,
        "sentBytes": usage.sent_bytes,
        "lastSeenAt": None if seen is None else _rfc3339(seen),
    }
