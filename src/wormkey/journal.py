"""The journal: what is written behind, so that no viewer and no call waits for the store.

Owns what changed and is not stored yet: sums of dirty meters, last uses of tokens, traces that no
call could carry (an expiry, a start). All of it is the newest value of something or bounded, so a
store that fails for hours costs nothing but the oldest traces. Never refuses anything.
"""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Final

import trio
from attrs import define, field

from wormkey.audit import AuditRecord
from wormkey.auditlog import AuditLog
from wormkey.errors import StoreError
from wormkey.store import Batch, Store
from wormkey.usage import Meter, Usage

if TYPE_CHECKING:
    from wormkey.config import Settings

log = logging.getLogger(__name__)

FLUSH_S: Final = 1.0  # what kill -9 may cost: the last second of counters
MAX_LOOSE_RECORDS: Final = 10_000  # about 1 KiB each
TRIM_EVERY: Final = 60  # flushes


@define(eq=False)
class Journal:
    """What one daemon writes behind. ``meters`` gives each session's id and meter.

    ``keep_records`` is how many traces the store keeps.
    """

    store: Store
    meters: Callable[[], Iterable[tuple[str, Meter]]]
    keep_records: int
    audit_log: AuditLog | None = None
    told: Callable[[AuditRecord], None] | None = None  # gets every trace, too
    heir: Callable[[Mapping[str, Usage]], Awaitable[bool]] | None = None  # takes the sums instead
    _token_uses: dict[bytes, datetime] = field(factory=dict, repr=False)  # of tokens that exist
    _loose: deque[AuditRecord] = field(factory=deque, repr=False)
    _dropped: int = 0
    _failing: bool = False
    _passed_on: bool = False  # another process owns the sums of the store
    _flushing: trio.Lock = field(factory=trio.Lock)
    _former: list[AuditLog] = field(factory=list)  # before a reload: flushed once more, then closed

    def publish(self, record: AuditRecord) -> None:
        """Keep a trace that the store has already, for the audit log."""
        if self.audit_log is not None:
            self.audit_log.add(record)
        if self.told is not None:
            self.told(record)

    @property
    def failing(self) -> bool:
        """Whether the store took nothing at the last flush."""
        return self._failing

    def pass_on(self) -> None:
        """Leave the sums to another process, which has read them: count from nothing.

        From now on they go to ``heir``, once there is one; traces go to the store as before.
        """
        self._passed_on = True
        for _, meter in self.meters():
            meter.pass_on()

    def take_back(self) -> None:
        """Go on as before ``pass_on``."""
        if self._passed_on:
            self._passed_on = False
            for _, meter in self.meters():
                meter.take_back()

    def behind(self, record: AuditRecord) -> None:
        """Keep a trace that the store still has to get, for both."""
        self._loose.append(record)
        self._bound()
        self.publish(record)

    def use_token(self, digest: bytes, used_at: datetime) -> None:
        """Keep when an access token was used last; the newest use counts."""
        self._token_uses[digest] = used_at

    def apply(self, settings: Settings) -> None:
        """Take changed settings; what waits for the audit log that was still goes there."""
        self.keep_records = settings.audit_records
        former, path = self.audit_log, settings.audit_log
        if path == (None if former is None else former.path):
            return
        if former is not None:
            self._former.append(former)
        self.audit_log = None if path is None else AuditLog(path)

    async def run(self) -> None:
        """Flush once in FLUSH_S, and keep the stored trail short, until cancelled.

        Cancellation: nothing is lost that a last ``flush`` could not write.
        """
        for count in itertools.count(1):
            await trio.sleep(FLUSH_S)
            await self.flush()
            if count % TRIM_EVERY == 0 and not self._failing and not self._passed_on:
                try:
                    await self.store.trim_audit(self.keep_records)
                except StoreError as error:
                    log.warning("audit trail not trimmed", extra={"error": str(error)})

    async def flush(self) -> None:
        """Write what changed; what the store does not take stays for the next time.

        Cancellation: before the store begins; what was taken out for it is put back.
        """
        async with self._flushing:
            await self._flush()

    async def _flush(self) -> None:
        if self.heir is not None:
            usage = {key: meter.take() for key, meter in self.meters() if meter.dirty}
            if not await self.heir(usage):
                log.warning("usage lost", extra={"sessions": len(usage)})
        batch, metered = self._take()
        if batch.usage or batch.token_uses or batch.audit:
            try:
                await self.store.write_behind(batch)
            except StoreError as error:
                self._put_back(batch, metered)
                self._fail(error)
            except BaseException:
                self._put_back(batch, metered)
                raise
            else:
                self._recover()
        if self.audit_log is not None:
            await self.audit_log.flush()
        while self._former:
            await self._former[0].flush()
            self._former.pop(0).close()

    def close(self) -> None:
        """Let go of the audit log; what waits for it is lost, so flush before."""
        for audit_log in (self.audit_log, *self._former):
            if audit_log is not None:
                audit_log.close()

    def _take(self) -> tuple[Batch, list[Meter]]:
        """Return what changed, and the meters whose sums it holds, with their marks lowered."""
        usage, metered = {}, []
        for session_id, meter in self.meters():
            if meter.dirty and not self._passed_on:
                meter.dirty = False
                usage[session_id] = meter.snapshot()
                metered.append(meter)
        batch = Batch(usage=usage, token_uses=self._token_uses, audit=tuple(self._loose))
        self._token_uses = {}
        self._loose.clear()
        return batch, metered

    def _put_back(self, batch: Batch, metered: list[Meter]) -> None:
        """Undo ``_take``; what came meanwhile is newer and stays."""
        for meter in metered:
            meter.dirty = True
        self._token_uses = {**batch.token_uses, **self._token_uses}
        self._loose.extendleft(reversed(batch.audit))
        self._bound()

    def _bound(self) -> None:
        while len(self._loose) > MAX_LOOSE_RECORDS:
            self._loose.popleft()
            self._dropped += 1

    def _fail(self, error: StoreError) -> None:
        if not self._failing:  # once for each outage, not once a second
            log.error("store takes no counters", extra={"error": str(error)})
        self._failing = True

    def _recover(self) -> None:
        if self._failing or self._dropped:
            log.warning("store takes counters again", extra={"dropped_records": self._dropped})
        self._failing, self._dropped = False, 0
