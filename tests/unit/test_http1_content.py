"""http1_content.py: content is told from its framing exactly as h11 does it, or refused."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.codec import chunked as cut
from wormkey.errors import ErrorCode, LocalProtocolError, StreamError
from wormkey.frames import MAX_FIELDS, Fields
from wormkey.http1_content import (
    MAX_CHUNK_LINE_BYTES,
    MAX_CHUNK_WASTE_BYTES,
    MAX_TRAILER_BYTES,
    ChunkedReader,
    ContentReader,
    ContentWriter,
    Framing,
    LengthReader,
    UntilCloseReader,
    compose_trailers,
)


class MalformedError(Exception):
    """What the readers of these tests raise."""


def read(reader: ContentReader, pieces: list[bytes]) -> tuple[bytes, bytes]:
    """Push all pieces; return the content and what follows the message."""
    content = after = b""
    for piece in pieces:
        if reader.finished:
            after += piece
            continue
        got, rest = reader.push(piece)
        content, after = content + got, after + rest
    return content, after


def outcome(pieces: list[bytes]) -> tuple[bytes, Fields, bytes] | str:
    """What a chunked reader makes of these pieces."""
    reader = ChunkedReader(MalformedError)
    try:
        content, after = read(reader, pieces)
    except MalformedError:
        return "malformed"
    return (content, reader.trailers, after) if reader.finished else "incomplete"


def h11_outcome(data: bytes) -> tuple[bytes, Fields, bytes]:
    """What h11 makes of the same octets."""
    connection = h11.Connection(h11.SERVER)
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    connection.receive_data(head + data)
    content = b""
    while not isinstance(event := connection.next_event(), h11.EndOfMessage):
        assert isinstance(event, h11.Request | h11.Data), event
        if isinstance(event, h11.Data):
            content += event.data
    return content, tuple(event.headers.raw_items()), connection.trailing_data[0]


chunk_lines = st.builds(
    lambda size, zeros, ext, upper: (
        b"0" * zeros + (b"%X" if upper else b"%x") % size + (b";" + ext if ext else b"")
    ),
    st.integers(0, 40),
    st.integers(0, 3),
    st.sampled_from([b"", b"a", b"a=b", b' q="; x"', b'q = "\\"\x80" ; c', b"\x80\t"]),
    st.booleans(),
)
trailer_lines = st.sampled_from(
    [b"A: b", b"Expires:\t x y \t", b"e:", b"Set-Cookie: a=1", b"A:\xff"]
)


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """Chunked content that is right or nearly right, with the start of something behind it."""
    out = b""
    for line in draw(st.lists(chunk_lines, max_size=5)):
        size = int(line.partition(b";")[0], 16)
        if size:
            out += line + b"\r\n" + draw(st.binary(min_size=size, max_size=size)) + b"\r\n"
    out += draw(st.sampled_from([b"0", b"000", b"0;x=y"])) + b"\r\n"
    for line in draw(st.lists(trailer_lines, max_size=3)):
        out += line + b"\r\n"
    out += b"\r\n" + draw(st.sampled_from([b"", b"GET /", b"\r\n", b"0\r\n\r\n"]))
    for place, octets in draw(
        st.lists(
            st.tuples(
                st.integers(0, len(out)),
                st.sampled_from(
                    [b"\r", b"\n", b"\r\n", b" ", b"\0", b";", b"1", b"g", b":", b"\t"]
                ),
            ),
            max_size=2,
        )
    ):
        keep = place + draw(st.integers(0, 1))
        out = out[:place] + octets + out[keep:]
    return out


@given(messages())
def test_what_is_taken_h11_takes_the_same_way(data: bytes) -> None:
    """Content, trailers and the place where the message ends are h11's, or it is refused."""
    mine = outcome([data])
    if not isinstance(mine, str):
        assert mine == h11_outcome(data)


@given(messages(), st.lists(st.integers(0, 500)))
def test_slicing_changes_nothing(data: bytes, cuts: list[int]) -> None:
    """Whole, in any pieces and byte by byte, the same comes out."""
    whole = outcome([data])
    assert outcome([data[at : at + 1] for at in range(len(data))]) == whole
    assert outcome(cut(data, cuts)) == whole


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=4))
def test_any_octets_are_content_or_malformed(data: bytes, cuts: list[int]) -> None:
    """Nothing but the caller's error comes out, whatever goes in."""
    outcome(cut(data, cuts))
    outcome(cut(b"5\r\nhello\r\n" + data, cuts))


MALFORMED = {
    "blank after the size": b"5 \r\nhello\r\n0\r\n\r\n",
    "blank before the size": b" 5\r\nhello\r\n0\r\n\r\n",
    "bare LF": b"5\nhello\r\n0\r\n\r\n",
    "bare CR in an extension": b"5;a\rb\r\nhello\r\n0\r\n\r\n",
    "control in an extension": b"5;a\x01\r\nhello\r\n0\r\n\r\n",
    "extension without a name": b"5;\r\nhello\r\n0\r\n\r\n",
    "blanks for an extension": b"5; \t\r\nhello\r\n0\r\n\r\n",
    "two semicolons": b"5;a;;b\r\nhello\r\n0\r\n\r\n",
    "extension without its value": b"5;a=\r\nhello\r\n0\r\n\r\n",
    "quote left open": b'5;a="b\r\nhello\r\n0\r\n\r\n',
    "quote closed on another line": b'5;a="b\r\nhello\r\n0\r\n\r\n"\r\nhello\r\n0\r\n\r\n',
    "quote left open behind a backslash": b'5;a="b\\"\r\nhello\r\n0\r\n\r\n',
    "octets behind a quote": b'5;a="b"c\r\nhello\r\n0\r\n\r\n',
    "blank behind an extension": b"5;a \r\nhello\r\n0\r\n\r\n",
    "blank before an extension": b"5 ;a\r\nhello\r\n0\r\n\r\n",
    "no size": b"\r\nhello\r\n0\r\n\r\n",
    "hexadecimal prefix": b"0x5\r\nhello\r\n0\r\n\r\n",
    "sign": b"+5\r\nhello\r\n0\r\n\r\n",
    "underscore": b"1_0\r\nhello\r\n0\r\n\r\n",
    "17 digits": b"00000000000000005\r\nhello\r\n0\r\n\r\n",
    "data longer than the size": b"4\r\nhello\r\n0\r\n\r\n",
    "two octets instead of CRLF": b"5\r\nhelloXX0\r\n\r\n",
    "LF after the data": b"5\r\nhello\n0\r\n\r\n",
    "trailer without a colon": b"0\r\nabc\r\n\r\n",
    "trailer with a blank name": b"0\r\na b: c\r\n\r\n",
    "folded trailer": b"0\r\na: b\r\n c\r\n\r\n",
    "bare LF in a trailer": b"0\r\na: b\nc: d\r\n\r\n",
    "NUL in a trailer": b"0\r\na: \0\r\n\r\n",
    "too many trailers": b"0\r\n" + b"a: b\r\n" * (MAX_FIELDS + 1) + b"\r\n",
    "trailers too large": b"0\r\na: " + b"b" * MAX_TRAILER_BYTES + b"\r\n\r\n",
    "extension too long": b"5;" + b"e" * MAX_CHUNK_LINE_BYTES + b"\r\nhello\r\n0\r\n\r\n",
    "extensions without end": (b"1;" + b"e" * 1000 + b"\r\nx\r\n") * (MAX_CHUNK_WASTE_BYTES // 900),
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_framing_is_refused(data: bytes) -> None:
    """Whatever two parsers could read in two ways ends the message, however it arrives."""
    assert outcome([data]) == "malformed"
    assert outcome([data[at : at + 1] for at in range(len(data))]) == "malformed"


@pytest.mark.parametrize(
    "extensions",
    [
        b";a",
        b";a=b",
        b";a;b=c;d",
        b'; a = "b" ; c="d"',
        b';a;b="\\"; \\\\\xff"',
        b';a=""',
    ],
)
def test_extensions_that_are_right_are_ignored(extensions: bytes) -> None:
    """RFC 9112 §7.1.1: names, values, quoted values with anything in them, blanks between."""
    data = b"5" + extensions + b"\r\nhello\r\n0" + extensions + b"\r\n\r\n"
    assert outcome([data]) == (b"hello", (), b"")
    assert outcome([data[at : at + 1] for at in range(len(data))]) == outcome([data])


def test_an_endless_line_is_refused_before_its_end() -> None:
    """What cannot become valid is not waited for, and not held."""
    for start, filler, limit in (
        (b"5;", b"e", MAX_CHUNK_LINE_BYTES),
        (b"0\r\na:", b"b", MAX_TRAILER_BYTES),
    ):
        held = start + filler * (limit // 2)
        assert outcome([held]) == "incomplete"
        assert outcome([held, filler * limit]) == "malformed"


def test_limits_are_reached_by_honest_messages() -> None:
    """The largest trailer section and the longest chunk line pass, in any slicing."""
    value = b"b" * (MAX_TRAILER_BYTES - len(b"a: \r\n"))
    data = b"0\r\na: " + value + b"\r\n\r\n"
    assert outcome([data]) == (b"", ((b"a", value),), b"")
    assert outcome([data[:-1], data[-1:]]) == outcome([data])
    line = b"1;" + b"e" * (MAX_CHUNK_LINE_BYTES - len(b"1;\r\n")) + b"\r\n"
    assert outcome([line[:-1], line[-1:] + b"x\r\n0\r\n\r\n"]) == (b"x", (), b"")


@given(st.binary(max_size=40), st.integers(0, 40), st.lists(st.integers(0, 40), max_size=4))
def test_length_ends_where_it_says(data: bytes, length: int, cuts: list[int]) -> None:
    """Exactly the declared octets are content; what follows them is given back."""
    reader = LengthReader(length)
    content, after = read(reader, cut(data, cuts))
    assert (content, after) == (data[:length], data[length:])
    assert reader.finished is (len(data) >= length)


def test_until_close_everything_is_content() -> None:
    """Only the connection's end can finish it."""
    reader = UntilCloseReader()
    assert read(reader, [b"a", b"0\r\n\r\n"]) == (b"a0\r\n\r\n", b"")
    assert not reader.finished


def write(writer: ContentWriter, pieces: list[bytes], trailers: Fields = ()) -> bytes:
    """Compose the pieces and the end."""
    out: list[bytes] = []
    for piece in pieces:
        writer.write(piece, out)
    writer.end(trailers, out)
    return b"".join(out)


@given(st.lists(st.binary(max_size=20), max_size=6))
def test_written_content_is_read_back(pieces: list[bytes]) -> None:
    """Each framing carries each content; an empty piece does not end chunked content."""
    content = b"".join(pieces)
    trailers = ((b"X-Sum", b"1"), (b"x-sum", b"2"))
    chunks = write(ContentWriter(Framing.CHUNKED), pieces, trailers)
    assert outcome([chunks]) == (content, trailers, b"")
    assert write(ContentWriter(Framing.LENGTH, len(content)), pieces, trailers) == content
    assert write(ContentWriter(Framing.UNTIL_CLOSE), pieces) == content
    assert write(ContentWriter(Framing.NO_CONTENT), pieces) == b""


def test_a_wrong_length_never_reaches_the_wire() -> None:
    """Too much writes nothing of it, too little is no end: the message stays visibly cut."""
    out: list[bytes] = []
    writer = ContentWriter(Framing.LENGTH, 5)
    writer.write(b"abc", out)
    with pytest.raises(StreamError) as too_much:
        writer.write(b"def", out)
    with pytest.raises(StreamError) as too_little:
        writer.end((), out)
    assert too_much.value.code is too_little.value.code is ErrorCode.PROTOCOL_ERROR
    assert out == [b"abc"]
    assert not writer.ended


def test_nothing_follows_the_end() -> None:
    """Writing on after the end is our own bug."""
    writer = ContentWriter(Framing.CHUNKED)
    writer.end((), [])
    with pytest.raises(LocalProtocolError):
        writer.write(b"x", [])
    with pytest.raises(LocalProtocolError):
        writer.end((), [])


def test_trailers_carry_no_framing_and_no_injection() -> None:
    """Fields that would change a message's framing are dropped, impossible ones are an error."""
    fields = (
        (b"Content-Length", b"9"),
        (b"TRANSFER-ENCODING", b"x"),
        (b"Host", b"h"),
        (b"a", b"b"),
    )
    assert compose_trailers(fields) == b"0\r\na: b\r\n\r\n"
    for bad in ((b"a", b"b\r\nc: d"), (b"a: b\r\nc", b"d"), (b"", b"x"), (b"a", b"\0")):
        with pytest.raises(StreamError):
            compose_trailers((bad,))
