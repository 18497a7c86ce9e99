"""``wormkeyd audit`` and the audit log, as an operator reads them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import trio

from tests.support.process import DAEMON, run, running_daemon
from tests.support.world import call

if TYPE_CHECKING:
    from pathlib import Path


async def test_trail_is_shown_newest_last(tmp_path: Path) -> None:
    """What the daemon and the commands did, beside the running daemon; -n takes the newest."""
    audit_log = tmp_path / "audit.log"
    state = ("--state-dir", str(tmp_path / "daemon"))
    with trio.fail_after(40):
        async with running_daemon(tmp_path, "--audit-log", str(audit_log)) as daemon:
            status, made = await call(daemon.control, "POST", "/sessions", body={"port": 1})
            assert status == 201
            # Not told of the audit log: the running daemon knows it.
            token = (*DAEMON, "token", "add", "laptop", *state)
            code, secret, _ = await run(token, tmp_path)
            assert code == 0
            code, out, err = await run((*DAEMON, "audit", "-n", "2", *state), tmp_path)
            await daemon.process.end()
    assert (code, err) == (0, "")
    records = [json.loads(line) for line in out.splitlines()]
    assert [record["event"] for record in records] == ["session.created", "token.created"]
    assert records[0]["slug"] == made["slug"]
    assert (records[1]["actor"], records[1]["detail"]) == ("operator", {"token_name": "laptop"})
    lines = audit_log.read_text()
    events = [json.loads(line)["event"] for line in lines.splitlines()]
    assert sorted(events) == sorted(
        ["daemon.started", "session.created", "token.created", "daemon.stopped"]
    )
    assert secret.strip() not in lines + out


async def test_count_that_shows_nothing_is_refused(tmp_path: Path) -> None:
    """One line, exit code 2."""
    code, out, err = await run((*DAEMON, "audit", "-n", "0"), tmp_path)
    assert (code, out, err.count("\n")) == (2, "", 1)
