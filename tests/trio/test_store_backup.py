"""Backups: consistent while others write, whole or not there, private, and never by accident."""

from __future__ import annotations

import os
import sqlite3
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio

from tests.support.stored import HOUR, NOW, session, trace
from wormkey.errors import StoreError
from wormkey.store.backup import back_up
from wormkey.store.sqlite import SqliteStore, open_sqlite

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """Give an open store with one session and its trace."""
    made = await open_sqlite(tmp_path / "state" / "store.sqlite3")
    await made.put_session(session(0), audit=trace(0))
    yield made
    await made.aclose()


async def test_copy_is_one_private_file_with_everything(store: SqliteStore, tmp_path: Path) -> None:
    """What was acknowledged is in it, the log's part too; it opens as a store."""
    await store.add_access_token("laptop", b"L" * 32, NOW)
    copy = tmp_path / "copies" / "copy"
    copy.parent.mkdir()
    size_bytes = back_up(store.path, copy, force=False)
    assert [each.name for each in copy.parent.iterdir()] == ["copy"]
    assert copy.stat().st_mode & 0o777 == 0o600
    assert copy.stat().st_size == size_bytes
    restored = await open_sqlite(copy)
    assert list(await restored.load_sessions()) == [session(0)]
    assert await restored.find_access_token(b"L" * 32) == "laptop"
    assert list(await restored.read_audit(9)) == [trace(0)]
    await restored.aclose()


async def test_copy_is_one_moment_of_a_busy_store(store: SqliteStore, tmp_path: Path) -> None:
    """Copies made while a writer is at work hold a prefix of its work, each with its trace."""
    copies = [tmp_path / f"copy-{number}" for number in range(5)]
    async with trio.open_nursery() as nursery:

        async def keep_writing() -> None:
            for number in range(1, 100_000):
                await store.put_session(session(number), audit=trace(number))

        nursery.start_soon(keep_writing)
        for copy in copies:
            before = len(await store.load_sessions())
            await trio.to_thread.run_sync(partial(back_up, store.path, copy, force=False))
            kept = await open_sqlite(copy)
            numbers = [int(each.slug.rpartition("-")[2]) for each in await kept.load_sessions()]
            traces = [record.detail["number"] for record in await kept.read_audit(100_000)]
            await kept.aclose()
            assert sorted(numbers) == list(range(len(numbers))) == traces[::-1]
            assert len(numbers) >= before
        nursery.cancel_scope.cancel()


async def test_copy_of_a_killed_daemons_store_has_its_log(
    store: SqliteStore, tmp_path: Path
) -> None:
    """Files as kill -9 leaves them: what was acknowledged stands in the log only."""
    killed = tmp_path / "killed"
    killed.mkdir()
    await store.put_session(session(1))
    for each in store.path.parent.iterdir():
        if not each.name.endswith("-shm"):
            (killed / each.name).write_bytes(each.read_bytes())
    assert (killed / "store.sqlite3-wal").stat().st_size > 0
    back_up(killed / "store.sqlite3", tmp_path / "copy", force=False)
    restored = await open_sqlite(tmp_path / "copy")
    assert len(await restored.load_sessions()) == 2
    await restored.aclose()


async def test_existing_file_is_not_overwritten(store: SqliteStore, tmp_path: Path) -> None:
    """Not without --force, and then in one step."""
    copy = tmp_path / "copy"
    copy.write_text("precious")
    copy.chmod(0o644)
    with pytest.raises(StoreError, match="--force"):
        back_up(store.path, copy, force=False)
    assert copy.read_text() == "precious"
    back_up(store.path, copy, force=True)
    assert copy.stat().st_mode & 0o777 == 0o600
    assert copy.read_bytes().startswith(b"SQLite format 3")
    assert sorted(os.listdir(tmp_path)) == ["copy", "state"]


async def test_what_is_no_store_is_not_copied(tmp_path: Path) -> None:
    """Nothing there, another program's, damaged: one sentence each, and no file is left."""
    source, copy = tmp_path / "store.sqlite3", tmp_path / "copy"
    with pytest.raises(StoreError, match=r"does not exist; .*--state-dir"):
        back_up(source, copy, force=False)
    assert not source.exists()
    with sqlite3.connect(source) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    with pytest.raises(StoreError, match="another program"):
        back_up(source, copy, force=False)
    source.write_bytes(b"not a database" * 1000)
    with pytest.raises(StoreError, match="cannot copy"):
        back_up(source, copy, force=False)
    assert os.listdir(tmp_path) == ["store.sqlite3"]


async def test_damaged_store_gives_no_copy(store: SqliteStore, tmp_path: Path) -> None:
    """Pages that cannot be right are found before the copy gets its name."""
    for number in range(1, 400):
        await store.put_session(session(number, expires_at=NOW + number * HOUR))
    await store.aclose()
    content = bytearray(store.path.read_bytes())
    page = int.from_bytes(content[16:18], "big")
    for start in range(2 * page, len(content), page):
        content[start : start + 200] = b"\xa5" * 200
    store.path.write_bytes(content)
    with pytest.raises(StoreError):
        back_up(store.path, tmp_path / "copy", force=True)
    assert os.listdir(tmp_path) == ["state"]


def test_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    """The system's reason comes through."""
    (tmp_path / "store.sqlite3").write_bytes(b"")
    with pytest.raises(OSError, match="nowhere"):
        back_up(tmp_path / "store.sqlite3", tmp_path / "nowhere" / "copy", force=False)
