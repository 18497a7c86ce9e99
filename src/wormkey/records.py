"""The record of one session on this machine: what a client needs to come back to its URL.

Values, and the one question about the world that they need answered: whether the process that
served a session still lives. Reading and writing sessions.json is local.py's affair.
"""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from attrs import field, frozen

if TYPE_CHECKING:
    from collections.abc import Mapping


@frozen(kw_only=True)
class SessionRecord:
    """One session this machine runs or ran; its tokens are hidden from repr.

    ``pid`` and ``started`` name the process that serves it (``started`` tells a process from a
    later one with the same number). ``expires_at`` is RFC 3339 text as the server said it.
    """

    session_id: str
    slug: str
    control_plane: str
    edge_url: str
    url: str
    owner_url: str = field(repr=False)
    session_token: str = field(repr=False)
    expires_at: str
    target: str
    host_header: str = "rewrite"
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    pid: int = 0
    started: str = ""

    @property
    def running(self) -> bool:
        """Whether the process that served it last still lives."""
        return self.pid > 0 and process_start_of(self.pid) == self.started

    def expired(self, now: datetime) -> bool:
        """Tell whether its time is over at ``now`` (aware); a time nobody can read is over."""
        try:
            return now >= datetime.fromisoformat(self.expires_at)
        except (ValueError, TypeError):  # TypeError: a time without its zone
            return True


def owned_by_this_process(record: SessionRecord) -> SessionRecord:
    """Return the record with this process as the one that serves the session."""
    return attrs.evolve(record, pid=os.getpid(), started=process_start_of(os.getpid()) or "")


def process_start_of(pid: int) -> str | None:
    """Return when a process started, as an opaque text; None for one that does not run.

    Without /proc the answer is the empty text for any running process.
    """
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return None
    except PermissionError:
        pass  # it runs, under another user
    try:
        line = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    # The second field is the command in parentheses and may hold anything, ")" too; of what
    # follows its last one, the state is the first word and the start time the twentieth.
    words = line.rpartition(")")[2].split()
    return None if words[0] in "ZX" else words[19]


def records_of(document: Mapping[str, Any]) -> tuple[SessionRecord, ...]:
    """Return the records that can be read; keys of a newer version are left out."""
    entries = document.get("sessions")
    records = []
    for entry in entries if isinstance(entries, list) else ():
        if not isinstance(entry, dict):
            continue
        known = {a.name: entry[a.name] for a in attrs.fields(SessionRecord) if a.name in entry}
        try:
            record = SessionRecord(**known)
        except TypeError:  # a member is missing
            continue
        if _types_hold(record):
            records.append(record)
    return tuple(records)


def _types_hold(record: SessionRecord) -> bool:
    for name, value in attrs.asdict(record).items():
        if name == "pid":
            good = isinstance(value, int) and not isinstance(value, bool)
        else:
            good = isinstance(value, str) or (value is None and name in ("username", "password"))
        if not good:
            return False
    return True
