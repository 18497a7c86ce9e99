"""The accept loop: so many connections at a time, and what goes wrong with each.

Opening listeners is listeners.py's affair, and what a connection is for its handler's.
"""

from __future__ import annotations

import errno
import logging
import socket
from typing import TYPE_CHECKING, Final

import trio

from wormkey.scopes import acquire
from wormkey.transport import USER_TIMEOUT_S, set_tcp_options

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

_log = logging.getLogger(__name__)

MAX_WAITING: Final = 1024  # who is accepted at the end, beyond all limits: the kernel holds as many
MAX_BURST: Final = 64  # accepted in one turn of the loop: a crowd in the queue costs few turns
_ACCEPT_PAUSE_S: Final = 0.1  # trio.serve_listeners waits as long when descriptors run out
# Linux hands over errors that wait on the new connection (accept(2)); these are the listener's own.
_LISTENER_ERRORS: Final = frozenset(
    {errno.EBADF, errno.EINVAL, errno.ENOTSOCK, errno.EOPNOTSUPP, errno.EFAULT}
)


async def serve_connections(
    listeners: Sequence[trio.SocketListener],
    handler: Callable[[trio.SocketStream], Awaitable[None]],
    nursery: trio.Nursery,
    *,
    limit: int,
    make_room: Callable[[], None] = lambda: None,
    user_timeout_s: Callable[[], float] = lambda: USER_TIMEOUT_S,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Accept connections for ever, each handled by a task of ``nursery``, ``limit`` at a time.

    With all taken ``make_room`` may end one; further ones wait in the kernel, one for each listener
    outside it. What cannot be set up is dropped alone; without descriptors accepting pauses.
    A stream is closed when its handler ends; an error of that is logged, and is nobody else's.
    Returns when the listeners are closed. Cancel it to stop accepting: tasks in ``nursery`` live.

    Cancellation: no accepted connection is left open without a handler.
    """
    slots = trio.Semaphore(limit)

    def start(stream: trio.SocketStream, release: Callable[[], None] = slots.release) -> None:
        _start(nursery, handler, stream, user_timeout_s(), release)

    async def accept_all(listener: trio.SocketListener) -> None:
        while (stream := await _accept(listener)) is not None:
            try:
                await acquire(slots, make_room)
            except trio.Cancelled:  # it was accepted already, so it is served, beyond the limit
                start(stream, _hold_nothing)
                raise
            start(stream)
            for _ in range(min(MAX_BURST, slots.value)):
                if (more := _accept_now(listener)) is None:
                    break
                slots.acquire_nowait()
                start(more)

    async with trio.open_nursery() as accepting:
        for listener in listeners:
            accepting.start_soon(accept_all, listener, name=f"accept {listener.socket.fileno()}")
        task_status.started()


def accept_waiting(
    listeners: Sequence[trio.SocketListener],
    handler: Callable[[trio.SocketStream], Awaitable[None]],
    nursery: trio.Nursery,
    *,
    user_timeout_s: float = USER_TIMEOUT_S,
) -> int:
    """Accept who is in the kernel's queue now, before the listeners close; return how many.

    Who connected before the end believes to be connected: a close would reset him. Never waits.
    """
    count = 0
    for listener in listeners:
        while count < MAX_WAITING and (stream := _accept_now(listener)) is not None:
            _start(nursery, handler, stream, user_timeout_s, _hold_nothing)
            count += 1
    return count


def _hold_nothing() -> None:
    """Give back what a connection beyond the limit has not taken."""


def _start(
    nursery: trio.Nursery,
    handler: Callable[[trio.SocketStream], Awaitable[None]],
    stream: trio.SocketStream,
    user_timeout_s: float,
    release: Callable[[], None],
) -> None:
    try:
        set_tcp_options(stream, user_timeout_s=user_timeout_s)
    except OSError:  # reset while it waited to be accepted
        release()
        stream.socket.close()
    else:
        nursery.start_soon(_serve, handler, stream, release, name="connection")


def _accept_now(listener: trio.SocketListener) -> trio.SocketStream | None:
    """Return a connection that waits, None where there is none, or no descriptor for it.

    trio's own accept() takes a turn of the loop for each; so this one asks the socket itself.
    """
    own = listener.socket
    if own.fileno() < 0:
        return None
    twin = socket.socket(own.family, own.type, own.proto, fileno=own.fileno())
    try:
        connection, _ = twin.accept()  # does not block: trio has made the descriptor so
    except OSError:
        return None
    finally:
        twin.detach()  # the descriptor is the listener's
    return trio.SocketStream(trio.socket.from_stdlib_socket(connection))


async def _serve(
    handler: Callable[[trio.SocketStream], Awaitable[None]],
    stream: trio.SocketStream,
    release: Callable[[], None],
) -> None:
    try:
        await handler(stream)
    except Exception:  # noqa: BLE001 - whatever it is, it is one connection's, and told
        _log.exception("connection failed")
    finally:
        release()
        await trio.aclose_forcefully(stream)


async def _accept(listener: trio.SocketListener) -> trio.SocketStream | None:
    """Return the next connection, None when the listener is closed."""
    failing = False
    while True:
        try:
            return await listener.accept()
        except trio.ClosedResourceError:
            return None
        except OSError as error:
            if error.errno in _LISTENER_ERRORS:
                raise
            if not failing:  # one record for a shortage, not ten a second
                _log.warning("accept failed", extra={"reason": error.strerror})
            failing = True
            await trio.sleep(_ACCEPT_PAUSE_S)
