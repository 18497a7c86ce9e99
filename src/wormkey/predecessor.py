"""The daemon before this one, as the new one sees it: sockets, the lock, and the last words.

Owns the new process's half of a hand-over: it waits before it opens the store, tells when it
accepts, adds what the old one's last exchanges carry, and tells it which sessions change meanwhile.
passing.py has the conversation.
"""

from __future__ import annotations

import logging
import os
import socket
from typing import TYPE_CHECKING, Final

import trio
from attrs import define, field

from wormkey.errors import StoreError
from wormkey.inheritance import Inheritance
from wormkey.passing import Channel, usage_in
from wormkey.scopes import alongside

if TYPE_CHECKING:
    from collections.abc import Callable

    from wormkey.audit import AuditRecord
    from wormkey.usage import Meter

logger = logging.getLogger(__name__)

GO_TIMEOUT_S: Final = 60.0  # the old one's last API calls, hashes of passwords among them
MAX_CHANGES: Final = 10_000  # ids of sessions that wait to be told; beyond, the newest is dropped


@define(eq=False)
class Predecessor:
    """The old process at the other end of ``channel``."""

    inheritance: Inheritance
    channel: Channel
    _tell: trio.MemorySendChannel[str] = field(init=False)
    _changed: trio.MemoryReceiveChannel[str] = field(init=False)
    _gone: bool = False

    def __attrs_post_init__(self) -> None:
        """Changes wait here until the channel takes them."""
        self._tell, self._changed = trio.open_memory_channel[str](MAX_CHANGES)

    @classmethod
    def of(cls, inheritance: Inheritance) -> Predecessor:
        """Return the predecessor that left this inheritance; must run inside trio."""
        sock = socket.socket(fileno=inheritance.channel)
        sock.set_inheritable(False)
        os.set_inheritable(inheritance.lock, False)
        return cls(inheritance, Channel(trio.SocketStream(trio.socket.from_stdlib_socket(sock))))

    async def wait_go(self) -> None:
        """Say that all is prepared, and wait until the store is this process's.

        Raises:
            StoreError: the old one has failed, or thought better of it.

        Cancellation: nothing has happened.
        """
        if await self.channel.say("prepared"):
            with trio.move_on_after(GO_TIMEOUT_S):
                if await self.channel.hear_word("go"):
                    return
        raise StoreError("the daemon before this one did not hand over; it goes on by itself")

    def note(self, record: AuditRecord) -> None:
        """Note that a record's session changed here, for the streams that it has there."""
        if record.session_id is not None and not self._gone:
            try:
                self._tell.send_nowait(record.session_id)
            except trio.WouldBlock:
                logger.warning("predecessor not told", extra={"session": record.session_id})

    async def attend(self, meter_of: Callable[[str], Meter | None]) -> None:
        """Say "ready", then listen and tell until the old one is gone.

        Cancellation: what it carries from then on is not counted.
        """
        if await self.channel.say("ready"):
            await alongside(lambda: self._listen(meter_of), self._tell_changes)
        self._gone = True
        await self.channel.stream.aclose()
        logger.info("predecessor gone")

    async def _listen(self, meter_of: Callable[[str], Meter | None]) -> None:
        while (told := await self.channel.hear()) is not None:
            if (found := usage_in(told)) is not None:
                session_id, usage = found
                meter = meter_of(session_id)
                if meter is not None:
                    meter.include(usage)

    async def _tell_changes(self) -> None:
        async for session_id in self._changed:
            if not await self.channel.say("changed", session=session_id):
                return
