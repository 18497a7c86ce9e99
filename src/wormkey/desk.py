"""The owner's desk: every path under /.wormkey/ at the gateway.

Owns the table of paths: by which methods, and in which form errors are told. Who may ask is
ask.py's; cookies and redirects are claims.py's; the event stream is events.py's. What an owner
changes is made by changes.py. It never sees a tunnel.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from attrs import Factory, field, frozen

from wormkey import barfiles
from wormkey.answers import Answers, Visit
from wormkey.ask import Ask
from wormkey.claims import Claims
from wormkey.errors import AdmissionError, StoreError
from wormkey.events import Events
from wormkey.leavers import Leavers
from wormkey.node import Node
from wormkey.panel import state_of, url_of
from wormkey.routing import RESERVED_PREFIX, Reserved, public_url_of
from wormkey.wishes import PolicyChange, parse_kick

if TYPE_CHECKING:
    from wormkey.http1 import ViewerRequest

logger = logging.getLogger(__name__)

MAX_POLICY_BYTES: Final = 64 * 1024
Call: TypeAlias = Callable[[Ask], Awaitable[bool]]

_READ: Final = (b"GET", b"HEAD")
_WRITE: Final = (b"POST",)


@frozen
class _Path:
    """One path: its methods, its call, and whether programs of ours read its errors as JSON."""

    methods: tuple[bytes, ...]
    call: Call
    as_json: bool = True


@frozen
class Desk:
    """Serves owners, and what belongs to their bar."""

    node: Node
    answers: Answers
    leavers: Leavers
    _claims: Claims = Factory(lambda self: Claims(self.node, self.answers), takes_self=True)
    _events: Events = Factory(lambda self: Events(self.node, self.leavers), takes_self=True)
    _paths: dict[bytes, _Path] = field(
        default=Factory(lambda self: self._make_paths(), takes_self=True)
    )

    def _make_paths(self) -> dict[bytes, _Path]:
        return {
            b"owner": _Path(_READ, self._claims.owner, as_json=False),
            b"pass": _Path(_READ, self._claims.pass_, as_json=False),
            b"gate": _Path(_WRITE, self._claims.gate, as_json=False),
            b"overlay.js": _Path(_READ, self._asset, as_json=False),
            b"bar": _Path(_READ, self._bar, as_json=False),
            b"bar.js": _Path(_READ, self._asset, as_json=False),
            b"bar.css": _Path(_READ, self._asset, as_json=False),
            b"me": _Path(_READ, self._me),
            b"urls": _Path(_READ, self._urls),
            b"state": _Path(_READ, self._state),
            b"events": _Path(_READ, self._events.serve),
            b"policy": _Path(_WRITE, self._policy),
            b"kick": _Path(_WRITE, self._kick),
            b"rotate-password": _Path(_WRITE, self._rotate_password),
            b"pause": _Path(_WRITE, self._pause),
            b"resume": _Path(_WRITE, self._resume),
            b"close": _Path(_WRITE, self._close),
            b"owner-link": _Path(_WRITE, self._owner_link),
        }

    async def serve(
        self, visit: Visit, request: ViewerRequest, route: Reserved, scheme: bytes
    ) -> bool:
        """Answer a request; return whether the connection is still HTTP's.

        Raises:
            AdmissionError: it is refused, for a person to read.

        Cancellation: a change is made wholly or not at all; the answer may be cut.
        """
        path = self._paths.get(route.path.removeprefix(RESERVED_PREFIX))
        if path is None:
            raise AdmissionError(404, "not_found", "There is nothing here.")
        try:
            try:
                if request.head.method not in path.methods:
                    allow = ((b"Allow", b", ".join(path.methods)),)
                    sentence = "This path takes other methods."
                    raise AdmissionError(405, "method_not_allowed", sentence, fields=allow)
                return await path.call(Ask(self.node, visit, request, route, scheme))
            except StoreError as error:
                logger.error("store failed", extra={"error": str(error)})  # noqa: TRY400 - as guard.py
                retry = ((b"Retry-After", b"10"),)
                sentence = "The server cannot keep changes right now; its operator's log says why."
                raise AdmissionError(503, "store_failed", sentence, fields=retry) from None
        except AdmissionError as error:
            if not path.as_json:
                raise
            await self.answers.error(visit, error, as_json=True)
        return True

    # ── the bar's files ─────────────────────────────────────────────────────────────────────

    async def _asset(self, ask: Ask) -> bool:
        name = ask.route.path.removeprefix(RESERVED_PREFIX).decode("ascii")
        asset = barfiles.asset(name)
        await self.answers.asset(ask.visit, asset)
        return True

    async def _bar(self, ask: Ask) -> bool:
        """Serve the frame; pages of its own tunnel may hold it, and no others."""
        if not ask.route.on_base:
            raise AdmissionError(403, "forbidden", "The bar is served on the base host.")
        slug = ask.entry().session.slug
        own = public_url_of(slug, ask.base, "host")
        ancestors = () if own == f"{ask.base}/s/{slug}" else (own.encode(),)
        if self.node.settings.routing == "path":  # there a tunnel's page is on this very origin
            ancestors = (b"'self'", *ancestors)
        extra = barfiles.bar_fields(ancestors)
        await self.answers.asset(ask.visit, barfiles.asset("bar"), extra)
        return True

    # ── what is told ────────────────────────────────────────────────────────────────────────

    async def _me(self, ask: Ask) -> bool:
        owner = ask.owner_browser(ask.entry().session) is not None
        return await self._say(ask, {"owner": owner})

    async def _urls(self, ask: Ask) -> bool:
        entry, _ = ask.require_owner()
        return await self._say(ask, {"publicUrl": url_of(self.node, entry.session)})

    async def _state(self, ask: Ask) -> bool:
        entry, browser = ask.require_owner()
        return await self._say(ask, state_of(self.node, entry, browser))

    # ── what is done ────────────────────────────────────────────────────────────────────────

    async def _policy(self, ask: Ask) -> bool:
        entry = ask.require_action()
        wish = PolicyChange.from_json(await ask.read_json(MAX_POLICY_BYTES))
        session = await self.node.changes.change_policy(entry.session, wish, ask.by)
        return await self._say(ask, {"ok": True, "policy": session.policy_document()})

    async def _kick(self, ask: Ask) -> bool:
        entry = ask.require_action()
        viewer_id = parse_kick({"viewerId": ask.parameter(b"id").decode("latin-1")})
        session = await self.node.changes.kick(entry.session, [viewer_id], ask.by)
        return await self._say(ask, {"ok": True, "kickedViewerIds": list(session.kicked)})

    async def _rotate_password(self, ask: Ask) -> bool:
        entry = ask.require_action()
        session, password = await self.node.changes.rotate_password(entry.session, ask.by)
        answer: dict[str, object] = {"ok": True, "password": password}
        if session.gate_hash is None:
            answer["username"] = session.username
        return await self._say(ask, answer)

    async def _pause(self, ask: Ask) -> bool:
        return await self._set_pause(ask, paused=True)

    async def _resume(self, ask: Ask) -> bool:
        return await self._set_pause(ask, paused=False)

    async def _set_pause(self, ask: Ask, *, paused: bool) -> bool:
        entry = ask.require_action()
        await self.node.changes.pause(entry.session, ask.by, paused=paused)
        return await self._say(ask, {"ok": True, "paused": entry.paused})

    async def _close(self, ask: Ask) -> bool:
        entry = ask.require_action()
        await self.node.registry.close(entry.session, ask.by)
        return await self._say(ask, {"ok": True})

    async def _owner_link(self, ask: Ask) -> bool:
        entry = ask.require_action()
        code = await self.node.changes.new_link(entry.session, ask.by)
        url = f"{ask.base}/.wormkey/owner?slug={entry.session.slug}&token={code}"
        return await self._say(ask, {"ok": True, "ownerUrl": url})

    async def _say(self, ask: Ask, document: object) -> bool:
        await self.answers.json(ask.visit, document)
        return True
