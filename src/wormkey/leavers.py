"""Notices viewers who leave while their exchange is open, without a task for each of them.

A browser that goes away sends just a FIN, and pipelined bytes may lie before it, so reading would
not show it: one sweep every 100 ms polls the sockets of all open exchanges. A lost connection
counts at once, a FIN when the third sweep still sees it, within 0.4 s: an answer that is ready
before is sent.
"""

from __future__ import annotations

import select
from typing import Final, Protocol

import trio
from attrs import define, field

from wormkey.transport import raw_socket

SWEEP_S: Final = 0.1
FIN_SWEEPS: Final = 3  # 0.2 to 0.3 s after the FIN
_READ_HANGUP: Final = getattr(select, "POLLRDHUP", 0)  # Linux; elsewhere only full hang-ups show


class Cancellable(Protocol):
    """What ends when its viewer leaves."""

    def cancel(self, reason: str | None = None) -> None:
        """End it; called from another task."""


@define(eq=False)
class Leavers:
    """Cancels an exchange, or a scope, whose viewer has gone."""

    _poll: select.poll = field(factory=select.poll)
    _watched: dict[int, Cancellable] = field(factory=dict)
    _fins: dict[int, int] = field(factory=dict)
    _sleeping: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot)

    def watch(self, stream: trio.abc.Stream, scope: Cancellable) -> int:
        """Cancel ``scope`` when the peer of ``stream`` leaves; return what unwatch wants.

        A stream without a socket is not watched.
        """
        sock = raw_socket(stream)
        fd = -1 if sock is None else sock.fileno()
        if fd >= 0:
            self._watched[fd] = scope
            self._fins.pop(fd, None)
            self._poll.register(fd, _READ_HANGUP)
            if self._sleeping:
                self._sleeping.unpark()
        return fd

    def unwatch(self, fd: int, scope: Cancellable) -> None:
        """Forget a stream; one that was closed meanwhile may have left its number to another."""
        if self._watched.get(fd) is scope:
            del self._watched[fd]
            self._fins.pop(fd, None)
            self._poll.unregister(fd)

    async def run(self) -> None:
        """Sweep while anything is watched, for ever. Cancellation: stops the sweeps."""
        while True:
            while not self._watched:
                await self._sleeping.park()
            await trio.sleep(SWEEP_S)
            self.sweep()

    def sweep(self) -> None:
        """Look once at every watched socket."""
        for fd, events in self._poll.poll(0):
            seen = self._fins[fd] = self._fins.get(fd, 0) + 1
            if events & select.POLLNVAL:  # closed by its owner, who is about to unwatch it
                continue
            if events & ~_READ_HANGUP or seen >= FIN_SWEEPS:
                self._watched[fd].cancel(reason="the viewer has left")
