"""Where the frames of a WebSocket end (RFC 6455 §5.2), in a direction that is relayed unparsed.

The gateway relays opaque bytes after a 101. To close a WebSocket whose tunnel has died it must know
one thing of them: whether the last frame is whole. Only lengths are read here, never content.
"""

from __future__ import annotations

from typing import Final

from attrs import define, field

GOING_AWAY: Final = 1001  # the session is over
POLICY_VIOLATION: Final = 1008  # the owner shuts this viewer out
SERVICE_RESTART: Final = 1012  # come back: the tunnel was lost, or this server restarts

_CLOSE_OPCODE: Final = 8
_FINAL: Final = 0x80
_MASKED: Final = 0x80
_LENGTH: Final = 0x7F
_EXTENDED: Final = 126  # the length stands in two more octets; above, in eight, or it is masked
_HEAD_BYTES: Final = {126: 4, 127: 10}  # two for all shorter frames


@define
class Boundary:
    """Follows what a server sends; ``whole`` while a frame of one's own may come next."""

    _payload_left: int = 0
    _head: bytearray = field(factory=bytearray)
    _over: bool = False  # a close frame was there, or what is no server's frame

    @property
    def whole(self) -> bool:
        """Whether the last frame is complete and none of them was a close."""
        return not (self._payload_left or self._head or self._over)

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Follow ``data``, the next bytes in order, cut anywhere."""
        at, end = 0, len(data)
        while at < end and not self._over:
            if self._payload_left or self._head:
                at = self._go_on(data, at, end)
                continue
            at = _skip(data, at, end)
            if at > end:
                self._payload_left = at - end
            elif at < end:
                at = self._go_on(data, at, end)

    def _go_on(self, data: bytes | bytearray | memoryview, at: int, end: int) -> int:
        """Follow the payload or the head at ``at``; return where the next of them begins."""
        if self._payload_left:
            step = min(self._payload_left, end - at)
            self._payload_left -= step
            return at + step
        wanted = 2
        if len(self._head) >= wanted:
            wanted = _HEAD_BYTES.get(self._head[1] & _LENGTH, wanted)
        taken = data[at : at + wanted - len(self._head)]
        self._head += taken
        self._take_head()
        return at + len(taken)

    def _take_head(self) -> None:
        head = self._head
        if len(head) < 2:
            return
        length = head[1] & _LENGTH
        wanted = _HEAD_BYTES.get(length, 2)
        if len(head) < wanted:
            return
        if wanted > 2:
            length = int.from_bytes(head[2:wanted])
        # RFC 6455 §5.1: a server masks nothing. Where one does, its frames are not known.
        self._over = head[0] & 0x0F == _CLOSE_OPCODE or bool(head[1] & _MASKED)
        self._payload_left = length
        head.clear()


def _skip(data: bytes | bytearray | memoryview, at: int, end: int) -> int:
    """Return where frames of common lengths end whose heads are here: there are many in a read."""
    while at + 1 < end and data[at] & 0x0F != _CLOSE_OPCODE:
        length = data[at + 1]
        if length < _EXTENDED:
            at += 2 + length
        elif length == _EXTENDED and at + 4 <= end:
            at += 4 + (data[at + 2] << 8 | data[at + 3])
        else:
            break
    return at


def close_frame(code: int, reason: str) -> bytes:
    """Return a server's close frame (RFC 6455 §5.5.1); ``reason`` is short ASCII."""
    payload = code.to_bytes(2) + reason.encode("ascii")
    return bytes((_FINAL | _CLOSE_OPCODE, len(payload))) + payload
