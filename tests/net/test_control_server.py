"""The control plane's server: faults, sockets, and an end that is always soon."""

from __future__ import annotations

import logging
import os
from functools import partial
from typing import TYPE_CHECKING, Any

import trio
from hypercorn.trio import serve as hypercorn_serve

from tests.support.plane import BODY, Plane, open_plane
from tests.support.viewer import open_viewer
from wormkey import control, nursery, serving
from wormkey.accepting import serve_connections
from wormkey.config import Settings, parse_address
from wormkey.errors import StoreError
from wormkey.store.memory import MemoryStore
from wormkey.values import UnixAddress

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


async def test_failing_store_is_503_without_details(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network learns that it is temporary, the log learns the file."""

    async def fail(*_args: object, **_kwargs: object) -> None:
        raise StoreError("/secret/path: the disk is full")

    monkeypatch.setattr(MemoryStore, "put_session", fail)
    status, error = await plane.call("POST", "/sessions", body=BODY)
    assert (status, error["code"]) == (503, "store_failed")
    assert "/secret" not in error["error"]


async def test_a_bug_is_a_500_and_the_server_goes_on(
    plane: Plane, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An unexpected error is logged once and answered in the usual shape."""

    async def fail(*_args: object, **_kwargs: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(MemoryStore, "put_session", fail)
    status, error = await plane.call("POST", "/sessions", body=BODY)
    assert (status, error["code"]) == (500, "internal_error")
    assert [each.getMessage() for each in caplog.records if each.exc_info] == ["request failed"]
    assert (await plane.answer("GET", "/health")).status == 200


async def test_keep_alive_serves_many(plane: Plane) -> None:
    """One connection carries calls in order."""
    viewer = await plane.connect()
    for _ in range(5):
        assert (await viewer.exchange(b"/health")).status == 200
    await viewer.aclose()


async def test_unix_socket_serves(tmp_path: Path) -> None:
    """The same API at a path."""
    path = tmp_path / "control.sock"
    async with open_plane(tmp_path, control=UnixAddress(str(path))):
        stream = await trio.open_unix_socket(path)
        await stream.send_all(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        received = b"".join([piece async for piece in stream])
        assert received.startswith(b"HTTP/1.1 200")
        await stream.aclose()


async def test_stop_is_quick_with_idle_connections(tmp_path: Path) -> None:
    """Connections that wait for nothing do not hold the end."""
    async with open_plane(tmp_path) as plane:
        viewer = await plane.connect()
        await viewer.exchange(b"/health")
        stopped_at = trio.current_time()
    assert trio.current_time() - stopped_at < 1
    await viewer.aclose()


async def test_stop_is_bounded_with_a_peer_who_does_not_read(tmp_path: Path) -> None:
    """Pipelined requests and no reading: the end comes all the same."""
    async with open_plane(tmp_path) as plane:
        viewer = await open_viewer("127.0.0.1", plane.port, b"x", receive_buffer_bytes=1024)
        request = viewer.compose(b"/") * 1000
        with trio.move_on_after(0.5):
            while True:
                await viewer.stream.send_all(request)
        stopped_at = trio.current_time()
    assert trio.current_time() - stopped_at < 4
    await viewer.aclose()


async def test_sockets_are_not_inherited(plane: Plane) -> None:
    """A child process does not hold the port after our end."""
    assert (await plane.answer("GET", "/health")).status == 200
    inheritable = []
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
            if target.startswith("socket:") and os.get_inheritable(int(name)):
                inheritable.append(target)
        except OSError:  # the listing's own descriptor is closed again
            continue
    assert inheritable == []


async def test_fault_inside_hypercorn_restarts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The listeners survive: the next connection is served by a fresh server."""
    monkeypatch.setattr(control, "RESTART_PAUSE_S", 0.0)
    fault, restarted = trio.Event(), trio.Event()
    runs = 0

    async def serve(*args: Any, **kwargs: Any) -> None:
        nonlocal runs
        runs += 1
        if runs > 1:
            restarted.set()
            return await hypercorn_serve(*args, **kwargs)
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(hypercorn_serve, *args, **_without_status(kwargs)))
            kwargs["task_status"].started()
            await fault.wait()
            raise RuntimeError("a bug of theirs")

    def _without_status(kwargs: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in kwargs.items() if name != "task_status"}

    monkeypatch.setattr(control, "serve", serve)
    async with open_plane(tmp_path) as plane:
        assert (await plane.answer("GET", "/health")).status == 200
        fault.set()
        await restarted.wait()
        assert (await plane.answer("GET", "/health")).status == 200
    assert [each.levelno for each in caplog.records if each.exc_info] == [logging.ERROR]


async def test_a_daemon_that_starts_is_not_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control plane answers before the gateway accepts; /ready tells the two apart."""
    gate = trio.Event()

    async def late(*args: Any, **kwargs: Any) -> None:
        await gate.wait()
        await serve_connections(*args, **kwargs)

    monkeypatch.setattr(serving, "serve_connections", late)
    path = tmp_path / "control.sock"
    settings = Settings(
        control=UnixAddress(str(path)),
        gateway=parse_address("127.0.0.1:0"),
        store="memory",
        state_dir=tmp_path,
    )
    with trio.fail_after(10):
        async with trio.open_nursery() as tasks:
            started = trio.Event()

            async def start() -> None:
                await tasks.start(nursery.serve, settings)
                started.set()

            tasks.start_soon(start)
            answer = await _ready(path)
            assert answer.startswith(b"HTTP/1.1 503")
            assert b'"code":"starting"' in answer
            assert not started.is_set()
            gate.set()
            await started.wait()
            assert (await _ready(path)).startswith(b"HTTP/1.1 200")
            tasks.cancel_scope.cancel()


async def _ready(path: Path) -> bytes:
    """Ask /ready at a unix socket, which may not be there yet."""
    while True:
        try:
            stream = await trio.open_unix_socket(path)
        except (FileNotFoundError, ConnectionRefusedError):
            await trio.lowlevel.checkpoint()
            continue
        async with stream:
            await stream.send_all(b"GET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return b"".join([piece async for piece in stream])
