"""Asking the daemon of a state folder: nobody there, somebody odd there, a path of any length."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio

from tests.support.world import open_world
from wormkey import adminclient
from wormkey.adminclient import ask_daemon
from wormkey.listeners import open_private_socket
from wormkey.statefolder import ADMIN_SOCKET

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@asynccontextmanager
async def answering(state_dir: Path, answer: bytes | None) -> AsyncIterator[None]:
    """Answer one connection at the admin socket with these bytes; None keeps silent."""
    listener = open_private_socket(state_dir / ADMIN_SOCKET)

    async def serve() -> None:
        async with await listener.accept() as stream:
            await stream.receive_some()
            if answer is None:
                await trio.sleep_forever()
            try:
                await stream.send_all(answer)
            except trio.BrokenResourceError:
                pass  # who asks may hang up as soon as he has seen enough

    with trio.fail_after(10):
        async with listener, trio.open_nursery() as nursery:
            nursery.start_soon(serve)  # noqa: ASYNC113 - it listens already
            yield
            nursery.cancel_scope.cancel()


async def test_nobody_is_an_answer(tmp_path: Path) -> None:
    """No folder, no socket, or the socket of a daemon that was killed."""
    assert await ask_daemon(tmp_path / "missing", "GET", "/status") is None
    assert await ask_daemon(tmp_path, "GET", "/status") is None
    await open_private_socket(tmp_path / ADMIN_SOCKET).aclose()
    assert (tmp_path / ADMIN_SOCKET).exists()
    assert await ask_daemon(tmp_path, "GET", "/status") is None


async def test_a_daemon_that_hangs_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command ends within its time."""
    monkeypatch.setattr(adminclient, "ANSWER_TIMEOUT_S", 0.1)
    async with answering(tmp_path, None):
        with pytest.raises(OSError, match="did not answer within") as caught:
            await ask_daemon(tmp_path, "GET", "/status")
    assert str(tmp_path / ADMIN_SOCKET) in str(caught.value.strerror)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 1_100_000,
    ],
)
async def test_what_is_no_answer_is_one_line(answer: bytes, tmp_path: Path) -> None:
    """Cut short, no HTTP, or without an end."""
    async with answering(tmp_path, answer):
        with pytest.raises(OSError, match="broke off its answer"):
            await ask_daemon(tmp_path, "GET", "/status")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may connect everywhere")
async def test_who_may_not_ask_is_told_who_may(tmp_path: Path) -> None:
    """Another user's daemon."""
    async with answering(tmp_path, b""):
        (tmp_path / ADMIN_SOCKET).chmod(0)
        with pytest.raises(OSError, match="its own user and root only"):
            await ask_daemon(tmp_path, "GET", "/status")


async def test_a_deep_state_folder_is_reached(tmp_path: Path) -> None:
    """A whole daemon in a folder whose socket's path the system would refuse."""
    folder = tmp_path.joinpath(*["a-rather-long-name-of-a-folder"] * 8)
    async with open_world(client=False, store="sqlite", state_dir=folder):
        answer = await ask_daemon(folder, "GET", "/status")
        assert answer is not None
        assert answer.status == 200
