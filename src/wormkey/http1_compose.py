"""The parts of HTTP/1.1 heads as they go out: lines, fields, dates. Each refuses what is no line.

Sans-I/O; the counterpart of http1.py, which reads heads. What a head says is decided elsewhere;
here it is only put on the wire, so that no octet from a tunnel makes a line of its own
(RFC 9112 §3 to §5).
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime
from typing import TYPE_CHECKING, Final

from attrs import frozen

from wormkey.errors import ErrorCode, LocalProtocolError, StreamError

if TYPE_CHECKING:
    from wormkey.frames import Fields, ResponseHead

MAX_LENGTH_DIGITS: Final = 18  # grammar.py takes as many
TCHAR: Final = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

_HOP_BY_HOP: Final = frozenset((b"connection", b"keep-alive", b"transfer-encoding", b"upgrade"))
_VALUE_OCTETS: Final = b"\t" + bytes(range(0x20, 0x7F)) + bytes(range(0x80, 0x100))
_VISIBLE: Final = bytes(range(0x21, 0x7F))


@frozen
class AnswerLines:
    """A final answer's head without its framing. ``length`` is its Content-Length, if any."""

    lines: bytes
    length: int | None
    has_date: bool


def compose_answer(head: ResponseHead) -> AnswerLines:
    """Return what a final answer's head says itself; framing, Date and Connection are to follow.

    Raises:
        LocalProtocolError: a hop-by-hop field was not removed.
        StreamError: PROTOCOL_ERROR; the head cannot be put on the wire.
    """
    names = {name.lower() for name, _ in head.fields}
    if not names.isdisjoint(_HOP_BY_HOP):
        raise LocalProtocolError("write_head: hop-by-hop fields are not removed")
    length = declared_length(head.fields) if b"content-length" in names else None
    fields = head.fields
    if head.status == 204 and length is not None:  # RFC 9110 §8.6
        fields = tuple(pair for pair in fields if pair[0].lower() != b"content-length")
    lines = compose_status_line(head.status, head.reason) + compose_fields(fields)
    return AnswerLines(lines, length, b"date" in names)


def compose_fields(fields: Fields) -> bytes:
    """Return field lines as they go out; order and spelling are kept.

    Raises:
        StreamError: PROTOCOL_ERROR; a name or value that would not stay one field line. The
            far end of a tunnel sent it, and whoever took it in should have refused it.
    """
    if not fields:
        return b""
    names, values = zip(*fields, strict=True)
    if b"".join(names).translate(None, TCHAR) or b"".join(values).translate(None, _VALUE_OCTETS):
        raise StreamError(ErrorCode.PROTOCOL_ERROR, "a field holds octets that HTTP cannot carry")
    if b"" in names:
        raise StreamError(ErrorCode.PROTOCOL_ERROR, "a field has no name")
    return b"\r\n".join(map(b": ".join, fields)) + b"\r\n"


def compose_request_line(method: bytes, target: bytes) -> bytes:
    """Return the request line (RFC 9112 §3).

    Raises:
        StreamError: PROTOCOL_ERROR; the method is no token, or the target is not visible ASCII.
    """
    if not method or method.translate(None, TCHAR):
        raise StreamError(ErrorCode.PROTOCOL_ERROR, "the method is malformed")
    if not target or target.translate(None, _VISIBLE):
        raise StreamError(ErrorCode.PROTOCOL_ERROR, "the request target is malformed")
    return b"%b %b HTTP/1.1\r\n" % (method, target)


def compose_status_line(status: int, reason: bytes) -> bytes:
    """Return the status line (RFC 9112 §4); an empty reason stays empty.

    Raises:
        StreamError: PROTOCOL_ERROR; the status is not of three digits, or the reason holds
            controls.
    """
    if not 100 <= status <= 999 or reason.translate(None, _VALUE_OCTETS):
        raise StreamError(ErrorCode.PROTOCOL_ERROR, "the status line is malformed")
    return b"HTTP/1.1 %d %b\r\n" % (status, reason)


def compose_connection(keep: bool, upgrade: bytes, *, old: bool) -> bytes:
    """Return what a final answer says of its connection; ``upgrade`` is what a 426 asks for."""
    if upgrade:
        end = b"" if keep else b", close"
        return b"Upgrade: %b\r\nConnection: Upgrade%b\r\n" % (upgrade, end)
    kept = b"Connection: keep-alive\r\n" if old else b""
    return kept if keep else b"Connection: close\r\n"


def declared_length(fields: Fields) -> int | None:
    """Return the Content-Length among fields that came through a tunnel, None without one.

    Raises:
        StreamError: PROTOCOL_ERROR; there are two, or it is no plain number (RFC 9110 §8.6).
    """
    values = [
        value for name, value in fields if len(name) == 14 and name.lower() == b"content-length"
    ]
    if not values:
        return None
    if len(values) > 1 or not values[0].isdigit() or len(values[0]) > MAX_LENGTH_DIGITS:
        raise StreamError(ErrorCode.PROTOCOL_ERROR, "the Content-Length is malformed")
    return int(values[0])


_date: tuple[int, bytes] = (0, b"")  # the second that was formatted last


def current_date() -> bytes:
    """Return the time as a Date field has it (RFC 9110 §5.6.7); formatted once a second."""
    global _date
    now = datetime.now(UTC)
    second = int(now.timestamp())
    if _date[0] != second:
        _date = (second, format_datetime(now, usegmt=True).encode("ascii"))
    return _date[1]
