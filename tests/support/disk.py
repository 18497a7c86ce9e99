"""A disk of a test's own: small, so that it can be filled, and mounted read-only when asked."""

from __future__ import annotations

import errno
import os
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILLER = "filler"


@contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[Path]:
    """Mount a file system of this size at a new folder; skip the test where that is not allowed."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes},mode=0700", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a file system is not allowed here")
    try:
        yield folder
    finally:
        # Lazily: a daemon of the test may still be closing its files.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path) -> None:
    """Leave no byte free."""
    handle = os.open(disk / FILLER, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        for size_bytes in (65536, 4096, 1):
            with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
                _write_without_end(handle, b"x" * size_bytes)
    finally:
        os.close(handle)


def _write_without_end(handle: int, piece: bytes) -> None:
    while True:
        os.write(handle, piece)


def free(disk: Path) -> None:
    """Give back what ``fill`` took."""
    (disk / FILLER).unlink()


def make_read_only(disk: Path) -> None:
    """Mount the disk read-only; nobody may have a file open for writing."""
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
