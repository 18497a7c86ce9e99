"""Files for one user only: their mode, and whose they are when root makes them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from wormkey.privatefile import open_private

if TYPE_CHECKING:
    from pathlib import Path

SERVICE = 61184  # the first of systemd's dynamic users
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")


def make(path: Path) -> os.stat_result:
    """Open a file for writing; return what it is."""
    handle = open_private(path, os.O_WRONLY)
    try:
        return os.fstat(handle)
    finally:
        os.close(handle)


def test_a_new_file_is_private(tmp_path: Path) -> None:
    """0600 whatever the umask is, and not inherited by the programs that are started."""
    old_umask = os.umask(0)
    try:
        handle = open_private(tmp_path / "file", os.O_WRONLY)
    finally:
        os.umask(old_umask)
    assert os.fstat(handle).st_mode & 0o777 == 0o600
    assert not os.get_inheritable(handle)
    os.close(handle)


def test_a_file_that_exists_is_opened_as_it_is(tmp_path: Path) -> None:
    """Its content and its mode stay."""
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(0o640)
    assert make(path).st_mode & 0o777 == 0o640
    assert path.read_text() == "old"


@as_root
def test_what_root_makes_belongs_to_the_folders_owner(tmp_path: Path) -> None:
    """A service of another user can open what an administrator's command made."""
    os.chown(tmp_path, SERVICE, SERVICE + 1)
    made = make(tmp_path / "file")
    assert (made.st_uid, made.st_gid) == (SERVICE, SERVICE + 1)


@as_root
@pytest.mark.parametrize("empty", [True, False])
def test_root_gives_nothing_away_that_was_there(tmp_path: Path, empty: bool) -> None:
    """Neither root's own file nor what a link of that user leads to, there or not yet."""
    ours = tmp_path / "ours"
    ours.write_text("" if empty else "secret")
    folder = tmp_path / "state"
    folder.mkdir()
    (folder / "link").symlink_to(ours)
    (folder / "dangling").symlink_to(tmp_path / "new")
    (folder / "file").write_text("")
    os.chown(folder, SERVICE, SERVICE)
    assert {make(folder / name).st_uid for name in ("link", "dangling", "file")} == {0}
