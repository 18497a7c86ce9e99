"""The store in one SQLite file: what survives kill -9 and power cuts.

One connection, used by one worker thread at a time, never by the event loop. WAL lets another
process (``wormkeyd token``, a backup) read and write the file while the daemon runs. Everything
is committed with synchronous=FULL: what was acknowledged is on the disk. Statements and rows are
in rows.py, versions of the file in schema.py.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import trio
from attrs import define, evolve, field

from wormkey.errors import StoreError
from wormkey.privatefile import open_private
from wormkey.store import AccessToken, SlugTakenError, TokenNameTakenError, make_private_folder
from wormkey.store import rows as sql
from wormkey.store.schema import migrate, transaction

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from wormkey.audit import AuditRecord
    from wormkey.session import Session
    from wormkey.store import Batch
    from wormkey.usage import Usage

T = TypeVar("T")

BUSY_TIMEOUT_S: Final = 5.0  # another process's write takes milliseconds
CLOSE_TIMEOUT_S: Final = 10.0
DELETE_BATCH: Final = 1_000  # sessions; others get their turn between two batches
SPARE_PAGES: Final = 1_024  # 4 MiB kept for what comes next, so that the file does not breathe


def _unobserved(operation: str, seconds: float) -> None:
    """Measure nothing."""


@define(eq=False)
class SqliteStore:
    """A Store in one file; make it with ``open_sqlite``.

    ``observe`` is told the name of each operation that ended and its seconds, the wait for the
    thread included; it is called on the event loop.
    """

    path: Path
    _connection: sqlite3.Connection | None
    observe: Callable[[str, float], None] = _unobserved
    # One thread at a time: SQLite has one writer, and trio's pool is shared with name look-ups.
    _limiter: trio.CapacityLimiter = field(factory=lambda: trio.CapacityLimiter(1))

    async def _call(self, operation: str, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``work`` in the worker thread, with SQLite's errors translated.

        Cancellation: only before the work begins; no checkpoint after it.
        """

        def run() -> T:
            if self._connection is None:
                raise StoreError(f"{self.path} is closed")
            with _translated(self.path):
                return work(self._connection)

        begun_s = time.perf_counter()
        try:
            return await trio.to_thread.run_sync(run, limiter=self._limiter)
        finally:
            self.observe(operation, time.perf_counter() - begun_s)

    async def _change(self, operation: str, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``work`` as one transaction; what it does is on the disk on return."""

        def change(connection: sqlite3.Connection) -> T:
            with transaction(connection):
                return work(connection)

        return await self._call(operation, change)

    async def load_sessions(self) -> Sequence[Session]:
        """Return every session that is kept, ended ones too, from a file that is sound."""

        def load(connection: sqlite3.Connection) -> list[Session]:
            # A daemon loads once, at its start: the time to find damage, not a week later.
            verdict: str = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if verdict != "ok":
                raise StoreError(f"{self.path}: {_REMEDIES['SQLITE_CORRUPT']} ({verdict})")
            return [sql.session_of(row) for row in connection.execute(sql.LOAD_SESSIONS)]

        return await self._call("load_sessions", load)

    async def put_session(
        self, session: Session, *, replacing: str | None = None, audit: AuditRecord | None = None
    ) -> None:
        """Add or replace a session; on the disk on return. A stored closing stays."""

        def put(connection: sqlite3.Connection) -> None:
            if replacing is not None:
                connection.execute("DELETE FROM session WHERE session_id = ?", (replacing,))
            try:
                connection.execute(sql.PUT_SESSION, sql.session_row(session))
            except sqlite3.IntegrityError as error:
                if error.sqlite_errorname == "SQLITE_CONSTRAINT_UNIQUE":
                    raise SlugTakenError(session.slug) from error
                raise
            _trace(connection, audit)

        await self._change("put_session", put)

    async def close_session(
        self, session_id: str, closed_at: datetime, *, audit: AuditRecord | None = None
    ) -> None:
        """Mark a session as closed; on the disk on return. An earlier closing stays."""

        def close(connection: sqlite3.Connection) -> None:
            parameters = (sql.to_microseconds(closed_at), session_id)
            if connection.execute(sql.CLOSE_SESSION, parameters).rowcount:
                _trace(connection, audit)

        await self._change("close_session", close)

    async def close_sessions_of(
        self, created_by: str, closed_at: datetime, *, audit: AuditRecord | None = None
    ) -> Sequence[str]:
        """Close what a principal created and what lives at ``closed_at``; return their ids."""
        moment = sql.to_microseconds(closed_at)

        def close(connection: sqlite3.Connection) -> list[str]:
            found = connection.execute(sql.FIND_SESSIONS_OF, (created_by, moment)).fetchall()
            for session_id, slug in found:
                connection.execute(sql.CLOSE_SESSION, (moment, session_id))
                if audit is not None:
                    _trace(connection, evolve(audit, session_id=session_id, slug=slug))
            return [session_id for session_id, _ in found]

        return await self._change("close_sessions_of", close)

    async def delete_ended(self, before: datetime) -> int:
        """Delete the sessions that were closed or expired before ``before``; return how many.

        Cancellation: between two batches; what is deleted stays deleted.
        """
        parameters = (sql.to_microseconds(before), DELETE_BATCH)
        total = 0
        while True:
            count = await self._execute("delete_ended", sql.DELETE_ENDED, parameters)
            total += count
            if count < DELETE_BATCH:
                break
        if total:
            await self._call("shrink", _shrink)
        return total

    async def add_access_token(
        self, name: str, digest: bytes, created_at: datetime, *, audit: AuditRecord | None = None
    ) -> None:
        """Add an access token by the SHA-256 of its secret; on the disk on return."""

        def add(connection: sqlite3.Connection) -> None:
            try:
                connection.execute(sql.ADD_TOKEN, (digest, name, sql.to_microseconds(created_at)))
            except sqlite3.IntegrityError as error:
                raise TokenNameTakenError(name) from error
            _trace(connection, audit)

        await self._change("add_access_token", add)

    async def list_access_tokens(self) -> Sequence[AccessToken]:
        """Return all access tokens, oldest first."""

        def read(connection: sqlite3.Connection) -> list[AccessToken]:
            return [
                AccessToken(
                    name=name,
                    created_at=sql.to_time(created_at),
                    last_used_at=None if last_used_at is None else sql.to_time(last_used_at),
                )
                for name, created_at, last_used_at in connection.execute(sql.LIST_TOKENS)
            ]

        return await self._call("list_access_tokens", read)

    async def revoke_access_token(self, name: str, *, audit: AuditRecord | None = None) -> bool:
        """Delete an access token; False if there is none of this name."""

        def revoke(connection: sqlite3.Connection) -> bool:
            found = bool(connection.execute(sql.REVOKE_TOKEN, (name,)).rowcount)
            _trace(connection, audit if found else None)
            return found

        return await self._change("revoke_access_token", revoke)

    async def find_access_token(self, digest: bytes) -> str | None:
        """Return the name of the token with this digest."""

        def read(connection: sqlite3.Connection) -> str | None:
            row: tuple[str] | None = connection.execute(sql.FIND_TOKEN, (digest,)).fetchone()
            return None if row is None else row[0]

        return await self._call("find_access_token", read)

    async def write_behind(self, batch: Batch) -> None:
        """Write the newest values and the loose traces in one transaction."""
        usage = [sql.usage_row(key, value) for key, value in batch.usage.items()]
        uses = [(sql.to_microseconds(at), digest) for digest, at in batch.token_uses.items()]
        traces = [sql.audit_row(record) for record in batch.audit]

        def write(connection: sqlite3.Connection) -> None:
            connection.executemany(sql.PUT_USAGE, usage)
            connection.executemany(sql.USE_TOKEN, uses)
            connection.executemany(sql.ADD_AUDIT, traces)

        await self._change("write_behind", write)

    async def load_usage(self) -> Mapping[str, Usage]:
        """Return what each session has carried so far, by session id."""
        return await self._call(
            "load_usage",
            lambda connection: {
                row[4]: sql.usage_of(row) for row in connection.execute(sql.LOAD_USAGE)
            },
        )

    async def read_audit(self, limit: int) -> Sequence[AuditRecord]:
        """Return the newest traces, the newest first, at most ``limit``."""
        return await self._call(
            "read_audit",
            lambda connection: [
                sql.audit_of(row) for row in connection.execute(sql.READ_AUDIT, (limit,))
            ],
        )

    async def trim_audit(self, keep: int) -> None:
        """Forget all traces but the newest ``keep``."""
        await self._execute("trim_audit", sql.TRIM_AUDIT, (keep,))

    async def _execute(self, operation: str, statement: str, parameters: tuple[object, ...]) -> int:
        """Run one statement, which is its own transaction; return how many rows it changed."""
        return await self._call(
            operation, lambda connection: connection.execute(statement, parameters).rowcount
        )

    async def aclose(self) -> None:
        """Write the log back into the file and close it; idempotent.

        Cancellation: shielded for CLOSE_TIMEOUT_S, so that a cancelled daemon leaves a tidy file.
        """

        def close() -> None:
            connection, self._connection = self._connection, None
            if connection is not None:
                with _translated(self.path):
                    connection.close()

        with trio.move_on_after(CLOSE_TIMEOUT_S, shield=True):
            await trio.to_thread.run_sync(close, limiter=self._limiter)


def _shrink(connection: sqlite3.Connection) -> None:
    """Give pages back that no row uses, all but a few; files of before auto_vacuum keep theirs."""
    free: int = connection.execute("PRAGMA freelist_count").fetchone()[0]
    if free > SPARE_PAGES:
        # execute() takes one step of it, which is one page.
        connection.executescript(f"PRAGMA incremental_vacuum({free - SPARE_PAGES})")


def _trace(connection: sqlite3.Connection, audit: AuditRecord | None) -> None:
    if audit is not None:
        connection.execute(sql.ADD_AUDIT, sql.audit_row(audit))


async def open_sqlite(
    path: Path, *, observe: Callable[[str, float], None] = _unobserved
) -> SqliteStore:
    """Open the store at ``path``, made (0600, its folder 0700) or migrated as needed.

    Made by root, it belongs to its folder's owner.

    Raises:
        StoreError: the file cannot be used; the message says why and what to do.
    """
    connection = await trio.to_thread.run_sync(_open, path)
    return SqliteStore(path, connection, observe)


def _open(path: Path) -> sqlite3.Connection:
    try:
        make_private_folder(path.parent)
        # Before SQLite makes it by the umask; -wal and -shm take mode and, from root, owner of it.
        handle = open_private(path, os.O_RDWR)
        try:
            os.fchmod(handle, 0o600)
            new = os.fstat(handle).st_size == 0
        finally:
            os.close(handle)
    except OSError as error:
        raise StoreError(
            f"cannot open {path}: {error.strerror}; check its owner and mode, or set --state-dir"
        ) from error
    with _translated(path):
        # One thread at a time uses it, but not always the same one.
        connection = sqlite3.connect(
            path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA trusted_schema = OFF")
            if new:  # an old file would be written to, and its mode stay as it is
                connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA journal_size_limit = 4194304")  # 4 MiB
            migrate(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


_REMEDIES: Final = {
    "SQLITE_FULL": "the disk is full; free some space",
    "SQLITE_READONLY": "it is read-only; check its owner, its mode and the file system",
    "SQLITE_CANTOPEN": "it cannot be opened; check the owner and mode of it and its folder",
    "SQLITE_PERM": "access is denied; check the owner and mode of it and its folder",
    "SQLITE_BUSY": "another process holds it; end that process and try again",
    "SQLITE_CORRUPT": "it is damaged; restore a backup",
    "SQLITE_NOTADB": "it is not a database; restore a backup or move it away",
    "SQLITE_IOERR": "the disk failed to read or write; check it",
}


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into StoreError with a remedy."""
    try:
        yield
    except sqlite3.Error as error:
        # SQLITE_READONLY_DBMOVED and the like begin with their primary name.
        name = getattr(error, "sqlite_errorname", None) or ""
        primary = "_".join(name.split("_")[:2])
        raise StoreError(f"{path}: {_REMEDIES.get(primary, str(error))}") from error
