"""Takes a tunnel's messages out of what its WebSocket brings (RFC 6455 §5.2); the rest is left.

A message that came as one binary frame, which is how both ends send them, is unmasked here and goes
to the tunnel at once. Everything else goes on to the library, octet for octet: the handshake,
fragments, pings, closes, whatever breaks a rule. So does all that follows, until the tunnel has
had each message that the library was given: no message overtakes another. Pure.
"""

from __future__ import annotations

from typing import Final

from wormkey import masking
from wormkey.framemeter import FrameMeter, check_pieces

_BINARY: Final = 0x82  # FIN and opcode 2, nothing reserved
_MASKED: Final = 0x80
_MEDIUM: Final = 126  # two octets of length follow
_LONG: Final = 127  # eight octets


class FrameReader:
    """The receiving half of one connection, from its opening handshake on."""

    __slots__ = (
        *("_held", "_key", "_masked_bit", "_max_bytes", "_meter", "_missing", "_pieces", "_start"),
        *("opened", "taken"),
    )

    def __init__(self, *, masked: bool, max_bytes: int) -> None:
        """``masked`` tells the peer's frames; longer messages than ``max_bytes`` are left."""
        self.opened = False  # whether there is a tunnel that takes messages
        self.taken = 0  # how many messages it has had from the library
        self._masked_bit = _MASKED if masked else 0
        self._max_bytes = max_bytes
        self._meter = FrameMeter()
        self._start = b""  # of a header that is not whole
        self._held = bytearray()  # of a frame's payload,
        self._missing = 0  # which lacks so much
        self._pieces = 0  # and has come in so many reads
        self._key = b""

    @property
    def drained(self) -> bool:
        """Whether nothing of what was given to the library is still to come out of it."""
        return self._meter.resting and self._meter.messages == self.taken

    def feed(self, data: bytes) -> tuple[list[bytes], bytes, int]:
        """Return messages, what is the library's, and how many frames of that move nothing.

        The messages come before all that is the library's.

        Raises:
            RemoteProtocolError: ENHANCE_YOUR_CALM; a message in too many too small pieces.
        """
        messages: list[bytes] = []
        if self.opened and self.drained:
            data = self._take(data, messages)
        return messages, data, self._meter.feed(data) if data else 0

    def _take(self, data: bytes, messages: list[bytes]) -> bytes:
        """Move whole messages from the front of ``data``, hold a part of one; return the rest."""
        if self._start:
            data, self._start = self._start + data, b""
        size = len(data)
        at = 0
        if self._missing:
            at = min(self._missing, size)
            self._held += memoryview(data)[:at]
            self._missing -= at
            self._pieces += 1
            check_pieces(self._pieces, len(self._held))
            if self._missing:
                return b""
            messages.append(self._unmasked(self._held))
            self._held.clear()
        while at < size:
            begin, length = self._header(data, at)
            if not begin:
                return data[at:] if at else data
            if begin > size:
                self._start = data[at:]
                return b""
            if self._masked_bit:
                self._key = data[begin - 4 : begin]
            at = begin + length
            if at > size:
                self._missing, self._pieces = at - size, 1
                self._held += memoryview(data)[begin:]
                return b""
            messages.append(self._unmasked(data[begin:at]))
        return b""

    def _unmasked(self, payload: bytes | bytearray) -> bytes:
        return masking.mask(payload, self._key) if self._masked_bit else bytes(payload)

    def _header(self, data: bytes, at: int) -> tuple[int, int]:
        """Return where a frame's payload begins and its length; (0, 0) for one that is left.

        A beginning behind the end of ``data`` means that the header is not whole yet.
        """
        left = len(data) - at
        if data[at] != _BINARY:
            return 0, 0
        if left < 2:
            return at + 2, 0
        length = data[at + 1] ^ self._masked_bit
        begin = at + (6 if self._masked_bit else 2)
        if length < _MEDIUM:
            return begin, length
        extra = 2 if length == _MEDIUM else 8
        if length > _LONG:  # masked where it must not be, or the other way round
            return 0, 0
        begin += extra
        if left < 2 + extra:
            return begin, 0
        shortest = _MEDIUM if extra == 2 else 1 << 16
        length = int.from_bytes(data[at + 2 : at + 2 + extra], "big")
        return (begin, length) if shortest <= length <= self._max_bytes else (0, 0)
