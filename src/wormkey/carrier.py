"""A tunnel's transport under its WebSocket: two senders, one order, no frame in another.

trio-websocket shakes hands, answers pings, joins fragments and closes; the tunnel's messages go
out and come in here, as the unmasked or masked binary frames of RFC 6455 §5.2, which they would be
after more copies and a trip through the scheduler each (decision 010). What the socket does not
take at once is kept and goes first.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from typing import Final

import trio
from attrs import define, field

from wormkey import masking
from wormkey.errors import RemoteProtocolError
from wormkey.framereader import FrameReader
from wormkey.frames import MAX_MESSAGE_BYTES
from wormkey.transport import is_plain_socket, receive, send_nowait, send_with_progress

DEAF_BYTES: Final = 256 * 1024  # read and dropped of a refused peer, so that it hears why
READ_BYTES: Final = 64 * 1024  # trio-websocket's own 4 KiB reads carried 82 MB/s, these 231

_BINARY: Final = 0x82  # FIN and opcode 2
_MASKED: Final = 0x80
_SHORT: Final = struct.Struct(">BB")
_MEDIUM: Final = struct.Struct(">BBH")
_LONG: Final = struct.Struct(">BBQ")


def binary_frame(message: bytes, *, masked: bool) -> bytes:
    """Return a message as one WebSocket frame; a client's is masked with a fresh random key."""
    size, bit = len(message), _MASKED if masked else 0
    if size < 126:
        head = _SHORT.pack(_BINARY, bit | size)
    elif size < 1 << 16:
        head = _MEDIUM.pack(_BINARY, bit | 126, size)
    else:
        head = _LONG.pack(_BINARY, bit | 127, size)
    if not masked:
        return head + message
    key = os.urandom(4)  # unpredictable, as RFC 6455 §5.3 wants it
    return b"".join((head, key, masking.mask(message, key)))


@define(eq=False)
class Carrier(trio.abc.Stream):
    """The transport as trio-websocket gets it: sends have a deadline, and its end is told.

    A peer that takes nothing for ``write_timeout_s`` is a broken connection, whoever was sending
    (trio-websocket's own reader sends too, and knows no deadline).
    """

    inner: trio.abc.Stream
    write_timeout_s: float
    masked: bool
    on_end: Callable[[], None] | None = None
    on_read: Callable[[list[bytes], int], None] | None = None  # messages, frames that carry none
    on_refusal: Callable[[RemoteProtocolError], None] | None = None
    ended: bool = False
    failure: str = ""  # why this end gave it up, which trio-websocket keeps to itself
    _rest: bytes = b""
    _busy: bool = False
    _shut: bool = False
    _deaf_bytes: int | None = None  # the peer is refused: how much of it is still read
    _empty: bool = False  # the last read left nothing behind
    direct: bool = field(init=False)  # the transport can be asked without waiting: a plain socket
    _reader: FrameReader = field(init=False)
    _free: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot)

    def __attrs_post_init__(self) -> None:
        """The peer masks where this end does not."""
        self.direct = is_plain_socket(self.inner)
        self._reader = FrameReader(masked=not self.masked, max_bytes=MAX_MESSAGE_BYTES)

    # ── messages of the tunnel ────────────────────────────────────────────────────────────────

    @property
    def pending(self) -> bool:
        """Whether part of a message is kept until flush()."""
        return bool(self._rest)

    def send_nowait(self, next_message: Callable[[], bytes]) -> bool:
        """Send messages, until there is none, as long as the socket takes them; else keep the rest.

        Returns whether it took all of them; only where it is ``direct``.

        Raises:
            trio.BrokenResourceError: the peer is gone.
            trio.ClosedResourceError: this end closed the stream.
        """
        while not (self._busy or self._rest):
            message = next_message()
            if not message:
                return True
            if not self._shut:
                frame = binary_frame(message, masked=self.masked)
                sent = send_nowait(self.inner, frame)
                if sent < len(frame):
                    self._rest = frame[sent:]
        return False

    async def send_message(self, message: bytes) -> None:
        """Send a message, behind what is kept.

        Cancellation: may leave a partial frame; the tunnel must be given up.

        Raises:
            trio.BrokenResourceError: the peer is gone, or takes nothing any more.
            trio.ClosedResourceError: this end closed the stream.
        """
        if not self._shut:
            await self._send(binary_frame(message, masked=self.masked))

    async def flush(self) -> None:
        """Send what is kept. Cancellation and errors: as send_message."""
        await self._send(b"")

    def deliver(
        self,
        on_read: Callable[[list[bytes], int], None],
        on_refusal: Callable[[RemoteProtocolError], None],
    ) -> None:
        """Hand over what is read from now on, but for what trio-websocket has to put together.

        ``on_read`` gets the messages of a read, in order, and how many frames carried none. It may
        raise RemoteProtocolError, which ``on_refusal`` is told, as of frames that cost too much.
        """
        self.on_read, self.on_refusal = on_read, on_refusal
        self._reader.opened = True

    def took(self) -> None:
        """Say that the tunnel has had one message from the library."""
        self._reader.taken += 1

    def shut(self) -> None:
        """Drop further messages: the closing handshake begins, no data may follow (§5.5.1)."""
        self._shut = True

    async def _send(self, data: bytes | bytearray | memoryview) -> None:
        while self._busy:
            await self._free.park()
        self._busy = True
        try:
            if self._rest:
                data, self._rest = self._rest + bytes(data), b""
            await send_with_progress(self.inner, data, self.write_timeout_s)
        except trio.TooSlowError as error:
            self.failure = f"the peer took nothing for {self.write_timeout_s:g} s"
            raise trio.BrokenResourceError(self.failure) from error
        finally:
            self._busy = False
            if self._free:
                self._free.unpark()

    # ── trio-websocket's side ─────────────────────────────────────────────────────────────────

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of ``data``. Cancellation: may leave a partial write."""
        await self._send(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until a send would probably not block. Cancellation: waits only."""
        await self.inner.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive; b"" at the end. Cancellation: nothing is lost."""
        while True:
            if self._deaf_bytes is not None and self._deaf_bytes < 0:
                await trio.sleep_forever()  # the closing handshake has a deadline
            size_bytes = max_bytes or READ_BYTES
            try:
                data = await receive(self.inner, size_bytes, empty=self._empty)
            except trio.BrokenResourceError:
                self._end()
                raise
            if not data:
                self._end()
                return data
            self._empty = len(data) < size_bytes
            if data := self._take(data):
                return data

    def deafen(self) -> None:
        """Read no more of a peer that is refused than lets it hear why."""
        if self._deaf_bytes is None:
            self._deaf_bytes = DEAF_BYTES

    def _take(self, data: bytes) -> bytes:
        """Hand over the messages in what was read and return what is the library's.

        Everything is counted before; a peer that overdoes it is refused.
        """
        if self._deaf_bytes is not None:
            self._deaf_bytes -= len(data)
            return b""
        try:
            messages, data, glitches = self._reader.feed(data)
            if (messages or glitches) and self.on_read is not None:
                self.on_read(messages, glitches)
        except RemoteProtocolError as error:
            self.deafen()
            if self.on_refusal is not None:
                self.on_refusal(error)
            return b""
        return data

    def _end(self) -> None:
        self.ended = True
        if self.on_end is not None:
            self.on_end()

    async def aclose(self) -> None:
        """Close the transport. Cancellation: closes it all the same."""
        await self.inner.aclose()
