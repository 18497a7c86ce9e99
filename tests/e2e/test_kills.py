"""kill -9 at random moments under load: whatever was acknowledged is there, nothing is half there.

WORMKEY_KILLS says how many; CI takes 200. The seed is printed, and WORMKEY_KILLS_SEED takes one.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import sys
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
import trio

from tests.support.ledger import Ledger, Worker
from tests.support.process import DAEMON, running, running_daemon
from tests.support.world import call
from wormkey.access import Access
from wormkey.config import Settings
from wormkey.journal import FLUSH_S
from wormkey.statefolder import STORE_FILE
from wormkey.store.sqlite import open_sqlite

if TYPE_CHECKING:
    from pathlib import Path

KILLS = int(os.environ.get("WORMKEY_KILLS", "20"))
SEED = int(os.environ.get("WORMKEY_KILLS_SEED", str(random.SystemRandom().randrange(2**32))))
WORKERS = 6
LONGEST_LIFE_S = 0.4
START_S = 0.6  # about what a daemon needs to be ready
OPTIONS = ("--access", "open", "--audit-records", "1000000")
SLACK_S = 0.5  # a flush that was under way, and a busy machine


async def change_tokens(ledger: Ledger, store: Path, dice: random.Random) -> None:
    """Add and revoke access tokens as ``wormkeyd token`` does: from another process, a while."""
    for _ in range(dice.randrange(4)):
        opened = await open_sqlite(store)
        access = Access(opened, lambda: datetime.now(UTC), Settings(state_dir=store.parent))
        name = f"token-{ledger.number()}"
        await access.add(name)
        ledger.tokens[name] = True
        there = [known for known, kept in ledger.tokens.items() if kept]
        if dice.random() < 0.5:
            victim = dice.choice(there)
            assert await access.revoke(victim)
            ledger.tokens[victim] = False
        await opened.aclose()


async def ask_again(ledger: Ledger, control: tuple[str, int], dice: random.Random) -> None:
    """The new daemon says over its API what the last one had acknowledged."""
    for told in dice.sample(list(ledger.sessions.values()), min(5, len(ledger.sessions))):
        path = f"/sessions/{told.session_id}"
        status, answer = await call(control, "GET", path, token=told.session_token)
        assert status == 200, answer
        assert {answer["closed"]} == told.closed
        assert {answer["policy"]["maxConcurrentViewers"]} == told.viewers


async def kill_a_start(home: Path, dice: random.Random) -> None:
    """Kill a daemon before anybody can know whether it is ready."""
    command = (*DAEMON, "--control", "127.0.0.1:0", "--gateway", "127.0.0.1:0")
    state = ("--state-dir", str(home / "daemon"))
    async with running((*command, *state, *OPTIONS), home) as process:
        await trio.sleep(dice.uniform(0, START_S))
        await process.end(signal.SIGKILL)


@pytest.mark.slow
async def test_killed_daemon_forgets_nothing(tmp_path: Path) -> None:
    """Sessions, closings, policies, removed viewers and tokens survive every kill."""
    dice = random.Random(SEED)
    ledger = Ledger()
    workers = [Worker(ledger, dice) for _ in range(WORKERS)]
    store = tmp_path / "daemon" / STORE_FILE
    print(f"seed {SEED}")
    with trio.fail_after(30 + 5 * KILLS):
        for kill in range(KILLS + 1):
            async with running_daemon(tmp_path, *OPTIONS) as daemon:
                ledger.check(store)
                await ask_again(ledger, daemon.control, dice)
                if kill == KILLS:
                    break
                async with trio.open_nursery() as nursery:
                    for worker in workers:
                        nursery.start_soon(worker.run, daemon.control)
                    nursery.start_soon(change_tokens, ledger, store, dice)
                    await trio.sleep(dice.uniform(0, LONGEST_LIFE_S))
                    await daemon.process.end(signal.SIGKILL)
            if dice.random() < 0.2:
                await kill_a_start(tmp_path, dice)
    told = ", ".join(f"{count} {act}" for act, count in sorted(ledger.acknowledged.items()))
    print(f"{KILLS} kills: {told}, {len(ledger.tokens)} tokens; {ledger.unanswered} unanswered")
    assert ledger.acknowledged.keys() == {"created", "changed", "kicked", "closed"}


COUNTER = """
import sys, trio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from wormkey.journal import Journal
from wormkey.session import Session
from wormkey.store.sqlite import open_sqlite
from wormkey.usage import Meter
async def main():
    store = await open_sqlite(Path(sys.argv[1]))
    now = datetime.now(UTC)
    await store.put_session(Session(session_id="id", slug="slug", created_at=now,
        expires_at=now + timedelta(days=1), session_token_digest=b"s", owner_token_digest=b"o"))
    meter = Meter.resume((await store.load_usage())["id"])
    journal = Journal(store, lambda: [("id", meter)], 10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(journal.run)
        while True:
            meter.add(datetime.now(UTC), requests=1, sent_bytes=10)
            print(meter.requests, flush=True)
            await trio.sleep(0.01)
trio.run(main)
"""


@pytest.mark.slow
async def test_killed_counters_are_a_second_behind(tmp_path: Path) -> None:
    """What was counted a flush before the kill is stored, and counting goes on from there."""
    dice = random.Random(SEED)
    store = tmp_path / "store.sqlite3"
    stored = 0
    for _ in range(3):
        counts: list[tuple[float, int]] = []
        with trio.fail_after(30):
            async with running((sys.executable, "-c", COUNTER, str(store)), tmp_path) as process:
                await process.wait_line(process.out, bool)
                start = trio.current_time()
                kill_at = start + FLUSH_S + SLACK_S + dice.uniform(0, FLUSH_S)
                while trio.current_time() < kill_at:
                    counts.append((trio.current_time(), int(process.out[-1])))
                    await trio.sleep(0.01)
                killed_at = trio.current_time()
                await process.end(signal.SIGKILL)
                last = int(process.out[-1])
        with closing(sqlite3.connect(store)) as connection:
            row = connection.execute("SELECT requests, sent_bytes FROM session").fetchone()
        due = max(count for moment, count in counts if moment <= killed_at - FLUSH_S - SLACK_S)
        assert due <= row[0] <= last
        assert row[1] == 10 * row[0]
        assert row[0] > stored
        stored = row[0]
