"""What a daemon gets from the one before it: numbers of open descriptors, in one variable.

Written by the old process for the new one (successor.py), read once at its start. Owns the text
only; whose sockets they are is listeners.py's affair, what is said afterwards passing.py's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, MutableMapping
from typing import Final

from attrs import field, frozen

from wormkey.errors import ConfigError

VARIABLE: Final = "WORMKEYD_INHERITANCE"
# Meant for one process: the heir has another id, and WATCHDOG_USEC alone counts for anybody.
_FOR_ONE: Final = ("LISTEN_PID", "WATCHDOG_PID")


@frozen(kw_only=True)
class Inheritance:
    """Descriptors of one daemon for the next.

    ``sockets`` is by role (``control``, ``gateway``, ``admin``): the address as the settings write
    it, and the listening sockets that stand for it.
    """

    channel: int
    lock: int
    sockets: Mapping[str, tuple[str, tuple[int, ...]]] = field(factory=dict)

    @classmethod
    def take(cls, environ: MutableMapping[str, str], pid: int) -> Inheritance | None:
        """Take the variable out of the environment of process ``pid``; None where it is not set.

        What systemd passed to the first process of the row (sd_listen_fds(3)) is this one's too.

        Raises:
            ConfigError: it says something that no daemon writes.
        """
        text = environ.pop(VARIABLE, None)
        if text is None:
            return None
        if "LISTEN_FDS" in environ:
            environ["LISTEN_PID"] = str(pid)
        try:
            told = json.loads(text)
            sockets = {
                str(role): (str(address), tuple(int(fd) for fd in fds))
                for role, (address, fds) in told["sockets"].items()
            }
            return cls(channel=int(told["channel"]), lock=int(told["lock"]), sockets=sockets)
        except (ValueError, TypeError, KeyError, AttributeError):
            raise ConfigError(f"{VARIABLE} is wormkeyd's own, from process to process") from None

    def environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Return the environment for the heir, made of this process's."""
        kept = {name: value for name, value in environ.items() if name not in _FOR_ONE}
        told = {"channel": self.channel, "lock": self.lock, "sockets": dict(self.sockets)}
        return {**kept, VARIABLE: json.dumps(told)}

    @property
    def descriptors(self) -> tuple[int, ...]:
        """Every descriptor that the heir must get, under the same number."""
        listening = [fd for _, fds in self.sockets.values() for fd in fds]
        return (self.channel, self.lock, *listening)

    def sockets_at(self, role: str, address: str) -> tuple[int, ...]:
        """Return the sockets of a role, if they stand for this address; else none."""
        known, fds = self.sockets.get(role, ("", ()))
        return fds if known == address else ()
