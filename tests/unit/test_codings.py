"""codings.py: gzip and br come off in bounded pieces; what is broken or cut is never mended."""

from __future__ import annotations

import gzip
import random
import tracemalloc

import brotli  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wormkey.codings import DECODERS, PIECE_BYTES
from wormkey.errors import ErrorCode, StreamError

MIXED = random.Random(1).randbytes(50_000) * 3 + b"<p>" * 100_000
ENCODERS = {b"br": brotli.compress, b"gzip": gzip.compress, b"x-gzip": gzip.compress}

codings = pytest.mark.parametrize("coding", sorted(DECODERS))


def decoded(coding: bytes, pieces: list[bytes]) -> bytes:
    """The plain content of coded content that arrives in these pieces, and then ends."""
    decoder = DECODERS[coding]()
    plain = b"".join([piece for data in pieces for piece in decoder.feed(data)])
    decoder.end()
    return plain


def failure(coding: bytes, data: bytes) -> str:
    """The sentence with which a content fails, whole and in small pieces."""
    with pytest.raises(StreamError) as whole:
        decoded(coding, [data])
    with pytest.raises(StreamError) as small:
        decoded(coding, [data[at : at + 1] for at in range(len(data))])
    assert whole.value.code is small.value.code is ErrorCode.ORIGIN_FAILED
    assert whole.value.detail == small.value.detail
    return whole.value.detail


@codings
@given(data=st.binary(max_size=300), size=st.integers(1, 40))
def test_what_was_coded_comes_back(coding: bytes, data: bytes, size: int) -> None:
    """Any content in pieces of any size is what it was."""
    coded = ENCODERS[coding](data)
    pieces = [coded[at : at + size] for at in range(0, len(coded), size)]
    assert decoded(coding, pieces) == data
    assert decoded(coding, [b"", coded, b""]) == data


@codings
@pytest.mark.parametrize("size", [1000, 10**6])
def test_large_content_comes_back(coding: bytes, size: int) -> None:
    """Content beyond a piece and a window is whole."""
    coded = ENCODERS[coding](MIXED)
    pieces = [coded[at : at + size] for at in range(0, len(coded), size)]
    assert decoded(coding, pieces) == MIXED


@codings
def test_no_content_is_an_end(coding: bytes) -> None:
    """An answer without content needs no empty member."""
    assert decoded(coding, []) == decoded(coding, [b""]) == b""


@codings
def test_a_piece_comes_at_once(coding: bytes) -> None:
    """What a coder has flushed is not held back: a streamed page is seen as it comes."""
    if coding == b"br":
        coder = brotli.Compressor()
        flushed = coder.process(b"<p>first</p>") + coder.flush()
    else:
        flushed = gzip.compress(b"<p>first</p>")[:-8]
    assert b"".join(DECODERS[coding]().feed(flushed)) == b"<p>first</p>"


@codings
def test_a_bomb_is_made_piece_by_piece(coding: bytes) -> None:
    """A thousand times its size costs one piece at a time, and none that is not asked for."""
    bomb = ENCODERS[coding](bytes(8 * 2**20))
    decoder = DECODERS[coding]()
    tracemalloc.start()
    pieces = decoder.feed(bomb)
    total = largest = 0
    for piece in pieces:
        total += len(piece)
        largest = max(largest, len(piece))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 8 * 2**20
    assert largest <= PIECE_BYTES
    assert peak < 3 * PIECE_BYTES + 3 * len(bomb)
    decoder.end()


@codings
def test_a_cut_content_is_not_whole(coding: bytes) -> None:
    """Wherever a coding is cut, its end is refused."""
    coded = ENCODERS[coding](b"<!doctype html><p>Hello, hello, hello")
    for at in range(1, len(coded)):
        decoder = DECODERS[coding]()
        assert b"<!doctype html>".startswith(b"".join(decoder.feed(coded[:at]))[:15])
        with pytest.raises(StreamError, match="ends too early"):
            decoder.end()


@codings
def test_a_broken_content_is_refused(coding: bytes) -> None:
    """Nothing is made up for what cannot be read."""
    assert "is broken" in failure(coding, b"<!doctype html><p>never coded at all, never")
    assert "is broken" in failure(coding, ENCODERS[coding](b"a page") + b"and more")


def test_a_wrong_checksum_is_refused() -> None:
    """The checks that gzip brings count."""
    coded = bytearray(gzip.compress(b"a page"))
    coded[-6] ^= 1
    assert "is broken" in failure(b"gzip", bytes(coded))


def test_members_follow_one_another() -> None:
    """Concatenated members are one content (RFC 1952 §2.2); zeros behind them are padding."""
    both = gzip.compress(b"one, ") + gzip.compress(b"") + gzip.compress(b"two")
    assert decoded(b"gzip", [both]) == b"one, two"
    assert decoded(b"gzip", [both[at : at + 1] for at in range(len(both))]) == b"one, two"
    assert decoded(b"gzip", [both + bytes(10), bytes(3)]) == b"one, two"
    assert decoded(b"gzip", [both + bytes(10), gzip.compress(b"!")]) == b"one, two!"
    assert "too early" in failure(b"gzip", both + gzip.compress(b"!")[:4])
