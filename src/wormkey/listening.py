"""The daemon's listening sockets as a whole: opened or inherited, and left to a next process.

Owns which socket stands for which role, and the lock on the state folder that goes with them.
listeners.py opens them, accepting.py accepts from them.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio
from attrs import frozen

from wormkey.inheritance import Inheritance
from wormkey.listeners import open_listeners, open_private_socket
from wormkey.statefolder import ADMIN_SOCKET
from wormkey.values import FdAddress, UnixAddress

if TYPE_CHECKING:
    from wormkey.config import Settings
    from wormkey.values import Address

logger = logging.getLogger(__name__)


@frozen
class Listening:
    """The listening sockets of one daemon; ``admin`` may be none."""

    control: list[trio.SocketListener]
    gateway: list[trio.SocketListener]
    admin: list[trio.SocketListener]
    lock: int  # the state folder's; -1 where it is not locked

    def bequeath(self, settings: Settings, channel: int) -> Inheritance | None:
        """Return what another process needs to take over; None where the store cannot be shared."""
        if settings.store == "memory":
            return None
        told = {
            "control": (str(settings.control), self.control),
            "gateway": (str(settings.gateway), self.gateway),
            "admin": (str(_admin_address(settings)), self.admin),
        }
        sockets = {
            role: (address, tuple(listener.socket.fileno() for listener in listeners))
            for role, (address, listeners) in told.items()
        }
        return Inheritance(channel=channel, lock=self.lock, sockets=sockets)


@frozen
class Heirloom:
    """What came from the daemon before this one, if there was one, and the lock on the folder."""

    inheritance: Inheritance | None
    lock: int

    async def listen(self, role: str, address: Address) -> list[trio.SocketListener]:
        """Return the listeners of a role: those that were inherited for this very address, or new.

        Raises:
            OSError: the address cannot be listened at.

        Cancellation: atomic.
        """
        fds = self.inheritance.sockets_at(role, str(address)) if self.inheritance else ()
        return await open_listeners(FdAddress(fds) if fds else address)

    async def listen_privately(self, settings: Settings) -> list[trio.SocketListener]:
        """Return the admin socket's listener; none with --store memory, or where none can be made.

        Cancellation: atomic.
        """
        if settings.store == "memory":
            return []
        address = _admin_address(settings)
        try:
            if self.inheritance and self.inheritance.sockets_at("admin", str(address)):
                return await self.listen("admin", address)
            return [open_private_socket(settings.state_dir / ADMIN_SOCKET)]
        except OSError as error:  # some file systems have no sockets: the daemon's users need none
            logger.warning("no admin socket", extra={"reason": error.strerror})
            return []


def _admin_address(settings: Settings) -> UnixAddress:
    return UnixAddress(str(settings.state_dir / ADMIN_SOCKET))


def close_all(listeners: list[trio.SocketListener]) -> None:
    """Close what is open of them; a socket that another process has too lives on there."""
    for listener in listeners:
        listener.socket.close()
