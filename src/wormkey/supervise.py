"""What the daemon keeps telling the service manager: that it is alive, and what it does.

Owns the proof of life. A timer in the event loop would prove the loop only, so before each
WATCHDOG=1 the daemon connects to its own listeners: a daemon that accepts nobody any more is one
that the manager should start anew. notify.py has the messages.
"""

from __future__ import annotations

import errno
import logging
import socket
from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from wormkey.gateway import Gateway
    from wormkey.notify import Notifier

logger = logging.getLogger(__name__)

STATUS_S: Final = 5.0  # systemctl's line may be so old
_PROBES: Final = 8  # parts of the interval: one is a probe's time, and the pause after a failure
# hypercorn does not hang up on who says nothing before its time-out.
_HEALTH: Final = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
_SHORT: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


async def feed_watchdog(
    notifier: Notifier, interval_s: float, trouble: Callable[[float], Awaitable[str]]
) -> None:
    """Send WATCHDOG=1 twice in every interval, for ever, while ``trouble`` finds none.

    ``trouble`` gets its time in seconds and returns what is wrong, "" if nothing is. It is asked
    again soon after a failure, so that one slow moment does not end the daemon.

    Cancellation: stops.
    """
    part_s = interval_s / _PROBES
    failing = False
    while True:
        reason = await trouble(part_s)
        if not reason:
            notifier.watchdog()
        elif not failing:
            logger.error("watchdog not fed", extra={"reason": reason})
        failing = bool(reason)
        await trio.sleep(part_s if failing else interval_s / 2)


def look_at(
    viewers: Gateway,
    control: Sequence[trio.SocketListener],
    gateway: Sequence[trio.SocketListener],
) -> Callable[[float], Awaitable[str]]:
    """Return what looks whether both listeners accept: the ``trouble`` of feed_watchdog."""

    async def trouble(timeout_s: float) -> str:
        reason = await not_accepting(control, timeout_s / 2, _HEALTH)
        if reason:
            return reason
        reason = await not_accepting(gateway, timeout_s / 2)
        # With all its connections taken the gateway accepts nobody, on purpose.
        full = viewers.connections >= viewers.seats.limit
        return "" if full else reason

    return trouble


async def not_accepting(
    listeners: Sequence[trio.SocketListener], timeout_s: float, words: bytes = b""
) -> str:
    """Return which listener answers nobody within ``timeout_s`` seconds for all, "" if all do.

    It connects, says ``words``, and waits for the other side to hang up. The gateway hangs up on
    who says nothing, and counts no request. Listeners that are closed already are left out.

    Cancellation: the connection is closed.
    """
    deadline = trio.current_time() + timeout_s
    for listener in listeners:
        reason = "accepts nobody"
        with trio.CancelScope(deadline=deadline):
            reason = await _converse(listener.socket, words)
        if reason and listener.socket.fileno() >= 0:
            return f"the listener at {listener.socket.getsockname()} {reason}"
    return ""


async def _converse(listener: trio.socket.SocketType, words: bytes) -> str:
    """Connect to a listener of this process and wait until it hangs up; return what failed."""
    try:
        with trio.socket.socket(listener.family, socket.SOCK_STREAM) as sock:
            await sock.connect(_reachable(listener.getsockname()))
            if words:
                await sock.send(words)  # fewer than any buffer
            else:
                sock.shutdown(socket.SHUT_WR)
            while await sock.recv(1024):
                pass
    except ConnectionResetError:
        return ""  # it was accepted, and closed at once
    except OSError as error:
        # Short of descriptors the accept loops wait, as they should: no reason to end them.
        return "" if error.errno in _SHORT else f"does not answer: {error.strerror}"
    return ""


def _reachable(name: object) -> object:
    """Return the address that a listener's own name is reached at: a wildcard by loopback."""
    if isinstance(name, tuple):
        loopback = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, never bound
        return (loopback.get(name[0], name[0]), *name[1:])
    return name


async def report_status(notifier: Notifier, line: Callable[[], str]) -> None:
    """Tell the manager what ``line`` returns, when it changes, for ever.

    Cancellation: stops.
    """
    told = ""
    while True:
        await trio.sleep(STATUS_S)
        if (text := line()) != told and notifier.status(text):
            told = text
