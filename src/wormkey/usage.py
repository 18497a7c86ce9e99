"""What a session has carried: requests, bytes each way, and when somebody used it last.

Owns the numbers and how they add up. The gateway adds to a Meter in memory; journal.py writes
the sums behind, so a viewer never waits for the store. No clock: moments come in as arguments.
"""

from __future__ import annotations

from datetime import datetime

from attrs import define, frozen


@frozen(kw_only=True)
class Usage:
    """Sums over a session's whole life, restarts included; bytes are those of content."""

    requests: int = 0
    received_bytes: int = 0  # from viewers
    sent_bytes: int = 0  # to viewers
    last_seen_at: datetime | None = None  # aware UTC


@define(eq=False)
class Meter:
    """The running sums of one session. ``dirty`` says that they changed since it was lowered."""

    requests: int = 0
    received_bytes: int = 0
    sent_bytes: int = 0
    last_seen_at: datetime | None = None
    dirty: bool = False
    _passed: Usage | None = None  # the sums that another process goes on with

    @classmethod
    def resume(cls, usage: Usage) -> Meter:
        """Return a meter that goes on where ``usage`` ended."""
        return cls(usage.requests, usage.received_bytes, usage.sent_bytes, usage.last_seen_at)

    def add(
        self,
        now: datetime,
        *,
        requests: int = 0,
        received_bytes: int = 0,
        sent_bytes: int = 0,
    ) -> None:
        """Count what was carried at ``now``; a wall clock that jumped back moves nothing back."""
        self.requests += requests
        self.received_bytes += received_bytes
        self.sent_bytes += sent_bytes
        if self.last_seen_at is None or now > self.last_seen_at:
            self.last_seen_at = now
        self.dirty = True

    def include(self, usage: Usage) -> None:
        """Add what another process has carried of the same session."""
        self.requests += usage.requests
        self.received_bytes += usage.received_bytes
        self.sent_bytes += usage.sent_bytes
        seen = usage.last_seen_at
        if seen is not None and (self.last_seen_at is None or seen > self.last_seen_at):
            self.last_seen_at = seen
        self.dirty = True

    def pass_on(self) -> None:
        """Count from nothing: another process goes on with the sums so far."""
        self._passed = self.take()

    def take_back(self) -> None:
        """Go on with the sums that were passed on: the other process failed."""
        if self._passed is not None:
            passed, self._passed = self._passed, None
            self.include(passed)

    def take(self) -> Usage:
        """Return the sums and count from nothing; the moment of the last use stays."""
        usage = self.snapshot()
        self.requests = self.received_bytes = self.sent_bytes = 0
        self.dirty = False
        return usage

    def snapshot(self) -> Usage:
        """Return the sums as they are; ``dirty`` stays as it is."""
        return Usage(
            requests=self.requests,
            received_bytes=self.received_bytes,
            sent_bytes=self.sent_bytes,
            last_seen_at=self.last_seen_at,
        )
