"""Sessions, traces and usage whose every member differs from the defaults, for stores."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from attrs import evolve

from wormkey.audit import AuditEvent, AuditRecord
from wormkey.rules import Policy
from wormkey.session import Session, digest_of
from wormkey.usage import Usage

NOW = datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
HOUR = timedelta(hours=1)


def session(number: int, **changes: Any) -> Session:
    """Return a session whose every member differs from the defaults."""
    whole = Session(
        session_id=f"id-{number}",
        slug=f"slug-{number}",
        created_at=NOW,
        expires_at=NOW + HOUR,
        port=5173,
        auth_mode="basic",
        username="worm",
        password_hash="sha256$x",
        session_token_digest=digest_of(b"session %d" % number),
        owner_token_digest=digest_of(b"owner %d" % number),
        policy=Policy(public=False, max_concurrent_viewers=3, block_paths=("/a",)),
        gate_hash="sha256$y",
        paused=True,
        claimed_by=b"B" * 32,
        claim_digest=b"C" * 32,
        kicked=("viewer-1", "viewer-2"),
        created_by="token:laptop",
    )
    return evolve(whole, **changes)


def trace(number: int, **changes: Any) -> AuditRecord:
    """Return a record of the audit trail that can be told from others by its number."""
    whole = AuditRecord(
        at=NOW + number * timedelta(seconds=1),
        event=AuditEvent.POLICY_CHANGED,
        actor="token:laptop",
        address="2001:db8::1",
        session_id=f"id-{number}",
        slug=f"slug-{number}",
        detail={"number": number, "text": "a\nb", "yes": True, "none": None},
    )
    return evolve(whole, **changes)


def usage(number: int) -> Usage:
    """Return sums that are not zero."""
    return Usage(
        requests=number,
        received_bytes=10 * number,
        sent_bytes=100 * number,
        last_seen_at=NOW + number * HOUR,
    )
