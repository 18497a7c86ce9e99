"""One viewer's request, from its head to its end: what is counted of it, and its access record.

Owns the additions that serve the daemon's metrics, the session's usage and the access record at
once. An exchange calls it while bytes move, so that a download of a day shows all day. What is
written of a request stands in ``record`` alone: no field of it, no query string, no content.
Moments come in as arguments.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Final

from attrs import define

from wormkey.metrics import Metrics, status_class
from wormkey.session import Session
from wormkey.usage import Meter

if TYPE_CHECKING:
    from wormkey.frames import RequestHead

MAX_PATH_CHARS: Final = 1024  # of an access record; a target may be longer (--max-target)
_NOBODYS: Final = Meter()
_ABSOLUTE_FORM: Final = re.compile(rb"\A(?i:https?)://[^/?]*")  # RFC 9112 §3.2.2


@define(eq=False)
class Tally:
    """What one request moved so far. ``began_at`` is the trio clock's, when its head was read."""

    metrics: Metrics
    began_at: float
    meter: Meter = _NOBODYS  # until the session is known
    session: Session | None = None
    viewer_id: str = ""  # under which the session's owner knows who asks
    status: int = 0  # 0 until an answer's head
    error: str = ""  # the Wormkey-Error, or why the answer was cut
    received_bytes: int = 0
    sent_bytes: int = 0
    ttfb_s: float | None = None
    upgraded: bool = False
    of_tunnel: bool = False  # it asks for /tunnel: no viewer's
    _request_id: str = ""
    _now: Callable[[], datetime] | None = None

    @property
    def request_id(self) -> str:
        """A random name for this request, the same wherever it is told; drawn when first asked."""
        if not self._request_id:
            self._request_id = secrets.token_hex(8)
        return self._request_id

    def admit(
        self, session: Session, meter: Meter, now: Callable[[], datetime], viewer_id: str = ""
    ) -> None:
        """Count the request for the session that it may use; ``now`` is the wall clock."""
        self.session, self.meter, self._now, self.viewer_id = session, meter, now, viewer_id
        meter.add(now(), requests=1)

    # ── while it runs ───────────────────────────────────────────────────────────────────────

    def received(self, count: int) -> None:
        """Count bytes of content that came from the viewer."""
        self.received_bytes += count
        self.metrics.received_bytes += count
        self.meter.received_bytes += count
        self.meter.dirty = True

    def sent(self, count: int) -> None:
        """Count bytes of content that the viewer took."""
        self.sent_bytes += count
        self.metrics.sent_bytes += count
        self.meter.sent_bytes += count
        self.meter.dirty = True

    def seen(self) -> None:
        """Note that the session is in use; for now and then, not for each byte."""
        if self._now is not None:
            self.meter.add(self._now())

    def answered(self, status: int, now: float) -> None:
        """Count the final head of the origin's answer, which is about to leave at ``now``."""
        self.status = status
        self.metrics.requests[status_class(status)] += 1
        self.ttfb_s = now - self.began_at
        self.metrics.time_to_first_byte.observe(self.ttfb_s)

    def answered_here(self, status: int, error: str = "") -> None:
        """Count an answer of the gateway's own; ``error`` is its Wormkey-Error."""
        self.status = status
        if self.of_tunnel:
            self.error = error
            self.metrics.tunnel_refusals[error] += 1
            return
        self.metrics.requests[status_class(status)] += 1
        if error:
            self.error = error
            self.metrics.refusals[error] += 1

    # ── how it ended ────────────────────────────────────────────────────────────────────────

    def cut(self, reason: str) -> None:
        """Note why there is no whole answer; the first reason counts."""
        if not self.error:
            self.error = reason
            if self.status and not self.of_tunnel:
                self.metrics.cut_answers[reason] += 1

    def end(self) -> None:
        """Count what ended without any answer."""
        if not (self.status or self.of_tunnel):
            self.metrics.requests[status_class(0)] += 1

    def record(self, viewer: str, head: RequestHead | None, now: float) -> dict[str, object]:
        """Return what the access log says of the request that ended at ``now``.

        ``viewer`` is the address; ``head`` is None for a request that could not be read.
        """
        session = self.session
        return {
            "viewer": viewer,
            "method": "" if head is None else head.method.decode("ascii", "replace"),
            "path": "" if head is None else path_of(head.target),
            "status": self.status,
            "received_bytes": self.received_bytes,
            "sent_bytes": self.sent_bytes,
            "duration_s": round(now - self.began_at, 6),
            "ttfb_s": None if self.ttfb_s is None else round(self.ttfb_s, 6),
            "session": None if session is None else session.session_id,
            "slug": None if session is None else session.slug,
            "request": self.request_id,
            "upgraded": self.upgraded,
            "error": self.error or None,
        }


def path_of(target: bytes) -> str:
    """Return a request target without its authority and its query string, cut if it is long."""
    path = _ABSOLUTE_FORM.sub(b"", target, count=1).partition(b"?")[0]
    return path[:MAX_PATH_CHARS].decode("ascii", "backslashreplace")
