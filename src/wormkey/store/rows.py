"""Rows of the SQLite file: the statements, and how values become rows and come back.

Owns what a column means: times are whole microseconds since 1970 UTC, secrets are digests,
policies and details are JSON. Never opens a file and never begins a transaction.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from wormkey.audit import AuditEvent, AuditRecord
from wormkey.errors import AdmissionError, StoreError
from wormkey.rules import Policy, parse_policy
from wormkey.session import Session
from wormkey.usage import Usage

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

# The columns of a session but its usage, in the order of ``session_row``.
_COLUMNS: Final = (
    "session_id",
    "slug",
    "created_at",
    "expires_at",
    "closed_at",
    "port",
    "auth_mode",
    "username",
    "password_hash",
    "session_token_digest",
    "owner_token_digest",
    "policy",
    "gate_hash",
    "paused",
    "claimed_by",
    "claim_digest",
    "kicked",
    "created_by",
)
_FIXED: Final = frozenset({"session_id", "slug", "created_at", "closed_at"})
_NAMES: Final = ", ".join(_COLUMNS)
_MARKS: Final = ", ".join("?" * len(_COLUMNS))
_CHANGES: Final = ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS if name not in _FIXED)

PUT_SESSION: Final = f"""
    INSERT INTO session ({_NAMES}) VALUES ({_MARKS})
    ON CONFLICT (session_id) DO UPDATE SET
        closed_at = ifnull(closed_at, excluded.closed_at), {_CHANGES}
"""  # noqa: S608 - of the names above only
LOAD_SESSIONS: Final = f"SELECT {_NAMES} FROM session"  # noqa: S608 - as above
CLOSE_SESSION: Final = """
    UPDATE session SET closed_at = ? WHERE session_id = ? AND closed_at IS NULL
"""
FIND_SESSIONS_OF: Final = """
    SELECT session_id, slug FROM session
    WHERE created_by = ? AND closed_at IS NULL AND expires_at > ?
"""
DELETE_ENDED: Final = """
    DELETE FROM session WHERE session_id IN (
        SELECT session_id FROM session
        WHERE min(expires_at, ifnull(closed_at, expires_at)) < ? LIMIT ?
    )
"""
ADD_TOKEN: Final = "INSERT INTO access_token (digest, name, created_at) VALUES (?, ?, ?)"  # noqa: S105
LIST_TOKENS: Final = (  # a statement, no token
    "SELECT name, created_at, last_used_at FROM access_token ORDER BY created_at, name"
)
FIND_TOKEN: Final = "SELECT name FROM access_token WHERE digest = ?"  # noqa: S105
USE_TOKEN: Final = "UPDATE access_token SET last_used_at = ? WHERE digest = ?"  # noqa: S105
REVOKE_TOKEN: Final = "DELETE FROM access_token WHERE name = ?"  # noqa: S105
PUT_USAGE: Final = """
    UPDATE session SET requests = ?, received_bytes = ?, sent_bytes = ?, last_seen_at = ?
    WHERE session_id = ?
"""
LOAD_USAGE: Final = """
    SELECT requests, received_bytes, sent_bytes, last_seen_at, session_id FROM session
"""
ADD_AUDIT: Final = """
    INSERT INTO audit (at, event, actor, address, session_id, slug, detail)
    VALUES (?, ?, ?, ?, ?, ?, ?)
"""
READ_AUDIT: Final = """
    SELECT at, event, actor, address, session_id, slug, detail, id FROM audit
    ORDER BY id DESC LIMIT ?
"""
TRIM_AUDIT: Final = """
    DELETE FROM audit WHERE id <= (SELECT id FROM audit ORDER BY id DESC LIMIT 1 OFFSET ?)
"""


def to_microseconds(moment: datetime) -> int:
    """Return the column's form of a moment (aware)."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def to_time(microseconds: int) -> datetime:
    """Return the moment, in UTC, that a column holds."""
    return _EPOCH + timedelta(microseconds=microseconds)


def _maybe_microseconds(moment: datetime | None) -> int | None:
    return None if moment is None else to_microseconds(moment)


def _maybe_time(microseconds: int | None) -> datetime | None:
    return None if microseconds is None else to_time(microseconds)


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def session_row(session: Session) -> tuple[object, ...]:
    """Return the parameters of PUT_SESSION."""
    return (
        session.session_id,
        session.slug,
        to_microseconds(session.created_at),
        to_microseconds(session.expires_at),
        _maybe_microseconds(session.closed_at),
        session.port,
        session.auth_mode,
        session.username,
        session.password_hash,
        session.session_token_digest,
        session.owner_token_digest,
        _json(session.policy.as_json()),
        session.gate_hash,
        int(session.paused),
        session.claimed_by,
        session.claim_digest,
        _json(session.kicked),
        session.created_by,
    )


@lru_cache(maxsize=256)  # most sessions have one of a few; reading it takes half of the time
def _policy_of(text: str) -> Policy:
    return parse_policy(json.loads(text))


def session_of(row: tuple[Any, ...]) -> Session:
    """Return the session of a row of LOAD_SESSIONS.

    Raises:
        StoreError: the row is damaged; the message names the session.
    """
    value: dict[str, Any] = dict(zip(_COLUMNS, row, strict=True))
    try:
        value["policy"] = _policy_of(value["policy"])
        value["kicked"] = tuple(str(each) for each in json.loads(value["kicked"]))
    except (ValueError, TypeError, AdmissionError) as error:
        raise StoreError(
            f"session {row[0]}: its policy cannot be read; restore a backup"
        ) from error
    value["created_at"] = to_time(value["created_at"])
    value["expires_at"] = to_time(value["expires_at"])
    value["closed_at"] = _maybe_time(value["closed_at"])
    value["paused"] = bool(value["paused"])
    return Session(**value)


def usage_row(session_id: str, usage: Usage) -> tuple[object, ...]:
    """Return the parameters of PUT_USAGE."""
    return (
        usage.requests,
        usage.received_bytes,
        usage.sent_bytes,
        _maybe_microseconds(usage.last_seen_at),
        session_id,
    )


def usage_of(row: tuple[Any, ...]) -> Usage:
    """Return the usage of a row of LOAD_USAGE."""
    return Usage(
        requests=row[0], received_bytes=row[1], sent_bytes=row[2], last_seen_at=_maybe_time(row[3])
    )


def audit_row(record: AuditRecord) -> tuple[object, ...]:
    """Return the parameters of ADD_AUDIT."""
    return (
        to_microseconds(record.at),
        record.event.value,
        record.actor,
        record.address,
        record.session_id,
        record.slug,
        _json(dict(record.detail)),
    )


def audit_of(row: tuple[Any, ...]) -> AuditRecord:
    """Return the trace of a row of READ_AUDIT.

    Raises:
        StoreError: the row is damaged; the message names its number.
    """
    try:
        return AuditRecord(
            at=to_time(row[0]),
            event=AuditEvent(row[1]),
            actor=row[2],
            address=row[3],
            session_id=row[4],
            slug=row[5],
            detail=dict(json.loads(row[6])),
        )
    except (ValueError, TypeError) as error:
        raise StoreError(f"audit record {row[7]} cannot be read; restore a backup") from error
