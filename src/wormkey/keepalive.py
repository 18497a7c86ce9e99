"""Whether a tunnel's peer is alive: when to ask it, and when to give it up.

Any frame counts as life, so a peer that speaks is asked only now and then, to measure the round
trip. What is sent and what an end means are tunnel.py's affair.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Final

import trio
from attrs import define, field

REMEASURE_S: Final = 60.0  # between two round trips measured on a busy tunnel

# An answer comes a round trip after its question; the next question need not wait for that to be
# an interval ago, which would wake a thousand idle tunnels twice for each.
_EARLY: Final = 1 / 16

BEAT_S: Final = 0.1  # on which tunnels wake: ten of a thousand each time, none of which waits long

_SERIAL: Final = struct.Struct(">Q")  # a PING's payload; v0 has none


@define(eq=False)
class KeepAlive:
    """One tunnel's questions and answers. ``asks`` is false where the peer asks by itself."""

    ping: Callable[[bytes], None]
    interval_s: float
    limit_s: float
    asks: bool
    numbered: bool
    heard_at: float = field(factory=trio.current_time)
    _pings: int = 0
    _pinged_at: float | None = None  # None when the last PING is answered

    async def wait_silent(self) -> None:
        """Ask a quiet peer until nothing has come of it for ``limit_s``.

        Cancellation: waits only.
        """
        pinged_at = -math.inf
        while True:
            now = trio.current_time()
            if now >= self.heard_at + self.limit_s:
                return
            # A peer that has just spoken need not be asked; its round trip is, now and then.
            quiet_at = max(self.heard_at, pinged_at) + self.interval_s
            ping_at = min(quiet_at, pinged_at + REMEASURE_S) if self.asks else math.inf
            if now >= ping_at - self.interval_s * _EARLY:
                self._ask(now)
                pinged_at = now
            else:
                await self._sleep_until(min(ping_at, self.heard_at + self.limit_s))

    async def _sleep_until(self, wake_at: float) -> None:
        """Sleep; how late the end comes is this process's own absence, not the peer's silence.

        A stopped process or a machine that stood still finds what came meanwhile still unread.
        The end is put off to the next beat, so that many tunnels wake their process once.
        """
        beat_s = min(BEAT_S, self.interval_s / 100)
        wake_at = max(wake_at, math.ceil(wake_at / beat_s) * beat_s)
        await trio.sleep_until(wake_at)
        now = trio.current_time()
        self.heard_at = min(now, self.heard_at + (now - wake_at))

    def _ask(self, now: float) -> None:
        self._pings += 1
        self._pinged_at = now
        self.ping(self._serial())

    def answered(self, payload: bytes) -> float | None:
        """Return the round trip in seconds that a PONG measures; None if it measures nothing."""
        if self._pinged_at is None or payload != self._serial():
            return None
        round_trip_s = trio.current_time() - self._pinged_at
        self._pinged_at = None
        return round_trip_s

    def _serial(self) -> bytes:
        return _SERIAL.pack(self._pings) if self.numbered else b""
