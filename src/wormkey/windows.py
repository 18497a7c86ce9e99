"""Flow-control window arithmetic alone: consume, arrive, release, grow (docs/protocol.md §5).

The unit everywhere is the flow-controlled byte: a byte of DATA payload. Nothing here knows what a
stream, a frame or a socket is. The shape of the rules is RFC 9113 §5.2 and §6.9, which named them.
"""

from __future__ import annotations

from attrs import define

from wormkey.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from wormkey.frames import MAX_WINDOW_BYTES


@define
class SendWindow:
    """How many bytes the peer still takes from us."""

    available_bytes: int

    def consume(self, count: int) -> None:
        """Account for ``count`` bytes sent.

        Raises:
            LocalProtocolError: more than the window; the caller forgot to ask.
        """
        if count > self.available_bytes:
            raise LocalProtocolError("more content than the window", ErrorCode.FLOW_CONTROL_ERROR)
        self.available_bytes -= count

    def grant(self, count: int) -> None:
        """Take a grant of ``count`` bytes from the peer.

        Raises:
            RemoteProtocolError: a grant of nothing, or a window over 2^31-1 (RFC 9113 §6.9.1).
        """
        if count <= 0:
            raise RemoteProtocolError("a window grant of nothing")
        if self.available_bytes + count > MAX_WINDOW_BYTES:
            raise RemoteProtocolError("a window over 2^31-1", ErrorCode.FLOW_CONTROL_ERROR)
        self.available_bytes += count


@define
class ReceiveWindow:
    """What we promised to take, what is here, and what the next hop has taken of it.

    Always: size = available (the peer may send it) + held (here, the next hop has not taken it)
    + taken (gone, but not granted again yet). ``held_bytes`` is what this window costs in memory.
    """

    size_bytes: int
    available_bytes: int
    held_bytes: int = 0
    taken_bytes: int = 0

    @classmethod
    def of(cls, size_bytes: int) -> ReceiveWindow:
        """Return a window that the peer may fill at once."""
        return cls(size_bytes, size_bytes)

    def arrive(self, count: int) -> None:
        """Account for ``count`` bytes that arrived.

        Raises:
            RemoteProtocolError: the peer overran the window.
        """
        if count > self.available_bytes:
            raise RemoteProtocolError("content over the window", ErrorCode.FLOW_CONTROL_ERROR)
        self.available_bytes -= count
        self.held_bytes += count

    def release(self, count: int) -> int:
        """Account for ``count`` bytes that the next hop has taken; return the grant now due.

        A grant is due once it is as much as the peer has left: with a next hop that keeps up that
        is every half window (smaller ones cost a frame for few bytes, later ones leave the peer
        waiting for a round trip). While much is held, a peer who has run out gets the little
        that is free in eighths; without that, stalled streams could keep a tunnel's last bytes
        from all the others.

        Raises:
            LocalProtocolError: more is released than is held.
        """
        if count > self.held_bytes:
            raise LocalProtocolError("more released than held", ErrorCode.FLOW_CONTROL_ERROR)
        self.held_bytes -= count
        self.taken_bytes += count
        if self.taken_bytes < self.available_bytes or self.taken_bytes < self.size_bytes // 8:
            return 0
        grant = self.taken_bytes
        self.taken_bytes = 0
        self.available_bytes += grant
        return grant

    def grow(self, count: int) -> int:
        """Widen the window by ``count`` bytes; return the grant that tells the peer."""
        self.size_bytes += count
        grant = count + self.taken_bytes
        self.taken_bytes = 0
        self.available_bytes += grant
        return grant
