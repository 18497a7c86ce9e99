"""The state folder: the names of its files, and the lock that one daemon holds on it.

Owns what lies where in the folder and who may write there as a daemon. Commands that only add or
read (``token``, ``backup``) take no lock; the store sorts those out. Never opens the store.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from wormkey.errors import StoreError
from wormkey.store import make_private_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STORE_FILE: Final = "wormkeyd.sqlite3"
LOCAL_TOKEN_FILE: Final = "local-token"  # noqa: S105 - a file name
LOCK_FILE: Final = "wormkeyd.lock"
_PID_DIGITS: Final = 20


@contextmanager
def lock_state_folder(folder: Path) -> Iterator[None]:
    """Hold the folder as its only daemon; the kernel gives it back however the process ends.

    Raises:
        StoreError: another daemon holds it, or the folder cannot be written.
    """
    path = folder / LOCK_FILE
    try:
        make_private_folder(folder)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(
            f"cannot open {path}: {error.strerror}; check its owner and mode, or set --state-dir"
        ) from error
    try:
        _lock(handle, folder)
        yield
    finally:
        # The file stays: who waits for it and who makes it anew must never hold two.
        os.close(handle)


def _lock(handle: int, folder: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(handle, _PID_DIGITS, 0).decode("ascii", "replace").strip()
        who = f"another wormkeyd (process {holder})" if holder.isdecimal() else "another wormkeyd"
        raise StoreError(
            f"{folder}: {who} uses this state folder; stop it or set --state-dir"
        ) from None
    except OSError as error:
        raise StoreError(
            f"cannot lock {folder / LOCK_FILE}: {error.strerror}; set --state-dir to a folder of "
            "another file system"
        ) from error
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, b"%d\n" % os.getpid(), 0)
    except OSError:
        pass  # a full disk: the lock holds all the same, only its message is poorer
