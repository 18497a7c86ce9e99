"""records.py: a session's record hides its secrets and knows a process from its successor."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime

import attrs
import pytest

from wormkey.records import SessionRecord, owned_by_this_process, process_start_of, records_of

NOW = datetime(2030, 1, 1, tzinfo=UTC)
RECORD = SessionRecord(
    session_id="s-1",
    slug="demo",
    control_plane="http://localhost:3001",
    edge_url="ws://localhost:3002",
    url="http://localhost:3002/s/demo/",
    owner_url="http://localhost:3002/.wormkey/owner?slug=demo&token=canary-owner",
    session_token="demo.canary-session",
    expires_at="2030-01-02T00:00:00Z",
    target="http://localhost:5173",
)


def test_tokens_stay_out_of_repr() -> None:
    """A record in a traceback or a log shows no secret."""
    shown = repr(attrs.evolve(RECORD, password="canary-password"))
    assert "canary" not in shown


def test_a_recycled_process_number_is_not_the_old_process() -> None:
    """The same number with another start time is someone else."""
    mine = owned_by_this_process(RECORD)
    assert mine.running
    assert not attrs.evolve(mine, started="0").running
    assert not attrs.evolve(mine, pid=0).running


@pytest.mark.parametrize(
    ("expires_at", "expired"),
    [
        ("2030-01-01T00:00:01Z", False),
        ("2030-01-01T00:00:00Z", True),
        ("2030-01-01T01:00:00+02:00", True),
        ("2030-01-02T00:00:00", True),
        ("soon", True),
    ],
)
def test_expiry_is_read_from_the_servers_text(expires_at: str, expired: bool) -> None:
    """A time is over when it is reached, or when nobody can read it."""
    assert attrs.evolve(RECORD, expires_at=expires_at).expired(NOW) is expired


def test_a_process_that_ended_has_no_start() -> None:
    """Ended, waited for or not, and numbers that no process can have."""
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        zombie = process_start_of(child.pid)
    assert zombie is None or sys.platform != "linux"
    assert process_start_of(child.pid) is None
    assert process_start_of(2**31 - 1) is None
    assert process_start_of(2**80) is None


def test_a_list_of_anything_is_no_list_of_records() -> None:
    """Only objects with every member of the right type are records."""
    assert records_of({"sessions": [attrs.asdict(RECORD), 1, {}]}) == (RECORD,)
    assert records_of({"sessions": "x"}) == ()
    assert records_of({}) == ()
