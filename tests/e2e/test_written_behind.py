"""What is written behind: there after a good end, in the audit log, and at most a second old."""

from __future__ import annotations

import json
import signal
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import trio

from tests.support.process import DAEMON, run, running_daemon
from tests.support.world import call

if TYPE_CHECKING:
    from pathlib import Path


def events(path: Path) -> list[str]:
    """Return the events of the audit trail in a store, oldest first."""
    with closing(sqlite3.connect(path)) as connection:
        return [row[0] for row in connection.execute("SELECT event FROM audit ORDER BY id")]


def lines(path: Path) -> list[dict[str, Any]]:
    """Return the records of an audit log."""
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_good_end_loses_nothing(tmp_path: Path) -> None:
    """SIGTERM at once after a use: the use and every trace are stored, in the file as well."""
    audit_log, store = tmp_path / "audit.log", tmp_path / "daemon" / "wormkeyd.sqlite3"
    options = ("--access", "token", "--audit-log", str(audit_log))
    with trio.fail_after(30):
        async with running_daemon(tmp_path, *options) as daemon:
            token = (tmp_path / "daemon" / "local-token").read_text().strip()
            status, _ = await call(
                daemon.control, "POST", "/sessions", token=token, body={"port": 1}
            )
            assert status == 201
            assert await daemon.process.end() == 0
        code, out, _ = await run(
            (*DAEMON, "token", "list", "--state-dir", str(store.parent)), tmp_path
        )
    assert code == 0
    assert "never" not in out
    told = ["daemon.started", "token.created", "session.created", "daemon.stopped"]
    assert events(store) == told
    assert [each["event"] for each in lines(audit_log)] == told
    assert lines(audit_log)[2]["actor"] == "token:first"
    assert token not in audit_log.read_text()


async def test_expiry_is_stored_within_a_second(tmp_path: Path) -> None:
    """A trace that no call carried survives kill -9, once a second has passed."""
    store = tmp_path / "daemon" / "wormkeyd.sqlite3"
    with trio.fail_after(30):
        async with running_daemon(tmp_path) as daemon:
            body = {"port": 1, "expiresIn": "1s"}
            status, _ = await call(daemon.control, "POST", "/sessions", body=body)
            assert status == 201
            while "session.expired" not in events(store):  # noqa: ASYNC110 - another process
                await trio.sleep(0.05)
            await daemon.process.end(signal.SIGKILL)
    assert events(store)[-1] == "session.expired"
