"""Files that one user alone may read: how they come to be, whoever makes them.

Owns the mode and the owner of a file at its birth. Never knows what stands in it.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def open_private(path: Path, flags: int) -> int:
    """Return a descriptor of the file, made with mode 0600 if there is none.

    What root makes belongs to its folder's owner: an administrator's command beside a daemon of
    another user must leave nothing that the daemon cannot open.

    Raises:
        OSError: it cannot be opened or made.
    """
    flags |= os.O_CREAT | os.O_CLOEXEC
    try:
        # O_EXCL follows no link, so no link of that user's gives him a file of somebody else.
        handle = os.open(path, flags | os.O_EXCL, 0o600)
    except FileExistsError:
        return os.open(path, flags, 0o600)
    if os.geteuid() == 0:
        folder = os.stat(path.parent)
        with contextlib.suppress(PermissionError):  # in some containers root may not
            os.fchown(handle, folder.st_uid, folder.st_gid)
    return handle
