"""leavers.py on real sockets: who has left is seen, who is only quiet stays."""

from __future__ import annotations

import socket
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from wormkey.leavers import FIN_SWEEPS, SWEEP_S, Leavers

if TYPE_CHECKING:
    from collections.abc import Iterator

LINGER_OFF = struct.pack("ii", 1, 0)


@contextmanager
def connection() -> Iterator[tuple[trio.SocketStream, socket.socket]]:
    """Our end of a connection, and the viewer's."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        viewer = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    ours.setblocking(False)
    with ours, viewer:
        yield trio.SocketStream(trio.socket.from_stdlib_socket(ours)), viewer


def sweeps_until_cancelled(leavers: Leavers, scope: trio.CancelScope) -> int:
    """How many sweeps it takes, ten at most."""
    for count in range(1, 11):
        leavers.sweep()
        if scope.cancel_called:
            return count
    return 0


async def test_a_viewer_who_waits_is_left_alone() -> None:
    """Quiet, or with a pipelined request that nobody has read yet."""
    leavers, scope = Leavers(), trio.CancelScope()
    with connection() as (stream, viewer):
        leavers.watch(stream, scope)
        assert sweeps_until_cancelled(leavers, scope) == 0
        viewer.sendall(b"GET /next HTTP/1.1\r\n\r\n")
        assert sweeps_until_cancelled(leavers, scope) == 0


async def test_a_fin_counts_when_it_lasts() -> None:
    """Behind unread bytes too; an answer that is ready at once is still sent."""
    leavers, scope = Leavers(), trio.CancelScope()
    with connection() as (stream, viewer):
        leavers.watch(stream, scope)
        viewer.sendall(b"pipelined")
        viewer.shutdown(socket.SHUT_WR)
        assert sweeps_until_cancelled(leavers, scope) == FIN_SWEEPS


async def test_a_reset_counts_at_once() -> None:
    """Nobody is there who could read an answer."""
    leavers, scope = Leavers(), trio.CancelScope()
    with connection() as (stream, viewer):
        leavers.watch(stream, scope)
        viewer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_OFF)
        viewer.close()
        assert sweeps_until_cancelled(leavers, scope) == 1


async def test_who_is_not_watched_is_not_cancelled() -> None:
    """Unwatched in time, and the next exchange of the connection counts anew."""
    leavers, first, second = Leavers(), trio.CancelScope(), trio.CancelScope()
    with connection() as (stream, viewer):
        fd = leavers.watch(stream, first)
        viewer.shutdown(socket.SHUT_WR)
        for _ in range(FIN_SWEEPS - 1):
            leavers.sweep()
        leavers.unwatch(fd, first)
        leavers.unwatch(fd, first)
        assert sweeps_until_cancelled(leavers, first) == 0
        leavers.watch(stream, second)
        assert sweeps_until_cancelled(leavers, second) == FIN_SWEEPS


async def test_a_number_that_another_socket_took_over_is_its_own() -> None:
    """A closed socket is nobody's news; the late unwatch of its owner hurts no successor."""
    leavers, old, new = Leavers(), trio.CancelScope(), trio.CancelScope()
    with connection() as (stream, _):
        fd = leavers.watch(stream, old)
        await stream.aclose()
        assert sweeps_until_cancelled(leavers, old) == 0
        with connection() as (successor, viewer):
            leavers._watched[successor.socket.fileno()] = old
            again = leavers.watch(successor, new)
            leavers.unwatch(again, old)
            viewer.shutdown(socket.SHUT_WR)
            assert sweeps_until_cancelled(leavers, new) == FIN_SWEEPS
            leavers.unwatch(again, new)
        leavers.unwatch(fd, old)
    assert not leavers._watched


async def test_a_stream_without_a_socket_is_not_watched() -> None:
    """Streams in memory have nobody who could leave them."""
    leavers, scope = Leavers(), trio.CancelScope()
    ours, _ = trio.testing.memory_stream_pair()
    leavers.unwatch(leavers.watch(ours, scope), scope)
    assert not leavers._watched


@pytest.mark.slow
async def test_the_sweeper_sleeps_while_nobody_is_watched() -> None:
    """And sees who comes; a viewer who leaves is noticed within the promised 0.4 s."""
    leavers = Leavers()
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(leavers.run)
            await trio.testing.wait_all_tasks_blocked()
            for _ in range(2):
                with connection() as (stream, viewer), trio.CancelScope() as scope:
                    fd = leavers.watch(stream, scope)
                    viewer.shutdown(socket.SHUT_WR)
                    left_at = trio.current_time()
                    await trio.sleep_forever()
                assert scope.cancelled_caught
                assert trio.current_time() - left_at < SWEEP_S * FIN_SWEEPS + 0.5
                leavers.unwatch(fd, scope)
            nursery.cancel_scope.cancel()
