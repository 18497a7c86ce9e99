"""The store: one suite for every backend, then what only a file can promise."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import trio
from attrs import evolve

from wormkey.errors import StoreError
from wormkey.session import Policy, Session, digest_of
from wormkey.store import SlugTakenError, Store, TokenNameTakenError, write_private
from wormkey.store.memory import MemoryStore
from wormkey.store.sqlite import APPLICATION_ID, DELETE_BATCH, SCHEMA_VERSION, open_sqlite

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

NOW = datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
HOUR = timedelta(hours=1)


def session(number: int, **changes: Any) -> Session:
    """Return a session whose every member differs from the defaults."""
    whole = Session(
        session_id=f"id-{number}",
        slug=f"slug-{number}",
        created_at=NOW,
        expires_at=NOW + HOUR,
        port=5173,
        auth_mode="basic",
        username="worm",
        password_hash="sha256$x",
        session_token_digest=digest_of(b"session %d" % number),
        owner_token_digest=digest_of(b"owner %d" % number),
        policy=Policy(public=False, max_concurrent_viewers=3, block_paths=("/a",)),
        created_by="token:laptop",
    )
    return evolve(whole, **changes)


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """Give each backend, empty."""
    made: Store = MemoryStore()
    if request.param == "sqlite":
        made = await open_sqlite(tmp_path / "state" / "store.sqlite3")
    yield made
    await made.aclose()


# ── what every backend does ─────────────────────────────────────────────────────────────────


async def test_sessions_come_back_whole(store: Store) -> None:
    """Every member survives the way in and out, to the microsecond."""
    sessions = [session(1), session(2, closed_at=NOW, username=None, password_hash=None)]
    for each in sessions:
        await store.put_session(each)
    assert sorted(await store.load_sessions(), key=lambda each: each.slug) == sessions


async def test_put_replaces_the_session_of_its_id(store: Store) -> None:
    """A changed session is stored in place."""
    await store.put_session(session(1))
    changed = evolve(session(1), policy=Policy(), password_hash="sha256$y")
    await store.put_session(changed)
    assert list(await store.load_sessions()) == [changed]


async def test_slug_has_one_holder(store: Store) -> None:
    """A second session of the same slug is refused and nothing changes."""
    await store.put_session(session(1))
    with pytest.raises(SlugTakenError):
        await store.put_session(session(2, slug="slug-1"))
    assert list(await store.load_sessions()) == [session(1)]


async def test_slug_is_handed_over_in_one_step(store: Store) -> None:
    """A session takes the slug of the one it replaces, which is gone."""
    await store.put_session(session(1, closed_at=NOW))
    successor = session(2, slug="slug-1")
    await store.put_session(successor, replacing="id-1")
    assert list(await store.load_sessions()) == [successor]


async def test_only_the_first_successor_gets_the_slug(store: Store) -> None:
    """Two who saw the same ended session do not both replace it."""
    await store.put_session(session(1, closed_at=NOW))
    await store.put_session(session(2, slug="slug-1"), replacing="id-1")
    with pytest.raises(SlugTakenError):
        await store.put_session(session(3, slug="slug-1"), replacing="id-1")
    assert [each.session_id for each in await store.load_sessions()] == ["id-2"]


async def test_first_closing_counts(store: Store) -> None:
    """Closing again, or closing what is not there, changes nothing."""
    await store.put_session(session(1))
    await store.close_session("id-1", NOW)
    await store.close_session("id-1", NOW + HOUR)
    await store.close_session("nobody", NOW)
    assert [each.closed_at for each in await store.load_sessions()] == [NOW]


async def test_ended_sessions_are_deleted_by_their_true_end(store: Store) -> None:
    """Closed or expired before the line: gone, and the slug is free; others stay."""
    await store.put_session(session(1, closed_at=NOW))
    await store.put_session(session(2, expires_at=NOW + 1 * HOUR))
    await store.put_session(session(3, expires_at=NOW + 9 * HOUR, closed_at=NOW + 3 * HOUR))
    await store.put_session(session(4, expires_at=NOW + 9 * HOUR))
    assert await store.delete_ended(NOW) == 0
    assert await store.delete_ended(NOW + 2 * HOUR) == 2
    assert sorted(each.session_id for each in await store.load_sessions()) == ["id-3", "id-4"]
    await store.put_session(session(5, slug="slug-1"))


async def test_access_tokens_live_until_revoked(store: Store) -> None:
    """Tokens are found by digest, listed without it, and gone once revoked."""
    await store.add_access_token("laptop", b"L" * 32, NOW + HOUR)
    await store.add_access_token("ci", b"C" * 32, NOW)
    await store.touch_access_token(b"L" * 32, NOW + 2 * HOUR)
    await store.touch_access_token(b"?" * 32, NOW)
    assert [(each.name, each.last_used_at) for each in await store.list_access_tokens()] == [
        ("ci", None),
        ("laptop", NOW + 2 * HOUR),
    ]
    assert await store.find_access_token(b"L" * 32) == "laptop"
    assert await store.find_access_token(b"?" * 32) is None
    assert await store.find_access_token(b"") is None
    assert await store.revoke_access_token("laptop")
    assert not await store.revoke_access_token("laptop")
    assert await store.find_access_token(b"L" * 32) is None


async def test_token_names_are_unique(store: Store) -> None:
    """A name in use is refused; the token that has it stays."""
    await store.add_access_token("laptop", b"L" * 32, NOW)
    with pytest.raises(TokenNameTakenError):
        await store.add_access_token("laptop", b"M" * 32, NOW)
    assert await store.find_access_token(b"M" * 32) is None
    assert await store.find_access_token(b"L" * 32) == "laptop"


async def test_store_closes_twice(store: Store) -> None:
    """Closing is idempotent."""
    await store.aclose()
    await store.aclose()


# ── what a file promises ────────────────────────────────────────────────────────────────────


async def test_file_survives_and_is_private(tmp_path: Path) -> None:
    """What was stored is there after reopening; only the owner can read any of the files."""
    path = tmp_path / "state" / "store.sqlite3"
    old_umask = os.umask(0)
    try:
        store = await open_sqlite(path)
        await store.put_session(session(1))
        modes = {each.name: each.stat().st_mode & 0o777 for each in path.parent.iterdir()}
        assert set(modes.values()) == {0o600}, modes
        assert path.parent.stat().st_mode & 0o777 == 0o700
        await store.aclose()
    finally:
        os.umask(old_umask)
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    again = await open_sqlite(path)
    assert list(await again.load_sessions()) == [session(1)]
    await again.aclose()


async def test_two_processes_share_the_file(tmp_path: Path) -> None:
    """A token added by another opener is found at once, and gone at once when revoked."""
    path = tmp_path / "store.sqlite3"
    daemon, tool = await open_sqlite(path), await open_sqlite(path)
    await tool.add_access_token("laptop", b"L" * 32, NOW)
    assert await daemon.find_access_token(b"L" * 32) == "laptop"
    await tool.revoke_access_token("laptop")
    assert await daemon.find_access_token(b"L" * 32) is None
    await tool.aclose()
    await daemon.aclose()


async def test_calls_may_come_together(tmp_path: Path) -> None:
    """Many tasks at once get their turn in the one thread."""
    store = await open_sqlite(tmp_path / "store.sqlite3")
    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(store.put_session, session(number))
    assert len(await store.load_sessions()) == 20
    await store.aclose()


async def test_deletion_goes_in_batches(tmp_path: Path) -> None:
    """More than one batch is deleted in one call."""
    path = tmp_path / "store.sqlite3"
    store = await open_sqlite(path)
    await store.put_session(session(0))
    count = DELETE_BATCH + 1
    with sqlite3.connect(path) as connection:
        connection.executemany(
            "INSERT INTO session SELECT ?, ?, created_at, expires_at, closed_at, port, auth_mode, "
            "username, password_hash, session_token_digest, owner_token_digest, policy, created_by "
            "FROM session WHERE session_id = 'id-0'",
            [(f"id-{number}", f"slug-{number}") for number in range(1, count)],
        )
    connection.close()
    assert await store.delete_ended(NOW + 2 * HOUR) == count
    await store.aclose()


async def test_newer_file_is_refused_and_untouched(tmp_path: Path) -> None:
    """A schema from the future is one clear line, not a guess."""
    path = tmp_path / "store.sqlite3"
    await (await open_sqlite(path)).aclose()
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    with pytest.raises(StoreError, match="newer wormkeyd"):
        await open_sqlite(path)
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION + 1,)
    connection.close()


async def test_file_says_whose_it_is(tmp_path: Path) -> None:
    """Version and application id stand in the header."""
    path = tmp_path / "store.sqlite3"
    await (await open_sqlite(path)).aclose()
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


async def test_foreign_database_is_refused(tmp_path: Path) -> None:
    """Another program's file is not written to."""
    path = tmp_path / "store.sqlite3"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    with pytest.raises(StoreError, match="another program"):
        await open_sqlite(path)


async def test_damaged_file_is_refused(tmp_path: Path) -> None:
    """Bytes that are no database: one sentence with a remedy."""
    path = tmp_path / "store.sqlite3"
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(StoreError, match="restore a backup"):
        await open_sqlite(path)


async def test_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    """A file where the folder should be: one sentence that names the option."""
    (tmp_path / "state").write_text("")
    with pytest.raises(StoreError, match="--state-dir"):
        await open_sqlite(tmp_path / "state" / "store.sqlite3")


async def test_unreadable_session_is_named(tmp_path: Path) -> None:
    """A damaged row is not skipped in silence: its session would be lost."""
    path = tmp_path / "store.sqlite3"
    store = await open_sqlite(path)
    await store.put_session(session(1))
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE session SET policy = '{'")
    connection.close()
    with pytest.raises(StoreError, match="id-1"):
        await store.load_sessions()
    await store.aclose()


async def test_full_disk_is_said_and_undone(tmp_path: Path) -> None:
    """A write that does not fit raises, leaves nothing behind, and reading goes on."""
    store = await open_sqlite(tmp_path / "store.sqlite3")
    await store.put_session(session(1))
    await store._execute("PRAGMA max_page_count = 1", ())  # SQLite raises it to the present size

    async def fill() -> None:
        for number in range(2, 10_000):
            await store.put_session(session(number, username="u" * 4000))

    with pytest.raises(StoreError, match="disk is full"):
        await fill()
    kept = [each.session_id for each in await store.load_sessions()]
    assert kept[0] == "id-1"
    await store.close_session("id-1", NOW)
    await store.aclose()


async def test_closed_store_refuses(tmp_path: Path) -> None:
    """A late call is an error, not a crash in a thread."""
    store = await open_sqlite(tmp_path / "store.sqlite3")
    await store.aclose()
    with pytest.raises(StoreError, match="closed"):
        await store.load_sessions()


async def test_cancelled_store_still_closes(tmp_path: Path) -> None:
    """A cancelled daemon leaves one tidy file."""
    store = await open_sqlite(tmp_path / "store.sqlite3")
    with trio.CancelScope() as scope:
        scope.cancel()
        await store.aclose()
    assert os.listdir(tmp_path) == ["store.sqlite3"]


WRITER = """
import sys, trio
from datetime import datetime, timedelta, UTC
from pathlib import Path
from wormkey.session import Session
from wormkey.store.sqlite import open_sqlite
async def main():
    store = await open_sqlite(Path(sys.argv[1]))
    now = datetime(2030, 1, 1, tzinfo=UTC)
    for number in range(100_000):
        name = f"{sys.argv[2]}-{number}"
        await store.put_session(Session(session_id=name, slug=name, created_at=now,
            expires_at=now + timedelta(days=1), session_token_digest=b"s", owner_token_digest=b"o"))
        print(name, flush=True)
trio.run(main)
"""


async def test_killed_writer_loses_nothing_acknowledged(tmp_path: Path) -> None:
    """After kill -9 in the middle of writing, every session that was acknowledged is there."""
    path = tmp_path / "store.sqlite3"
    acknowledged: list[str] = []
    for run in range(3):
        writer = await trio.lowlevel.open_process(
            [sys.executable, "-c", WRITER, str(path), f"run{run}"],
            stdout=subprocess.PIPE,
        )
        assert writer.stdout is not None
        output = b""
        with trio.fail_after(30):
            while output.count(b"\n") < 20 + run:
                output += await writer.stdout.receive_some(4096)
            writer.send_signal(signal.SIGKILL)
            async for piece in writer.stdout:
                output += piece
            await writer.wait()
        await writer.stdout.aclose()
        acknowledged += output[: output.rindex(b"\n")].decode().split("\n")
    store = await open_sqlite(path)
    stored = {each.session_id for each in await store.load_sessions()}
    await store.aclose()
    assert set(acknowledged) <= stored
    assert len(stored) <= len(acknowledged) + 3  # one not yet acknowledged in each run


# ── private files ───────────────────────────────────────────────────────────────────────────


def test_private_file_is_replaced_whole(tmp_path: Path) -> None:
    """The file is 0600 whatever it was before, and nothing else is left in the folder."""
    path = tmp_path / "new" / "token"
    write_private(path, "one\n")
    path.chmod(0o644)
    write_private(path, "two\n")
    assert path.read_text() == "two\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert list(path.parent.iterdir()) == [path]


def test_failed_private_write_leaves_the_old_file(tmp_path: Path) -> None:
    """A target that cannot be replaced leaves no temporary file behind."""
    path = tmp_path / "token"
    path.mkdir()
    with pytest.raises(OSError, match="token"):
        write_private(path, "x")
    assert list(tmp_path.iterdir()) == [path]
