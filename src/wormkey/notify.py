"""What the daemon tells the service manager: sd_notify(3) over the socket in NOTIFY_SOCKET.

Messages are single datagrams, sent without waiting: a manager that is away or slow costs nothing
and is never an error. Without NOTIFY_SOCKET every call does nothing.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from typing import TYPE_CHECKING

from attrs import define

if TYPE_CHECKING:
    from collections.abc import Mapping

_log = logging.getLogger(__name__)


@define
class Notifier:
    """Speaks to the manager at ``path``, the value of NOTIFY_SOCKET; "" is nobody."""

    path: str = ""
    _silent: bool = False

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Notifier:
        """Return the notifier that NOTIFY_SOCKET asks for."""
        return cls(environ.get("NOTIFY_SOCKET", ""))

    def ready(self, status: str = "") -> bool:
        """Say that start-up, or a reload, is done; return whether it was sent."""
        return self._send("READY=1", status)

    def reloading(self) -> bool:
        """Say that a reload begins; ``ready`` ends it."""
        moment_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        return self._send(f"RELOADING=1\nMONOTONIC_USEC={moment_us}")

    def stopping(self, status: str = "") -> bool:
        """Say that the daemon is on its way out."""
        return self._send("STOPPING=1", status)

    def hand_over(self, pid: int) -> None:
        """Say that process ``pid`` is the service from now on; this one says nothing more."""
        self._send(f"MAINPID={pid}")
        self._silent = True

    def watchdog(self) -> bool:
        """Say that the daemon is alive; without it for WATCHDOG_USEC the manager ends it."""
        return self._send("WATCHDOG=1")

    def status(self, text: str) -> bool:
        """Set the line that ``systemctl status`` shows."""
        return self._send("", text)

    def _send(self, state: str, status: str = "") -> bool:
        if not self.path or self._silent:
            return False
        lines = [state] if state else []
        if status:
            lines.append("STATUS=" + " ".join(status.split()))  # a line break would be a new field
        # A leading @ stands for the NUL of an abstract socket (sd_notify(3)).
        address = "\0" + self.path[1:] if self.path.startswith("@") else self.path
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                sock.sendto("\n".join(lines).encode(), address)
        except OSError as error:
            _log.debug("service manager not reached", extra={"reason": error.strerror})
            return False
        return True


def watchdog_interval_s(environ: Mapping[str, str], pid: int) -> float | None:
    """Return how often at least the manager wants ``Notifier.watchdog``; None if it does not.

    WATCHDOG_USEC is meant for the process WATCHDOG_PID, where that is set
    (sd_watchdog_enabled(3)).
    """
    text = environ.get("WATCHDOG_USEC", "")
    if not text.isdecimal() or int(text) == 0 or environ.get("WATCHDOG_PID", str(pid)) != str(pid):
        return None
    return int(text) / 1_000_000
