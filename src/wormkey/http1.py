"""The heads of HTTP/1.1 messages: found and parsed; and the limits of a connection.

Sans-I/O. grammar.py passes a head's raw octets first, whole. The plain case is then split here,
as h11 would: a property test proves them equal. Whatever is not plain meets a fresh h11 parser.
Content is http1_content.py's affair; streams, deadlines and roles are those of http1_viewer.py
and http1_origin.py (RFC 9112 §2 to §5).
"""

from __future__ import annotations

import re
from typing import Final

import h11
from attrs import define, field, frozen

from wormkey.errors import AdmissionError, ErrorCode, OriginError
from wormkey.frames import Fields, RequestHead, ResponseHead
from wormkey.grammar import (
    Decisive,
    RequestParts,
    ResponseParts,
    check_request_head,
    check_response_head,
    find_head_end,
)
from wormkey.http1_compose import TCHAR
from wormkey.pace import MIN_RATE_BYTES
from wormkey.recent import remembering

READ_BYTES: Final = 64 * 1024  # one recv; 4 KiB reads cost twice the CPU time for each byte
MAX_BLANK_BYTES: Final = 64  # CRLFs before a request line, which RFC 9112 §2.2 wants ignored

_FIELD_LINE: Final = re.compile(rb"\n([^:]++):[ \t]*+([^\r]*+)\r")

# What h11 must believe was asked before it takes a 1xx; the real request is composed here.
_ASKED: Final = h11.Request(method=b"GET", target=b"/", headers=[(b"Host", b"origin")])
_ASKED_UPGRADE: Final = h11.Request(
    method=b"GET", target=b"/", headers=[(b"Host", b"origin"), (b"Upgrade", b"any")]
)


@frozen(kw_only=True)
class Http1Limits:
    """What one connection may cost; the defaults are those of docs/limits.md."""

    max_head_bytes: int = 32 * 1024
    max_target_bytes: int = 16 * 1024  # the whole request line
    head_timeout_s: float = 10.0  # from a head's first octet to its last
    keep_alive_timeout_s: float = 75.0  # waiting for a request; browsers keep about as long
    content_idle_timeout_s: float = 20.0
    write_idle_timeout_s: float = 20.0
    min_rate_bytes: int = MIN_RATE_BYTES  # a second, after a grace; 0 for none


@frozen(kw_only=True)
class ViewerRequest:
    """A request as it came: every field, in order, spelled as it was.

    ``content_length`` is None for chunked content and where no length was given.
    ``expects_continue`` is never true for HTTP/1.0 (RFC 9110 §10.1.1) nor without content.
    ``keep_alive`` tells whether the viewer allows another request on the connection.
    """

    head: RequestHead
    http_version: bytes
    has_content: bool
    content_length: int | None
    expects_continue: bool
    keep_alive: bool
    raw_head: bytes


@frozen(kw_only=True)
class OriginAnswer:
    """An answer's head as it came, with what its fields say about the connection.

    ``content_length`` is None for chunked content and where no length was given.
    """

    head: ResponseHead
    chunked: bool
    content_length: int | None
    keep_alive: bool


# ── receiving ──────────────────────────────────────────────────────────────────────────────
@define
class HeadBuffer:
    """Octets received and not yet used; gives a head back once its empty line is there.

    Holds at most one head's limit and one read (``READ_BYTES``), because its owner reads no
    more while a head is complete and refuses one that is over the limit.
    """

    data: bytearray = field(factory=bytearray, init=False)
    _searched: int = field(default=0, init=False)
    _blank_bytes: int = field(default=0, init=False)

    @property
    def started(self) -> bool:
        """Whether the buffer holds more than line breaks before a head."""
        return bool(self.data) and self.data != b"\r"

    def skip_blank_lines(self) -> bool:
        """Drop CRLFs before a head (RFC 9112 §2.2); false once there were far too many."""
        while self.data.startswith(b"\r\n"):
            del self.data[:2]
            self._blank_bytes += 2
        return self._blank_bytes <= MAX_BLANK_BYTES

    def take_head(self) -> bytes | None:
        """Take the head off the front, with its empty line; None while it is not complete."""
        if not self.data:
            return None
        size = find_head_end(self.data, self._searched - 3 if self._searched > 3 else 0)
        if size < 0:
            self._searched = len(self.data)
            return None
        head = bytes(self.data[:size])
        del self.data[:size]
        self._searched = self._blank_bytes = 0
        return head

    def is_hopeless(self) -> bool:
        """Whether the first octet begins no head at all (a TLS handshake, say): do not wait."""
        return self.started and self.data[0] not in TCHAR

    def first_line_bytes(self) -> int:
        """Return the length of the first line so far, its line break not counted."""
        end = self.data.find(b"\r\n")
        return len(self.data) if end < 0 else end

    def take_all(self) -> bytes:
        """Take everything."""
        data = bytes(self.data)
        self.data.clear()
        self._searched = 0
        return data


def take_request_head(buffer: HeadBuffer, limits: Http1Limits) -> bytes | None:
    """Take a request head that is complete and within the limits; None where more must come.

    Raises:
        AdmissionError: 400, 414 or 431; waiting for more would not make it a request.
    """
    if not buffer.skip_blank_lines():
        raise bad_request("too many empty lines before it")
    raw = buffer.take_head()
    if raw is not None:
        line_bytes, head_bytes = raw.find(b"\r\n"), len(raw)
    elif buffer.is_hopeless():
        raise bad_request("this is not HTTP/1.1")
    else:
        line_bytes, head_bytes = buffer.first_line_bytes(), len(buffer.data)
    if line_bytes > limits.max_target_bytes:
        raise AdmissionError(414, "target_too_long", "The request target is too long.")
    if head_bytes > limits.max_head_bytes:
        raise AdmissionError(431, "head_too_large", "The request's header section is too large.")
    return raw


@remembering
def parse_request(raw: bytes) -> ViewerRequest:
    """Return the request whose whole head, empty line included, is ``raw``.

    Raises:
        AdmissionError: 400, 417, 431, 501 or 505 (grammar.check_request_head).
    """
    parts = check_request_head(raw)
    head = read_plain_request(parts) or read_request_by_h11(raw)
    chunked, length, waits, keeps = _read_decisive(parts[4], minor=parts[2])
    has_content = chunked or bool(length)
    return ViewerRequest(
        head=head,
        http_version=b"1." + parts[2],
        has_content=has_content,
        content_length=length,
        expects_continue=waits and has_content,
        keep_alive=keeps,
        raw_head=raw,
    )


def parse_response(raw: bytes, *, upgrade_asked: bool) -> OriginAnswer:
    """Return the answer whose whole head, empty line included, is ``raw``.

    Raises:
        OriginError: ORIGIN_FAILED; malformed (grammar.check_response_head), or a 101 that was
            not asked for.
    """
    return _parse_after_upgrade(raw) if upgrade_asked else _parse_response(raw)


def _parse_after_upgrade(raw: bytes) -> OriginAnswer:
    parts = check_response_head(raw)
    head = read_plain_response(parts) or read_response_by_h11(raw, upgrade_asked=True)
    return _answer(head, parts)


@remembering
def _parse_response(raw: bytes) -> OriginAnswer:
    parts = check_response_head(raw)
    head = read_plain_response(parts) or read_response_by_h11(raw, upgrade_asked=False)
    return _answer(head, parts)


def _answer(head: ResponseHead, parts: ResponseParts) -> OriginAnswer:
    chunked, length, _, keeps = _read_decisive(parts[4], minor=parts[0])
    return OriginAnswer(head=head, chunked=chunked, content_length=length, keep_alive=keeps)


def read_plain_request(parts: RequestParts) -> RequestHead | None:
    """Return the head that h11 would read from these parts; None where h11 itself is to read it.

    Plain is an origin-form target in HTTP/1.0 or 1.1 and plain fields.
    """
    method, target, minor, lines, decisive = parts
    if target[0] != 0x2F or minor > b"1":
        return None
    fields = _plain_fields(lines, decisive)
    return None if fields is None else RequestHead(method, target, fields)


def read_plain_response(parts: ResponseParts) -> ResponseHead | None:
    """Return the head that h11 would read from these parts; None where h11 itself is to read it.

    Plain is a final status in HTTP/1.0 or 1.1 and plain fields.
    """
    minor, status, reason, lines, decisive = parts
    if status < b"200" or minor > b"1":
        return None
    fields = _plain_fields(lines, decisive)
    return None if fields is None else ResponseHead(int(status), fields, reason or b"")


def _plain_fields(lines: bytes, decisive: Decisive) -> Fields | None:
    """Return the fields of lines without blanks at their ends; None for others.

    h11 spells a transfer coding in lower case: any other spelling is left to it.
    """
    if b" \r" in lines or b"\t\r" in lines:
        return None
    for name, value in decisive:
        if name == b"transfer-encoding" and value != b"chunked":
            return None
    return tuple(_FIELD_LINE.findall(lines))


def read_request_by_h11(raw: bytes) -> RequestHead:
    """Return the request head as h11 reads it.

    Raises:
        AdmissionError: 400; h11 refuses it.
    """
    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=len(raw))
    parser.receive_data(raw)
    try:
        event = parser.next_event()
    except h11.RemoteProtocolError as error:
        raise bad_request(f"{error}") from error
    if not isinstance(event, h11.Request):
        raise bad_request("it is no request")
    return RequestHead(event.method, event.target, tuple(event.headers.raw_items()))


def read_response_by_h11(raw: bytes, *, upgrade_asked: bool) -> ResponseHead:
    """Return the response head as h11 reads it.

    Raises:
        OriginError: ORIGIN_FAILED; h11 refuses it.
    """
    parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=len(raw))
    if raw.startswith(b"1", len(b"HTTP/1.1 ")):  # h11 takes a final answer unasked, and sooner
        parser.send(_ASKED_UPGRADE if upgrade_asked else _ASKED)
    parser.receive_data(raw)
    try:
        event = parser.next_event()
    except h11.RemoteProtocolError as error:
        raise _origin_failed(f"{error}") from error
    if not isinstance(event, h11.Response | h11.InformationalResponse):
        raise _origin_failed("it is no response")
    return ResponseHead(event.status_code, tuple(event.headers.raw_items()), event.reason)


def bad_request(reason: str) -> AdmissionError:
    """Return the error for a request that is not HTTP/1.1; ``reason`` is half a sentence."""
    return AdmissionError(400, "bad_request", f"The request is malformed: {reason}.")


def request_timeout(sentence: str) -> AdmissionError:
    """Return the error for a viewer who stopped inside a request (RFC 9110 §15.5.9)."""
    return AdmissionError(408, "request_timeout", sentence)


def _origin_failed(reason: str) -> OriginError:
    sentence = f"The local app's answer is not valid HTTP: {reason}."
    return OriginError(ErrorCode.ORIGIN_FAILED, sentence)


def _read_decisive(fields: Decisive, *, minor: bytes) -> tuple[bool, int | None, bool, bool]:
    """Return: is content chunked, its length, is a 100 awaited, does the connection go on.

    grammar.py has refused every head in which one of these could be read in two ways.
    """
    chunked = waits = False
    length: int | None = None
    options: list[bytes] = []
    for name, value in fields:
        if name == b"connection":
            options += [option.strip(b" \t") for option in value.lower().split(b",")]
        elif name == b"content-length":
            length = int(value)
        elif name == b"transfer-encoding":
            chunked = True
        elif name == b"expect":
            waits = minor != b"0"  # HTTP/1.0 has no expectations: RFC 9110 §10.1.1
    keeps = b"close" not in options and (minor != b"0" or b"keep-alive" in options)
    return chunked, length, waits, keeps  # the last by RFC 9112 §9.3


def asks_to_close(fields: Fields) -> bool:
    """Whether these fields of a head end the connection after the message: Connection: close."""
    return b"close" in [
        option.strip()
        for name, value in fields
        if len(name) == 10 and name.lower() == b"connection"
        for option in value.lower().split(b",")
    ]
