"""Files as the daemons of earlier schema versions left them, to the letter."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from wormkey.session import digest_of

if TYPE_CHECKING:
    from pathlib import Path

# What each version's daemon wrote, to the letter; SCHEMA_VERSION needs no entry: it is made by
# open_sqlite. Times are microseconds of NOW. Never edit one: files like these are out there.
OLD = {
    1: """
        CREATE TABLE session (
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
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX session_end ON session (min(expires_at, ifnull(closed_at, expires_at)));
        CREATE TABLE access_token (
            digest BLOB PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,
            created_at INTEGER NOT NULL,
            last_used_at INTEGER
        ) STRICT, WITHOUT ROWID;
        INSERT INTO session VALUES ('id-1', 'slug-1', 1893553445678901, 1893557045678901, NULL,
            5173, 'basic', 'worm', 'sha256$x', {session}, {owner},
            '{{"public":false,"maxConcurrentViewers":3,"blockPaths":["/a"]}}', 'token:laptop');
        INSERT INTO session VALUES ('id-2', 'slug-2', 1893553445678901, 1893557045678901,
            1893553445678901, 0, 'none', NULL, NULL, {session}, {owner},
            '{{"public":true,"maxConcurrentViewers":null,"blockPaths":[]}}', '');
        INSERT INTO access_token VALUES ({token}, 'laptop', 1893553445678901, NULL);
        PRAGMA application_id = 1466921581;
        PRAGMA user_version = 1;
    """,
}


def write_old(path: Path, version: int) -> None:
    """Write the file that a daemon of this version left, with two sessions and a token."""
    literals = {
        "session": f"x'{digest_of(b'session 1').hex()}'",
        "owner": f"x'{digest_of(b'owner 1').hex()}'",
        "token": f"x'{(b'L' * 32).hex()}'",
    }
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript(OLD[version].format(**literals))
    connection.close()
