"""A frame's payload, read from front to back: numbers, texts and fields (docs/protocol.md §3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wormkey.errors import ErrorCode, RemoteProtocolError
from wormkey.frames import MAX_FIELDS

if TYPE_CHECKING:
    from wormkey.frames import Fields


class Payload:
    """One payload. Every short read is the peer's fault.

    Raises:
        RemoteProtocolError: by each method; fewer octets are there than it wants.
    """

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        """Start at the front."""
        self._data = data
        self._at = 0

    def u16(self) -> int:
        """Read a number of two octets."""
        return int.from_bytes(self.take(2), "big")

    def u32(self) -> int:
        """Read a number of four octets."""
        return int.from_bytes(self.take(4), "big")

    def text(self) -> bytes:
        """Read octets with their number before them."""
        start = self._at + 2
        try:
            end = start + (self._data[start - 2] << 8 | self._data[start - 1])
        except IndexError:
            raise _too_short() from None
        if end > len(self._data):
            raise _too_short()
        self._at = end
        return self._data[start:end]

    def take(self, count: int) -> bytes:
        """Read so many octets."""
        end = self._at + count
        if end > len(self._data):
            raise _too_short()
        part = self._data[self._at : end]
        self._at = end
        return part

    def rest(self, limit: int) -> bytes:
        """Read what is left, at most ``limit`` octets."""
        if len(self._data) - self._at > limit:
            raise RemoteProtocolError(f"a text over {limit} bytes", ErrorCode.FRAME_SIZE_ERROR)
        return self.take(len(self._data) - self._at)

    def fields(self) -> Fields:
        """Read the payload's last part. One loop of its own: a head has some 40 texts."""
        count = self.u16()
        if count > MAX_FIELDS:
            raise RemoteProtocolError(f"over {MAX_FIELDS} fields", ErrorCode.FRAME_SIZE_ERROR)
        data, at = self._data, self._at
        fields: list[tuple[bytes, bytes]] = []
        try:
            for _ in range(count):
                start = at + 2
                middle = start + data[at + 1]
                if data[at]:  # hardly ever: to look costs less than to shift
                    middle += data[at] << 8
                behind = middle + 2
                end = behind + data[middle + 1]
                if data[middle]:
                    end += data[middle] << 8
                fields.append((data[start:middle], data[behind:end]))
                at = end
        except IndexError:
            raise _too_short() from None
        if at > len(data):  # a slice over the end is short without a word
            raise _too_short()
        self._at = at
        self.done()
        return tuple(fields)

    def more(self) -> bool:
        """Tell whether something is left."""
        return self._at < len(self._data)

    def done(self) -> None:
        """Refuse a payload of which something is left."""
        if self._at != len(self._data):
            raise RemoteProtocolError("bytes left over at a frame's end")


def _too_short() -> RemoteProtocolError:
    """Return the error for a payload that ends before its parts do."""
    return RemoteProtocolError("a frame shorter than its parts say")
