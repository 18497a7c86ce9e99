"""The answers that the gateway makes itself, written to a viewer's connection.

Owns how they are framed, when the connection closes behind them, that each is counted, and that
each bears the security fields (hardening.py); an origin's answer never comes by here.
What an error page says is pages.py's; which answer it is, gateway.py's.
"""

from __future__ import annotations

import json
import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from attrs import evolve, frozen

from wormkey import fields, pages
from wormkey.entrance import Caller
from wormkey.frames import ResponseHead
from wormkey.gate import PasswordWanted
from wormkey.hardening import OWN_ANSWER
from wormkey.http1 import ViewerRequest
from wormkey.http1_viewer import ViewerConnection
from wormkey.node import Node
from wormkey.tally import Tally

if TYPE_CHECKING:
    from wormkey.barfiles import Asset
    from wormkey.errors import AdmissionError
    from wormkey.frames import Fields

logger = logging.getLogger(__name__)

# For pages of this very origin: no other may so much as load it.
PRIVATE: Final = (*OWN_ANSWER, (b"Cross-Origin-Resource-Policy", b"same-origin"))
REASONS: Final = {status.value: status.phrase.encode() for status in HTTPStatus}
_SAFE: Final = frozenset({b"GET", b"HEAD"})  # a link may ask for it again


@frozen
class Visit:
    """One request on its way: whose it is, and what is counted of it.

    ``request`` is None where it could not be read. ``last`` closes the connection behind it.
    """

    viewer: ViewerConnection
    request: ViewerRequest | None
    caller: Caller
    tally: Tally
    last: bool = False


@frozen
class Answers:
    """The gateway's own answers. After each the connection may go on, if it says so itself.

    Cancellation, for all of them: may leave a partial answer; the caller closes the connection.
    """

    node: Node

    async def error(self, visit: Visit, error: AdmissionError, *, as_json: bool = False) -> None:
        """Send an error page, or JSON where the viewer prefers it or ``as_json`` says so.

        The connection closes behind a request that could not be read.
        """
        request, tally = visit.request, visit.tally
        values = fields.get(request.head.fields, b"accept") if request else []
        accept = b"application/json" if as_json else b", ".join(values)
        if isinstance(error, PasswordWanted):
            page_fields, body = pages.render_gate(
                slug=error.session.slug,
                request_id=tally.request_id,
                target=error.target,
                by_path=error.by_path,
                wrong=error.wrong,
                accept=accept,
            )
        else:
            page_fields, body = pages.render(
                status=error.status,
                code=error.code,
                message=str(error),
                request_id=tally.request_id,
                accept=accept,
                fields=error.fields,
                safe=request is not None and request.head.method in _SAFE,
            )
        upgrade = b"websocket" if error.status == 426 else b""
        head = ResponseHead(error.status, page_fields, upgrade=upgrade)
        facts = {"status": error.status, "code": error.code, "request": tally.request_id}
        logger.debug("refused", extra=facts)
        tally.answered_here(error.status, error.code)
        await self._send(visit, head, body)

    async def text(self, visit: Visit, body: bytes) -> None:
        """Send a short text with 200."""
        text = (
            (b"Content-Type", b"text/plain; charset=utf-8"),
            (b"Content-Length", str(len(body)).encode()),
            *OWN_ANSWER,
        )
        visit.tally.answered_here(200)
        await self._send(visit, ResponseHead(200, text), body)

    async def json(self, visit: Visit, document: object) -> None:
        """Send a document that is for this origin's own pages alone."""
        body = json.dumps(document).encode() + b"\n"
        head = (
            (b"Content-Type", b"application/json"),
            (b"Content-Length", b"%d" % len(body)),
            *PRIVATE,
        )
        visit.tally.answered_here(200)
        await self._send(visit, ResponseHead(200, head), body)

    async def nothing(self, visit: Visit) -> None:
        """Send 204: the request was understood, and nothing was done."""
        visit.tally.answered_here(204)
        await self._send(visit, ResponseHead(204, OWN_ANSWER), b"")

    async def asset(self, visit: Visit, asset: Asset, extra: Fields = ()) -> None:
        """Send one of the bar's files, or 304 to who has it (RFC 9110 §13.1.2)."""
        received = visit.request.head.fields if visit.request else ()
        known = b",".join(fields.get(received, b"if-none-match"))
        head, status, body = (*asset.fields, *extra), 304, b""
        if asset.etag not in known and known.strip() != b"*":
            status, body = 200, asset.content
            length = (b"Content-Length", b"%d" % len(body))
            head = ((b"Content-Type", asset.content_type), *head, length)  # §15.4.5: never in a 304
        visit.tally.answered_here(status)
        await self._send(visit, ResponseHead(status, head), body)

    async def home(self, visit: Visit) -> None:
        """Send the page of the base host."""
        home, body = pages.render_home()
        visit.tally.answered_here(200)
        await self._send(visit, ResponseHead(200, home), body)

    async def redirect(self, visit: Visit, location: bytes) -> None:
        """Send a permanent redirect."""
        moved = ((b"Location", location), (b"Content-Length", b"0"), *OWN_ANSWER)
        visit.tally.answered_here(308)
        await self._send(visit, ResponseHead(308, moved), b"")

    async def again(self, visit: Visit) -> None:
        """Have the same request sent again, on a new connection: another process answers it."""
        target = visit.request.head.target if visit.request else b"/"
        if target[:1] != b"/":  # absolute-form: the path is the same, whatever the host was
            target = b"/" + b"".join(target.split(b"/", 3)[3:])
        if target[:2] == b"//":  # a browser would take what follows for a host (RFC 3986 §4.2)
            target = b"/." + target
        location = ((b"Location", target), (b"Content-Length", b"0"), *OWN_ANSWER)
        visit.tally.answered_here(307)
        await self._send(visit, ResponseHead(307, location, REASONS[307]), b"")

    async def see_other(self, visit: Visit, location: bytes, fields: Fields = ()) -> None:
        """Send the viewer elsewhere, by GET (RFC 9110 §15.4.4); nobody may keep the way."""
        moved = (
            (b"Location", location),
            (b"Content-Length", b"0"),
            *OWN_ANSWER,
            *fields,
        )
        visit.tally.answered_here(303)
        await self._send(visit, ResponseHead(303, moved), b"")

    async def options(self, visit: Visit) -> None:
        """Answer OPTIONS about the server as a whole, or as the last who may (RFC 9110 §9.3.7)."""
        visit.tally.answered_here(204)
        await self._send(visit, ResponseHead(204, ((b"Allow", b"*"), *OWN_ANSWER)), b"")

    async def _send(self, visit: Visit, head: ResponseHead, body: bytes) -> None:
        viewer = visit.viewer
        reason = REASONS.get(head.status, b"")
        last = visit.last or visit.request is None
        close = last or self.node.drain.closing or not viewer.content_finished
        own = head.fields
        if visit.request is not None:
            own += self.node.strict_fields(visit.caller.peer, visit.request.head.fields)
        viewer.write_head(evolve(head, reason=reason, fields=own), close=close)
        viewer.write_content(body)
        viewer.write_end()
        await viewer.flush()
