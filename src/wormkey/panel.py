"""What the owner's bar shows of a session, as JSON.

Owns the members of /.wormkey/state and of each event. Everything in it is for the owner alone; no
secret is in it but the token against forged actions, which serves this browser alone.
"""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import trio

from wormkey import owners
from wormkey.routing import public_url_of

if TYPE_CHECKING:
    from wormkey.node import Node
    from wormkey.routes.local import Entry
    from wormkey.session import Session
    from wormkey.viewers import Viewer
    from wormkey.watch import Finished

MAX_SHOWN_VIEWERS: Final = 200  # those who came last; the count is of all


def state_of(node: Node, entry: Entry, browser: bytes) -> dict[str, object]:
    """Return the state of a session for one of its owner's browsers."""
    session, now, here = entry.session, node.now(), trio.current_time()
    viewers: deque[Viewer] = deque(maxlen=MAX_SHOWN_VIEWERS)
    count = 0
    for viewer in entry.crowd.here(here):
        count += 1
        viewers.append(viewer)
    url = url_of(node, session)
    round_trip_s = getattr(entry.upstream, "rtt_s", None)  # of a tunnel of this process
    return {
        "slug": session.slug,
        "owner": True,
        "activeViewers": count,
        "activeStreams": entry.crowd.open_streams,
        "viewers": [_viewer(each, now, here) for each in viewers],
        "kickedViewerIds": list(session.kicked),
        "policy": session.policy_document(),
        "authMode": session.auth_mode,
        "paused": entry.paused,
        "csrf": owners.csrf_token(node.key, session, browser).decode("ascii"),
        "connected": entry.upstream is not None,
        "roundTripMs": None if round_trip_s is None else round(round_trip_s * 1000, 1),
        "publicUrl": url,
        "qr": _matrix(url),
        "expiresAt": rfc3339(session.expires_at),
        "requests": [_request(each) for each in entry.watched().finished],
    }


def url_of(node: Node, session: Session) -> str:
    """Return a session's public URL."""
    return public_url_of(session.slug, node.public, node.settings.routing)


def rfc3339(moment: datetime) -> str:
    """Return a moment in UTC, as the API writes it."""
    text = moment.astimezone(UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def _viewer(viewer: Viewer, now: datetime, here: float) -> dict[str, object]:
    return {
        "id": viewer.viewer_id,
        "name": f"{viewer.agent or 'Unknown'}, no. {viewer.number}",
        "address": viewer.address,
        "firstSeen": rfc3339(now - timedelta(seconds=here - viewer.first_seen)),
        "requests": viewer.requests,
        "streams": viewer.open_streams,
    }


def _request(finished: Finished) -> dict[str, object]:
    return {
        "time": rfc3339(finished.at),
        "viewer": finished.viewer_id,
        "method": finished.method,
        "path": finished.path,
        "status": finished.status,
        "durationMs": round(finished.duration_s * 1000, 1),
    }


@lru_cache(maxsize=64)
def _matrix(url: str) -> list[str]:
    """Return the QR code of a URL: a text of 0 and 1 for each row, without the quiet zone."""
    # Lazy: a daemon whose owners stay in their terminals never draws one.
    import segno  # noqa: PLC0415

    code: Any = segno.make_qr(url)
    return ["".join("1" if dark else "0" for dark in row) for row in code.matrix]
