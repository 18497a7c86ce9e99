"""A connection seen byte by byte: reads to a mark, to a count or to the end, and how it ended.

Both the origin and the viewer of the tests stand on it. It knows nothing of HTTP. A FIN and an
RST are told apart, because an end of content may be forged by one and never by the other.
"""

from __future__ import annotations

import enum
import socket
import struct
from typing import TypeAlias

import trio

Stream: TypeAlias = "trio.SocketStream | trio.SSLStream[trio.SocketStream]"
_RST_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER, on, zero seconds


class Ended(enum.Enum):
    """How the peer ended its half of a connection."""

    FIN = "FIN"
    RST = "RST"


class CutError(Exception):
    """The peer ended the connection inside something that was being read."""

    def __init__(self, ended: Ended, got: bytes) -> None:
        """Keep how it ended and what had arrived of the unfinished part."""
        super().__init__(f"{ended.value} after {got[:200]!r}")
        self.ended = ended
        self.got = got


class Link:
    """One connection. Reading never loses a byte: what is not asked for stays buffered."""

    def __init__(self, stream: Stream) -> None:
        """Own ``stream``; ``left`` is set when the peer's FIN or RST has been read."""
        self.stream = stream
        self.buffer = b""
        self.ended: Ended | None = None
        self.left = trio.Event()
        self.received_bytes = 0
        self.sent_bytes = 0

    @property
    def socket(self) -> trio.socket.SocketType:
        """The socket below, TLS or not."""
        stream = self.stream
        return (stream.transport_stream if isinstance(stream, trio.SSLStream) else stream).socket

    async def _fill(self) -> bool:
        """Wait for more bytes; False when the peer has ended its half."""
        if self.ended is not None:
            return False
        try:
            data = await self.stream.receive_some(65536)
        except trio.BrokenResourceError as error:
            # A peer that closes a TLS connection without close_notify has still sent a FIN.
            reset = isinstance(error.__cause__, ConnectionResetError)
            tls = isinstance(self.stream, trio.SSLStream)
            self.ended = Ended.RST if reset or not tls else Ended.FIN
            data = b""
        if not data:
            self.ended = self.ended or Ended.FIN
            self.left.set()
            return False
        self.received_bytes += len(data)
        self.buffer += data
        return True

    async def read_some(self, max_bytes: int = 65536) -> bytes:
        """Return at least one byte; b"" at the end, and ``ended`` says which end.

        Cancellation: loses nothing.
        """
        if not self.buffer and not await self._fill():
            return b""
        data, self.buffer = self.buffer[:max_bytes], self.buffer[max_bytes:]
        return data

    async def read_exactly(self, count: int) -> bytes:
        """Return ``count`` bytes.

        Raises:
            CutError: the connection ended before.
        """
        if len(self.buffer) >= count:
            data, self.buffer = self.buffer[:count], self.buffer[count:]
            return data
        parts = [self.buffer]
        missing = count - len(self.buffer)
        self.buffer = b""
        while missing > 0:
            data = await self.read_some(missing)
            if not data:
                raise CutError(self.ended or Ended.FIN, b"".join(parts))
            parts.append(data)
            missing -= len(data)
        return b"".join(parts)

    async def read_until(self, mark: bytes, limit: int = 1 << 20) -> bytes:
        """Return everything up to ``mark``, mark included.

        Raises:
            CutError: the connection ended before.
        """
        while (at := self.buffer.find(mark)) < 0:
            if len(self.buffer) > limit:
                message = f"no {mark!r} in {limit} bytes"
                raise AssertionError(message)
            if not await self._fill():
                got, self.buffer = self.buffer, b""
                raise CutError(self.ended or Ended.FIN, got)
        end = at + len(mark)
        data, self.buffer = self.buffer[:end], self.buffer[end:]
        return data

    async def read_to_end(self) -> bytes:
        """Return everything up to the peer's FIN or RST; ``ended`` says which."""
        parts = []
        while data := await self.read_some():
            parts.append(data)
        return b"".join(parts)

    async def wait_left(self) -> Ended:
        """Throw away what arrives until the peer has ended its half; return how."""
        while await self.read_some():
            pass
        return self.ended or Ended.FIN

    async def wait_readable(self) -> bool:
        """Wait for one more byte without taking it; False when the peer has ended its half."""
        return bool(self.buffer) or await self._fill()

    async def send(self, data: bytes) -> None:
        """Send exactly these bytes."""
        await self.stream.send_all(data)
        self.sent_bytes += len(data)

    async def send_counted(self, data: bytes, step_bytes: int = 65536) -> None:
        """Send these bytes in steps; ``sent_bytes`` grows as the kernel takes each step."""
        for at in range(0, len(data), step_bytes):
            await self.send(data[at : at + step_bytes])

    async def send_eof(self) -> None:
        """Half-close: FIN now, and go on reading."""
        assert isinstance(self.stream, trio.SocketStream), "TLS has no half-close"
        await self.stream.send_eof()

    async def reset(self) -> None:
        """Close with an RST: whatever the peer was told, this was no proper end."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST_ON_CLOSE)
        self.socket.close()
        await trio.aclose_forcefully(self.stream)

    async def aclose(self) -> None:
        """Close at once; the kernel sends an RST where received bytes were never read."""
        await trio.aclose_forcefully(self.stream)
