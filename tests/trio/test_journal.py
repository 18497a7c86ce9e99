"""The journal: written behind once a second, bounded, and silent about a store that fails."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import pytest
import trio
from attrs import define, field

from tests.support.stored import HOUR, NOW, session, trace
from wormkey.auditlog import AuditLog
from wormkey.errors import StoreError
from wormkey.journal import FLUSH_S, MAX_LOOSE_RECORDS, TRIM_EVERY, Journal
from wormkey.store import Batch
from wormkey.store.memory import MemoryStore
from wormkey.usage import Meter, Usage

if TYPE_CHECKING:
    from pathlib import Path

    from trio.testing import MockClock

    from wormkey.audit import AuditRecord


KEPT = 20


@define(eq=False)
class Store(MemoryStore):
    """A store that fails while a test wants it to, and does something in the middle of a write."""

    failing: bool = False
    batches: list[Batch] = field(factory=list)
    meanwhile: Callable[[], None] = lambda: None

    async def write_behind(self, batch: Batch) -> None:
        """Keep the batch, or fail."""
        await trio.lowlevel.checkpoint()
        self.meanwhile()
        if self.failing:
            raise StoreError("the disk is full; free some space")
        self.batches.append(batch)
        await super().write_behind(batch)


@pytest.fixture
async def store() -> Store:
    """Give a store with one session and one token."""
    made = Store()
    await made.put_session(session(1))
    await made.add_access_token("laptop", b"L" * 32, NOW)
    return made


@pytest.fixture
def meter() -> Meter:
    """Give the session's meter."""
    return Meter()


@pytest.fixture
def journal(store: Store, meter: Meter) -> Journal:
    """Give a journal of that store and meter."""
    return Journal(store, lambda: [("id-1", meter)], keep_records=KEPT)


async def test_once_a_second_what_changed_is_stored(
    store: Store, meter: Meter, journal: Journal, autojump_clock: MockClock
) -> None:
    """Counters, token uses and loose traces are at most FLUSH_S behind; nothing else is written."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(journal.run)
        await trio.sleep(FLUSH_S * 2.5)
        assert store.batches == []
        meter.add(NOW, requests=1, sent_bytes=5)
        journal.use_token(b"L" * 32, NOW)
        journal.use_token(b"L" * 32, NOW + HOUR)
        journal.behind(trace(1))
        await trio.sleep(FLUSH_S)
        sums = Usage(requests=1, sent_bytes=5, last_seen_at=NOW)
        assert await store.load_usage() == {"id-1": sums}
        assert (await store.list_access_tokens())[0].last_used_at == NOW + HOUR
        assert list(await store.read_audit(9)) == [trace(1)]
        await trio.sleep(FLUSH_S * 5)
        assert len(store.batches) == 1
        nursery.cancel_scope.cancel()


async def test_what_moves_during_a_flush_is_written_by_the_next(
    store: Store, meter: Meter, journal: Journal
) -> None:
    """No change is lost between looking and writing."""
    meter.add(NOW, requests=1)
    store.meanwhile = lambda: meter.add(NOW, requests=1)
    await journal.flush()
    store.meanwhile = lambda: None
    await journal.flush()
    assert [batch.usage["id-1"].requests for batch in store.batches] == [1, 2]


async def test_failing_store_loses_nothing(
    store: Store, meter: Meter, journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    """The newest values are kept and written when it works again; each outage is said once."""
    store.failing = True
    meter.add(NOW, requests=1)
    journal.use_token(b"L" * 32, NOW)
    journal.behind(trace(1))
    store.meanwhile = lambda: journal.use_token(b"L" * 32, NOW + HOUR)
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            await journal.flush()
        store.meanwhile = lambda: None
        journal.behind(trace(2))
        assert [record.getMessage() for record in caplog.records] == ["store takes no counters"]
        store.failing = False
        await journal.flush()
        await journal.flush()
    assert [record.getMessage() for record in caplog.records[1:]] == ["store takes counters again"]
    assert (await store.load_usage())["id-1"].requests == 1
    assert (await store.list_access_tokens())[0].last_used_at == NOW + HOUR
    assert list(await store.read_audit(9)) == [trace(2), trace(1)]


async def test_loose_traces_are_bounded(
    store: Store, journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    """A store that fails for hours costs the oldest traces, and their number is told."""
    store.failing = True
    for number in range(MAX_LOOSE_RECORDS + 3):
        journal.behind(trace(number))
        if number == MAX_LOOSE_RECORDS:
            await journal.flush()
    store.failing = False
    caplog.clear()
    await journal.flush()
    kept = await store.read_audit(2 * MAX_LOOSE_RECORDS)
    assert len(kept) == MAX_LOOSE_RECORDS
    assert (kept[0], kept[-1]) == (trace(MAX_LOOSE_RECORDS + 2), trace(3))
    assert [vars(record)["dropped_records"] for record in caplog.records] == [3]


async def test_cancelled_flush_puts_back(store: Store, meter: Meter, journal: Journal) -> None:
    """A daemon that is cancelled in the middle can still write everything at its end."""
    meter.add(NOW, requests=1)
    journal.behind(trace(1))
    with trio.CancelScope() as scope:
        scope.cancel()
        await journal.flush()
    assert store.batches == []
    await journal.flush()
    assert (await store.load_usage())["id-1"].requests == 1
    assert list(await store.read_audit(9)) == [trace(1)]


async def test_stored_trail_is_kept_short(
    store: Store, journal: Journal, autojump_clock: MockClock
) -> None:
    """Once a minute all but the newest traces go, whoever wrote them."""
    await store.write_behind(Batch(audit=[trace(n) for n in range(KEPT + 5)]))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(journal.run)
        await trio.sleep(FLUSH_S * (TRIM_EVERY + 0.5))
        nursery.cancel_scope.cancel()
    kept = await store.read_audit(2 * KEPT)
    assert len(kept) == KEPT
    assert kept[0] == trace(KEPT + 4)


async def test_audit_log_gets_every_trace_once(store: Store, tmp_path: Path) -> None:
    """Those that the store has already, and those that it gets now, in their order."""
    journal = Journal(store, list, KEPT, AuditLog(tmp_path / "audit.log"))
    journal.publish(trace(1))
    journal.behind(trace(2))
    store.failing = True
    await journal.flush()
    store.failing = False
    await journal.flush()
    lines = (tmp_path / "audit.log").read_text().splitlines(keepends=True)
    assert lines == [trace(1).line(), trace(2).line()]
    assert list(await store.read_audit(9)) == [trace(2)]
    assert journal.audit_log is not None
    journal.audit_log.close()


async def test_sums_that_are_passed_on_go_to_the_heir(
    store: Store, meter: Meter, journal: Journal
) -> None:
    """The store's sums are another process's: here only what came since is told, once."""
    told: list[dict[str, Usage]] = []

    async def heir(usage: Mapping[str, Usage]) -> bool:
        await trio.lowlevel.checkpoint()
        told.append(dict(usage))
        return True

    meter.add(NOW, requests=3)
    await journal.flush()
    journal.pass_on()
    meter.add(NOW, requests=1)
    await journal.flush()  # nobody to tell yet
    journal.heir = heir
    journal.behind(trace(1))
    await journal.flush()
    await journal.flush()
    (key,) = told[0]
    assert [usage[key].requests for usage in told if usage] == [1]
    assert [dict(batch.usage) for batch in store.batches if batch.usage] == [
        {key: Usage(requests=3, last_seen_at=NOW)}
    ]
    assert len(store.batches[-1].audit) == 1  # traces are the store's as before


async def test_a_hand_over_that_fails_loses_no_sums(
    store: Store, meter: Meter, journal: Journal
) -> None:
    """What was passed on is taken back, with what came meanwhile."""
    meter.add(NOW, requests=3)
    await journal.flush()
    journal.pass_on()
    meter.add(NOW, requests=1)
    journal.take_back()
    await journal.flush()
    assert [usage.requests for usage in store.batches[-1].usage.values()] == [4]


async def test_who_listens_hears_every_trace(journal: Journal) -> None:
    """A predecessor is told of changes whichever way they are stored."""
    heard: list[AuditRecord] = []
    journal.told = heard.append
    journal.publish(trace(1))
    journal.behind(trace(2))
    assert heard == [trace(1), trace(2)]
