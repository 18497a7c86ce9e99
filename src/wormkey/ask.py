"""One request for the owner's desk, /.wormkey/: which session it is about, and who asks.

Owns every check of an owner's authority at the gateway: the cookie, the page that sends the
request, the token against forged ones. Closed by default: what is not shown is not so. Does
nothing to a session.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, unquote_to_bytes

import trio
from attrs import frozen

from wormkey import fields, owners
from wormkey.answers import Visit
from wormkey.audit import Actor
from wormkey.entrance import find_live
from wormkey.errors import AdmissionError
from wormkey.frames import ResponseHead
from wormkey.http1 import ViewerRequest
from wormkey.names import origin_of
from wormkey.node import Node
from wormkey.routing import PublicUrl, Reserved, url_seen

if TYPE_CHECKING:
    from wormkey.routes.local import Entry
    from wormkey.session import Session

CONTENT_TIMEOUT_S: Final = 30.0  # for the whole content of a request for the desk


@frozen
class Ask:
    """A request, its route and the scheme that its viewer used."""

    node: Node
    visit: Visit
    request: ViewerRequest
    route: Reserved
    scheme: bytes

    # ── what it says ────────────────────────────────────────────────────────────────────────

    def values(self, name: bytes) -> list[bytes]:
        """Return the values of a field."""
        return fields.get(self.request.head.fields, name)

    def parameter(self, name: bytes) -> bytes:
        """Return the one parameter of the query with this name; b"" for none or several."""
        pairs = [pair.partition(b"=") for pair in self.route.query.split(b"&")]
        found = [value for key, _, value in pairs if key == name]
        return unquote_to_bytes(found[0]) if len(found) == 1 else b""

    @property
    def address(self) -> str:
        """Where it comes from, as far as trusted proxies vouch for it."""
        return self.visit.caller.viewer_address(self.node, self.request.head)

    @property
    def by(self) -> Actor:
        """Who acts, for the audit trail; only once his authority is shown."""
        return Actor("owner", self.address)

    @property
    def base(self) -> PublicUrl:
        """The base host by the name that this viewer uses."""
        seen = url_seen(self.scheme, self.route.authority, on_base=self.route.on_base)
        return seen or self.node.public

    @property
    def is_prefetch(self) -> bool:
        """Whether no person has opened the link yet."""
        names = (b"sec-purpose", b"purpose", b"x-purpose", b"x-moz")
        said = b",".join(value for name in names for value in self.values(name)).lower()
        return b"prefetch" in said or b"prerender" in said or b"preview" in said

    # ── whom it is about, and who asks ──────────────────────────────────────────────────────

    def entry(self) -> Entry:
        """Return the session that it is about.

        Raises:
            AdmissionError: 400 none is named; 404, 410 and 429 as ``find_live``.
        """
        if self.route.slug is None:
            raise AdmissionError(400, "bad_request", "Name the session once: ?slug=NAME.")
        return find_live(self.node, self.route.slug, self.address)

    def owner_browser(self, session: Session) -> bytes | None:
        """Return the owner's browser, if that asks: by its cookie, on a tunnel's host its pass."""
        read = owners.owner_browser if self.route.on_base else owners.pass_browser
        return read(self.node.key, session, self.values(b"cookie"), self.scheme)

    def require_owner(self) -> tuple[Entry, bytes]:
        """Return the session and its owner's browser, if no page of another origin asks.

        Raises:
            AdmissionError: 403 it is not so; else as ``entry``.
        """
        if not self.route.on_base:
            raise AdmissionError(403, "forbidden", "Owners' pages are served on the base host.")
        entry = self.entry()
        browser = self.owner_browser(entry.session)
        if browser is None:
            raise AdmissionError(403, "forbidden", "This browser is not the owner's.")
        sites = self.values(b"sec-fetch-site")
        if any(site not in (b"same-origin", b"none") for site in sites) or self._is_foreign():
            raise AdmissionError(403, "forbidden", "Pages of other origins may not ask for this.")
        return entry, browser

    def require_action(self) -> Entry:
        """Return the session that its owner's own page wants to change.

        Raises:
            AdmissionError: 403 it is not the owner, or not his page; else as ``entry``.
        """
        entry, browser = self.require_owner()
        if not (self.values(b"origin") or self.values(b"sec-fetch-site") == [b"same-origin"]):
            raise AdmissionError(403, "forbidden", "The request does not say which page sends it.")
        tokens = self.values(b"wormkey-csrf")
        key = self.node.key
        if len(tokens) != 1 or not owners.is_csrf_token(key, entry.session, browser, tokens[0]):
            raise AdmissionError(403, "forbidden", "Wormkey-Csrf is not what /.wormkey/state told.")
        return entry

    def require_own_page(self) -> None:
        """Refuse what a page of another origin sends.

        Raises:
            AdmissionError: 403 it is so.
        """
        if self._is_foreign():
            raise AdmissionError(403, "forbidden", "Pages of other origins may not send this.")

    def _is_foreign(self) -> bool:
        """Tell whether an Origin is named that is not this host's (RFC 6454 §7)."""
        own = origin_of(self.scheme, self.route.authority)
        for value in self.values(b"origin"):
            scheme, _, authority = value.partition(b"://")
            if own is None or origin_of(scheme, authority) != own:
                return True
        return False

    # ── its content ─────────────────────────────────────────────────────────────────────────

    async def read_json(self, limit_bytes: int) -> object:
        """Return the JSON content.

        Raises:
            AdmissionError: 415, 413, 408, or 400 for what is not JSON (RFC 8259).

        Cancellation: loses nothing.
        """
        content = await self._read(b"application/json", limit_bytes)
        try:
            document: object = json.loads(content, parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            message = "The content is not valid JSON."
            raise AdmissionError(400, "invalid_json", message) from None
        return document

    async def read_form(self, limit_bytes: int) -> dict[str, str]:
        """Return the values of a form; of a name that is repeated the last.

        Raises:
            AdmissionError: 415, 413, 408, or 400 for what is no form.

        Cancellation: loses nothing.
        """
        content = await self._read(b"application/x-www-form-urlencoded", limit_bytes)
        try:
            return dict(parse_qsl(content.decode("ascii"), keep_blank_values=True, errors="strict"))
        except ValueError:
            raise AdmissionError(400, "bad_request", "The content is not a form.") from None

    async def _read(self, media_type: bytes, limit_bytes: int) -> bytes:
        kinds = self.values(b"content-type")
        if len(kinds) != 1 or kinds[0].partition(b";")[0].strip(b" \t").lower() != media_type:
            sentence = f"Content-Type must be {media_type.decode()}."
            raise AdmissionError(415, "unsupported_media_type", sentence)
        viewer, request = self.visit.viewer, self.request
        too_large = AdmissionError(413, "content_too_large", f"Send up to {limit_bytes} bytes.")
        if (request.content_length or 0) > limit_bytes:
            raise too_large
        if request.expects_continue:
            viewer.write_interim(ResponseHead(100, ()))
            await viewer.flush()
        content = b""
        with trio.move_on_after(CONTENT_TIMEOUT_S):
            while not viewer.content_finished:
                content += await viewer.receive_content()
                if len(content) > limit_bytes:
                    raise too_large
            return content
        raise AdmissionError(408, "request_timeout", "The content did not arrive in time.")


def _refuse_constant(name: str) -> object:
    raise ValueError(name)
