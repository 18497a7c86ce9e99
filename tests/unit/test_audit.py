"""The audit trail's records: one line each, whatever is in them."""

from __future__ import annotations

import json
from datetime import timedelta, timezone

from tests.support.stored import NOW, trace
from wormkey.audit import AuditEvent, AuditRecord


def test_record_tells_everything_by_its_name() -> None:
    """Names are those of log records, the moment is UTC, and no member is left out."""
    assert trace(1, at=NOW).as_json() == {
        "time": "2030-01-02T03:04:05.678901Z",
        "event": "policy.changed",
        "actor": "token:laptop",
        "address": "2001:db8::1",
        "session": "id-1",
        "slug": "slug-1",
        "detail": {"number": 1, "text": "a\nb", "yes": True, "none": None},
    }
    bare = AuditRecord(at=NOW, event=AuditEvent.DAEMON_STARTED, actor="daemon").as_json()
    assert (bare["address"], bare["session"], bare["slug"], bare["detail"]) == (
        None,
        None,
        None,
        {},
    )


def test_moment_is_told_in_utc() -> None:
    """A moment of another zone is the same moment."""
    elsewhere = NOW.astimezone(timezone(timedelta(hours=5)))
    assert trace(1, at=elsewhere).as_json()["time"] == "2030-01-02T03:04:05.678901Z"


def test_record_is_one_line() -> None:
    """No text can begin a second line, in any of Unicode's ways."""
    nasty = "a\r\nb\x0b\x0c\x1c\x85\u2028\u2029\x00\ud800"
    line = trace(1, actor=nasty, slug=nasty, detail={nasty: nasty}).line()
    assert line.splitlines(keepends=True) == [line]
    assert line.isascii()
    assert json.loads(line)["actor"] == nasty
