"""The state folder: the names of its files, and the lock that one daemon holds on it.

Owns what lies where in the folder and who may write there as a daemon. Commands that only add or
read (``token``, ``backup``) take no lock; the store sorts those out. Never opens the store.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from wormkey.errors import StoreError
from wormkey.signing import KEY_BYTES, SigningKey
from wormkey.store import make_private_folder, write_private

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STORE_FILE: Final = "wormkeyd.sqlite3"
LOCAL_TOKEN_FILE: Final = "local-token"  # noqa: S105 - a file name
SIGNING_KEY_FILE: Final = "signing-key"
TAKEN_TOKEN_FILE: Final = "first-token.sha256"  # noqa: S105 - a file name
LOCK_FILE: Final = "wormkeyd.lock"
ADMIN_SOCKET: Final = "wormkeyd.sock"
_PID_DIGITS: Final = 20


def read_signing_key(folder: Path) -> SigningKey:
    """Return the folder's key, made (0600) where there is none.

    Without it every browser is a new one: owners are no longer known, and need a new link.

    Raises:
        StoreError: the file cannot be read or written, or holds no key.
    """
    path = folder / SIGNING_KEY_FILE
    try:
        try:
            text = path.read_text(encoding="ascii")
        except FileNotFoundError:
            text = secrets.token_hex(KEY_BYTES)
            write_private(path, text + "\n")
        secret = bytes.fromhex(text)
    except OSError as error:
        raise StoreError(
            f"cannot open {path}: {error.strerror}; check its owner and mode, or set --state-dir"
        ) from error
    except ValueError:
        secret = b""
    if len(secret) != KEY_BYTES:
        raise StoreError(f"{path} holds no key; restore it, or remove it and all cookies end")
    return SigningKey(secret)


@contextmanager
def lock_state_folder(folder: Path, inherited: int | None = None) -> Iterator[int]:
    """Hold the folder as its only daemon; the kernel gives it back however the process ends.

    Yields the lock's descriptor. One that is ``inherited`` holds it already, together with the
    process that it came from, until both are gone (flock(2)).

    Raises:
        StoreError: another daemon holds it, or the folder cannot be written.
    """
    path = folder / LOCK_FILE
    try:
        make_private_folder(folder)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        handle = os.open(path, flags, 0o600) if inherited is None else inherited
    except OSError as error:
        raise StoreError(
            f"cannot open {path}: {error.strerror}; check its owner and mode, or set --state-dir"
        ) from error
    try:
        _lock(handle, folder)
        yield handle
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
