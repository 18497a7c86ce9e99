"""The event stream of the owner's bar: the state at once and at each change (Server-Sent Events).

Owns how often it speaks and when it ends: with its session, its viewer, or the daemon's drain. The
state itself is panel.py's (HTML Living Standard §9.2).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import trio
from attrs import frozen

from wormkey.answers import PRIVATE
from wormkey.errors import AdmissionError
from wormkey.frames import ResponseHead
from wormkey.leavers import Leavers
from wormkey.node import Node
from wormkey.panel import state_of
from wormkey.watch import MAX_WATCHERS

if TYPE_CHECKING:
    from wormkey.ask import Ask
    from wormkey.routes.local import Entry

GAP_S: Final = 0.2  # between two events: what changes meanwhile is told together
BEAT_S: Final = 15.0  # a comment, so that proxies and browsers see a stream that lives
RETRY_MS: Final = 2000  # how long a browser waits before it asks again
_FIELDS: Final = ((b"Content-Type", b"text/event-stream"), (b"X-Accel-Buffering", b"no"))


@frozen
class Events:
    """Event streams of one daemon."""

    node: Node
    leavers: Leavers

    async def serve(self, ask: Ask) -> bool:
        """Tell the owner's browser what happens; false, since the connection is used up.

        Raises:
            AdmissionError: 403 as ``Ask.require_owner``; 429 too many watch; 404, 410.

        Cancellation: the stream is cut.
        """
        entry, browser = ask.require_owner()
        viewer, tally = ask.visit.viewer, ask.visit.tally
        watch = entry.watched()
        if watch.watchers >= MAX_WATCHERS:
            raise AdmissionError(
                429,
                "too_many_streams",
                f"{MAX_WATCHERS} windows watch this session; close one of them.",
                fields=((b"Retry-After", b"5"),),
            )
        tally.answered_here(200)
        viewer.write_head(ResponseHead(200, (*_FIELDS, *PRIVATE), b"OK"), close=True)
        if ask.request.head.method == b"HEAD":
            viewer.write_end()
            await viewer.flush()
            return True
        watch.watchers += 1
        try:
            with trio.CancelScope() as scope:
                fd = self.leavers.watch(viewer.stream, scope)
                try:
                    await self._tell(ask, entry, browser)
                finally:
                    self.leavers.unwatch(fd, scope)
        finally:
            watch.watchers -= 1
        return False

    async def _tell(self, ask: Ask, entry: Entry, browser: bytes) -> None:
        viewer, watch, drain = ask.visit.viewer, entry.watched(), self.node.drain
        viewer.write_content(b"retry: %d\n\n" % RETRY_MS)
        told = b""
        while not (entry.ended or drain.draining):
            turn = watch.turn
            state = json.dumps(state_of(self.node, entry, browser)).encode()
            if state != told:
                viewer.write_content(b"event: state\ndata: " + state + b"\n\n")
                told = state
            else:
                viewer.write_content(b":\n\n")
            await viewer.flush()
            await trio.sleep(GAP_S)
            with trio.move_on_after(BEAT_S):
                await watch.changed(turn)
        if entry.ended:
            viewer.write_content(b"event: end\ndata: {}\n\n")
        viewer.write_end()
        await viewer.flush()
        await viewer.lingering_close()
