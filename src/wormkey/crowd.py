"""Everybody who is at one session: how many, how fast they ask, how much they have open.

Owns the counting part of an owner's rules; policy.py has the part that looks at one request alone.
Pure: time (seconds of a monotonic clock) comes in as an argument. A refusal is an AdmissionError
that counts nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from attrs import define, field

from wormkey.errors import AdmissionError
from wormkey.policy import Facts
from wormkey.throttle import Throttle
from wormkey.viewers import MAX_KNOWN, Viewer, ViewerIds, Viewers

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from wormkey.rules import Policy

BURST_S: Final = 5.0  # a page and its assets come at once: a rate may be used up so far ahead
_RETRY_S: Final = 5
_EVERYBODY: Final = "*"


@define(eq=False)
class Crowd:
    """The viewers of one session, and what they have under way."""

    _viewers: Viewers = field(factory=Viewers)
    _viewer_rate: Throttle | None = None
    _tunnel_rate: Throttle | None = None
    _open: dict[Callable[[], None], Facts] = field(factory=dict)

    @classmethod
    def of(cls, removed: Collection[str]) -> Crowd:
        """Return the crowd of a session that nobody visited yet, without who was removed."""
        return cls(Viewers(frozenset(removed)))

    def enter(self, rules: Policy, ids: ViewerIds, now: float, *, owner: bool) -> Viewer:
        """Return who makes a request now, counted; ``owner`` is bound by the streams alone.

        Raises:
            AdmissionError: 403 ``removed``; 429 ``too_many_viewers``, ``too_many_requests`` or
                ``too_many_streams``, each with Retry-After.
        """
        if not owner and self._viewers.is_removed(ids):
            raise AdmissionError(403, "removed", "The owner has ended your visit.")
        if rules.max_streams and self.open_streams >= rules.max_streams:
            raise _busy("too_many_streams", "The tunnel carries as many exchanges as it may.", 1)
        rates = () if owner else self._rates(rules, ids, now)
        viewer = self._viewers.arrive(ids, rules.max_concurrent_viewers, now, owner=owner)
        if viewer is None:
            sentence = "As many viewers as the owner admits are here already."
            raise _busy("too_many_viewers", sentence, _RETRY_S)
        limit = rules.max_streams_per_viewer
        if limit and viewer.open_streams >= limit:
            raise _busy("too_many_streams", "You have as many requests open as you may.", 1)
        for rate, key in rates:
            rate.count(key, now)
        return viewer

    def _rates(self, rules: Policy, ids: ViewerIds, now: float) -> Sequence[tuple[Throttle, str]]:
        """Return the rates that a request counts for, if it is let in; none of them refuses it."""
        if not (rules.viewer_rate or rules.tunnel_rate):
            self._viewer_rate = self._tunnel_rate = None
            return ()
        self._viewer_rate = _rate(self._viewer_rate, rules.viewer_rate)
        self._tunnel_rate = _rate(self._tunnel_rate, rules.tunnel_rate)
        rates = [
            (rate, key)
            for rate, key in (
                (self._viewer_rate, ids.by_cookie or ids.by_address),
                (self._tunnel_rate, _EVERYBODY),
            )
            if rate is not None
        ]
        wait_s = max((rate.wait_s(key, now) for rate, key in rates), default=0.0)
        if wait_s:
            sentence = "More requests come than the owner admits."
            raise _busy("too_many_requests", sentence, math.ceil(wait_s))
        return rates

    @property
    def open_streams(self) -> int:
        """How many exchanges are under way."""
        return len(self._open)

    def begin(self, viewer: Viewer, facts: Facts, cut: Callable[[], None]) -> None:
        """Note an exchange that was admitted for ``facts``; ``cut`` ends it if that changes."""
        viewer.begin(cut)
        self._open[cut] = facts

    def end(self, viewer: Viewer, cut: Callable[[], None], now: float) -> None:
        """Note that it is over."""
        viewer.end(cut, now)
        self._open.pop(cut, None)

    def recheck(self, admits: Callable[[Facts], bool]) -> int:
        """Cut what would not be admitted any more; return how many exchanges."""
        shut_out = [cut for cut, facts in self._open.items() if not admits(facts)]
        for cut in shut_out:
            cut()
        return len(shut_out)

    def here(self, now: float) -> Iterator[Viewer]:
        """Return who is here, first come first."""
        return self._viewers.here(now)

    def ids_of(self, viewer_id: str) -> tuple[str, ...]:
        """Return every id that a viewer may come back under."""
        return self._viewers.ids_of(viewer_id)

    def remove(self, removed: Collection[str]) -> None:
        """Refuse these ids from now on, and end what they have open."""
        self._viewers.remove(removed)


def _rate(known: Throttle | None, per_s: int) -> Throttle | None:
    """Return the throttle of a rate; a rate that changed begins anew."""
    if not per_s:
        return None
    limit = round(per_s * BURST_S)
    if known is not None and known.limit == limit:
        return known
    return Throttle(limit, max_keys=MAX_KNOWN, window_s=BURST_S)


def _busy(code: str, sentence: str, retry_s: int) -> AdmissionError:
    retry = ((b"Retry-After", str(retry_s).encode("ascii")),)
    return AdmissionError(429, code, sentence, fields=retry)
