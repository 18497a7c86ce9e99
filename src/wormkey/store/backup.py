"""A copy of the SQLite store, consistent while a daemon writes to it.

Owns how the copy is made, checked, and put in its place in one step. The copy is one file of the
schema version that its source has; an older daemon's file is not migrated here.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import tempfile
from pathlib import Path
from typing import Final

from wormkey.errors import StoreError
from wormkey.store.schema import APPLICATION_ID

BUSY_TIMEOUT_S: Final = 5.0
_NO_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


def back_up(source: Path, target: Path, *, force: bool) -> int:
    """Copy the store at ``source`` to ``target`` (0600); return its size in bytes.

    The copy is written beside the target, checked, and then renamed, so the target is never
    half there. ``force`` replaces a file that exists.

    Raises:
        StoreError: there is no store, it is damaged, or the target exists.
        OSError: the target's folder cannot be written.
    """
    if not source.is_file():
        raise StoreError(f"{source} does not exist; name the daemon's folder with --state-dir")
    if target.exists() and not force:
        raise _taken(target)
    # mkstemp makes the file 0600 whatever the umask is; VACUUM INTO takes an empty one.
    handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        _copy(source, temporary)
        os.fsync(handle)
        size_bytes = os.fstat(handle).st_size
        _place(temporary, target, force=force)
    finally:
        os.close(handle)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
    directory = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return size_bytes


def _copy(source: Path, temporary: str) -> None:
    try:
        # rw: what a killed daemon left in the log has to be recovered first. It changes nothing
        # else: VACUUM INTO reads in one transaction and holds up no writer.
        with contextlib.closing(_connect(source, "rw")) as connection:
            if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
                raise StoreError(f"{source} is another program's database; set --state-dir")
            connection.execute("VACUUM INTO ?", (temporary,))
        with contextlib.closing(_connect(Path(temporary), "ro")) as connection:
            verdict: str = connection.execute("PRAGMA integrity_check").fetchone()[0]
    except sqlite3.Error as error:
        raise StoreError(f"cannot copy {source}: {error}") from error
    if verdict != "ok":
        raise StoreError(f"the copy of {source} is damaged: {verdict}")


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    return sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)


def _place(temporary: str, target: Path, *, force: bool) -> None:
    """Give the copy its name in one step."""
    if not force:
        try:
            os.link(temporary, target)  # fails where rename would replace
        except FileExistsError:
            raise _taken(target) from None
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
        else:
            return
    os.replace(temporary, target)


def _taken(target: Path) -> StoreError:
    return StoreError(f"{target} exists; choose another name or say --force")
