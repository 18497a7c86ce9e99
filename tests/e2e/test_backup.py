"""``wormkeyd backup`` as its users run it: beside a running daemon, and restored by the docs."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
import trio

from tests.support.origin import saying, start_origin
from tests.support.process import DAEMON, run, running_client, running_daemon
from tests.support.viewer import open_viewer
from tests.support.world import call

if TYPE_CHECKING:
    from pathlib import Path


async def test_restored_backup_resumes_sessions(tmp_path: Path) -> None:
    """Copy while a tunnel is up, lose the folder, put the copy in its place: same URL, same app."""
    state, copy = tmp_path / "daemon", tmp_path / "copy"
    with trio.fail_after(40):
        async with trio.open_nursery() as nursery:
            origin = await start_origin(nursery, saying(b"still here"))
            async with running_daemon(tmp_path, "--hold", "10s") as daemon:
                ports = (str(daemon.control[1]), str(daemon.gateway[1]))
                async with running_client(daemon, tmp_path, str(origin.port)) as (client, said):
                    command = (*DAEMON, "backup", str(copy), "--state-dir", str(state))
                    code, out, err = await run(command, tmp_path)
                    assert (code, err) == (0, "")
                    assert out == f"{copy}: {copy.stat().st_size} bytes\n"
                    code, _, err = await run(command, tmp_path)
                    assert code == 1
                    assert "--force" in err
                    status, late = await call(daemon.control, "POST", "/sessions", body={"port": 1})
                    assert status == 201
                    await daemon.process.end()
                    shutil.rmtree(state)
                    state.mkdir()
                    shutil.copy(copy, state / "wormkeyd.sqlite3")
                    again = (
                        *("--control", f"127.0.0.1:{ports[0]}"),
                        *("--gateway", f"127.0.0.1:{ports[1]}"),
                    )
                    async with running_daemon(tmp_path, *again, "--hold", "10s") as restored:
                        path = f"/sessions/by-slug/{said['slug']}"
                        status, kept = await call(restored.control, "GET", path)
                        assert (status, kept["sessionId"]) == (200, said["session_id"])
                        path = f"/sessions/by-slug/{late['slug']}"
                        status, _ = await call(restored.control, "GET", path)
                        assert status == 404  # made after the copy
                        host = f"{said['slug']}.localhost:{ports[1]}".encode()
                        viewer = await open_viewer(*restored.gateway, host)
                        assert (await viewer.exchange(b"/")).data == b"still here"
                        await viewer.aclose()
                    await client.end()
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--store", "memory"), 2, "--store memory"),
        ((), 1, "does not exist"),
    ],
)
async def test_nothing_to_copy_is_said(
    tmp_path: Path, options: tuple[str, ...], code: int, words: str
) -> None:
    """One line on stderr, and no file."""
    command = (*DAEMON, "backup", str(tmp_path / "copy"), "--state-dir", str(tmp_path), *options)
    ended, out, err = await run(command, tmp_path)
    assert (ended, out, err.count("\n")) == (code, "", 1)
    assert words in err
    assert not (tmp_path / "copy").exists()
