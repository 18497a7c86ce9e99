"""What the running daemon says of itself: counts, memory, versions, for ``wormkeyd status``.

Read when somebody asks, never kept: nothing here costs anything while nobody does. Names no
session, no viewer and no token.
"""

from __future__ import annotations

import os
import platform
import resource
from datetime import datetime
from pathlib import Path
from typing import Final

import trio
from attrs import Factory, frozen

from wormkey.gateway import Gateway
from wormkey.node import Node

LIBRARIES: Final = ("trio", "hypercorn", "h11", "trio-websocket")
_PROC: Final = Path("/proc/self")


@frozen(kw_only=True)
class Facts:
    """The sources of the facts; ``started_at`` and ``started_s`` are now, when it is made."""

    node: Node
    gateway: Gateway
    control_url: str
    gateway_url: str
    store_path: Path | None  # None: nothing is kept
    started_at: datetime = Factory(lambda self: self.node.now(), takes_self=True)
    started_s: float = Factory(trio.current_time)

    def as_json(self) -> dict[str, object]:
        """Return all of it; what this system cannot tell is None."""
        node = self.node
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        tunnels = [tunnel.version for tunnel in self.node.tunnels]
        return {
            "pid": os.getpid(),
            "started_at": self.started_at.isoformat(timespec="seconds").replace("+00:00", "Z"),
            "uptime_s": round(trio.current_time() - self.started_s, 3),
            "draining": node.drain.draining,
            "sessions": {"live": len(node.routes), "ended": self._ended()},
            "tunnels": {"v1": tunnels.count(1), "v0": tunnels.count(0)},
            "streams": self._streams(),
            "viewer_connections": max(0, self.gateway.connections - len(tunnels)),
            "memory_bytes": resident_bytes(),
            "descriptors": {"open": open_descriptors(), "limit": limit},
            "store": {
                "kind": node.settings.store,
                "path": None if self.store_path is None else str(self.store_path),
            },
            "control_url": self.control_url,
            "gateway_url": self.gateway_url,
            "public_url": str(node.public),
            "edge_url": node.edge_url,
            "versions": {"wormkey": node.version, "python": platform.python_version()}
            | _library_versions(),
        }

    def line(self) -> str:
        """Return the line that ``systemctl status`` shows."""
        parts = [
            _counted(len(self.node.routes), "session"),
            _counted(len(self.node.tunnels), "tunnel"),
            _counted(self._streams(), "stream"),
        ]
        line = ", ".join(parts)
        return f"draining: {line}" if self.node.drain.draining else line

    def _streams(self) -> int:
        return sum(tunnel.mux.statistics().streams for tunnel in self.node.tunnels)

    def _ended(self) -> int:
        return sum(1 for _ in self.node.routes.ended_entries())


def resident_bytes() -> int | None:
    """Return the memory that the process holds, None where there is no /proc."""
    try:
        pages = int((_PROC / "statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def open_descriptors() -> int | None:
    """Return how many descriptors the process has open, None where there is no /proc."""
    try:
        return len(os.listdir(_PROC / "fd")) - 1  # the listing's own
    except OSError:
        return None


def _library_versions() -> dict[str, str]:
    # Lazy: it costs memory that a daemon nobody asks does not need.
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415

    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # frozen into one file, say
            found[name] = "unknown"
    return found


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
