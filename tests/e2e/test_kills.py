"""kill -9 at random moments under load: whatever was acknowledged is there, nothing is half there.

The daemons are forks of one process (forkserver.py): two hundred starts would be most of the time.
WORMKEY_KILLS says how many; CI takes 200. The seed is printed, and WORMKEY_KILLS_SEED takes one.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
import trio

from tests.support.forkserver import ForkServer, open_fork_server
from tests.support.ledger import Ledger, Worker
from tests.support.oldstores import OLD, write_old
from tests.support.origin import saying, start_origin
from tests.support.process import (
    ADDRESSES,
    Daemon,
    attended,
    environment,
    forked_daemon,
    options_of,
    running_daemon,
)
from tests.support.share import create_session, start_client_of
from tests.support.viewer import open_viewer
from tests.support.world import Connected, call
from wormkey.access import Access
from wormkey.config import Settings
from wormkey.journal import FLUSH_S
from wormkey.statefolder import STORE_FILE
from wormkey.store.schema import SCHEMA_VERSION
from wormkey.store.sqlite import open_sqlite

if TYPE_CHECKING:
    from pathlib import Path

KILLS = int(os.environ.get("WORMKEY_KILLS", "20"))
SEED = int(os.environ.get("WORMKEY_KILLS_SEED", str(random.SystemRandom().randrange(2**32))))
WORKERS = 6
MIGRATIONS = 10
LONGEST_LIFE_S = 0.6
HISTORIES = 2  # state folders at a time
OPTIONS = ("--access", "open", "--audit-records", "1000000")
SLACK_S = 1.0  # a flush that was under way, and a busy machine


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


async def kill_a_start(server: ForkServer, home: Path, dice: random.Random, start_s: float) -> None:
    """Kill a daemon before anybody can know whether it is ready, which takes about ``start_s``."""
    forked = await server.start(*ADDRESSES, *options_of(home), *OPTIONS)
    async with attended(forked) as process:
        await trio.sleep(dice.uniform(0, start_s))
        await process.end(signal.SIGKILL)


async def kill_again_and_again(
    server: ForkServer, ledger: Ledger, home: Path, dice: random.Random, kills: int
) -> None:
    """Give a state folder a history of daemons that are killed; look at it after each of them."""
    workers = [Worker(ledger, dice) for _ in range(WORKERS)]
    store = home / "daemon" / STORE_FILE
    for kill in range(kills + 1):
        begun = trio.current_time()
        async with forked_daemon(server, home, *OPTIONS) as daemon:
            start_s = trio.current_time() - begun
            ledger.check(store)
            await ask_again(ledger, daemon.control, dice)
            if kill == kills:
                break
            async with trio.open_nursery() as nursery:
                for worker in workers:
                    nursery.start_soon(worker.run, daemon.control)
                nursery.start_soon(change_tokens, ledger, store, dice)
                await trio.sleep(dice.uniform(0, LONGEST_LIFE_S))
                assert await daemon.process.end(signal.SIGKILL) == -signal.SIGKILL
        if dice.random() < 0.2:
            await kill_a_start(server, home, dice, start_s)


@pytest.mark.slow
async def test_killed_daemon_forgets_nothing(tmp_path: Path) -> None:
    """Sessions, closings, policies, removed viewers and tokens survive every kill."""
    print(f"seed {SEED}")
    ledgers = [Ledger() for _ in range(HISTORIES)]
    with trio.fail_after(30 + 5 * KILLS):
        async with (
            open_fork_server(environment(tmp_path), tmp_path) as server,
            trio.open_nursery() as nursery,
        ):
            for number, ledger in enumerate(ledgers):
                home = tmp_path / str(number)
                dice = random.Random(SEED + number)
                kills = len(range(number, KILLS, HISTORIES))
                nursery.start_soon(kill_again_and_again, server, ledger, home, dice, kills)
    acknowledged = sum((ledger.acknowledged for ledger in ledgers), Counter[str]())
    told = ", ".join(f"{count} {act}" for act, count in sorted(acknowledged.items()))
    tokens = sum(len(ledger.tokens) for ledger in ledgers)
    unanswered = sum(ledger.unanswered for ledger in ledgers)
    print(f"{KILLS} kills: {told}, {tokens} tokens; {unanswered} unanswered")
    assert acknowledged.keys() == {"created", "changed", "kicked", "closed"}


@pytest.mark.slow
@pytest.mark.parametrize("version", OLD)
async def test_killed_migration_can_be_begun_again(tmp_path: Path, version: int) -> None:
    """Starts on an old file, killed at any moment, leave it old or new and never between."""
    dice = random.Random(SEED)
    store = tmp_path / "daemon" / STORE_FILE
    store.parent.mkdir()
    found = set()
    with trio.fail_after(60):
        async with open_fork_server(environment(tmp_path), tmp_path) as server:
            begun = trio.current_time()
            async with forked_daemon(server, tmp_path, "--store", "memory"):
                start_s = trio.current_time() - begun
            write_old(store, version)
            for _ in range(MIGRATIONS):
                await kill_a_start(server, tmp_path, dice, start_s)
                with closing(sqlite3.connect(store)) as connection:
                    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
                    found.add(connection.execute("PRAGMA user_version").fetchone()[0])
            assert found <= {version, SCHEMA_VERSION}
            async with forked_daemon(server, tmp_path) as daemon:
                status, answer = await call(daemon.control, "GET", "/sessions/by-slug/slug-1")
                assert (status, answer["sessionId"], answer["closed"]) == (200, "id-1", False)


@pytest.mark.slow
async def test_killed_counters_are_a_second_behind(tmp_path: Path) -> None:
    """What viewers did a flush before the kill is counted, and counting goes on from there."""
    dice = random.Random(SEED)
    stored = 0
    with trio.fail_after(90):
        async with trio.open_nursery() as nursery:
            origin = await start_origin(nursery, saying())
            async with running_daemon(tmp_path) as daemon:
                session = await create_session(daemon)
                await daemon.process.end()
            for _ in range(3):
                async with running_daemon(tmp_path) as daemon:
                    client = start_client_of(nursery, daemon, session, origin.port)
                    await client.wait(Connected)
                    life_s = FLUSH_S + SLACK_S + dice.uniform(0.5, 1.5)
                    moments = await ask_for(life_s, daemon, session["slug"])
                    killed_at = trio.current_time()
                    await daemon.process.end(signal.SIGKILL)
                    await client.stop()
                requests, sent_bytes = usage_in(tmp_path / "daemon" / STORE_FILE)
                due = sum(moment <= killed_at - FLUSH_S - SLACK_S for moment in moments)
                print(f"{requests - stored} of {len(moments)} requests stored, {due} were due")
                assert due <= requests - stored <= len(moments)
                assert due > 0
                assert sent_bytes > 0
                stored = requests
            nursery.cancel_scope.cancel(reason="the test is over")


async def ask_for(life_s: float, daemon: Daemon, slug: str) -> list[float]:
    """Be a viewer for a time; return when each answer was complete."""
    moments: list[float] = []
    viewer = await open_viewer(*daemon.gateway, f"{slug}.localhost:{daemon.gateway[1]}".encode())
    end = trio.current_time() + life_s
    while trio.current_time() < end:
        assert (await viewer.exchange(b"/")).status == 200
        moments.append(trio.current_time())
        await trio.sleep(0.01)
    await viewer.aclose()
    return moments


def usage_in(store: Path) -> tuple[int, int]:
    """Return the requests and the bytes sent of the one session in a store."""
    with closing(sqlite3.connect(store)) as connection:
        row = connection.execute("SELECT requests, sent_bytes FROM session").fetchone()
    return int(row[0]), int(row[1])
