"""What two daemons say to each other while one hands over to the next: lines of JSON on a socket.

The old one starts the new one (successor.py), which has everything open but the store. Then:

         {"say": "started", "pid": …}      by what starts it and ends at once
    new  {"say": "prepared"}               its configuration can be used
    old  {"say": "go"}                     its API is quiet, all it had to store is stored
    new  {"say": "ready"}                  it has loaded the sessions, and accepts
    old  {"say": "usage", …}               sums of what its last exchanges carried, as they come
    new  {"say": "changed", "session": …}  look it up again: it was closed, or its rules changed

A socket that ends before "ready" means that the other one failed, and the old one goes on.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import trio
from attrs import define, field

from wormkey.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_LINE_BYTES: Final = 64 * 1024
SEND_TIMEOUT_S: Final = 5.0  # the other one reads at once, or is of no use


@define(eq=False)
class Channel:
    """One end of the conversation."""

    stream: trio.SocketStream
    _held: bytearray = field(factory=bytearray)

    async def say(self, word: str, **facts: Any) -> bool:  # noqa: ANN401 - JSON
        """Send a line; False if the other one is gone or does not read.

        Cancellation: may leave half a line; the channel must not be used again.
        """
        line = json.dumps({"say": word, **facts}).encode() + b"\n"
        try:
            with trio.fail_after(SEND_TIMEOUT_S):
                await self.stream.send_all(line)
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            return False
        return True

    async def hear(self) -> dict[str, Any] | None:
        """Return the next line, None when the other one is gone or talks nonsense.

        Cancellation: loses nothing.
        """
        while b"\n" not in self._held:
            if len(self._held) > MAX_LINE_BYTES:
                return None
            try:
                data = await self.stream.receive_some(MAX_LINE_BYTES)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return None
            if not data:
                return None
            self._held += data
        line, _, rest = bytes(self._held).partition(b"\n")
        self._held = bytearray(rest)
        try:
            told = json.loads(line)
        except ValueError:
            return None
        return told if isinstance(told, dict) else None

    async def hear_word(self, word: str) -> bool:
        """Wait for a line that says ``word``; False when another came, or the other one is gone.

        Cancellation: loses nothing.
        """
        told = await self.hear()
        return told is not None and told.get("say") == word

    async def say_usage(self, usages: Mapping[str, Usage]) -> bool:
        """Tell what sessions have carried since it was told last; False as ``say``.

        Cancellation: as ``say``.
        """
        for session_id, usage in usages.items():
            seen = usage.last_seen_at
            told = await self.say(
                "usage",
                session=session_id,
                requests=usage.requests,
                received=usage.received_bytes,
                sent=usage.sent_bytes,
                seen=None if seen is None else seen.isoformat(),
            )
            if not told:
                return False
        return True


def usage_in(told: Mapping[str, Any]) -> tuple[str, Usage] | None:
    """Return a session's id and usage from a "usage" line; None where it is no such line."""
    try:
        seen = told["seen"]
        usage = Usage(
            requests=int(told["requests"]),
            received_bytes=int(told["received"]),
            sent_bytes=int(told["sent"]),
            last_seen_at=None if seen is None else datetime.fromisoformat(seen),
        )
        return str(told["session"]), usage
    except (KeyError, TypeError, ValueError):
        return None
