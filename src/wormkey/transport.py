"""Byte streams: sending with a deadline that counts idle seconds, resets, replay.

trio's streams are used as they are; what stands here is what every user of one would otherwise
repeat and get wrong once. Knows nothing of HTTP, tunnels or sessions. Accepting connections is
accepting.py's affair.
"""

from __future__ import annotations

import fcntl
import ipaddress
import os
import socket
import struct
import sys
import termios
from typing import Final

import trio

from wormkey.pace import Pace

USER_TIMEOUT_S: Final = 30.0  # a peer that acknowledges nothing so long is gone (TCP_USER_TIMEOUT)
_KEEPALIVE_IDLE_S: Final = 30  # with 3 probes 10 s apart an idle dead peer is found in a minute
_KEEPALIVE_INTERVAL_S: Final = 10
_KEEPALIVE_PROBES: Final = 3
LINGER_S: Final = 2.0  # nginx lingers for 30 s; our answers to a cut-off upload are small
LINGER_BYTES: Final = 256 * 1024
_SLICE_BYTES: Final = 16 * 1024  # one TLS record (RFC 8446 §5.1)
_POLLS_PER_TIMEOUT: Final = 4  # so an idle peer is noticed at most a quarter late
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)  # struct linger: on, zero seconds


class ReplayStream(trio.abc.HalfCloseableStream):
    """A stream with bytes that were already read from it put back in front.

    After an upgrade the bytes that h11 took too many go first, then the stream itself. Closing it
    closes the stream.
    """

    def __init__(self, prefix: bytes, stream: trio.abc.Stream) -> None:
        """``prefix`` is held until it has been received, no longer."""
        self._prefix = prefix
        self.stream = stream

    @property
    def pending(self) -> bool:
        """Whether bytes of the prefix are still to be received."""
        return bool(self._prefix)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return bytes of the prefix while there are some, then what the stream receives.

        Cancellation: atomic where the stream's receive_some is.
        """
        if not self._prefix:
            return bytes(await self.stream.receive_some(max_bytes))
        await trio.lowlevel.checkpoint()
        size = len(self._prefix) if max_bytes is None else max_bytes
        data, self._prefix = self._prefix[:size], self._prefix[size:]
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send on the stream.

        Cancellation: may leave a partial write; the caller must close the stream.
        """
        await self.stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the stream takes bytes.

        Cancellation: atomic.
        """
        await self.stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        """End this end's half, where the transport has halves; TLS has none, so nothing happens.

        Cancellation: atomic.
        """
        if isinstance(self.stream, trio.abc.HalfCloseableStream):
            await self.stream.send_eof()

    async def aclose(self) -> None:
        """Close the stream.

        Cancellation: the stream is closed whatever happens.
        """
        self._prefix = b""
        await self.stream.aclose()


def raw_socket(stream: trio.abc.Stream) -> trio.socket.SocketType | None:
    """Return the socket at the bottom of a stream, None for a stream in memory."""
    inner: object = stream
    while True:
        match inner:
            case trio.SocketStream():
                return inner.socket
            case ReplayStream():
                inner = inner.stream
            case trio.SSLStream():
                inner = inner.transport_stream
            case _:
                return None


def peer_address(stream: trio.abc.Stream) -> str:
    """Return the peer's IP address; ``unix`` on a unix socket, nothing on a stream in memory.

    An IPv4 address that came mapped into IPv6 is written as IPv4, and a zone is left out, so that
    one peer has one name.

    Raises:
        trio.BrokenResourceError: the peer has reset the connection already.
    """
    sock = raw_socket(stream)
    if sock is None:
        return ""
    if sock.family not in {socket.AF_INET, socket.AF_INET6}:
        return "unix"
    try:
        host = str(sock.getpeername()[0])
    except OSError as error:
        raise trio.BrokenResourceError("the peer has left") from error
    address = ipaddress.ip_address(host.partition("%")[0])
    return str(getattr(address, "ipv4_mapped", None) or address)


def set_tcp_options(stream: trio.abc.Stream, *, user_timeout_s: float = USER_TIMEOUT_S) -> None:
    """Make a TCP connection quick and its loss noticed; nothing happens to other streams.

    TCP_NODELAY, keep-alive probes, and TCP_USER_TIMEOUT where there is one. Note that the last
    also ends a peer who acknowledges but keeps his window closed for ``user_timeout_s``
    (tcp(7)), so it must not be shorter than what the application allows him.

    Raises:
        OSError: the connection was reset already, on some systems.
    """
    sock = raw_socket(stream)
    if sock is None or sock.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if sys.platform == "linux":
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_IDLE_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE_INTERVAL_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _KEEPALIVE_PROBES)
        timeout_ms = max(1, round(user_timeout_s * 1000))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, timeout_ms)


def receive_nowait(stream: trio.abc.Stream, max_bytes: int) -> bytes | None:
    """Return what a plain socket has now, b"" at the end; None for nothing, or another stream.

    No checkpoint: a loop around it must have one.

    Raises:
        trio.BrokenResourceError: the peer reset the connection.
        trio.ClosedResourceError: this end closed the stream.
    """
    return _read_now(stream.socket, max_bytes) if type(stream) is trio.SocketStream else None


def _read_now(sock: trio.socket.SocketType, max_bytes: int) -> bytes | None:
    try:
        return os.read(_open_fd(sock), max_bytes)
    except BlockingIOError:
        return None
    except OSError as error:
        raise trio.BrokenResourceError("the peer has left") from error


async def receive(stream: trio.abc.Stream, max_bytes: int, *, empty: bool = False) -> bytes:
    """Receive up to ``max_bytes``; b"" at the end. The short way to a socket's receive_some.

    With ``empty`` nothing was there a moment ago: it waits before it reads.

    On a plain socket this is read(2) on the descriptor, as send_with_progress is write(2); trio's
    own way through four wrappers costs about as much again as the call into the kernel.

    Cancellation: atomic; always a checkpoint.

    Raises:
        trio.BrokenResourceError: the peer reset the connection.
        trio.ClosedResourceError: this end closed the stream.
    """
    inner = stream
    if type(inner) is not trio.SocketStream:  # isinstance asks the ABC, in Python
        if isinstance(inner, ReplayStream) and not inner.pending:
            inner = inner.stream
        if not isinstance(inner, trio.SocketStream):
            return bytes(await stream.receive_some(max_bytes))
    sock = inner.socket
    if not empty:
        await trio.lowlevel.checkpoint_if_cancelled()
        if (data := _read_now(sock, max_bytes)) is not None:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return data
    while True:
        # Its number is asked for each time: another stream may have it after a wait.
        await trio.lowlevel.wait_readable(_open_fd(sock))
        if (data := _read_now(sock, max_bytes)) is not None:
            return data


async def send_with_progress(
    stream: trio.abc.Stream,
    data: bytes | bytearray | memoryview,
    idle_timeout_s: float,
    min_rate_bytes: int = 0,
) -> None:
    """Send all of ``data``; fail only when the peer takes nothing for ``idle_timeout_s`` seconds.

    A slow peer may take as long as he likes while he takes something, and over a grace as much as
    ``min_rate_bytes`` a second (pace.py): on a socket, what counts is that bytes were taken or
    acknowledged; on other streams (TLS), that each 16 KiB went out.

    This is a checkpoint only when it had to wait. On a socket whose buffer takes everything at
    once it returns without one, which saves a trip through the scheduler for each piece; a loop
    around it must therefore have another checkpoint, as a relay has in its receive. One task at
    a time may send.

    Cancellation: may leave a partial write; the caller must close the stream.

    Raises:
        trio.TooSlowError: nothing was taken for so long, or too little. The stream is of no use
            afterwards.
        trio.BrokenResourceError: the peer is gone.
        trio.ClosedResourceError: this end closed the stream.
    """
    inner = _beneath(stream)
    if not isinstance(inner, trio.SocketStream):
        view = memoryview(data)
        for start in range(0, len(view), _SLICE_BYTES):
            with trio.fail_after(idle_timeout_s):
                await inner.send_all(view[start : start + _SLICE_BYTES])
        return
    sock = inner.socket
    sent = _send_now(sock, data)
    if sent < len(data):
        view = memoryview(data)[sent:]
        pace = Pace(min_rate_bytes)
        while view:
            await _wait_writable(sock, idle_timeout_s, pace)
            taken = _send_now(sock, view)
            if _unacknowledged_bytes(sock) < 0:  # else what was acknowledged is counted
                pace.add(0.0, taken)
            view = view[taken:]


def _beneath(stream: trio.abc.Stream) -> trio.abc.Stream:
    # By the exact type first: isinstance of another one asks the ABC, in Python.
    if type(stream) is not trio.SocketStream and isinstance(stream, ReplayStream):
        return stream.stream
    return stream


def is_plain_socket(stream: trio.abc.Stream) -> bool:
    """Tell whether send_nowait can serve this stream: bytes go to the kernel as they are."""
    return isinstance(_beneath(stream), trio.SocketStream)


def send_nowait(stream: trio.abc.Stream, data: bytes) -> int:
    """Return how many bytes a plain socket took at once, 0 for any other stream.

    Raises:
        trio.BrokenResourceError: the peer is gone.
        trio.ClosedResourceError: this end closed the stream.
    """
    inner = _beneath(stream)
    return _send_now(inner.socket, data) if isinstance(inner, trio.SocketStream) else 0


def _send_now(sock: trio.socket.SocketType, data: bytes | bytearray | memoryview) -> int:
    """Return how many bytes the kernel took at once.

    trio's socket.send always passes the scheduler and its stdlib socket is private, so this is
    write(2) on the descriptor, which is send(2) without flags.
    """
    try:
        return os.write(_open_fd(sock), data)
    except BlockingIOError:
        return 0
    except OSError as error:
        raise trio.BrokenResourceError("the peer has left") from error


def _open_fd(sock: trio.socket.SocketType) -> int:
    fd = sock.fileno()
    if fd < 0:
        raise trio.ClosedResourceError("this stream was closed")
    return fd


async def _wait_writable(sock: trio.socket.SocketType, idle_timeout_s: float, pace: Pace) -> None:
    """Wait until the kernel takes bytes again; fail after idle_timeout_s without progress.

    Linux calls a socket writable only when a third of its buffer is free, which a slow peer on a
    buffer of megabytes does not reach in time: the bytes he has acknowledged count as well.
    """
    looked_at = idle_since = trio.current_time()
    unacknowledged = _unacknowledged_bytes(sock)
    while True:
        with trio.move_on_after(idle_timeout_s / _POLLS_PER_TIMEOUT):
            await trio.lowlevel.wait_writable(_open_fd(sock))
            acknowledged = max(0, unacknowledged - _unacknowledged_bytes(sock))
            pace.add(trio.current_time() - looked_at, acknowledged)
            if pace.too_slow:
                raise trio.TooSlowError
            return
        now = trio.current_time()
        left = _unacknowledged_bytes(sock)
        pace.add(now - looked_at, max(0, unacknowledged - left))
        looked_at = now
        if left < unacknowledged:
            unacknowledged, idle_since = left, now
        elif now - idle_since >= idle_timeout_s:
            raise trio.TooSlowError
        if pace.too_slow:
            raise trio.TooSlowError


def _unacknowledged_bytes(sock: trio.socket.SocketType) -> int:
    """Return the length of the kernel's send queue (SIOCOUTQ of tcp(7)), -1 where nobody says."""
    try:
        answer = fcntl.ioctl(_open_fd(sock), termios.TIOCOUTQ, b"\0" * 4)
    except OSError:
        return -1
    return int(struct.unpack("i", answer)[0])


async def half_close(stream: trio.abc.Stream) -> bool:
    """End this end's half; return whether the peer can see it (TLS and a lost peer cannot).

    Cancellation: atomic.
    """
    inner = stream.stream if isinstance(stream, ReplayStream) else stream
    if not isinstance(inner, trio.abc.HalfCloseableStream):
        return False
    try:
        await inner.send_eof()
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return False
    return True


async def linger(stream: trio.abc.Stream) -> None:
    """End this end's half, then drop what still comes, so that no reset overtakes the last word.

    Returns at the peer's end, or after LINGER_BYTES. The caller bounds it by LINGER_S.

    Cancellation: waits only.

    Raises:
        trio.BrokenResourceError: the peer reset the connection.
    """
    await half_close(stream)
    dropped = 0
    while dropped < LINGER_BYTES and (data := await stream.receive_some(_SLICE_BYTES)):
        dropped += len(data)


async def reset_connection(stream: trio.abc.Stream) -> None:
    """Close with a TCP reset, so that the peer cannot take what he has for all there was.

    A stream that is no TCP connection is closed at once, without its closing handshake.

    Cancellation: the stream is closed whatever happens.
    """
    reset_when_closed(stream)
    await trio.aclose_forcefully(stream)


def reset_when_closed(stream: trio.abc.Stream) -> None:
    """Make the close of a TCP connection, whoever does it and when, a reset."""
    sock = raw_socket(stream)
    if sock is not None and sock.fileno() >= 0:
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        except OSError:
            pass  # reset by the peer before us: nothing left to say
