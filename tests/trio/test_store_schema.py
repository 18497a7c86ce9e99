"""The file's schema: from every earlier version to the newest, and what is refused."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

from tests.support.oldstores import OLD, write_old
from tests.support.stored import NOW, session, trace, usage
from wormkey.errors import StoreError
from wormkey.rules import Policy
from wormkey.session import Session, digest_of
from wormkey.store import AccessToken, Batch
from wormkey.store.schema import APPLICATION_ID, MIGRATIONS, SCHEMA_VERSION
from wormkey.store.sqlite import open_sqlite
from wormkey.usage import Usage

if TYPE_CHECKING:
    from pathlib import Path


def shape_of(path: Path) -> list[tuple[object, ...]]:
    """Return every table's columns and every index, as SQLite understands them."""
    connection = sqlite3.connect(path)
    names = connection.execute("SELECT type, name FROM sqlite_schema ORDER BY name").fetchall()
    shape: list[tuple[object, ...]] = list(names)
    for kind, name in names:
        if kind == "table":
            shape += connection.execute("SELECT * FROM pragma_table_xinfo(?)", (name,)).fetchall()
    connection.close()
    return shape


def test_every_earlier_version_is_tried() -> None:
    """A migration cannot be added without the file that it starts from."""
    assert set(OLD) == set(range(1, SCHEMA_VERSION))
    assert len(MIGRATIONS) == SCHEMA_VERSION


@pytest.mark.parametrize("version", OLD)
async def test_old_files_become_new_ones(tmp_path: Path, version: int) -> None:
    """Sessions and tokens of every earlier version are all there, and the new columns work."""
    path = tmp_path / "store.sqlite3"
    write_old(path, version)
    store = await open_sqlite(path)
    closed = Session(
        session_id="id-2",
        slug="slug-2",
        created_at=NOW,
        expires_at=session(1).expires_at,
        closed_at=NOW,
        session_token_digest=digest_of(b"session 1"),
        owner_token_digest=digest_of(b"owner 1"),
        policy=Policy(max_concurrent_viewers=0),  # null meant no limit
    )
    live = session(1, kicked=(), gate_hash=None, paused=False, claimed_by=None, claim_digest=None)
    assert sorted(await store.load_sessions(), key=lambda each: each.slug) == [live, closed]
    assert list(await store.list_access_tokens()) == [AccessToken(name="laptop", created_at=NOW)]
    assert await store.find_access_token(b"L" * 32) == "laptop"
    assert await store.load_usage() == {"id-1": Usage(), "id-2": Usage()}
    await store.put_session(session(1), audit=trace(1))
    await store.write_behind(Batch(usage={"id-1": usage(1)}))
    await store.aclose()
    store = await open_sqlite(path)  # of the newest version now: nothing happens again
    assert session(1) in await store.load_sessions()
    assert (await store.load_usage())["id-1"] == usage(1)
    assert list(await store.read_audit(2)) == [trace(1)]
    await store.aclose()


@pytest.mark.parametrize("version", OLD)
async def test_migrated_files_have_the_shape_of_new_ones(tmp_path: Path, version: int) -> None:
    """Whatever way a file came, its tables, columns and indexes are the same."""
    write_old(tmp_path / "old", version)
    await (await open_sqlite(tmp_path / "old")).aclose()
    await (await open_sqlite(tmp_path / "new")).aclose()
    assert shape_of(tmp_path / "old") == shape_of(tmp_path / "new")


@pytest.mark.parametrize("version", OLD)
async def test_failed_migration_leaves_the_old_file(
    tmp_path: Path, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A migration that breaks half way is undone: the older program can still be used."""
    path = tmp_path / "store.sqlite3"
    write_old(path, version)
    before = shape_of(path)
    broken = (*MIGRATIONS[:-1], (*MIGRATIONS[-1], "CREATE TABLE session (x)"))
    monkeypatch.setattr("wormkey.store.schema.MIGRATIONS", broken)
    with pytest.raises(StoreError):
        await open_sqlite(path)
    assert shape_of(path) == before


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
