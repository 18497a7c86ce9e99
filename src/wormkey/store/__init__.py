"""The store: what survives the daemon, behind one small interface.

Owns the Store protocol and its values. Sessions, access tokens and the audit trail go through
here and nowhere else; viewers' requests never do. A call returns when its effect is as durable
as the backend promises. What an ``audit`` keyword holds is written in the same transaction as
what it tells of: nothing that was acknowledged lacks its trace, and no trace tells of what was
not done.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from attrs import field, frozen

from wormkey.audit import AuditRecord
from wormkey.errors import StoreError
from wormkey.usage import Usage

if TYPE_CHECKING:
    from pathlib import Path

    from wormkey.session import Session


class SlugTakenError(StoreError):
    """The slug belongs to another session, live or within its grace."""


class TokenNameTakenError(StoreError):
    """An access token of this name exists already."""


@frozen(kw_only=True)
class AccessToken:
    """An access token without its secret: whose it is, since when, last seen when (UTC)."""

    name: str
    created_at: datetime
    last_used_at: datetime | None = None


@frozen(kw_only=True)
class Batch:
    """What is written behind: the newest values only, since each replaces what was there.

    ``usage`` is by session id, ``token_uses`` by the token's digest; ids and digests that the
    store does not have (any more) are passed over. ``audit`` is what no other call could carry.
    """

    usage: Mapping[str, Usage] = field(factory=dict)
    token_uses: Mapping[bytes, datetime] = field(factory=dict, repr=False)
    audit: Sequence[AuditRecord] = ()


class Store(Protocol):
    """What every backend does. All methods raise StoreError when it cannot be done.

    Cancellation: a call that has begun is finished first, so an effect is whole or absent.
    """

    async def load_sessions(self) -> Sequence[Session]:
        """Return every session that is kept, ended ones too."""
        ...

    async def put_session(
        self, session: Session, *, replacing: str | None = None, audit: AuditRecord | None = None
    ) -> None:
        """Add a session or replace the one with its id; durable on return.

        A closing that is stored already stays, whatever ``session`` says. ``replacing`` is the
        id of an ended session whose slug this one takes over, in the same transaction.

        Raises:
            SlugTakenError: another session has this slug.
        """
        ...

    async def close_session(
        self, session_id: str, closed_at: datetime, *, audit: AuditRecord | None = None
    ) -> None:
        """Mark a session as closed; durable on return.

        An earlier closing stays, and then no trace is left either.
        """
        ...

    async def close_sessions_of(
        self, created_by: str, closed_at: datetime, *, audit: AuditRecord | None = None
    ) -> Sequence[str]:
        """Close what a principal created and what lives at ``closed_at``; return their ids.

        ``audit`` is left once for each of them, with its id and slug.
        """
        ...

    async def delete_ended(self, before: datetime) -> int:
        """Delete the sessions that were closed or expired before ``before``; return how many."""
        ...

    async def add_access_token(
        self, name: str, digest: bytes, created_at: datetime, *, audit: AuditRecord | None = None
    ) -> None:
        """Add an access token by the SHA-256 of its secret; durable on return.

        Raises:
            TokenNameTakenError: the name is in use.
        """
        ...

    async def list_access_tokens(self) -> Sequence[AccessToken]:
        """Return all access tokens, oldest first."""
        ...

    async def revoke_access_token(self, name: str, *, audit: AuditRecord | None = None) -> bool:
        """Delete an access token; False, and no trace, if there is none of this name."""
        ...

    async def find_access_token(self, digest: bytes) -> str | None:
        """Return the name of the token with this digest."""
        ...

    async def write_behind(self, batch: Batch) -> None:
        """Write a batch, whole or not at all; durable on return."""
        ...

    async def load_usage(self) -> Mapping[str, Usage]:
        """Return what each session has carried so far, by session id."""
        ...

    async def read_audit(self, limit: int) -> Sequence[AuditRecord]:
        """Return the newest traces, the newest first, at most ``limit``."""
        ...

    async def trim_audit(self, keep: int) -> None:
        """Forget all traces but the newest ``keep``."""
        ...

    async def aclose(self) -> None:
        """Flush and let go of every file; idempotent."""
        ...


def make_private_folder(folder: Path) -> None:
    """Make the folder with mode 0700; one that exists keeps its mode, it may be anyone's.

    Raises:
        OSError: it cannot be made.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def write_private(path: Path, text: str) -> None:
    """Write a file of mode 0600 atomically: readers see the old content or the new, whole.

    Raises:
        OSError: it cannot be written; the old file is untouched.
    """
    make_private_folder(path.parent)
    # mkstemp makes the file 0600 whatever the umask is.
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
