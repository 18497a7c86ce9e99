"""Content codings taken off while content streams: gzip and br (RFC 9110 §8.4.1).

A decoder gives what it makes in pieces of a bounded size, so that no ratio of a hostile coding
costs more than one piece; and it raises where a coding is broken, or ends before its end. Other
codings are not known here: content in them passes as it is.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final, Protocol

from attrs import define, field

from wormkey.errors import ErrorCode, StreamError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PIECE_BYTES: Final = 32 * 1024 - 16  # brotli's first block; told more, it gives three times that
_GZIP_WINDOW: Final = 31  # zlib's largest, with gzip's header and trailer


class Decoder(Protocol):
    """Takes coded content, gives the plain one."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what ``data`` holds, piece by piece; each is made when it is asked for.

        Raises:
            StreamError: ORIGIN_FAILED; the coding is broken.
        """
        ...

    def end(self) -> None:
        """Accept an end of the content here; no content at all is one.

        Raises:
            StreamError: ORIGIN_FAILED; the coding has not ended.
        """
        ...


@define(eq=False)
class GzipDecoder:
    """gzip (RFC 1952), of any number of members, with zeros behind them or not."""

    _zlib: zlib._Decompress = field(init=False)
    _begun: bool = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """As Decoder says."""
        while data:
            if not self._begun:
                self._zlib = zlib.decompressobj(_GZIP_WINDOW)
                self._begun = True
            elif self._zlib.eof:
                data = data.lstrip(b"\0")
                self._begun = not data
                continue
            piece = self._decode(data)
            while piece:
                yield piece
                piece = self._decode(self._zlib.unconsumed_tail)
            data = self._zlib.unused_data

    def _decode(self, data: bytes) -> bytes:
        """Return the next piece; b"" is the end of what can be made of the data so far."""
        if self._zlib.eof:
            return b""
        try:
            return self._zlib.decompress(data, PIECE_BYTES)
        except zlib.error:
            raise _broken("gzip") from None

    def end(self) -> None:
        """As Decoder says."""
        if self._begun and not self._zlib.eof:
            raise _cut("gzip")


@define(eq=False)
class BrotliDecoder:
    """br (RFC 7932): one stream, and nothing behind it."""

    _brotli: _Brotli = field(init=False)
    _error: type[Exception] = field(init=False)
    _begun: bool = False

    def __attrs_post_init__(self) -> None:
        """Load the library."""
        import brotli  # type: ignore[import-untyped] # noqa: PLC0415 - 0.4 MB that few pages need

        self._brotli = brotli.Decompressor()
        self._error = brotli.error

    def feed(self, data: bytes) -> Iterator[bytes]:
        """As Decoder says."""
        self._begun = self._begun or data != b""
        more = data != b""
        while more:
            try:
                piece = self._brotli.process(data, output_buffer_limit=PIECE_BYTES)
            except self._error:
                raise _broken("br") from None
            data = b""
            if piece:
                yield piece
            more = piece != b"" or not self._brotli.can_accept_more_data()

    def end(self) -> None:
        """As Decoder says."""
        if self._begun and not self._brotli.is_finished():
            raise _cut("br")


class _Brotli(Protocol):
    """What is used of brotli.Decompressor, which has no types of its own."""

    def process(self, data: bytes, *, output_buffer_limit: int) -> bytes: ...
    def can_accept_more_data(self) -> bool: ...
    def is_finished(self) -> bool: ...


DECODERS: Final[dict[bytes, Callable[[], Decoder]]] = {
    b"br": BrotliDecoder,
    b"gzip": GzipDecoder,
    b"x-gzip": GzipDecoder,
}


def _broken(coding: str) -> StreamError:
    return StreamError(ErrorCode.ORIGIN_FAILED, f"the app's {coding} content is broken")


def _cut(coding: str) -> StreamError:
    return StreamError(ErrorCode.ORIGIN_FAILED, f"the app's {coding} content ends too early")
