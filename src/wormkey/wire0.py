"""Protocol v0 (docs/protocol.md §12): one frame in each message, heads as text.

Speaks the vocabulary of frames.py, so the mux above it knows one set of frames for both
versions. What v0 cannot say is left out here and nowhere else. The text of a head is where an
attacker would inject a field, so it is written and read strictly. Knows nothing of roles,
stream states, windows, time or trio.
"""

from __future__ import annotations

import enum
import re
import struct
from typing import Final, assert_never

from wormkey.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from wormkey.frames import (
    MAX_FIELDS,
    MAX_FRAME_BYTES,
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


class MessageType(enum.IntEnum):
    """First byte of a v0 message."""

    OPEN_STREAM = 0x01
    STREAM_DATA = 0x02
    STREAM_END = 0x03
    STREAM_CANCEL = 0x04
    RESPONSE_HEADERS = 0x05
    WS_UPGRADE = 0x06
    WS_DATA = 0x07
    WS_CLOSE = 0x08
    PING = 0x09
    PONG = 0x0A
    PAUSE = 0x0B
    RESUME = 0x0C


MAX_DATA_BYTES0: Final = 32 * 1024  # what existing gateways send in one message
MAX_MESSAGE_BYTES0: Final = 16 * 1024 * 1024  # v0 states no limit; the daemon's for one stream
MAX_HEAD_BYTES0: Final = MAX_FRAME_BYTES  # the text of a head: as much as v1 takes

_HEADER: Final = struct.Struct(">BI")  # type, stream id
HEADER_BYTES0: Final = _HEADER.size

# RFC 9112 §3: method SP request-target SP HTTP-version. A target may hold anything but what
# would end it; the stricter grammar is the floor above's.
_REQUEST_LINE: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([^\x00-\x20\x7f]+) HTTP/1\.1")
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})(?: ([^\x00\r\n]*))?")
# RFC 9110 §5.1, §5.5: no space before the colon, no folding, no CR, LF or NUL in a value.
_FIELD_LINE: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\x00\r\n]*)")
_TOKEN: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(rb"[^\x00\r\n]*")

_UPGRADE_FIELDS: Final = frozenset({b"connection", b"upgrade"})


def encode0(frame: Frame) -> bytes:
    """Return the one message that says this frame; b"" where v0 has no word for it.

    The end of a stream is a message of its own: a head's ``end_stream`` is not said here, the
    caller sends ``Data(stream_id, b"", end_stream=True)`` behind it. Nothing is said of HELLO,
    WINDOW, GOAWAY, an interim answer or empty content; a trailer section shrinks to its
    STREAM_END, a RESET to STREAM_CANCEL; PING and PONG lose their payload, an answer its reason.

    Raises:
        LocalProtocolError: a head that cannot be written as text or is over the limit, a 101,
            content together with its end, or a stream's message on stream 0.
    """
    match frame:
        case Data(stream_id, data, end):
            if data and end:
                raise LocalProtocolError("content and its end take two messages in v0")
            if end:
                return _message(MessageType.STREAM_END, stream_id)
            return _message(MessageType.STREAM_DATA, stream_id, data) if data else b""
        case Request(stream_id, head):
            kind = MessageType.WS_UPGRADE if head.upgrade else MessageType.OPEN_STREAM
            return _message(kind, stream_id, _request_text(head))
        case Response(stream_id, answer):
            if answer.interim and answer.status >= 100:
                return b""
            return _message(MessageType.RESPONSE_HEADERS, stream_id, _response_text(answer))
        case Trailers(stream_id):
            return _message(MessageType.STREAM_END, stream_id)
        case Reset(stream_id):
            return _message(MessageType.STREAM_CANCEL, stream_id)
        case Ping():
            return _message(MessageType.PING, TUNNEL)
        case Pong():
            return _message(MessageType.PONG, TUNNEL)
        case Pause():
            return _message(MessageType.PAUSE, TUNNEL)
        case Resume():
            return _message(MessageType.RESUME, TUNNEL)
        case Hello() | Window() | GoAway():
            return b""
        case _:
            assert_never(frame)


def _message(kind: MessageType, stream_id: int, payload: bytes = b"") -> bytes:
    if not 0 <= stream_id <= 0xFFFFFFFF or (stream_id == TUNNEL) != (kind in _TUNNEL_MESSAGES):
        raise LocalProtocolError(f"{kind.name} on stream {stream_id}")
    return _HEADER.pack(kind, stream_id) + payload


_TUNNEL_MESSAGES: Final = frozenset(
    {MessageType.PING, MessageType.PONG, MessageType.PAUSE, MessageType.RESUME}
)


def _request_text(head: RequestHead) -> bytes:
    line = b"%s %s HTTP/1.1" % (head.method, head.target)
    if _REQUEST_LINE.fullmatch(line) is None:
        raise LocalProtocolError(f"a request line that is not one: {line[:200]!r}")
    fields = head.fields
    if head.upgrade:
        fields = ((b"Connection", b"Upgrade"), (b"Upgrade", head.upgrade), *fields)
    return _head_text(line, fields)


def _response_text(head: ResponseHead) -> bytes:
    if not 200 <= head.status <= 999:
        raise LocalProtocolError(f"an answer of status {head.status} in v0")
    return _head_text(b"HTTP/1.1 %d" % head.status, _joined(head.fields))


def _joined(fields: Fields) -> Fields:
    """Return lower-case fields, repeats joined: existing gateways keep only the last of a name.

    Set-Cookie is left alone: its values hold commas (RFC 9110 §5.3).
    """
    values: dict[tuple[bytes, int], list[bytes]] = {}
    for number, (spelled, value) in enumerate(fields):
        name = spelled.lower()
        values.setdefault((name, number if name == b"set-cookie" else -1), []).append(value)
    return tuple([(name, b", ".join(filter(None, parts))) for (name, _), parts in values.items()])


def _head_text(line: bytes, fields: Fields) -> bytes:
    lines = [line]
    for name, value in fields:
        # What a reader could take for two fields must never be written, whoever sent it.
        if _TOKEN.fullmatch(name) is None or _VALUE.fullmatch(value) is None:
            raise LocalProtocolError(f"the field {name[:80]!r} cannot be written as text")
        lines.append(b"%s: %s" % (name, value))
    text = b"\r\n".join(lines) + b"\r\n\r\n"
    if len(fields) > MAX_FIELDS or len(text) > MAX_HEAD_BYTES0:
        raise LocalProtocolError("a head over the limit", ErrorCode.FRAME_SIZE_ERROR)
    return text


def _head_lines(text: bytes) -> tuple[bytes, Fields]:
    """Return the first line and the fields of a head. Its closing empty line may be missing."""
    if len(text) > MAX_HEAD_BYTES0:
        raise RemoteProtocolError("a head over the limit", ErrorCode.FRAME_SIZE_ERROR)
    section, closed, rest = text.partition(b"\r\n\r\n")
    if rest:
        raise RemoteProtocolError("bytes after the empty line of a head")
    line, *field_lines = section.removesuffix(b"" if closed else b"\r\n").split(b"\r\n")
    if len(field_lines) > MAX_FIELDS:
        raise RemoteProtocolError(f"over {MAX_FIELDS} fields", ErrorCode.FRAME_SIZE_ERROR)
    fields = []
    for field_line in field_lines:
        found = _FIELD_LINE.fullmatch(field_line)
        if found is None:
            raise RemoteProtocolError(f"a malformed field line: {field_line[:80]!r}")
        fields.append((found[1], found[2].strip(b" \t")))
    return line, tuple(fields)


def _request_head(text: bytes, *, upgrade: bool) -> RequestHead:
    line, fields = _head_lines(text)
    found = _REQUEST_LINE.fullmatch(line)
    if found is None:
        raise RemoteProtocolError(f"a malformed request line: {line[:200]!r}")
    if not upgrade:
        return RequestHead(found[1], found[2], fields)
    offers = [value for name, value in fields if name.lower() == b"upgrade" and value]
    kept = tuple([field for field in fields if field[0].lower() not in _UPGRADE_FIELDS])
    return RequestHead(found[1], found[2], kept, b", ".join(offers) or b"websocket")


def _response_head(text: bytes) -> ResponseHead:
    line, fields = _head_lines(text)
    found = _STATUS_LINE.fullmatch(line)
    if found is None:
        raise RemoteProtocolError(f"a malformed status line: {line[:200]!r}")
    return ResponseHead(int(found[1]), fields, found[2] or b"")


class Decoder0:
    """Turns v0 messages into frames. It holds nothing between messages."""

    __slots__ = ("_max_message_bytes", "ignored")

    def __init__(self, max_message_bytes: int = MAX_MESSAGE_BYTES0) -> None:
        """``max_message_bytes`` bounds one message, its five header bytes included."""
        self._max_message_bytes = max_message_bytes
        self.ignored = 0  # how many messages said nothing

    def feed(self, message: bytes) -> list[Frame]:
        """Return the frame of one message, or none for what existing programs ignore.

        Ignored are messages under five bytes, unknown types, WS_DATA, WS_CLOSE and empty
        STREAM_DATA; PING, PONG, PAUSE and RESUME count on any stream and with any payload.

        Raises:
            RemoteProtocolError: a malformed head, a message over the limit, or a stream's
                message on stream 0.
        """
        if len(message) > self._max_message_bytes:
            raise RemoteProtocolError(
                f"a message of {len(message)} bytes, over the limit of {self._max_message_bytes}",
                ErrorCode.FRAME_SIZE_ERROR,
            )
        if len(message) < HEADER_BYTES0:
            self.ignored += 1
            return []
        kind, number = _HEADER.unpack_from(message)
        if number == TUNNEL and MessageType.OPEN_STREAM <= kind <= MessageType.WS_UPGRADE:
            raise RemoteProtocolError(f"a message of type {kind:#04x} on stream 0")
        frame = _decode(kind, StreamId(number), message)
        if frame is None:
            self.ignored += 1
            return []
        return [frame]


def _decode(kind: int, stream_id: StreamId, message: bytes) -> Frame | None:
    payload = message[HEADER_BYTES0:]
    match kind:
        case MessageType.STREAM_DATA:
            return Data(stream_id, payload) if payload else None
        case MessageType.STREAM_END:
            return Data(stream_id, b"", end_stream=True)
        case MessageType.OPEN_STREAM:
            return Request(stream_id, _request_head(payload, upgrade=False))
        case MessageType.RESPONSE_HEADERS:
            return Response(stream_id, _response_head(payload))
        case MessageType.STREAM_CANCEL:
            return Reset(stream_id, ErrorCode.CANCELLED)
        case MessageType.WS_UPGRADE:
            return Request(stream_id, _request_head(payload, upgrade=True))
        case MessageType.PING:
            return Ping()
        case MessageType.PONG:
            return Pong()
        case MessageType.PAUSE:
            return Pause()
        case MessageType.RESUME:
            return Resume()
        case _:
            return None
