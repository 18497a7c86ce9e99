"""Who holds the gateway's connections: shares for viewers and for each address, room for tunnels.

Owns the counts and the order in which who merely waits must leave. Pure: a connection's task says
what it does, and gives a callback that ends it. What a connection is for is known only after its
head, so one that comes beyond the viewers' share is let in on trial (docs/decisions/016).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from attrs import define, field

from wormkey.throttle import LOOPBACK, address_key

TRIAL_S: Final = 2.0  # a client sends its handshake at once; the round trip is the rest
DRAIN_GRACE_S: Final = 0.5  # a connection that was accepted but has said nothing may still speak
MAX_TUNNEL_SEATS: Final = 256  # kept free of viewers; at most an eighth of all
_TUNNEL_SHARE: Final = 8


@define(eq=False)
class Seat:
    """One connection's place. ``key`` is what its address counts as; "" counts as nobody."""

    key: str = ""
    on_trial: bool = False  # no viewer's place is free: it may be a tunnel only
    of_viewer: bool = False  # counted in the viewers' share, and in its address's
    dismissed: bool = False  # told to leave; its place is given to another

    @property
    def lasts(self) -> bool:
        """Whether the connection may carry another request."""
        return not (self.on_trial or self.dismissed)


@define(eq=False)
class _Waiting:
    """Connections that wait for a request, by their callbacks; the one longest at it first."""

    seats: OrderedDict[Seat, Callable[[], None]] = field(factory=OrderedDict)

    def oldest(self) -> Seat | None:
        return next(iter(self.seats), None)


@define(eq=False)
class _Address:
    seats: int = 0
    waiting: _Waiting = field(factory=_Waiting)


@define(eq=False)
class Seats:
    """The places of one gateway, ``limit`` in all. Nothing here waits or fails."""

    limit: int
    tunnels: int = MAX_TUNNEL_SEATS  # 0 where none can come
    viewers: int = 0
    _trials: _Waiting = field(factory=_Waiting)
    _waiting: _Waiting = field(factory=_Waiting)
    _addresses: dict[str, _Address] = field(factory=dict)

    @property
    def viewers_limit(self) -> int:
        """How many connections may be viewers'; the rest is for tunnels."""
        return self.limit - min(self.tunnels, self.limit // _TUNNEL_SHARE)

    def take(self, peer: str, *, per_address: int, exempt: bool) -> Seat:
        """Seat a new connection; who has waited longest for a request may have to leave for it.

        An address that has its share loses its own oldest, never somebody else's. ``exempt`` are
        trusted proxies; so are loopback and unix sockets: whole crowds are behind them.
        """
        key = "" if exempt or not peer else address_key(peer)
        seat = Seat("" if key in (LOOPBACK, "unix") else key)
        address = self._addresses.get(seat.key)
        if address is not None and address.seats >= per_address:
            room = self._dismiss(address.waiting.oldest())
        else:
            room = self.viewers < self.viewers_limit or self._dismiss(self._waiting.oldest())
        if room:
            self._count(seat)
        else:
            seat.on_trial = True
        return seat

    def wait(self, seat: Seat, leave: Callable[[], None]) -> None:
        """Note that a connection has no whole request; ``leave`` ends it, and is called once."""
        if seat.on_trial:
            self._trials.seats[seat] = leave
        elif seat.of_viewer:
            self._waiting.seats[seat] = leave
            if seat.key:
                self._addresses[seat.key].waiting.seats[seat] = leave

    def work(self, seat: Seat) -> None:
        """Note that a connection's request has come: it stays until that is answered."""
        self._trials.seats.pop(seat, None)
        self._waiting.seats.pop(seat, None)
        if seat.of_viewer and seat.key:
            self._addresses[seat.key].waiting.seats.pop(seat, None)

    def become_tunnel(self, seat: Seat) -> None:
        """Move a connection out of the viewers' share, for good."""
        seat.on_trial = False
        self._discount(seat)

    def leave(self, seat: Seat) -> None:
        """Give the place back. May be called twice."""
        self.work(seat)
        self._discount(seat)

    def make_room(self) -> None:
        """Let one go where all places are taken: on trial first, then who waits for a request."""
        oldest = self._trials.oldest()
        self._dismiss(self._waiting.oldest() if oldest is None else oldest)

    def _dismiss(self, seat: Seat | None) -> bool:
        """Tell a waiting connection to leave; its place counts as free at once."""
        if seat is None:
            return False
        leave = self._trials.seats.get(seat) or self._waiting.seats[seat]
        self.leave(seat)
        seat.dismissed = True
        leave()
        return True

    def _count(self, seat: Seat) -> None:
        seat.of_viewer = True
        self.viewers += 1
        if seat.key:
            self._addresses.setdefault(seat.key, _Address()).seats += 1

    def _discount(self, seat: Seat) -> None:
        if not seat.of_viewer:
            return
        seat.of_viewer = False
        self.viewers -= 1
        if seat.key:
            address = self._addresses[seat.key]
            address.seats -= 1
            if not address.seats:
                del self._addresses[seat.key]
