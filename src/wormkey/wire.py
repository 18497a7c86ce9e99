"""The frame table of docs/protocol.md §3: what the two programs agree on, byte for byte.

The v1 encoding and its decoder, which takes any slicing of the byte stream and is bounded by
MAX_FRAME_BYTES. Knows nothing of roles, stream states, windows, time or trio: what may be sent
when is stream.py's and mux.py's affair. Protocol v0 speaks the same vocabulary in wire0.py.
"""

from __future__ import annotations

import enum
import struct
from typing import Final, assert_never

from wormkey.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from wormkey.frames import (
    MAX_AGENT_BYTES,
    MAX_DETAIL_BYTES,
    MAX_FIELDS,
    MAX_FRAME_BYTES,
    MAX_OPAQUE_BYTES,
    MAX_STREAM_ID,
    MAX_WINDOW_BYTES,
    MIN_FRAME_LIMIT_BYTES,
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
from wormkey.payload import Payload
from wormkey.recent import derive, remembering


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

_STREAM_FRAMES: Final = frozenset(
    {FrameType.REQUEST, FrameType.RESPONSE, FrameType.DATA, FrameType.TRAILERS, FrameType.RESET}
)
_TUNNEL_FRAMES: Final = frozenset(FrameType) - _STREAM_FRAMES - {FrameType.WINDOW}

_HEADER: Final = struct.Struct(">BBII")  # type, flags, stream id, payload length
_U16: Final = struct.Struct(">H")
_U32: Final = struct.Struct(">I")
_PARAMETER: Final = struct.Struct(">HH")  # id, length of the value
HEADER_BYTES: Final = _HEADER.size
_SIZES: Final = tuple(_U16.pack(size) for size in range(1024))  # of most names and values

# Plain numbers: an enum's costs a look-up on the hot path.
_REQUEST, _RESPONSE, _DATA = map(int, (FrameType.REQUEST, FrameType.RESPONSE, FrameType.DATA))


def data_header(stream_id: StreamId, length: int, *, end_stream: bool, blocked: bool) -> bytes:
    """Return what stands before ``length`` bytes of content: the hot path joins the parts itself.

    Checks nothing: the caller keeps the stream id and the peer's frame limit.
    """
    flags = (END_STREAM if end_stream else 0) | (BLOCKED if blocked else 0)
    return _HEADER.pack(_DATA, flags, stream_id, length)


def encode(frame: Frame) -> bytes:
    """Return a frame's bytes. An agent and a detail are cut to their limits.

    Raises:
        LocalProtocolError: a number or a length that the frame cannot say, or a stream id that
            it cannot have. Whatever passes, a Decoder takes.
    """
    match frame:
        case Data(stream_id, data, end, blocked):
            flags = (END_STREAM if end else 0) | (BLOCKED if blocked else 0)
            return _frame(FrameType.DATA, stream_id, [data], flags)
        case Request(stream_id, head, end):
            payload = derive(head, "payload", None, lambda: _request_payload(head))
            return _frame(FrameType.REQUEST, stream_id, [payload], END_STREAM if end else 0)
        case Response(stream_id, answer, end):
            payload = derive(answer, "payload", None, lambda: _response_payload(answer))
            return _frame(FrameType.RESPONSE, stream_id, [payload], END_STREAM if end else 0)
        case Trailers(stream_id, fields):
            return _frame(FrameType.TRAILERS, stream_id, _field_parts(fields), END_STREAM)
        case Reset(stream_id, code, detail):
            return _frame(FrameType.RESET, stream_id, [_U32.pack(code), detail[:MAX_DETAIL_BYTES]])
        case Window(stream_id, increment):
            return _frame(FrameType.WINDOW, stream_id, [_u32(increment)])
        case Hello():
            return _frame(FrameType.HELLO, TUNNEL, _hello_parts(frame))
        case Ping(payload):
            return _frame(FrameType.PING, TUNNEL, [_opaque(payload)])
        case Pong(payload):
            return _frame(FrameType.PONG, TUNNEL, [_opaque(payload)])
        case GoAway(last, code, detail):
            parts = [_u32(last), _U32.pack(code), detail[:MAX_DETAIL_BYTES]]
            return _frame(FrameType.GOAWAY, TUNNEL, parts)
        case Pause():
            return _frame(FrameType.PAUSE, TUNNEL, [])
        case Resume():
            return _frame(FrameType.RESUME, TUNNEL, [])
        case _:
            assert_never(frame)


def _request_payload(head: RequestHead) -> bytes:
    parts = [_text(head.method), _text(head.target), _text(head.upgrade)]
    return b"".join(parts + _field_parts(head.fields))


def _response_payload(head: ResponseHead) -> bytes:
    parts = [_status(head.status), _text(head.reason), _text(head.upgrade)]
    return b"".join(parts + _field_parts(head.fields))


def _frame(kind: FrameType, stream_id: int, parts: list[bytes], flags: int = 0) -> bytes:
    payload = b"".join(parts)
    if len(payload) > MAX_FRAME_BYTES:
        message = f"{kind.name} of {len(payload)} bytes is over the frame limit"
        raise LocalProtocolError(message, ErrorCode.FRAME_SIZE_ERROR)
    if not 0 <= stream_id <= MAX_STREAM_ID or (stream_id == TUNNEL and kind in _STREAM_FRAMES):
        raise LocalProtocolError(f"{kind.name} on stream {stream_id}")
    return _HEADER.pack(kind, flags, stream_id, len(payload)) + payload


def _u32(value: int) -> bytes:
    if not 0 <= value <= 0xFFFFFFFF:
        raise LocalProtocolError(f"the number {value} in four bytes")
    return _U32.pack(value)


def _status(value: int) -> bytes:
    if not 100 <= value <= 999:
        raise LocalProtocolError(f"the status {value}")
    return _U16.pack(value)


def _opaque(value: bytes) -> bytes:
    if len(value) > MAX_OPAQUE_BYTES:
        raise LocalProtocolError("a payload over its limit", ErrorCode.FRAME_SIZE_ERROR)
    return value


def _text(value: bytes, what: str = "part") -> bytes:
    if len(value) < len(_SIZES):
        return _SIZES[len(value)] + value
    if len(value) > 0xFFFF:
        raise LocalProtocolError(f"a {what} over 65,535 bytes", ErrorCode.FRAME_SIZE_ERROR)
    return _U16.pack(len(value)) + value


def _field_parts(fields: Fields) -> list[bytes]:
    if len(fields) > MAX_FIELDS:
        raise LocalProtocolError(f"over {MAX_FIELDS} fields", ErrorCode.FRAME_SIZE_ERROR)
    parts = [_SIZES[len(fields)]]
    for name, value in fields:
        try:
            parts += (_SIZES[len(name)], name, _SIZES[len(value)], value)
        except IndexError:
            parts += (_text(name, "field"), _text(value, "field"))
    return parts


# Parameter: attribute of Hello, least and greatest value (docs/protocol.md §3.1).
_NUMBERS: Final = {
    Parameter.STREAM_WINDOW_BYTES: ("stream_window_bytes", 0, MAX_WINDOW_BYTES),
    Parameter.TUNNEL_WINDOW_BYTES: ("tunnel_window_bytes", 0, MAX_WINDOW_BYTES),
    Parameter.MAX_FRAME_BYTES: ("max_frame_bytes", MIN_FRAME_LIMIT_BYTES, 0xFFFFFFFF),
    Parameter.MAX_STREAMS: ("max_streams", 0, 0xFFFFFFFF),
    Parameter.FEATURES: ("features", 0, 0xFFFFFFFF),
}


def _hello_parts(hello: Hello) -> list[bytes]:
    if not 1 <= hello.version <= 0xFF:
        raise LocalProtocolError(f"version {hello.version} in a HELLO")
    parts = [bytes([hello.version])]
    for key, (name, least, greatest) in _NUMBERS.items():
        value = getattr(hello, name)
        if not least <= value <= greatest:
            raise LocalProtocolError(f"{name} {value} in a HELLO")
        parts += (_PARAMETER.pack(key, 4), _U32.pack(value))
    agent = hello.agent[:MAX_AGENT_BYTES]
    return [*parts, _PARAMETER.pack(Parameter.AGENT, len(agent)), agent]


def _hello(payload: Payload) -> Hello:
    version = payload.take(1)[0]
    if version == 0:
        raise RemoteProtocolError("version 0 in a HELLO")
    found: dict[str, int] = {}
    agent: bytes | None = None
    while payload.more():
        key, length = payload.u16(), payload.u16()
        value = payload.take(length)
        if key == Parameter.AGENT:
            if agent is not None or len(value) > MAX_AGENT_BYTES:
                raise RemoteProtocolError("an agent twice or too long in a HELLO")
            agent = value
        elif key in _NUMBERS:
            name, least, greatest = _NUMBERS[Parameter(key)]
            number = int.from_bytes(value, "big")
            if len(value) != 4 or name in found or not least <= number <= greatest:
                message = f"{name} twice, out of its range or not four bytes in a HELLO"
                raise RemoteProtocolError(message)
            found[name] = number
    return Hello(version=version, agent=agent or b"", **found)


@remembering
def _request_head(data: bytes) -> RequestHead:
    payload = Payload(data)
    method, target, upgrade = payload.text(), payload.text(), payload.text()
    return RequestHead(method, target, payload.fields(), upgrade)


@remembering
def _response_head(data: bytes) -> ResponseHead:
    payload = Payload(data)
    status, reason, upgrade = payload.u16(), payload.text(), payload.text()
    if not 100 <= status <= 999:
        raise RemoteProtocolError(f"the status {status}")
    return ResponseHead(status, payload.fields(), reason, upgrade)


def _decode(kind: int, flags: int, stream_id: StreamId, data: bytes) -> Frame | None:
    """Return one frame, None for a type that this version does not know."""
    end = bool(flags & END_STREAM)
    if kind == _REQUEST:
        return Request(stream_id, _request_head(data), end)
    if kind == _RESPONSE:
        return Response(stream_id, _response_head(data), end)
    payload = Payload(data)
    frame: Frame
    match kind:
        case FrameType.TRAILERS:
            return Trailers(stream_id, payload.fields())
        case FrameType.WINDOW:
            frame = Window(stream_id, payload.u32())
        case FrameType.RESET:
            code = ErrorCode.of(payload.u32())
            return Reset(stream_id, code, payload.rest(MAX_DETAIL_BYTES))
        case FrameType.PING | FrameType.PONG:
            return (Ping if kind == FrameType.PING else Pong)(payload.rest(MAX_OPAQUE_BYTES))
        case FrameType.HELLO:
            return _hello(payload)
        case FrameType.GOAWAY:
            last, code = StreamId(payload.u32()), ErrorCode.of(payload.u32())
            return GoAway(last, code, payload.rest(MAX_DETAIL_BYTES))
        case FrameType.PAUSE | FrameType.RESUME:
            frame = Pause() if kind == FrameType.PAUSE else Resume()
        case _:
            return None
    payload.done()
    return frame


class Decoder:
    """Turns the tunnel's bytes into frames, however they were sliced into messages."""

    __slots__ = ("_held", "_max_frame_bytes", "_wanted_bytes", "ignored")

    def __init__(self, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        """``max_frame_bytes`` is the payload limit that this end's HELLO states."""
        self._held = bytearray()
        self._wanted_bytes = 0  # nothing can come of fewer held bytes, so they are not looked at
        self._max_frame_bytes = max_frame_bytes
        self.ignored = 0  # how many frames of unknown types came

    @property
    def pending_bytes(self) -> int:
        """How much of an incomplete frame is held: always less than one frame."""
        return len(self._held)

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames that ``data`` completes; frames of unknown types are left out.

        Raises:
            RemoteProtocolError: malformed bytes. The decoder is of no use afterwards.
        """
        if self._held:
            # Growing in place keeps a frame that comes byte by byte linear in its length.
            self._held += data
            if len(self._held) < self._wanted_bytes:
                return []
            data = bytes(self._held)
            self._held = bytearray()
        frames: list[Frame] = []
        at, size, limit_bytes = 0, len(data), self._max_frame_bytes
        wanted_bytes = HEADER_BYTES
        while size - at >= HEADER_BYTES:
            kind, flags, stream_id, length = _HEADER.unpack_from(data, at)
            misplaced = _TUNNEL_FRAMES if stream_id else _STREAM_FRAMES
            if length > limit_bytes or stream_id > MAX_STREAM_ID or kind in misplaced:
                raise self._fault(kind, stream_id, length)
            start, end = at + HEADER_BYTES, at + HEADER_BYTES + length
            if end > size:
                wanted_bytes = HEADER_BYTES + length
                break
            at = end
            if kind == _DATA:
                ends, blocked = flags & END_STREAM != 0, flags & BLOCKED != 0
                frames.append(Data(stream_id, data[start:end], ends, blocked))
            elif (frame := _decode(kind, flags, stream_id, data[start:end])) is not None:
                frames.append(frame)
            else:
                self.ignored += 1
        if at < size:
            self._held += data[at:]
            self._wanted_bytes = wanted_bytes
        return frames

    def _fault(self, kind: int, stream_id: int, length: int) -> RemoteProtocolError:
        if length > self._max_frame_bytes:
            message = f"a frame of {length} bytes, over the limit of {self._max_frame_bytes}"
            return RemoteProtocolError(message, ErrorCode.FRAME_SIZE_ERROR)
        return RemoteProtocolError(f"a frame of type {kind:#04x} on stream {stream_id}")
