"""HTTP/1.1 messages as a strict reader of its own understands them (RFC 9112).

Deliberately not h11 and nothing of the project's: whatever it does not recognise exactly fails
the test. Fields keep order, repeats and spelling. Reads from a Link; knows no roles beyond the
framing rules of requests and responses.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from attrs import define, field, frozen

from tests.support.link import CutError, Ended

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from tests.support.link import Link

Fields: TypeAlias = tuple[tuple[bytes, bytes], ...]

_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST_LINE: Final = re.compile(rb"(" + _TOKEN + rb") ([^\x00-\x20\x7f]+) (HTTP/1\.[01])")
_STATUS_LINE: Final = re.compile(rb"(HTTP/1\.[01]) ([1-5][0-9]{2}) ([\t\x20-\x7e\x80-\xff]*)")
_FIELD: Final = re.compile(
    rb"(" + _TOKEN + rb"):[\t ]*((?:[^\x00-\x08\x0a-\x1f\x7f]*[^\x00-\x20\x7f])?)[\t ]*"
)
_CHUNK_SIZE: Final = re.compile(rb"[0-9A-Fa-f]{1,16}")


def _matched(pattern: re.Pattern[bytes], line: bytes) -> re.Match[bytes]:
    match = pattern.fullmatch(line)
    if match is None:
        message = f"not {pattern.pattern!r}: {line!r}"
        raise AssertionError(message)
    return match


@frozen
class Head:
    """A head as it stood on the wire."""

    start: tuple[bytes, bytes, bytes]
    fields: Fields
    raw: bytes

    def all(self, name: bytes) -> list[bytes]:
        """Return the values of every field of this name, in order."""
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def get(self, name: bytes) -> bytes | None:
        """Return the one value of this name, None without one; a repeat fails the test."""
        values = self.all(name)
        assert len(values) <= 1, f"{name!r} is repeated: {values!r}"
        return values[0] if values else None

    def has(self, name: bytes) -> bool:
        """Return whether any field has this name."""
        return bool(self.all(name))

    @property
    def names(self) -> list[bytes]:
        """The names in lower case, in order."""
        return [key.lower() for key, _ in self.fields]


@define
class Content:
    """What a message carried, piece by piece, and how its end was told."""

    chunks: list[bytes] = field(factory=list)
    trailers: Fields = ()
    end: str = "none"  # none, length, chunked, FIN; cut-FIN and cut-RST when incomplete

    @property
    def data(self) -> bytes:
        """All pieces joined."""
        return b"".join(self.chunks)

    @property
    def complete(self) -> bool:
        """Whether the framing said that this was all of it."""
        return self.end in ("none", "length", "chunked", "FIN")


@define
class Request:
    """One request as the origin saw it."""

    head: Head
    content: Content = field(factory=Content)

    @property
    def method(self) -> bytes:
        """The method, spelled as sent."""
        return self.head.start[0]

    @property
    def target(self) -> bytes:
        """The request target, untouched."""
        return self.head.start[1]

    @property
    def fields(self) -> Fields:
        """All fields, untouched."""
        return self.head.fields


@define
class Response:
    """One final answer as the viewer saw it, with the interim ones before it."""

    head: Head
    interim: list[Head] = field(factory=list)
    content: Content = field(factory=Content)

    @property
    def status(self) -> int:
        """The status code."""
        return int(self.head.start[1])

    @property
    def fields(self) -> Fields:
        """All fields, untouched."""
        return self.head.fields

    @property
    def data(self) -> bytes:
        """The whole content."""
        return self.content.data

    def json(self) -> Any:
        """Return the content as JSON."""
        return json.loads(self.data)

    @property
    def error(self) -> bytes | None:
        """The Wormkey-Error code, None for an answer that is the origin's."""
        return self.head.get(b"Wormkey-Error")


def parse_fields(lines: Iterable[bytes]) -> Fields:
    """Return the fields of these lines."""
    return tuple((m[1], m[2]) for m in (_matched(_FIELD, line) for line in lines))


def _parse(raw: bytes, start_line: re.Pattern[bytes]) -> Head:
    lines = raw[:-4].split(b"\r\n")
    first = _matched(start_line, lines[0])
    return Head((first[1], first[2], first[3]), parse_fields(lines[1:]), raw)


async def read_request_head(link: Link) -> Head | None:
    """Return the next request's head; None when the connection ended between requests."""
    if not await link.wait_readable():
        return None
    return _parse(await link.read_until(b"\r\n\r\n"), _REQUEST_LINE)


async def read_response_head(link: Link) -> Head:
    """Return the next head, interim or final.

    Raises:
        CutError: the connection ended first.
    """
    return _parse(await link.read_until(b"\r\n\r\n"), _STATUS_LINE)


def framing(head: Head, *, request: bool, method: bytes = b"") -> int | str:
    """Return the content's length in bytes, or "chunked", or "close" (RFC 9112 section 6.3)."""
    status = 0 if request else int(head.start[1])
    codings, lengths = head.all(b"Transfer-Encoding"), head.all(b"Content-Length")
    assert not (codings and lengths), "both Transfer-Encoding and Content-Length"
    assert codings in ([], [b"chunked"]), codings
    assert len(lengths) <= 1, lengths
    assert all(re.fullmatch(rb"[0-9]+", value) for value in lengths), lengths
    if status and (method == b"HEAD" or status < 200 or status in (204, 304)):
        if status < 200 or status == 204:
            assert not lengths, "Content-Length is not allowed on 1xx and 204"
            assert not codings, "Transfer-Encoding is not allowed on 1xx and 204"
        return 0
    if codings:
        return "chunked"
    if lengths:
        return int(lengths[0])
    return 0 if request else "close"


async def _read_line(link: Link) -> bytes:
    """Return a line of the framing; a cut in it holds no content."""
    try:
        return (await link.read_until(b"\r\n"))[:-2]
    except CutError as cut:
        raise CutError(cut.ended, b"") from cut


async def read_chunk(link: Link) -> bytes | Fields:
    """Return the next chunk's bytes, or the trailer section once the last chunk has come.

    Raises:
        CutError: the connection ended first; ``got`` is content.
    """
    size = int(_matched(_CHUNK_SIZE, await _read_line(link))[0], 16)
    if size:
        data = await link.read_exactly(size)
        assert await _read_line(link) == b"", "no CRLF behind a chunk"
        return data
    lines = []
    while line := await _read_line(link):
        lines.append(line)
    return parse_fields(lines)


async def _nothing(_piece: bytes) -> None:
    """Take a piece and do nothing with it."""


async def read_content(
    link: Link,
    kind: int | str,
    content: Content,
    take: Callable[[bytes], Awaitable[None]] = _nothing,
) -> Content:
    """Read a message's content as ``framing`` said; a cut ends it, ``end`` tells how.

    Each piece is recorded in ``content`` as it arrives and given to ``take``.
    """
    try:
        if kind == "chunked":
            while isinstance(piece := await read_chunk(link), bytes):
                content.chunks.append(piece)
                await take(piece)
            content.trailers, content.end = piece, "chunked"
            return content
        left = kind if isinstance(kind, int) else 1 << 62
        while left and (data := await link.read_some(min(left, 65536))):
            left -= len(data)
            content.chunks.append(data)
            await take(data)
    except CutError as cut:
        if cut.got:
            content.chunks.append(cut.got)
        content.end = f"cut-{cut.ended.value}"
        return content
    if kind == "close":
        content.end = "FIN" if link.ended is Ended.FIN else "cut-RST"
    elif left:
        content.end = f"cut-{(link.ended or Ended.FIN).value}"
    else:
        content.end = "length" if kind else "none"
    return content


def compose(start: bytes, fields: Iterable[tuple[bytes, bytes]], content: bytes = b"") -> bytes:
    """Return a message's bytes: exactly this start line, these fields and this content."""
    lines = [start, *(name + b": " + value for name, value in fields), b"", content]
    return b"\r\n".join(lines)


def response(
    content: bytes = b"", *, status: bytes = b"200 OK", fields: Iterable[tuple[bytes, bytes]] = ()
) -> bytes:
    """Return a response with a Content-Length in front of ``fields``."""
    length = (b"Content-Length", b"%d" % len(content))
    return compose(b"HTTP/1.1 " + status, (length, *fields), content)


def chunk(data: bytes) -> bytes:
    """Return one chunk; b"" makes the last chunk without its trailer section."""
    return b"%x\r\n%s\r\n" % (len(data), data) if data else b"0\r\n"


LAST_CHUNK: Final = b"0\r\n\r\n"
