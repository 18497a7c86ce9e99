"""Sessions come and go by the hundred thousand; memory and the file stay as they were.

WORMKEY_SESSIONS says how many; CI takes 100,000. The disk's own waits are left out (synchronous
OFF), since what is measured is size.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from tests.support.sessions import Clock
from wormkey.audit import Actor
from wormkey.config import Settings
from wormkey.journal import Journal
from wormkey.registry import Registry
from wormkey.routes.local import LocalRoutes
from wormkey.session import ENDED_GRACE_S
from wormkey.store.sqlite import open_sqlite
from wormkey.trail import Trail
from wormkey.wishes import NewSession

if TYPE_CHECKING:
    import sqlite3

SESSIONS = int(os.environ.get("WORMKEY_SESSIONS", "10000"))
ROUNDS = 20
CREATORS = 20
LIFE_S = 3600
MAX_GROWTH_BYTES = 4 * 1024 * 1024  # of memory, from the second round on
MAX_FILES_GROWTH_BYTES = 512 * 1024  # from the middle on
MAX_LOG_BYTES = 4 * 1024 * 1024  # as much as the log keeps


def memory_bytes() -> int:
    """Return this process's resident memory."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


def folder_bytes(folder: Path) -> int:
    """Return the size of all files in a folder."""
    return sum(each.stat().st_size for each in folder.iterdir())


def _write_back(connection: sqlite3.Connection) -> None:
    (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    assert not busy


async def test_sessions_leave_nothing_behind(tmp_path: Path) -> None:
    """After each round of creating, expiring and sweeping, memory and file are where they were."""
    store = await open_sqlite(tmp_path / "store.sqlite3")
    await store._execute("unsafe", "PRAGMA synchronous = OFF", ())
    clock = Clock()
    routes = LocalRoutes()
    settings = Settings(state_dir=tmp_path)
    journal = Journal(store, routes.meters, settings.audit_records)
    trail = Trail(clock, journal.publish, journal.behind)
    registry = Registry(store, routes, clock, settings, trail)
    sizes: list[tuple[int, int]] = []
    with_log: list[int] = []
    for _ in range(ROUNDS):
        numbers = iter(range(SESSIONS // ROUNDS))

        async def create_some() -> None:
            for _ in numbers:  # noqa: B023 - run within this round
                await registry.create(NewSession(port=1, expires_in_s=LIFE_S), Actor("token:a"))

        async with trio.open_nursery() as nursery:
            for _ in range(CREATORS):
                nursery.start_soon(create_some)
        assert len(routes) == SESSIONS // ROUNDS
        clock.time += timedelta(seconds=LIFE_S)
        assert registry.expire(clock()) == SESSIONS // ROUNDS
        clock.time += timedelta(seconds=ENDED_GRACE_S + 1)
        assert await registry.sweep(clock()) == SESSIONS // ROUNDS
        await journal.flush()
        await store.trim_audit(settings.audit_records)  # as the journal does once a minute
        assert (len(routes), list(routes.ended_entries())) == (0, [])
        with_log.append(folder_bytes(tmp_path))
        # How long the log is in this moment is chance: what is in it is written back first.
        await store._call("unsafe", _write_back)
        sizes.append((memory_bytes(), folder_bytes(tmp_path)))
    assert list(await store.load_sessions()) == []
    await store.aclose()
    second, last = sizes[1], sizes[-1]
    print(
        f"{SESSIONS} sessions in {ROUNDS} rounds: memory {second[0] >> 10} to {last[0] >> 10} KiB, "
        f"files {second[1] >> 10} to {last[1] >> 10} KiB"
    )
    assert last[0] - second[0] < MAX_GROWTH_BYTES
    # The trail grows to what is kept; then nothing grows any more, but for the log up to its limit.
    half = ROUNDS // 2
    settled = sizes[half][1]
    assert last[1] < settled + MAX_FILES_GROWTH_BYTES
    # For a moment it is longer than what is kept of it, until a writer finds it written back.
    assert max(with_log[half:]) < settled + 2 * MAX_LOG_BYTES
