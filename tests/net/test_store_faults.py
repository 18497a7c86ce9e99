"""A store that fails under a running daemon: calls say 503, tunnels do not notice, and it heals."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.support.disk import fill, free, small_disk
from tests.support.world import World, open_world
from wormkey.statefolder import STORE_FILE
from wormkey.store.sqlite import BUSY_TIMEOUT_S, SqliteStore, open_sqlite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DISK_BYTES = 512 * 1024
MAX_CREATIONS = 2_000  # a full page or log takes a few more sessions; then it is over


def store_of(world: World) -> SqliteStore:
    """Return the daemon's store."""
    store = world.node.registry.store
    assert isinstance(store, SqliteStore)
    return store


async def pragma(world: World, text: str) -> None:
    """Tell the daemon's own connection something."""
    await store_of(world)._execute("pragma", f"PRAGMA {text}", ())


async def create(world: World) -> tuple[int, dict[str, Any]]:
    """Ask for a session."""
    return await world.call("POST", "/sessions", body={"port": 1})


async def create_until_refused(world: World) -> list[str]:
    """Create sessions until one is refused by the store; return the ids of those before."""
    made: list[str] = []
    for _ in range(MAX_CREATIONS):
        status, answer = await create(world)
        if status != 201:
            assert (status, answer["code"]) == (503, "store_failed")
            return made
        made.append(answer["sessionId"])
    raise AssertionError("the store takes everything")


async def assert_tunnel_works(world: World) -> None:
    """A viewer gets the app's answer, by the tunnel that was there before."""
    answer = await world.exchange(b"/")
    assert (answer.status, answer.data) == (200, b"hello")


async def assert_changes_are_refused(world: World) -> None:
    """Creating and closing say 503 with a time to come back; what was to close lives on."""
    status, answer = await create(world)
    assert (status, answer["code"]) == (503, "store_failed")
    assert str(store_of(world).path) not in answer["error"]
    path = f"/sessions/{world.session['sessionId']}"
    status, answer = await world.call("DELETE", path, token=world.token)
    assert (status, answer["code"]) == (503, "store_failed")
    await assert_tunnel_works(world)


def said(caplog: pytest.LogCaptureFixture) -> str:
    """Return the errors that the operator finds in the log."""
    return "\n".join(vars(record).get("error", "") for record in caplog.records)


async def stored_ids(folder: Path) -> set[str]:
    """Return the sessions that a daemon would find at its next start."""
    store = await open_sqlite(folder / STORE_FILE)
    ids = {session.session_id for session in await store.load_sessions()}
    await store.aclose()
    return ids


@contextmanager
def state_folder(kind: str, tmp_path: Path) -> Iterator[Path]:
    """Give a folder on a disk that can be filled, or on the one that there is."""
    if kind == "disk":
        with small_disk(tmp_path / "disk", DISK_BYTES) as folder:
            yield folder
    else:
        yield tmp_path


@pytest.mark.parametrize("kind", ["disk", "limit"])
async def test_full_disk_refuses_changes_and_keeps_tunnels(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Until there is room: 503 for changes. Nothing acknowledged is lost, nothing half done."""
    with state_folder(kind, tmp_path) as folder:
        async with open_world(store="sqlite", state_dir=folder) as world:
            if kind == "disk":
                fill(folder)
            else:
                await pragma(world, "max_page_count = 1")  # raised to the present size
            with caplog.at_level(logging.ERROR):
                made = await create_until_refused(world)
            await assert_tunnel_works(world)
            assert "the disk is full; free some space" in said(caplog)
            if kind == "disk":
                free(folder)
            else:
                await pragma(world, "max_page_count = 100000")
            status, answer = await create(world)
            assert status == 201
            await assert_tunnel_works(world)
            acknowledged = {world.session["sessionId"], answer["sessionId"], *made}
        assert await stored_ids(folder) == acknowledged


async def test_read_only_store_refuses_changes_and_keeps_tunnels(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As a file system that the kernel has put to read-only after an error."""
    async with open_world(store="sqlite", state_dir=tmp_path) as world:
        await pragma(world, "query_only = ON")
        with caplog.at_level(logging.ERROR):
            await assert_changes_are_refused(world)
        assert "it is read-only; check its owner, its mode" in said(caplog)
        await pragma(world, "query_only = OFF")
        status, _ = await create(world)
        assert status == 201


def overwrite_pages(path: Path) -> None:
    """Leave nothing but the file's first page as it was."""
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    path.write_bytes(content)


def cut_to_nothing(path: Path) -> None:
    """Take every byte out of the file."""
    with path.open("rb+") as file:
        file.truncate(0)


def write_garbage(path: Path) -> None:
    """Make the file no database at all."""
    path.write_bytes(b"\xa5" * path.stat().st_size)


@pytest.mark.parametrize("damage", [overwrite_pages, cut_to_nothing, write_garbage])
async def test_store_that_is_damaged_while_it_runs_keeps_tunnels(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    """Somebody writes over the file: changes say 503, viewers are answered as before."""
    async with open_world(store="sqlite", state_dir=tmp_path) as world:
        path = store_of(world).path
        # Everything into the file, nothing kept in memory: it has to be read again.
        await pragma(world, "wal_checkpoint(TRUNCATE)")
        await pragma(world, "cache_size = 0")
        damage(path)
        with closing(sqlite3.connect(path)) as other:  # moves the log on, so caches are dropped
            try:
                other.execute("PRAGMA user_version")
            except sqlite3.DatabaseError:
                pass
        await assert_changes_are_refused(world)
        status, answer = await world.call(
            "GET", f"/sessions/{world.session['sessionId']}", token=world.token
        )
        assert (status, answer["slug"]) == (200, world.slug)  # read from memory


async def test_locked_store_delays_changes_and_no_viewer(tmp_path: Path) -> None:
    """Another process holds the file: a change waits its turn, viewers are answered meanwhile."""
    async with open_world(store="sqlite", state_dir=tmp_path) as world:
        with closing(sqlite3.connect(store_of(world).path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            async with trio.open_nursery() as nursery:
                answers: list[int] = []

                async def change() -> None:
                    status, _ = await create(world)
                    answers.append(status)

                nursery.start_soon(change)
                with trio.fail_after(BUSY_TIMEOUT_S / 2):
                    for _ in range(20):
                        await assert_tunnel_works(world)
                assert answers == []
                other.execute("ROLLBACK")
        assert answers == [201]
