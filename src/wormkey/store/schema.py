"""The SQLite file's schema: its versions, and the way from each of them to the newest.

Owns MIGRATIONS, the file's marks in its header, and what a transaction is. A file of a newer
version or of another program is refused and left as it is. Never knows a session.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from wormkey.errors import StoreError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from pathlib import Path

APPLICATION_ID: Final = 0x576F726D  # "Worm": tells file(1) and us that the file is ours

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
    (
        "ALTER TABLE session ADD COLUMN gate_hash TEXT",
        "ALTER TABLE session ADD COLUMN paused INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE session ADD COLUMN claimed_by BLOB",
        "ALTER TABLE session ADD COLUMN claim_digest BLOB",
        "ALTER TABLE session ADD COLUMN kicked TEXT NOT NULL DEFAULT '[]'",
        "ALTER TABLE session ADD COLUMN requests INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE session ADD COLUMN received_bytes INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE session ADD COLUMN sent_bytes INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE session ADD COLUMN last_seen_at INTEGER",
        # AUTOINCREMENT: a trimmed trail never uses a number again, so a gap can be seen.
        """CREATE TABLE audit (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            at INTEGER NOT NULL,
            event TEXT NOT NULL,
            actor TEXT NOT NULL,
            address TEXT,
            session_id TEXT,
            slug TEXT,
            detail TEXT NOT NULL
        ) STRICT""",
    ),
)
SCHEMA_VERSION: Final = len(MIGRATIONS)


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the file to SCHEMA_VERSION in one transaction.

    Raises:
        StoreError: the file is of a newer version, or another program's.
    """
    with transaction(connection):
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
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit what the block does, or nothing of it. IMMEDIATE: waits for other writers first."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk makes SQLite roll back by itself
            connection.execute("ROLLBACK")
        raise
