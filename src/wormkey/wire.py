"""The frame table of docs/protocol.md §3: what the two programs agree on, byte for byte.

The v1 encoding and its decoder, which takes any slicing of the byte stream and is bounded by
MAX_FRAME_BYTES. Knows nothing of roles, stream states, windows, time or trio: what may be sent
when is stream.py's and mux.py's affair. Protocol v0 speaks the same vocabulary in wire0.py.
"""

from __future__ import annotations

import enum
import struct
from typing import TYPE_CHECKING, Final

from wormkey.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from wormkey.frames import (
    MAX_DETAIL_BYTES,
    MAX_FIELDS,
    MAX_FRAME_BYTES,
    MAX_OPAQUE_BYTES,
    MAX_STREAM_ID,
    TUNNEL,
    Data,
    Fields,
    Frame,
    GoAway,
    Hello,
    Pause,
    Ping,
    Pong,
    Request,
    RequestHead,
    Reset,
    Response,
    ResponseHead,
    Resume,
    StreamId,
    Trailers,
    Window,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


class FrameType(enum.IntEnum):
    """First byte of a frame header."""

    HELLO = 0x01
    REQUEST = 0x02
    RESPONSE = 0x03
    DATA = 0x04
    TRAILERS = 0x05
    RESET = 0x06
    WINDOW = 0x07
    PING = 0x08
    PONG = 0x09
    GOAWAY = 0x0A
    PAUSE = 0x0B
    RESUME = 0x0C


class Parameter(enum.IntEnum):
    """Ids of the HELLO frame's parameters; unknown ids are ignored."""

    STREAM_WINDOW_BYTES = 0x01
    TUNNEL_WINDOW_BYTES = 0x02
    MAX_FRAME_BYTES = 0x03
    MAX_STREAMS = 0x04
    FEATURES = 0x05
    AGENT = 0x06


END_STREAM: Final = 0x01  # the sender's half of the stream is over
BLOCKED: Final = 0x02  # on DATA: the window is used up and more content waits


_HEADER: Final = struct.Struct(">BBII")  # type, flags, stream id, payload length
_U16: Final = struct.Struct(">H")
_U32: Final = struct.Struct(">I")
_PARAMETER: Final = struct.Struct(">HH")  # id, length of the value
HEADER_BYTES: Final = _HEADER.size


def data_header(stream_id: StreamId, length: int, *, end_stream: bool, blocked: bool) -> bytes:
    """Return a DATA frame's header: the hot path joins it with the content only once."""
    flags = (END_STREAM if end_stream else 0) | (BLOCKED if blocked else 0)
    return _HEADER.pack(0x04, flags, stream_id, length)


def encode(frame: Frame) -> bytes:
    """Return a frame's bytes.

    Raises:
        LocalProtocolError: a part is longer than its length prefix or the frame limit can say.
    """
    match frame:
        case Data(stream_id, data, end, blocked):
            if len(data) > MAX_FRAME_BYTES:
                raise LocalProtocolError("content over the frame limit", ErrorCode.FRAME_SIZE_ERROR)
            return data_header(stream_id, len(data), end_stream=end, blocked=blocked) + data
        case Request(stream_id, head, end):
            parts = [_text(head.method), _text(head.target), _text(head.upgrade)]
            return _frame(FrameType.REQUEST, stream_id, parts + _field_parts(head.fields), end)
        case Response(stream_id, head, end):
            parts = [_U16.pack(head.status), _text(head.reason), _text(head.upgrade)]
            return _frame(FrameType.RESPONSE, stream_id, parts + _field_parts(head.fields), end)
        case Trailers(stream_id, fields):
            return _frame(FrameType.TRAILERS, stream_id, _field_parts(fields), end=True)
        case Reset(stream_id, code, detail):
            return _frame(FrameType.RESET, stream_id, [_U32.pack(code), detail[:MAX_DETAIL_BYTES]])
        case Window(stream_id, increment):
            return _frame(FrameType.WINDOW, stream_id, [_U32.pack(increment)])
        case Hello():
            return _frame(FrameType.HELLO, TUNNEL, _hello_parts(frame))
        case Ping(payload):
            return _frame(FrameType.PING, TUNNEL, [payload])
        case Pong(payload):
            return _frame(FrameType.PONG, TUNNEL, [payload])
        case GoAway(last, code, detail):
            parts = [_U32.pack(last), _U32.pack(code), detail[:MAX_DETAIL_BYTES]]
            return _frame(FrameType.GOAWAY, TUNNEL, parts)
        case Pause():
            return _frame(FrameType.PAUSE, TUNNEL, [])
        case Resume():
            return _frame(FrameType.RESUME, TUNNEL, [])


def _frame(kind: FrameType, stream_id: int, parts: list[bytes], end: bool = False) -> bytes:
    payload = b"".join(parts)
    if len(payload) > MAX_FRAME_BYTES:
        message = f"{kind.name} of {len(payload)} bytes is over the frame limit"
        raise LocalProtocolError(message, ErrorCode.FRAME_SIZE_ERROR)
    return _HEADER.pack(kind, END_STREAM if end else 0, stream_id, len(payload)) + payload


def _text(value: bytes) -> bytes:
    if len(value) > 0xFFFF:
        raise LocalProtocolError("a part over 65,535 bytes", ErrorCode.FRAME_SIZE_ERROR)
    return _U16.pack(len(value)) + value


def _field_parts(fields: Fields) -> list[bytes]:
    if len(fields) > MAX_FIELDS:
        raise LocalProtocolError(f"over {MAX_FIELDS} fields", ErrorCode.FRAME_SIZE_ERROR)
    parts = [_U16.pack(len(fields))]
    for name, value in fields:
        if len(name) > 0xFFFF or len(value) > 0xFFFF:
            raise LocalProtocolError("a field over 65,535 bytes", ErrorCode.FRAME_SIZE_ERROR)
        parts += (_U16.pack(len(name)), name, _U16.pack(len(value)), value)
    return parts


_NUMBERS: Final = (
    (Parameter.STREAM_WINDOW_BYTES, "stream_window_bytes"),
    (Parameter.TUNNEL_WINDOW_BYTES, "tunnel_window_bytes"),
    (Parameter.MAX_FRAME_BYTES, "max_frame_bytes"),
    (Parameter.MAX_STREAMS, "max_streams"),
    (Parameter.FEATURES, "features"),
)


def _hello_parts(hello: Hello) -> list[bytes]:
    parts = [bytes([hello.version])]
    for key, name in _NUMBERS:
        parts += (_PARAMETER.pack(key, 4), _U32.pack(getattr(hello, name)))
    agent = hello.agent[:255]
    return [*parts, _PARAMETER.pack(Parameter.AGENT, len(agent)), agent]


class _Payload:
    """Reads a frame's payload from front to back; every short read is the peer's fault."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def u16(self) -> int:
        return int.from_bytes(self.take(2), "big")

    def u32(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def text(self) -> bytes:
        return self.take(self.u16())

    def take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._data):
            raise RemoteProtocolError("a frame shorter than its parts say")
        part = self._data[self._at : end]
        self._at = end
        return part

    def rest(self, limit: int) -> bytes:
        if len(self._data) - self._at > limit:
            raise RemoteProtocolError("a text over its limit", ErrorCode.FRAME_SIZE_ERROR)
        return self.take(len(self._data) - self._at)

    def fields(self) -> Fields:
        count = self.u16()
        if count > MAX_FIELDS:
            raise RemoteProtocolError(f"over {MAX_FIELDS} fields", ErrorCode.FRAME_SIZE_ERROR)
        fields = tuple([(self.text(), self.text()) for _ in range(count)])
        self.done()
        return fields

    def done(self) -> None:
        if self._at != len(self._data):
            raise RemoteProtocolError("bytes left over at a frame's end")


def _hello(payload: _Payload) -> Hello:
    version = payload.take(1)[0]
    found: dict[str, int] = {}
    agent = b""
    names = dict(_NUMBERS)
    for key, value in _parameters(payload):
        if key == Parameter.AGENT:
            agent = value
        elif key in names:
            if len(value) != 4:
                raise RemoteProtocolError("a HELLO number that is not four bytes")
            found[names[Parameter(key)]] = int.from_bytes(value, "big")
    return Hello(version=version, agent=agent, **found)


def _parameters(payload: _Payload) -> Iterator[tuple[int, bytes]]:
    while payload._at < len(payload._data):
        key, length = payload.u16(), payload.u16()
        yield key, payload.take(length)


def _decode(kind: int, flags: int, stream_id: StreamId, data: bytes) -> Frame | None:
    """Return one frame, None for a type that this version does not know."""
    if kind == FrameType.DATA:
        return Data(stream_id, data, bool(flags & END_STREAM), bool(flags & BLOCKED))
    end = bool(flags & END_STREAM)
    payload = _Payload(data)
    frame: Frame
    match kind:
        case FrameType.REQUEST:
            method, target, upgrade = payload.text(), payload.text(), payload.text()
            head = RequestHead(method, target, payload.fields(), upgrade)
            return Request(stream_id, head, end)
        case FrameType.RESPONSE:
            status, reason, upgrade = payload.u16(), payload.text(), payload.text()
            answer = ResponseHead(status, payload.fields(), reason, upgrade)
            return Response(stream_id, answer, end)
        case FrameType.TRAILERS:
            return Trailers(stream_id, payload.fields())
        case FrameType.WINDOW:
            frame = Window(stream_id, payload.u32())
        case FrameType.RESET:
            code = ErrorCode.of(payload.u32())
            return Reset(stream_id, code, payload.rest(MAX_DETAIL_BYTES))
        case FrameType.PING:
            return Ping(payload.rest(MAX_OPAQUE_BYTES))
        case FrameType.PONG:
            return Pong(payload.rest(MAX_OPAQUE_BYTES))
        case FrameType.HELLO:
            return _hello(payload)
        case FrameType.GOAWAY:
            last, code = StreamId(payload.u32()), ErrorCode.of(payload.u32())
            return GoAway(last, code, payload.rest(MAX_DETAIL_BYTES))
        case FrameType.PAUSE:
            frame = Pause()
        case FrameType.RESUME:
            frame = Resume()
        case _:
            return None
    payload.done()
    return frame


_STREAM_FRAMES: Final = frozenset(
    {
        FrameType.REQUEST,
        FrameType.RESPONSE,
        FrameType.DATA,
        FrameType.TRAILERS,
        FrameType.RESET,
    }
)
_TUNNEL_FRAMES: Final = frozenset(FrameType) - _STREAM_FRAMES - {FrameType.WINDOW}


class Decoder:
    """Turns the tunnel's bytes into frames, however they were sliced into messages."""

    __slots__ = ("_max_frame_bytes", "_rest")

    def __init__(self, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        """``max_frame_bytes`` is the payload limit that this end's HELLO states."""
        self._rest = b""
        self._max_frame_bytes = max_frame_bytes

    @property
    def pending_bytes(self) -> int:
        """How much of an incomplete frame is held: never more than one frame."""
        return len(self._rest)

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames that ``data`` completes; frames of unknown types are left out.

        Raises:
            RemoteProtocolError: malformed bytes. The decoder is of no use afterwards.
        """
        if self._rest:
            data = self._rest + data
        frames: list[Frame] = []
        at, size = 0, len(data)
        while size - at >= HEADER_BYTES:
            kind, flags, stream_id, length = _HEADER.unpack_from(data, at)
            if length > self._max_frame_bytes:
                message = f"a frame of {length} bytes, over the limit of {self._max_frame_bytes}"
                raise RemoteProtocolError(message, ErrorCode.FRAME_SIZE_ERROR)
            end = at + HEADER_BYTES + length
            if end > size:
                break
            if (stream_id == 0 and kind in _STREAM_FRAMES) or stream_id > MAX_STREAM_ID:
                raise RemoteProtocolError("a frame on a stream id that it cannot have")
            if stream_id and kind in _TUNNEL_FRAMES:
                raise RemoteProtocolError("a tunnel frame on a stream")
            frame = _decode(kind, flags, stream_id, data[at + HEADER_BYTES : end])
            if frame is not None:
                frames.append(frame)
            at = end
        self._rest = data[at:] if at else data
        return frames
