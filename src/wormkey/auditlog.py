"""The audit trail as a file: one line of JSON a record, appended, never changed.

Owns the open file and the lines that wait for it. Writing is behind and in a worker thread; a
file that cannot be written delays no one and refuses nothing, the store has the trail too. A
file that was moved away (logrotate) is made anew. Never decides what is worth a record.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio
from attrs import define, field

from wormkey.privatefile import open_private

if TYPE_CHECKING:
    from wormkey.audit import AuditRecord

log = logging.getLogger(__name__)

MAX_WAITING_LINES: Final = 10_000  # about 3 MB while the file cannot be written


@define(eq=False)
class AuditLog:
    """An audit file; the lines given to ``add`` are on it after the next ``flush``."""

    path: Path
    _lines: deque[str] = field(factory=deque, repr=False)
    _rest: bytes = b""  # what a full disk left of the last write; the line is ended first
    _handle: int | None = None
    _failing: bool = False
    _dropped: int = 0

    def add(self, record: AuditRecord) -> None:
        """Queue a record; beyond MAX_WAITING_LINES the oldest is dropped and counted."""
        if len(self._lines) >= MAX_WAITING_LINES:
            self._lines.popleft()
            self._dropped += 1
        self._lines.append(record.line())

    async def flush(self) -> None:
        """Append what waits. A failure is logged once, until it is over; the lines are kept.

        Cancellation: only before the write begins; no line is lost or written twice.
        """
        if not (self._lines or self._rest):
            return
        # Not abandoned on cancellation: two threads must never write at a time.
        trouble = await trio.to_thread.run_sync(self.write)
        if trouble is not None:
            if not self._failing:
                log.error("audit log not written", extra={"file": str(self.path), "error": trouble})
            self._failing = True
            return
        if self._failing or self._dropped:
            facts = {"file": str(self.path), "dropped": self._dropped}
            log.warning("audit log is written again", extra=facts)
        self._failing, self._dropped = False, 0

    def write(self) -> str | None:
        """Append what waits, in this thread; return why it could not be done."""
        try:
            handle = self._current()
            while self._rest or self._lines:
                # One line a call: a record is whole on the disk, or the rest of it comes next.
                self._rest = self._rest or self._lines.popleft().encode("ascii")
                self._rest = self._rest[os.write(handle, self._rest) :]
        except OSError as error:
            return error.strerror or str(error)
        return None

    def _current(self) -> int:
        """Return the file at ``path``, opened anew if it is not the one that is open."""
        if self._handle is not None:
            opened = os.fstat(self._handle)
            try:
                named = os.stat(self.path)
            except FileNotFoundError:
                named = None
            if named is not None and os.path.samestat(opened, named):
                return self._handle
            self.close()
        self._handle = open_private(self.path, os.O_WRONLY | os.O_APPEND)
        return self._handle

    def close(self) -> None:
        """Let go of the file; idempotent, and the next write opens it again."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)
