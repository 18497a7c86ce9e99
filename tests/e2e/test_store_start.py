"""A state folder that cannot be used: one line on stderr, exit code 1, and nothing is changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from tests.support.disk import make_read_only, small_disk
from tests.support.process import DAEMON, run
from tests.support.stored import session, trace
from wormkey.statefolder import STORE_FILE
from wormkey.store.sqlite import open_sqlite

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ANYWHERE = ("--control", "127.0.0.1:0", "--gateway", "127.0.0.1:0")


def write_garbage(content: bytearray) -> None:
    """Overwrite everything."""
    content[:] = b"\xa5" * len(content)


def lose_the_end(content: bytearray) -> None:
    """Keep half of the pages."""
    del content[len(content) // 8192 * 4096 :]


def damage_pages(content: bytearray) -> None:
    """Overwrite the head of each page but the first."""
    for start in range(4096, len(content), 4096):
        content[start : start + 64] = b"\xa5" * 64


def damage_the_trail(content: bytearray) -> None:
    """Overwrite a page of the audit trail only, which no start reads."""
    start = content.rindex(b"policy.changed") // 4096 * 4096
    content[start : start + 4096] = b"\xa5" * 4096


async def make_state(folder: Path) -> Path:
    """Leave a store with a few sessions in it, as a daemon does; return its file."""
    store = await open_sqlite(folder / STORE_FILE)
    for number in range(20):
        await store.put_session(session(number), audit=trace(number))
    await store.aclose()
    return store.path


async def start(folder: Path, home: Path) -> str:
    """Start a daemon that cannot run; return its one line."""
    code, out, err = await run((*DAEMON, *ANYWHERE, "--state-dir", str(folder)), home)
    assert (code, out, err.count("\n")) == (1, "", 1), err
    assert err.startswith("wormkeyd: ")
    return err


@pytest.mark.parametrize("damage", [write_garbage, lose_the_end, damage_pages, damage_the_trail])
async def test_damaged_store_ends_the_start(
    tmp_path: Path, damage: Callable[[bytearray], None]
) -> None:
    """The line names the file and the remedy; the file stays as it is, for whoever repairs it."""
    with trio.fail_after(30):
        path = await make_state(tmp_path / "daemon")
        content = bytearray(path.read_bytes())
        damage(content)
        path.write_bytes(content)
        line = await start(path.parent, tmp_path)
    assert str(path) in line
    assert "restore a backup" in line
    assert path.read_bytes() == content


async def test_read_only_folder_ends_the_start(tmp_path: Path) -> None:
    """A file system that is mounted read-only: the line says so."""
    with small_disk(tmp_path / "disk", 1024 * 1024) as disk, trio.fail_after(30):
        make_read_only(disk)
        line = await start(disk, tmp_path)
    assert str(disk) in line
    assert "Read-only file system" in line


async def test_full_disk_ends_the_start(tmp_path: Path) -> None:
    """No room for a new store: the line says so."""
    with small_disk(tmp_path / "disk", 8192) as disk, trio.fail_after(30):
        line = await start(disk, tmp_path)
    assert str(disk) in line
    assert "full" in line
