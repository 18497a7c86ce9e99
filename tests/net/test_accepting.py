"""The accept loop: a cap, descriptors that run out, connections that die in the queue."""

from __future__ import annotations

import errno
import socket
import struct
import sys
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from wormkey import accepting
from wormkey.accepting import accept_waiting, serve_connections
from wormkey.listeners import bound_port, open_listeners
from wormkey.transport import peer_address
from wormkey.values import parse_address

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

TIMEOUT_S = 15


@asynccontextmanager
async def serving(
    handler: Callable[[trio.SocketStream], Awaitable[None]], *, limit: int = 10
) -> AsyncIterator[tuple[int, trio.CancelScope, list[trio.SocketListener]]]:
    """Yield a served port, the scope of its accept loop, and its listeners."""
    with trio.fail_after(TIMEOUT_S):
        listeners = await open_listeners(parse_address("127.0.0.1:0"))
        async with trio.open_nursery() as handlers, trio.open_nursery() as accepting:
            scope = trio.CancelScope()

            async def accept() -> None:
                with scope:
                    await serve_connections(listeners, handler, handlers, limit=limit)

            accepting.start_soon(accept)
            yield bound_port(listeners) or 0, scope, listeners
            accepting.cancel_scope.cancel()
            handlers.cancel_scope.cancel()
        for listener in listeners:
            await listener.aclose()


async def echo(stream: trio.SocketStream) -> None:
    """Send back what comes, in upper case."""
    async for data in stream:
        await stream.send_all(bytes(data).upper())


async def ask(stream: trio.SocketStream) -> bytes:
    """Send a word and return the answer."""
    await stream.send_all(b"ping")
    return bytes(await stream.receive_some())


async def test_connections_are_served_side_by_side_and_closed_after() -> None:
    """One slow peer keeps nobody waiting; when a handler ends, so does its connection."""
    async with serving(echo) as (port, _, _):
        one = await trio.open_tcp_stream("127.0.0.1", port)
        async with await trio.open_tcp_stream("127.0.0.1", port) as two:
            assert await ask(two) == b"PING"
        assert await ask(one) == b"PING"
        await one.send_eof()
        assert await one.receive_some() == b""
        await one.aclose()


async def test_over_the_limit_connections_wait_and_are_served_later() -> None:
    """The cap delays, it loses nothing."""
    async with serving(echo, limit=1) as (port, _, _):
        first = await trio.open_tcp_stream("127.0.0.1", port)
        assert await ask(first) == b"PING"
        async with await trio.open_tcp_stream("127.0.0.1", port) as second:
            await second.send_all(b"ping")
            with trio.move_on_after(0.1) as scope:
                await second.receive_some()
            assert scope.cancelled_caught
            await first.aclose()
            assert await second.receive_some() == b"PING"


async def test_stopping_to_accept_ends_no_connection() -> None:
    """The handlers' nursery outlives the accept loop: that is what a drain needs."""
    async with (
        serving(echo) as (port, scope, listeners),
        await trio.open_tcp_stream("127.0.0.1", port) as stream,
    ):
        assert await ask(stream) == b"PING"
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        for listener in listeners:
            await listener.aclose()
        assert await ask(stream) == b"PING"


async def test_closing_the_listeners_ends_accepting() -> None:
    """serve_connections returns; no error comes of it."""
    with trio.fail_after(TIMEOUT_S):
        (listener,) = await open_listeners(parse_address("127.0.0.1:0"))
        async with trio.open_nursery() as handlers:
            handlers.start_soon(listener.aclose)
            await serve_connections([listener], echo, handlers, limit=1)


async def test_a_waiting_connection_is_served_when_accepting_stops() -> None:
    """One that was accepted and had no turn yet is lost to nobody: a restart would show."""
    async with (
        serving(echo, limit=1) as (port, scope, _),
        await trio.open_tcp_stream("127.0.0.1", port) as first,
        await trio.open_tcp_stream("127.0.0.1", port) as second,
    ):
        assert await ask(first) == b"PING"
        await trio.testing.wait_all_tasks_blocked()
        scope.cancel()
        assert await ask(second) == b"PING"


async def test_a_connection_that_was_reset_in_the_queue_ends_nothing() -> None:
    """Options and names fail on such a socket; the next peer is served."""
    served = trio.Event()

    async def serve(stream: trio.SocketStream) -> None:
        await trio.lowlevel.checkpoint()
        try:
            peer_address(stream)
        except trio.BrokenResourceError:
            return
        served.set()

    async with serving(serve) as (port, _, _):
        for _ in range(20):
            sock = socket.create_connection(("127.0.0.1", port))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
        async with await trio.open_tcp_stream("127.0.0.1", port):
            await served.wait()


async def test_a_connection_whose_options_fail_is_dropped_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its place is free again: with a limit of one, the next is served."""
    failures = iter([OSError(errno.EINVAL, "reset")])

    def options(stream: trio.SocketStream, *, user_timeout_s: float) -> None:
        for error in failures:
            raise error

    monkeypatch.setattr(accepting, "set_tcp_options", options)
    async with serving(echo, limit=1) as (port, _, _):
        async with await trio.open_tcp_stream("127.0.0.1", port) as dropped:
            assert await dropped.receive_some() == b""
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            assert await ask(stream) == b"PING"


class FailingListener:
    """A listener whose accept raises what it was given, then says it is closed."""

    def __init__(self, *errors: OSError) -> None:
        """``errors`` are raised in order."""
        self.errors = list(errors)
        self.socket = socket.socket()

    async def accept(self) -> trio.SocketStream:
        """Raise the next error."""
        await trio.lowlevel.checkpoint()
        if self.errors:
            raise self.errors.pop(0)
        raise trio.ClosedResourceError


async def test_without_descriptors_accepting_pauses_and_goes_on(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A shortage costs 100 ms a try and one log record, not the daemon."""
    errors = [OSError(number, "no more") for number in (errno.EMFILE, errno.ENFILE, errno.ENOMEM)]
    listener = FailingListener(*errors)
    started = trio.current_time()
    async with trio.open_nursery() as handlers:
        await serve_connections([listener], echo, handlers, limit=1)  # type: ignore[list-item]
    listener.socket.close()
    assert trio.current_time() - started == pytest.approx(0.1 * len(errors))
    assert not listener.errors
    assert [record.getMessage() for record in caplog.records] == ["accept failed"]


async def test_a_listener_that_is_none_is_an_error() -> None:
    """What will never accept is not tried for ever."""
    listener = FailingListener(OSError(errno.EINVAL, "not listening"))
    with pytest.RaisesGroup(
        pytest.RaisesExc(OSError, match="not listening"), flatten_subgroups=True
    ):
        async with trio.open_nursery() as handlers:
            await serve_connections([listener], echo, handlers, limit=1)  # type: ignore[list-item]
    listener.socket.close()


async def test_who_waits_in_the_queue_is_served_before_the_close() -> None:
    """Ten who connected while nobody accepted get their echo; a close would have reset them."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    address = listener.socket.getsockname()
    waiting = [await trio.open_tcp_stream(*address[:2]) for _ in range(10)]
    with trio.fail_after(10):
        async with trio.open_nursery() as handlers:
            assert accept_waiting([listener], echo, handlers) == 10
            await listener.aclose()
            for stream in waiting:
                async with stream:
                    assert await ask(stream) == b"PING"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no TCP_USER_TIMEOUT")
@pytest.mark.parametrize("how", ["accepted", "in a burst", "at the end"])
async def test_every_connection_is_quick_and_its_loss_is_noticed(how: str) -> None:
    """No Nagle, probes, and a limit for what is not acknowledged, however it was accepted."""
    options = (socket.TCP_NODELAY, socket.TCP_USER_TIMEOUT)
    seen: list[tuple[int, ...]] = []

    async def look(stream: trio.SocketStream) -> None:
        probes = stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        seen.append(
            (probes, *(stream.socket.getsockopt(socket.IPPROTO_TCP, each) for each in options))
        )
        await trio.lowlevel.checkpoint()

    count = 3 if how == "in a burst" else 1
    with trio.fail_after(TIMEOUT_S):
        listeners = await open_listeners(parse_address("127.0.0.1:0"))
        crowd = [
            socket.create_connection(("127.0.0.1", bound_port(listeners))) for _ in range(count)
        ]
        async with trio.open_nursery() as nursery:
            if how == "at the end":
                assert accept_waiting(listeners, look, nursery, user_timeout_s=1.5) == count
            else:
                serve = partial(serve_connections, limit=10, user_timeout_s=lambda: 1.5)
                nursery.start_soon(serve, listeners, look, nursery)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        for connection in crowd:
            connection.close()
        for listener in listeners:
            listener.socket.close()
    assert seen == [(1, 1, 1500)] * count


async def test_a_crowd_in_the_queue_costs_few_turns() -> None:
    """Who came behind fifty is served in the same turn, not fifty later; the limit holds."""
    turn = 0
    served: list[int] = []

    async def count() -> None:
        nonlocal turn
        while True:
            turn += 1
            await trio.lowlevel.checkpoint()

    async def handler(stream: trio.SocketStream) -> None:
        served.append(turn)
        await trio.sleep_forever()

    with trio.fail_after(TIMEOUT_S):
        listeners = await open_listeners(parse_address("127.0.0.1:0"))
        crowd = [socket.create_connection(("127.0.0.1", bound_port(listeners))) for _ in range(50)]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(count)
            nursery.start_soon(partial(serve_connections, listeners, handler, nursery, limit=40))
            while len(served) < 40:  # noqa: ASYNC110 - each turn is what is counted
                await trio.lowlevel.checkpoint()
            for _ in range(20):
                await trio.lowlevel.checkpoint()
            at_once = served.copy()
            nursery.cancel_scope.cancel()
        for connection in crowd:
            connection.close()
        for listener in listeners:
            await listener.aclose()
    assert len(at_once) == 40
    assert at_once[-1] - at_once[0] <= 2
