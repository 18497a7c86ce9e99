"""The audit log: appended, private, made anew after a rotation, and never in anybody's way."""

from __future__ import annotations

import logging
import os
import resource
import signal
from typing import TYPE_CHECKING

import pytest
import trio

from tests.support.stored import trace
from wormkey.auditlog import MAX_WAITING_LINES, AuditLog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def audit_log(tmp_path: Path) -> AsyncIterator[AuditLog]:
    """Give an audit log whose file does not exist yet."""
    made = AuditLog(tmp_path / "audit.log")
    yield made
    made.close()


async def write(audit_log: AuditLog, *numbers: int) -> None:
    """Append records of these numbers."""
    for number in numbers:
        audit_log.add(trace(number))
    await audit_log.flush()


def lines(*numbers: int) -> str:
    """Return the lines of records with these numbers."""
    return "".join(trace(number).line() for number in numbers)


async def test_lines_are_appended_to_a_private_file(audit_log: AuditLog) -> None:
    """The file is 0600 whatever the umask is; what stands in it stays."""
    old_umask = os.umask(0)
    try:
        await write(audit_log, 1, 2)
    finally:
        os.umask(old_umask)
    assert audit_log.path.stat().st_mode & 0o777 == 0o600
    audit_log.close()
    again = AuditLog(audit_log.path)
    await write(again, 3)
    again.close()
    assert audit_log.path.read_text() == lines(1, 2, 3)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
async def test_roots_command_leaves_the_file_to_the_service(audit_log: AuditLog) -> None:
    """Made by root, it belongs to its folder's owner."""
    os.chown(audit_log.path.parent, 61184, 61184)  # the first of systemd's dynamic users
    await write(audit_log, 1)
    assert audit_log.path.stat().st_uid == 61184


async def test_moved_file_is_made_anew(audit_log: AuditLog) -> None:
    """After logrotate's move the old file gets nothing more, the new one all that follows."""
    await write(audit_log, 1)
    moved = audit_log.path.rename(audit_log.path.with_suffix(".1"))
    await write(audit_log, 2)
    assert (moved.read_text(), audit_log.path.read_text()) == (lines(1), lines(2))
    audit_log.path.rename(audit_log.path.with_suffix(".2"))
    audit_log.path.write_text("")  # logrotate's "create"
    await write(audit_log, 3)
    assert audit_log.path.read_text() == lines(3)


async def test_failure_is_said_once_and_no_line_is_lost(
    audit_log: AuditLog, caplog: pytest.LogCaptureFixture
) -> None:
    """A file that cannot be opened: one record for the outage, and all lines afterwards."""
    audit_log.path.mkdir()
    with caplog.at_level(logging.WARNING):
        for number in range(3):
            await write(audit_log, number)
        assert [record.getMessage() for record in caplog.records] == ["audit log not written"]
        assert vars(caplog.records[0])["error"] == "Is a directory"
        audit_log.path.rmdir()
        await audit_log.flush()
        await write(audit_log, 3)
    assert [record.getMessage() for record in caplog.records[1:]] == ["audit log is written again"]
    assert audit_log.path.read_text() == lines(0, 1, 2, 3)


async def test_waiting_lines_are_bounded(
    audit_log: AuditLog, caplog: pytest.LogCaptureFixture
) -> None:
    """Beyond the bound the oldest go, and their number is told."""
    for number in range(MAX_WAITING_LINES + 2):
        audit_log.add(trace(number))
    await audit_log.flush()
    assert audit_log.path.read_text() == lines(*range(2, MAX_WAITING_LINES + 2))
    assert [vars(record)["dropped"] for record in caplog.records] == [2]


async def test_full_disk_tears_no_line(audit_log: AuditLog) -> None:
    """A write that went half way is completed first when there is room again."""
    await write(audit_log, 1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(lines(1)) + 7, limits[1]))
        await write(audit_log, 2, 3)
        assert audit_log.path.read_text() == (lines(1) + lines(2))[: len(lines(1)) + 7]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    await write(audit_log, 4)
    assert audit_log.path.read_text() == lines(1, 2, 3, 4)


async def test_cancelled_flush_keeps_the_lines(audit_log: AuditLog) -> None:
    """Cancellation before the write begins leaves everything for the next flush."""
    audit_log.add(trace(1))
    with trio.CancelScope() as scope:
        scope.cancel()
        await audit_log.flush()
    await audit_log.flush()
    assert audit_log.path.read_text() == lines(1)
