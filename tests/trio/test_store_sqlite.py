"""The store in a file: what survives, who may read it, and what is said when it cannot be used."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import trio

from tests.support.process import SOURCE
from tests.support.stored import HOUR, NOW, session, trace
from wormkey.errors import StoreError
from wormkey.store import Batch
from wormkey.store.sqlite import DELETE_BATCH, SPARE_PAGES, open_sqlite

if TYPE_CHECKING:
    from pathlib import Path


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


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
async def test_roots_command_leaves_the_file_to_the_service(tmp_path: Path) -> None:
    """Made by root, the file and what SQLite puts beside it belong to the folder's owner."""
    path = tmp_path / "store.sqlite3"
    os.chown(tmp_path, 61184, 61184)  # the first of systemd's dynamic users
    store = await open_sqlite(path)
    await store.put_session(session(1))
    owners = {each.name: each.stat().st_uid for each in path.parent.iterdir()}
    await store.aclose()
    assert owners == dict.fromkeys((path.name, f"{path.name}-wal", f"{path.name}-shm"), 61184)


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
            "INSERT INTO session (session_id, slug, created_at, expires_at, port, auth_mode, "
            "session_token_digest, owner_token_digest, policy, created_by) SELECT ?, ?, "
            "created_at, expires_at, port, auth_mode, session_token_digest, owner_token_digest, "
            "policy, created_by FROM session WHERE session_id = 'id-0'",
            [(f"id-{number}", f"slug-{number}") for number in range(1, count)],
        )
    connection.close()
    assert await store.delete_ended(NOW + 2 * HOUR) == count
    await store.aclose()


async def test_file_shrinks_after_a_flood(tmp_path: Path) -> None:
    """What a flood of sessions took is given back to the disk, all but a small reserve."""
    store = await open_sqlite(tmp_path / "store.sqlite3")
    padding = "p" * 4_000
    for number in range(2_000):
        await store.put_session(session(number, username=padding))
    flood_bytes = store.path.stat().st_size
    await store.delete_ended(NOW + 2 * HOUR)
    await store.aclose()
    assert flood_bytes > (SPARE_PAGES + 50) * 4096  # as far as it was written from the log
    assert store.path.stat().st_size < (SPARE_PAGES + 50) * 4096


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
    await store._execute(
        "limit", "PRAGMA max_page_count = 1", ()
    )  # SQLite raises it to the present size

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
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
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


async def test_trace_and_change_are_one(tmp_path: Path) -> None:
    """Where the trace does not fit, what it tells of is undone, too."""
    store = await open_sqlite(tmp_path / "store.sqlite3")
    await store.put_session(session(1))
    connection = sqlite3.connect(store.path)
    connection.execute(
        "CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT RAISE(FAIL, 'x'); END"
    )
    connection.close()
    with pytest.raises(StoreError):
        await store.put_session(session(2), audit=trace(2))
    with pytest.raises(StoreError):
        await store.close_session("id-1", NOW, audit=trace(1))
    with pytest.raises(StoreError):
        await store.close_sessions_of("token:laptop", NOW, audit=trace(1))
    with pytest.raises(StoreError):
        await store.add_access_token("laptop", b"L" * 32, NOW, audit=trace(3))
    assert list(await store.load_sessions()) == [session(1)]
    assert list(await store.list_access_tokens()) == []
    await store.aclose()


async def test_operations_are_measured(tmp_path: Path) -> None:
    """Each call is told by its name with its seconds, failed ones too."""
    told: list[tuple[str, float]] = []
    store = await open_sqlite(
        tmp_path / "store.sqlite3", observe=lambda name, seconds: told.append((name, seconds))
    )
    await store.put_session(session(1))
    await store.write_behind(Batch(audit=[trace(1)]))
    await store.aclose()
    with pytest.raises(StoreError):
        await store.load_sessions()
    assert [name for name, _ in told] == ["put_session", "write_behind", "load_sessions"]
    assert all(0 <= seconds < 10 for _, seconds in told)
