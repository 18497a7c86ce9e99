"""The answers that the gateway makes itself, written to a viewer's connection.

Owns how they are framed, when the connection closes behind them, and that each is counted.
What an error page says is pages.py's; which answer it is, gateway.py's.
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from attrs import evolve, frozen

from wormkey import fields, pages
from wormkey.frames import ResponseHead
from wormkey.node import Node

if TYPE_CHECKING:
    from wormkey.errors import AdmissionError
    from wormkey.frames import Fields
    from wormkey.http1 import ViewerRequest
    from wormkey.http1_viewer import ViewerConnection
    from wormkey.tally import Tally

logger = logging.getLogger(__name__)

REASONS: Final = {status.value: status.phrase.encode() for status in HTTPStatus}


@frozen
class Answers:
    """The gateway's own answers. After each the connection may go on, if it says so itself.

    Cancellation, for all of them: may leave a partial answer; the caller closes the connection.
    """

    node: Node

    async def error(
        self,
        viewer: ViewerConnection,
        tally: Tally,
        request: ViewerRequest | None,
        error: AdmissionError,
    ) -> None:
        """Send an error page, or JSON where the viewer prefers it.

        ``request`` is None for one that could not be read; the connection then closes.
        """
        accept = fields.get(request.head.fields, b"accept") if request else []
        page_fields, body = pages.render(
            status=error.status,
            code=error.code,
            message=str(error),
            request_id=tally.request_id,
            accept=b", ".join(accept),
        )
        head = ResponseHead(error.status, page_fields + error.fields)
        facts = {"status": error.status, "code": error.code, "request": tally.request_id}
        logger.debug("refused", extra=facts)
        tally.answered_here(error.status, error.code)
        await self._send(viewer, head, body, close=request is None)

    async def text(self, viewer: ViewerConnection, tally: Tally, body: bytes) -> None:
        """Send a short text with 200."""
        text = (
            (b"Content-Type", b"text/plain; charset=utf-8"),
            (b"Content-Length", str(len(body)).encode()),
            (b"Cache-Control", b"no-store"),
        )
        tally.answered_here(200)
        await self._send(viewer, ResponseHead(200, text), body)

    async def home(self, viewer: ViewerConnection, tally: Tally) -> None:
        """Send the page of the base host."""
        home, body = pages.render_home()
        tally.answered_here(200)
        await self._send(viewer, ResponseHead(200, home), body)

    async def redirect(self, viewer: ViewerConnection, tally: Tally, location: bytes) -> None:
        """Send a permanent redirect."""
        moved = ((b"Location", location), (b"Content-Length", b"0"))
        tally.answered_here(308)
        await self._send(viewer, ResponseHead(308, moved), b"")

    async def see_other(
        self, viewer: ViewerConnection, tally: Tally, location: bytes, fields: Fields = ()
    ) -> None:
        """Send the viewer elsewhere, by GET (RFC 9110 §15.4.4); nobody may keep the way."""
        moved = (
            (b"Location", location),
            (b"Content-Length", b"0"),
            (b"Cache-Control", b"no-store"),
            (b"Referrer-Policy", b"no-referrer"),
            *fields,
        )
        tally.answered_here(303)
        await self._send(viewer, ResponseHead(303, moved), b"")

    async def options(self, viewer: ViewerConnection, tally: Tally) -> None:
        """Answer ``OPTIONS *``, which asks about the server as a whole."""
        tally.answered_here(204)
        await self._send(viewer, ResponseHead(204, ((b"Allow", b"*"),)), b"")

    async def _send(
        self, viewer: ViewerConnection, head: ResponseHead, body: bytes, *, close: bool = False
    ) -> None:
        reason = REASONS.get(head.status, b"")
        close = close or self.node.drain.draining or not viewer.content_finished
        viewer.write_head(evolve(head, reason=reason), close=close)
        viewer.write_content(body)
        viewer.write_end()
        await viewer.flush()
