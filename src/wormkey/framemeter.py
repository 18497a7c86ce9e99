"""What a peer's WebSocket frames cost beside the messages that they carry (RFC 6455 §5.2).

The library above joins fragments without counting them and answers every ping: a peer could send
fragments of nothing for ever, and each would be kept until the message ends. This meter walks the
frames' headers before the library sees the bytes. It unmasks nothing, checks no grammar (that
stays the library's affair) and holds a few bytes. Pure.
"""

from __future__ import annotations

import re
from typing import Final

from wormkey.errors import ErrorCode, RemoteProtocolError

FREE_PIECES: Final = 1024  # of one message, however small they are
PIECE_BYTES: Final = 128  # each further one must bring so much on average; a segment brings 500
_HEAD_END: Final = re.compile(rb"\n\r?\n")  # a lenient parser takes lines that end without CR
_FIN: Final = 0x80
_CONTROL: Final = 0x08  # the bit that close, ping and pong have in common
_CLOSE: Final = 0x08


class FrameMeter:
    """Counts, for one direction of one connection, from its opening handshake on."""

    __slots__ = (
        *("_final", "_head", "_held", "_is_control", "_left", "_message_bytes", "_pieces"),
        *("_closed", "messages"),
    )

    def __init__(self, *, in_head: bool = True) -> None:
        """``in_head`` while the opening handshake's head is still to come."""
        self._head = b"" if in_head else None  # its last bytes so far; None behind it
        self._held = b""  # of a header that is not whole
        self._left = 0  # of a frame's payload
        self._is_control = self._final = False  # what that frame is
        self._pieces = 0  # parts of the message that is under way, as the library keeps them
        self._message_bytes = 0
        self.messages = 0  # that have come whole
        self._closed = False  # a Close frame has come: what follows is no message (§5.5.1)

    @property
    def resting(self) -> bool:
        """Whether nothing is under way, no handshake, frame, message or close."""
        busy = self._held or self._left or self._pieces or self._closed
        return self._head is None and not busy

    def feed(self, data: bytes) -> int:
        """Walk what one read brought; return how many of its frames move nothing by themselves.

        Raises:
            RemoteProtocolError: ENHANCE_YOUR_CALM; a message in too many too small pieces.
        """
        if self._head is not None:
            data = self._behind_head(data)
        if self._held:
            data, self._held = self._held + data, b""
        glitches = at = 0
        size = len(data)
        while at < size:
            if not (self._left or self._pieces) and (end := _message_end(data, at)):
                at = end  # one piece, which is free
                self.messages += 1
                continue
            if self._left:
                step = min(self._left, size - at)
                at += step
                self._left -= step
                if not self._is_control:
                    self._piece(step)
                continue
            end = _header_end(data, at) if size - at > 1 else size + 1
            if end > size:
                self._held = data[at:]
                break
            glitches += self._header(data[at:end])
            at = end
        return glitches

    def _behind_head(self, data: bytes) -> bytes:
        """Return what follows the handshake's head; b"" while it goes on."""
        seen = (self._head or b"") + data
        found = _HEAD_END.search(seen)
        if found is None:
            self._head = seen[-2:]
            return b""
        self._head = None
        return seen[found.end() :]

    def _header(self, header: bytes) -> bool:
        """Take one header; return whether its frame is a glitch."""
        first, length = header[0], header[1] & 0x7F
        if length == 126:
            length = header[2] << 8 | header[3]
        elif length == 127:
            length = int.from_bytes(header[2:10], "big")
        self._left = length
        self._is_control = bool(first & _CONTROL)
        if self._is_control:
            self._closed = self._closed or first & 0x0F == _CLOSE
            return first & 0x0F != _CLOSE
        self._final = bool(first & _FIN)
        if not length:
            self._piece(0)
        return not self._final and length < PIECE_BYTES

    def _piece(self, size_bytes: int) -> None:
        """Count what the library keeps of one frame in one read."""
        self._pieces += 1
        self._message_bytes += size_bytes
        check_pieces(self._pieces, self._message_bytes)
        if self._final and not self._left:
            self._pieces = self._message_bytes = 0
            self.messages += 1


def check_pieces(pieces: int, message_bytes: int) -> None:
    """Refuse a message that comes in crumbs.

    Raises:
        RemoteProtocolError: ENHANCE_YOUR_CALM; so many pieces, and no more in them.
    """
    if (pieces - FREE_PIECES) * PIECE_BYTES > message_bytes:
        text = "a message in too many small pieces"
        raise RemoteProtocolError(text, ErrorCode.ENHANCE_YOUR_CALM)


def _message_end(data: bytes, at: int) -> int:
    """Return where the message ends that begins at ``at``, 0 if it is not one frame, all here.

    Hardly anything else comes, so this saves most of the walk. Long ones are not looked for.
    """
    size = len(data)
    if size - at < 4 or data[at] & (_FIN | _CONTROL) != _FIN:
        return 0
    second = data[at + 1]
    end = at + (6 if second & 0x80 else 2) + (second & 0x7F)
    if second & 0x7F == 126:
        end += 2 - 126 + (data[at + 2] << 8 | data[at + 3])
    elif second & 0x7F == 127:
        return 0
    return end if end <= size else 0


def _header_end(data: bytes, at: int) -> int:
    """Return where the header ends that begins at ``at``; two of its bytes are there."""
    second = data[at + 1]
    length = second & 0x7F
    extra = 8 if length == 127 else 2 if length == 126 else 0
    return at + 2 + extra + (4 if second & 0x80 else 0)
