"""The content of HTTP/1.1 messages: told from its framing on the way in, framed on the way out.

Sans-I/O. Content is read here and not by h11, because h11 does not show the chunk framing that
a strict reader must refuse (blanks after a size, bare CRs, endless extensions); a test proves
that whatever is taken here h11 reads the same way. No heads, streams, deadlines or roles may
enter (RFC 9112 §6 and §7).
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable
from typing import Final, Protocol

from attrs import define, field

from wormkey.errors import ErrorCode, LocalProtocolError, StreamError
from wormkey.frames import MAX_FIELDS, Fields
from wormkey.http1_compose import compose_fields

MAX_CHUNK_LINE_BYTES: Final = 1024  # size and extensions; nobody sends more than a few octets
MAX_CHUNK_WASTE_BYTES: Final = 16 * 1024  # framing beyond 16 + 2 x content, as Go's net/http
MAX_TRAILER_BYTES: Final = 16 * 1024  # the size h11 takes

_SECTION_END: Final = b"\r\n\r\n"
_BARE_BREAK: Final = re.compile(rb"(?<!\r)\n|\r[^\n]")
# RFC 9112 §7.1.1: extensions are names, with or without a value. A quote left open is refused: some
# parsers read on behind the line's end to close it. No blank before the first; sets alone are
# possessive, as in grammar.py.
_SIZE: Final = rb"[0-9A-Fa-f]{1,16}"
_NAME: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
_QUOTE_OPEN: Final = rb'"(?:[\t !#-\[\]-~\x80-\xff]++|\\[\t -~\x80-\xff])*'
_EXTENSIONS: Final = rb"(?=;)(?:[\t ]*+;[\t ]*+%b(?:[\t ]*+=[\t ]*+(?:%b|%b\"))?)*" % (
    _NAME,
    _NAME,
    _QUOTE_OPEN,
)
_EXTENSION_PART: Final = rb"[\t ]*+(?:;[\t ]*+(?:%b[\t ]*+(?:=[\t ]*+(?:%b\\?)?)?)?)?" % (
    _NAME,
    _QUOTE_OPEN,
)
_CHUNK: Final = re.compile(rb"(%b)(?:%b)?\r\n" % (_SIZE, _EXTENSIONS))
_CHUNK_PART: Final = re.compile(
    rb"(?:%b(?:%b(?:%b|\r)|\r)?)?" % (_SIZE, _EXTENSIONS, _EXTENSION_PART)
)
_TRAILER: Final = re.compile(
    rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[\t ]*([\t\x20-\x7e\x80-\xff]*)", re.DOTALL
)
# RFC 9110 §6.5.1: framing, routing and connection management have no place in a trailer section.
_NEVER_TRAILERS: Final = frozenset(
    (b"connection", b"content-length", b"host", b"te", b"trailer", b"transfer-encoding", b"upgrade")
)


class ContentReader(Protocol):
    """Tells content from framing; knows where the message ends."""

    finished: bool
    trailers: Fields

    def push(self, data: bytes) -> tuple[bytes, bytes]:
        """Take received octets; return the content among them and what follows the message."""
        ...


@define
class LengthReader:
    """Content of a declared length (RFC 9112 §6.2)."""

    remaining: int
    finished: bool = field(init=False)
    trailers: Fields = ()

    def __attrs_post_init__(self) -> None:
        """No content is finished content."""
        self.finished = not self.remaining

    def push(self, data: bytes) -> tuple[bytes, bytes]:
        """Return the content in ``data`` and what lies behind its end."""
        remaining = self.remaining
        self.remaining = max(0, remaining - len(data))
        self.finished = not self.remaining
        if len(data) <= remaining:
            return data, b""
        return data[:remaining], data[remaining:]


@define
class UntilCloseReader:
    """Content that only the end of the connection ends; its owner sets ``finished``."""

    finished: bool = False
    trailers: Fields = ()

    def push(self, data: bytes) -> tuple[bytes, bytes]:
        """Return ``data``: everything is content."""
        return data, b""


@define
class ChunkedReader:
    """Chunked content (RFC 9112 §7.1), strictly: CRLF only, no blanks after a size, no controls.

    ``fail`` makes the error for content that breaks the framing: the role knows whose fault it
    is. Holds back at most a chunk line or a trailer section that is not complete.
    """

    _fail: Callable[[str], Exception]
    finished: bool = False
    trailers: Fields = ()
    _held: bytes = b""
    _remaining: int = 0  # octets of the current chunk still to come
    _after_data: bool = False  # the CRLF that ends a chunk's data is due
    _in_trailers: bool = False
    _waste_bytes: int = 0

    def push(self, data: bytes) -> tuple[bytes, bytes]:
        """Return the content in ``data`` and what lies behind the trailer section.

        Raises:
            Exception: what ``fail`` makes, for malformed framing or too much of it.
        """
        if self._held:
            data, self._held = self._held + data, b""
        content: list[bytes] = []
        at = 0
        while not self._in_trailers:
            if self._remaining:
                piece = data[at : at + self._remaining]
                content.append(piece)
                at += len(piece)
                self._remaining -= len(piece)
                if self._remaining:
                    return b"".join(content), b""
                self._after_data = True
            line_at = self._skip_data_end(data, at)
            line = _CHUNK.match(data, line_at) if line_at >= 0 else None
            if line is None:
                self._hold_line(data, at, line_at)
                return b"".join(content), b""
            self._open_chunk(line)
            at = line.end()
        return b"".join(content), self._read_trailers(data, at)

    def _skip_data_end(self, data: bytes, at: int) -> int:
        """Return where the next chunk line begins; -1 while the CRLF before it is cut."""
        if not self._after_data:
            return at
        if data.startswith(b"\r\n", at):
            return at + 2
        if len(data) > at + 1 or data[at:] not in (b"", b"\r"):
            raise self._fail("a chunk is longer than its size says")
        return -1

    def _open_chunk(self, line: re.Match[bytes]) -> None:
        self._remaining = int(line[1], 16)
        self._after_data = False
        self._in_trailers = not self._remaining
        line_bytes = line.end() - line.start()
        waste = self._waste_bytes + line_bytes - 16 - 2 * self._remaining
        self._waste_bytes = max(0, waste)
        if line_bytes > MAX_CHUNK_LINE_BYTES or self._waste_bytes > MAX_CHUNK_WASTE_BYTES:
            raise self._fail("the chunk extensions are too large")

    def _hold_line(self, data: bytes, at: int, line_at: int) -> None:
        """Keep an incomplete chunk line for the next push, if it can still become valid."""
        if line_at >= 0:
            part = data[line_at:]
            if len(part) > MAX_CHUNK_LINE_BYTES:
                raise self._fail("a chunk line is too long")
            if not _CHUNK_PART.fullmatch(part):
                raise self._fail("a chunk size is malformed")
        self._held = data[at:]

    def _read_trailers(self, data: bytes, at: int) -> bytes:
        """Parse the trailer section when it is complete; return what follows the message."""
        if data.startswith(b"\r\n", at):
            self.finished = True
            return data[at + 2 :]
        end = data.find(_SECTION_END, at)
        section = data[at : end + 2] if end >= 0 else data[at:].removesuffix(b"\r")
        if len(section) > MAX_TRAILER_BYTES:
            raise self._fail("the trailer section is too large")
        if end < 0:
            if _BARE_BREAK.search(section):
                raise self._fail("a line of the trailer section does not end with CRLF")
            self._held = data[at:]
            return b""
        self.trailers = self._parse_trailers(section)
        self.finished = True
        return data[end + len(_SECTION_END) :]

    def _parse_trailers(self, section: bytes) -> Fields:
        lines = section.split(b"\r\n")[:-1]
        fields = [_TRAILER.fullmatch(line) for line in lines]
        if len(fields) > MAX_FIELDS or not all(fields):
            raise self._fail("the trailer section is malformed")
        return tuple((line[1], line[2].rstrip(b"\t ")) for line in fields if line)


class Framing(enum.Enum):
    """How the end of a message's content is told (RFC 9112 §6.3)."""

    LENGTH = enum.auto()
    CHUNKED = enum.auto()
    UNTIL_CLOSE = enum.auto()
    NO_CONTENT = enum.auto()  # what is written is dropped


def framing_of(status: int, length: int | None, *, is_head: bool, old: bool) -> Framing:
    """Return how an answer's content ends; ``old`` viewers know no chunks (RFC 9112 §6.3)."""
    if is_head or status in (204, 304):
        return Framing.NO_CONTENT
    if length is not None:
        return Framing.LENGTH
    return Framing.UNTIL_CLOSE if old else Framing.CHUNKED


@define
class ContentWriter:
    """Puts content into its framing; ``remaining`` octets of a declared length are due."""

    framing: Framing
    remaining: int = 0
    ended: bool = False

    def write(self, data: bytes, out: list[bytes]) -> None:
        """Append ``data`` to ``out``.

        Raises:
            LocalProtocolError: after the end.
            StreamError: PROTOCOL_ERROR; more than the declared length: none of it is written.
        """
        if self.ended:
            raise LocalProtocolError("content after its end")
        match self.framing:
            case Framing.LENGTH:
                if len(data) > self.remaining:
                    code = ErrorCode.PROTOCOL_ERROR
                    raise StreamError(code, "the content is longer than its Content-Length")
                self.remaining -= len(data)
                out.append(data)
            case Framing.CHUNKED:
                if data:  # an empty chunk would be the last one
                    out += (b"%x\r\n" % len(data), data, b"\r\n")
            case Framing.UNTIL_CLOSE:
                out.append(data)
            case Framing.NO_CONTENT:
                pass

    def end(self, trailers: Fields, out: list[bytes]) -> None:
        """Append the end of the content; trailers exist in chunked content only.

        Raises:
            LocalProtocolError: ended before.
            StreamError: PROTOCOL_ERROR; less than the declared length, or malformed trailers.
                The content is not ended.
        """
        if self.ended:
            raise LocalProtocolError("an end of content after its end")
        if self.remaining:
            code = ErrorCode.PROTOCOL_ERROR
            raise StreamError(code, "the content is shorter than its Content-Length")
        if self.framing is Framing.CHUNKED:
            out.append(compose_trailers(trailers))
        self.ended = True


def compose_trailers(fields: Fields) -> bytes:
    """Return the last chunk and the trailer section; framing fields are left out of it.

    Raises:
        StreamError: PROTOCOL_ERROR; as compose_fields.
    """
    if not fields:
        return b"0\r\n\r\n"
    kept = tuple(pair for pair in fields if pair[0].lower() not in _NEVER_TRAILERS)
    return b"0\r\n%b\r\n" % compose_fields(kept)
