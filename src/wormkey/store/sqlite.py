"""The store in one SQLite file: what survives kill -9 and power cuts.

One connection, used by one worker thread at a time, never by the event loop. WAL lets another
process (``wormkeyd token``, a backup) read and write the file while the daemon runs. Sessions
and tokens are committed with synchronous=FULL: what was acknowledged is on the disk. Times are
whole microseconds since 1970 UTC; secrets are digests. Schema changes are rows of MIGRATIONS.
"""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import trio
from attrs import define, field

from wormkey.errors import AdmissionError, StoreError
from wormkey.session import Session, parse_policy
from wormkey.store import AccessToken, SlugTakenError, TokenNameTakenError, make_private_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

T = TypeVar("T")

APPLICATION_ID: Final = 0x576F726D  # "Worm": tells file(1) and us that the file is ours
BUSY_TIMEOUT_S: Final = 5.0  # another process's write takes milliseconds
CLOSE_TIMEOUT_S: Final = 10.0
DELETE_BATCH: Final = 1_000  # sessions; others get their turn between two batches
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

# MIGRATIONS[n] brings a file of version n to version n + 1. Never edit one that was released.
MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        """CREATE TABLE session (
            session_id TEXT PRIMARY KEY,
            slug TEXT NOT NULL UNIQUE,
            created_at INTEGER NOT NULL,
            expires_at INTEGER NOT NULL,
            closed_at INTEGER,
            port INTEGER NOT NULL,
            auth_mode TEXT NOT NULL CHECK (auth_mode IN ('none', 'basic')),
            username TEXT,
            password_hash TEXT,
            session_token_digest BLOB NOT NULL,
            owner_token_digest BLOB NOT NULL,
            policy TEXT NOT NULL,
            created_by TEXT NOT NULL
        ) STRICT, WITHOUT ROWID""",
        "CREATE INDEX session_end ON session (min(expires_at, ifnull(closed_at, expires_at)))",
        """CREATE TABLE access_token (
            digest BLOB PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,
            created_at INTEGER NOT NULL,
            last_used_at INTEGER
        ) STRICT, WITHOUT ROWID""",
    ),
)
SCHEMA_VERSION: Final = len(MIGRATIONS)

_PUT: Final = """
    INSERT INTO session (session_id, slug, created_at, expires_at, closed_at, port, auth_mode,
        username, password_hash, session_token_digest, owner_token_digest, policy, created_by)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (session_id) DO UPDATE SET
        expires_at = excluded.expires_at, closed_at = excluded.closed_at,
        auth_mode = excluded.auth_mode, username = excluded.username,
        password_hash = excluded.password_hash, policy = excluded.policy
"""
_LOAD: Final = """
    SELECT session_id, slug, created_at, expires_at, closed_at, port, auth_mode, username,
        password_hash, session_token_digest, owner_token_digest, policy, created_by
    FROM session
"""
_DELETE_ENDED: Final = """
    DELETE FROM session WHERE session_id IN (
        SELECT session_id FROM session
        WHERE min(expires_at, ifnull(closed_at, expires_at)) < ? LIMIT ?
    )
"""


@define(eq=False)
class SqliteStore:
    """A Store in one file; make it with ``open_sqlite``."""

    path: Path
    _connection: sqlite3.Connection | None
    # One thread at a time: SQLite has one writer, and trio's pool is shared with name look-ups.
    _limiter: trio.CapacityLimiter = field(factory=lambda: trio.CapacityLimiter(1))

    async def _call(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``work`` in the worker thread, with SQLite's errors translated.

        Cancellation: only before the work begins; no checkpoint after it.
        """

        def run() -> T:
            if self._connection is None:
                raise StoreError(f"{self.path} is closed")
            with _translated(self.path):
                return work(self._connection)

        return await trio.to_thread.run_sync(run, limiter=self._limiter)

    async def load_sessions(self) -> Sequence[Session]:
        """Return every session that is kept, ended ones too."""
        return await self._call(
            lambda connection: [_session(row) for row in connection.execute(_LOAD)]
        )

    async def put_session(self, session: Session, *, replacing: str | None = None) -> None:
        """Add or replace a session; on the disk on return."""

        def put(connection: sqlite3.Connection) -> None:
            with _transaction(connection):
                if replacing is not None:
                    connection.execute("DELETE FROM session WHERE session_id = ?", (replacing,))
                try:
                    connection.execute(_PUT, _row(session))
                except sqlite3.IntegrityError as error:
                    if error.sqlite_errorname == "SQLITE_CONSTRAINT_UNIQUE":
                        raise SlugTakenError(session.slug) from error
                    raise

        await self._call(put)

    async def close_session(self, session_id: str, closed_at: datetime) -> None:
        """Mark a session as closed; on the disk on return. An earlier closing stays."""
        await self._execute(
            "UPDATE session SET closed_at = ? WHERE session_id = ? AND closed_at IS NULL",
            (_microseconds(closed_at), session_id),
        )

    async def delete_ended(self, before: datetime) -> int:
        """Delete the sessions that were closed or expired before ``before``; return how many.

        Cancellation: between two batches; what is deleted stays deleted.
        """
        total = 0
        while True:
            count = await self._execute(_DELETE_ENDED, (_microseconds(before), DELETE_BATCH))
            total += count
            if count < DELETE_BATCH:
                return total

    async def add_access_token(self, name: str, digest: bytes, created_at: datetime) -> None:
        """Add an access token by the SHA-256 of its secret; on the disk on return."""

        def add(connection: sqlite3.Connection) -> None:
            try:
                connection.execute(
                    "INSERT INTO access_token (digest, name, created_at) VALUES (?, ?, ?)",
                    (digest, name, _microseconds(created_at)),
                )
            except sqlite3.IntegrityError as error:
                raise TokenNameTakenError(name) from error

        await self._call(add)

    async def list_access_tokens(self) -> Sequence[AccessToken]:
        """Return all access tokens, oldest first."""
        query = "SELECT name, created_at, last_used_at FROM access_token ORDER BY created_at, name"

        def read(connection: sqlite3.Connection) -> list[AccessToken]:
            return [
                AccessToken(
                    name=name,
                    created_at=_time(created_at),
                    last_used_at=None if last_used_at is None else _time(last_used_at),
                )
                for name, created_at, last_used_at in connection.execute(query)
            ]

        return await self._call(read)

    async def revoke_access_token(self, name: str) -> bool:
        """Delete an access token; False if there is none of this name."""
        return bool(await self._execute("DELETE FROM access_token WHERE name = ?", (name,)))

    async def find_access_token(self, digest: bytes) -> str | None:
        """Return the name of the token with this digest."""
        query = "SELECT name FROM access_token WHERE digest = ?"

        def read(connection: sqlite3.Connection) -> str | None:
            row: tuple[str] | None = connection.execute(query, (digest,)).fetchone()
            return None if row is None else row[0]

        return await self._call(read)

    async def touch_access_token(self, digest: bytes, used_at: datetime) -> None:
        """Note when a token was used last."""
        await self._execute(
            "UPDATE access_token SET last_used_at = ? WHERE digest = ?",
            (_microseconds(used_at), digest),
        )

    async def _execute(self, statement: str, parameters: tuple[object, ...]) -> int:
        """Run one statement, which is its own transaction; return how many rows it changed."""
        return await self._call(
            lambda connection: connection.execute(statement, parameters).rowcount
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


async def open_sqlite(path: Path) -> SqliteStore:
    """Open the store at ``path``, made (0600, its folder 0700) or migrated as needed.

    Raises:
        StoreError: the file cannot be used; the message says why and what to do.
    """
    connection = await trio.to_thread.run_sync(_open, path)
    return SqliteStore(path, connection)


def _open(path: Path) -> sqlite3.Connection:
    try:
        make_private_folder(path.parent)
        # Before SQLite makes it by the umask; its -wal and -shm files take the mode from it.
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.fchmod(handle, 0o600)
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
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA journal_size_limit = 4194304")  # 4 MiB
            _migrate(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the file to SCHEMA_VERSION in one transaction; refuse a newer or a foreign one."""
    with _transaction(connection):
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
        application: int = connection.execute("PRAGMA application_id").fetchone()[0]
        tables: int = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        if application != APPLICATION_ID and (application or version or tables):
            raise StoreError(f"{path} is another program's database; set --state-dir elsewhere")
        if version > SCHEMA_VERSION:
            raise StoreError(
                f"{path} was written by a newer wormkeyd (schema {version}, this one knows "
                f"{SCHEMA_VERSION}); install that version or restore an older backup"
            )
        if version == SCHEMA_VERSION:
            return
        for statements in MIGRATIONS[version:]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit what the block does, or nothing of it. IMMEDIATE: waits for other writers first."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk makes SQLite roll back by itself
            connection.execute("ROLLBACK")
        raise


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


def _microseconds(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(microseconds=1)


def _time(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)


def _row(session: Session) -> tuple[object, ...]:
    closed_at = session.closed_at
    return (
        session.session_id,
        session.slug,
        _microseconds(session.created_at),
        _microseconds(session.expires_at),
        None if closed_at is None else _microseconds(closed_at),
        session.port,
        session.auth_mode,
        session.username,
        session.password_hash,
        session.session_token_digest,
        session.owner_token_digest,
        json.dumps(session.policy.as_json(), separators=(",", ":")),
        session.created_by,
    )


def _session(row: tuple[Any, ...]) -> Session:
    closed_at = row[4]
    try:
        policy = parse_policy(json.loads(row[11]))
    except (ValueError, AdmissionError) as error:
        raise StoreError(
            f"session {row[0]}: its policy cannot be read; restore a backup"
        ) from error
    return Session(
        session_id=row[0],
        slug=row[1],
        created_at=_time(row[2]),
        expires_at=_time(row[3]),
        closed_at=None if closed_at is None else _time(closed_at),
        port=row[5],
        auth_mode=row[6],
        username=row[7],
        password_hash=row[8],
        session_token_digest=row[9],
        owner_token_digest=row[10],
        policy=policy,
        created_by=row[12],
    )
