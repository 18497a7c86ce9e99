"""One daemon a state folder: the second says who has it, in one line, and touches nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from tests.support.process import DAEMON, run, running_daemon
from tests.support.world import call

if TYPE_CHECKING:
    from pathlib import Path

ANYWHERE = ("--control", "127.0.0.1:0", "--gateway", "127.0.0.1:0")


async def test_second_daemon_is_refused(tmp_path: Path) -> None:
    """Exit 1, one line with the first one's process; the first one serves on."""
    state = ("--state-dir", str(tmp_path / "daemon"))
    with trio.fail_after(30):
        async with running_daemon(tmp_path) as first:
            code, out, err = await run((*DAEMON, *ANYWHERE, *state), tmp_path)
            assert (code, out) == (1, "")
            assert err == (
                f"wormkeyd: {tmp_path / 'daemon'}: another wormkeyd (process {first.process.pid}) "
                "uses this state folder; stop it or set --state-dir\n"
            )
            code, _, _ = await run((*DAEMON, "token", "list", *state), tmp_path)
            assert code == 0
            status, _ = await call(first.control, "POST", "/sessions", body={"port": 1})
            assert status == 201
            assert await first.process.end() == 0
        async with running_daemon(tmp_path):
            pass


async def test_throw_away_daemons_share_a_folder(tmp_path: Path) -> None:
    """In open mode --store memory leaves nothing there; with tokens it leaves one, and locks."""
    with trio.fail_after(30):
        memory = ("--store", "memory")
        async with running_daemon(tmp_path, *memory), running_daemon(tmp_path, *memory):
            assert not (tmp_path / "daemon").exists()
        options = (*memory, "--access", "token")
        async with running_daemon(tmp_path, *options):
            state = ("--state-dir", str(tmp_path / "daemon"))
            code, _, err = await run((*DAEMON, *ANYWHERE, *state, *options), tmp_path)
            assert code == 1
            assert "another wormkeyd" in err
