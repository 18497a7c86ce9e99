"""The service manager's end of sd_notify(3): a real datagram socket, and what came to it."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio
from attrs import define

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@define(eq=False)
class Manager:
    """A service manager that only listens."""

    path: str
    sock: trio.socket.SocketType

    async def next(self) -> dict[str, str]:
        """Wait for the next message; return its fields."""
        lines = (await self.sock.recv(4096)).decode().split("\n")
        return dict(line.split("=", 1) for line in lines)

    async def wait(self, field: str) -> dict[str, str]:
        """Wait for a message that has this field; drop those before it."""
        while True:
            message = await self.next()
            if field in message:
                return message

    async def silent(self, seconds: float) -> bool:
        """Whether nothing comes for so long."""
        with trio.move_on_after(seconds):
            await self.next()
            return False
        return True


@asynccontextmanager
async def service_manager(folder: Path, *, limit_s: float = 10.0) -> AsyncIterator[Manager]:
    """Be the service manager for a test, which it also bounds."""
    path = str(folder / "notify")
    with trio.fail_after(limit_s), trio.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        await sock.bind(path)
        yield Manager(path, sock)
