"""The watchdog and the status line: fed by proof, against real sockets."""

from __future__ import annotations

import errno
import logging
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio

from tests.support.manager import service_manager
from tests.support.plane import open_plane
from tests.support.world import open_world
from wormkey import supervise
from wormkey.accepting import serve_connections
from wormkey.listeners import open_listeners
from wormkey.notify import Notifier
from wormkey.supervise import feed_watchdog, look_at, not_accepting, report_status
from wormkey.values import parse_address

if TYPE_CHECKING:
    from pathlib import Path

INTERVAL_S = 0.4


async def hang_up(_: trio.SocketStream) -> None:
    """End a connection at once."""


@pytest.mark.parametrize("address", ["127.0.0.1:0", ":0", "unix"])
async def test_an_accept_loop_that_lives_feeds_the_watchdog(address: str, tmp_path: Path) -> None:
    """Twice in an interval at least, for every form of listener."""
    written = f"unix:{tmp_path}/s" if address == "unix" else address
    listeners = await open_listeners(parse_address(written))
    async with service_manager(tmp_path) as manager, trio.open_nursery() as nursery:
        nursery.start_soon(partial(serve_connections, listeners, hang_up, nursery, limit=9))
        nursery.start_soon(
            feed_watchdog, Notifier(manager.path), INTERVAL_S, partial(not_accepting, listeners)
        )
        told_at = []
        for _ in range(5):
            assert await manager.next() == {"WATCHDOG": "1"}
            told_at.append(trio.current_time())
        assert told_at[-1] - told_at[0] > INTERVAL_S  # no flood either: four pauses of a half
        nursery.cancel_scope.cancel()
    for listener in listeners:
        await listener.aclose()


async def test_a_daemon_that_accepts_nobody_is_not_kept_alive(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The loop turns and the kernel takes connections, and still nothing is sent; then it is."""
    listeners = await open_listeners(parse_address("127.0.0.1:0"))
    async with service_manager(tmp_path) as manager, trio.open_nursery() as nursery:
        nursery.start_soon(
            feed_watchdog, Notifier(manager.path), INTERVAL_S, partial(not_accepting, listeners)
        )
        assert await manager.silent(3 * INTERVAL_S)
        (record,) = caplog.records
        assert (record.levelno, record.getMessage()) == (logging.ERROR, "watchdog not fed")
        assert "accepts nobody" in record.__dict__["reason"]
        nursery.start_soon(partial(serve_connections, listeners, hang_up, nursery, limit=99))
        assert await manager.next() == {"WATCHDOG": "1"}
        nursery.cancel_scope.cancel()
    await listeners[0].aclose()


async def test_a_listener_that_was_closed_on_purpose_is_left_out() -> None:
    """In a drain the gateway accepts nobody, and the daemon must be let finish."""
    (listener,) = await open_listeners(parse_address("127.0.0.1:0"))
    await listener.aclose()
    with trio.fail_after(5):
        assert await not_accepting([listener], 1.0) == ""


async def test_a_listener_that_refuses_is_named() -> None:
    """A socket that is open and does not listen: what it says, and where."""
    with trio.socket.socket() as sock:
        await sock.bind(("127.0.0.1", 0))
        listener = trio.SocketListener.__new__(trio.SocketListener)
        listener.socket = sock
        with trio.fail_after(5):
            reason = await not_accepting([listener], 1.0)
    assert reason.startswith("the listener at ('127.0.0.1', ")
    assert "refused" in reason


async def test_a_shortage_of_descriptors_is_no_reason_to_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The accept loops wait then, as they should; the tunnels that are there carry on."""
    (listener,) = await open_listeners(parse_address("127.0.0.1:0"))

    def no_more(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(supervise.trio.socket, "socket", no_more)
    with trio.fail_after(5):
        assert await not_accepting([listener], 1.0) == ""
    await listener.aclose()


async def test_a_full_gateway_is_alive() -> None:
    """With all its connections taken it accepts nobody, on purpose; with room it must."""
    (deaf,) = await open_listeners(parse_address("127.0.0.1:0"))  # stands in for a gateway's
    async with open_world(client=False, max_connections=2) as world:
        gateway = world.facts.gateway
        look = look_at(gateway, [], [deaf])
        taken = [await trio.open_tcp_stream(*world.gateway) for _ in range(2)]
        while gateway.connections < 2:  # noqa: ASYNC110 - nothing tells
            await trio.lowlevel.checkpoint()
        assert await look(0.2) == ""
        for stream in taken:
            await stream.aclose()
        while gateway.connections:  # noqa: ASYNC110 - nothing tells
            await trio.lowlevel.checkpoint()
        assert "accepts nobody" in await look(0.2)
    await deaf.aclose()


async def test_the_control_plane_answers_the_look_at_once(tmp_path: Path) -> None:
    """Hypercorn hangs up on who says nothing after ten seconds only: it is asked for its health."""
    async with open_plane(tmp_path) as plane:
        with trio.fail_after(5):  # 5 ms on a machine at rest
            assert await not_accepting(plane.listeners, 8.0, supervise._HEALTH) == ""


async def test_the_status_line_is_told_when_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No datagram for no news."""
    monkeypatch.setattr(supervise, "STATUS_S", 0.01)
    lines = iter(["a", "a", "a", "b"])
    async with service_manager(tmp_path) as manager, trio.open_nursery() as nursery:
        nursery.start_soon(report_status, Notifier(manager.path), lambda: next(lines, "b"))
        assert await manager.next() == {"STATUS": "a"}
        assert await manager.next() == {"STATUS": "b"}
        assert await manager.silent(0.2)
        nursery.cancel_scope.cancel()
