"""Where a slug leads: the interface between the gateway and whatever carries its requests.

A route's far end is an Upstream: a tunnel of this process today, another node some day; the
gateway does not know which. Viewers are answered from here and never wait for the store.
"""

from __future__ import annotations

from typing import Protocol

from wormkey.errors import ErrorCode


class Upstream(Protocol):
    """What a live session leads to."""

    @property
    def version(self) -> int:
        """The tunnel protocol's version: 0 or 1."""
        ...

    def close(self, code: ErrorCode, detail: str = "") -> None:
        """Begin to end it: its streams end, the peer learns ``code``. Returns at once; idempotent."""
        ...
