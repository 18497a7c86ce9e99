"""wire0.py: heads as text are written and read strictly; nothing can be injected."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.codec import message0
from wormkey.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from wormkey.frames import (
    MAX_FIELDS,
    Fields,
    Frame,
    Request,
    RequestHead,
    Response,
    ResponseHead,
    StreamId,
)
from wormkey.wire0 import (
    MAX_HEAD_BYTES0,
    Decoder0,
    MessageType,
    encode0,
)

ID = StreamId(3)


def read(data: bytes) -> list[Frame]:
    """Feed one message to a fresh decoder."""
    return Decoder0().feed(data)


def opened(text: bytes) -> RequestHead:
    """The head of an OPEN_STREAM with this text."""
    (frame,) = read(message0(MessageType.OPEN_STREAM, text))
    assert isinstance(frame, Request)
    return frame.head


def answered(text: bytes) -> ResponseHead:
    """The head of a RESPONSE_HEADERS with this text."""
    (frame,) = read(message0(MessageType.RESPONSE_HEADERS, text))
    assert isinstance(frame, Response)
    return frame.head


def fields_written(fields: Fields) -> Fields:
    """What a v0 gateway reads of an answer with these fields."""
    return answered(encode0(Response(ID, ResponseHead(200, fields)))[5:]).fields


# ── limits ────────────────────────────────────────────────────────────────────────────────────

LINE = b"GET / HTTP/1.1\r\n"


@pytest.mark.parametrize(
    "text",
    [
        LINE + b"a: b\r\n" * (MAX_FIELDS + 1) + b"\r\n",
        LINE + b"a: " + b"b" * MAX_HEAD_BYTES0 + b"\r\n\r\n",
    ],
)
def test_a_head_over_the_limits_is_refused(text: bytes) -> None:
    """Too many fields, or too many bytes."""
    with pytest.raises(RemoteProtocolError) as caught:
        opened(text)
    assert caught.value.code is ErrorCode.FRAME_SIZE_ERROR


@pytest.mark.parametrize(
    "fields", [((b"a", b"b"),) * (MAX_FIELDS + 1), ((b"a", bytes(1).replace(b"\0", b"b") * 65536),)]
)
def test_a_head_over_the_limits_is_not_written(fields: Fields) -> None:
    """We do not send what we would refuse."""
    with pytest.raises(LocalProtocolError) as caught:
        encode0(Request(ID, RequestHead(b"GET", b"/", fields)))
    assert caught.value.code is ErrorCode.FRAME_SIZE_ERROR


def test_the_largest_heads_pass() -> None:
    """The limits are met, not only kept."""
    many = RequestHead(b"GET", b"/", ((b"a", b"b"),) * MAX_FIELDS)
    assert opened(encode0(Request(ID, many))[5:]) == many
    value = b"v" * (MAX_HEAD_BYTES0 - len(LINE + b"a: \r\n\r\n"))
    long = RequestHead(b"GET", b"/", ((b"a", value),))
    assert opened(encode0(Request(ID, long))[5:]) == long


# ── reading heads ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "head"),
    [
        (b"HTTP/1.1 200\r\n\r\n", ResponseHead(200, ())),
        (b"HTTP/1.1 200", ResponseHead(200, ())),
        (b"HTTP/1.1 200\r\n", ResponseHead(200, ())),
        (b"HTTP/1.1 200 \r\n\r\n", ResponseHead(200, ())),
        (b"HTTP/1.0 200 OK\r\n\r\n", ResponseHead(200, (), b"OK")),
        (b"HTTP/1.1 404 Not \xffound\r\na:b", ResponseHead(404, ((b"a", b"b"),), b"Not \xffound")),
        (b"HTTP/1.1 204\r\na: \t b c\t \r\n", ResponseHead(204, ((b"a", b"b c"),))),
        (b"HTTP/1.1 204\r\na:\r\n\r\n", ResponseHead(204, ((b"a", b""),))),
    ],
)
def test_an_answer_is_read_as_existing_clients_write_it(text: bytes, head: ResponseHead) -> None:
    """With or without a reason phrase, the closing empty line and space around a value."""
    assert answered(text) == head


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"GET /",
        b"GET / HTTP/1.0",
        b"GET / HTTP/2",
        b"GET / a HTTP/1.1",
        b"GET  / HTTP/1.1",
        b" GET / HTTP/1.1",
        b"GET / HTTP/1.1 ",
        b"GET /\tHTTP/1.1",
        b"GET /\x00 HTTP/1.1",
        b"GET /\x7f HTTP/1.1",
        b"GET /\n HTTP/1.1",
        b"G(T / HTTP/1.1",
        b"/ HTTP/1.1",
        b"GET / HTTP/1.1\n",
        b"GET / HTTP/1.1\r",
    ],
)
def test_a_malformed_request_line_is_the_peer_s_fault(line: bytes) -> None:
    """A target with a space above all: it would be another request to the origin."""
    with pytest.raises(RemoteProtocolError, match="request line"):
        opened(line + b"\r\n\r\n")


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"200 OK",
        b"HTTP/1.1",
        b"HTTP/1.1 20",
        b"HTTP/1.1 2000",
        b"HTTP/1.1 099",
        b"HTTP/1.1 20x",
        b"HTTP/1.1  200",
        b"HTTP/2 200",
        b"HTTP/1.1 200 a\nb",
        b"HTTP/1.1 200 \x00",
    ],
)
def test_a_malformed_status_line_is_the_peer_s_fault(line: bytes) -> None:
    """Three digits behind the version, nothing that ends a line."""
    with pytest.raises(RemoteProtocolError, match="status line"):
        answered(line + b"\r\na: b\r\n\r\n")


@pytest.mark.parametrize(
    "lines",
    [
        b"no colon",
        b": no name",
        b"space before : colon",
        b"a: b\r\n folded",
        b"a: b\nc: d",
        b"a: b\rc: d",
        b"a: \x00",
        b"a\x00: b",
        b"\xe4: b",
        b"a: b\r\n\r\nc: d",
        b"a: b\r\n\r\n\r\n",
    ],
)
def test_a_malformed_field_line_is_the_peer_s_fault(lines: bytes) -> None:
    """Nothing that two readers could read differently is passed on; nothing follows the head."""
    with pytest.raises(RemoteProtocolError):
        answered(b"HTTP/1.1 200\r\n" + lines + b"\r\n\r\n")


@pytest.mark.parametrize(
    ("lines", "upgrade"),
    [
        (b"UPGRADE: h2c\r\nconnection: upgrade\r\n", b"h2c"),
        (b"Upgrade: a\r\nUpgrade: b/1\r\n", b"a, b/1"),
        (b"Upgrade:\r\n", b"websocket"),
        (b"", b"websocket"),
    ],
)
def test_an_upgrade_is_told_by_its_type(lines: bytes, upgrade: bytes) -> None:
    """WS_UPGRADE is an offer of what its field names, of a WebSocket where there is none."""
    data = message0(MessageType.WS_UPGRADE, b"GET /ws HTTP/1.1\r\n" + lines + b"Origin: x\r\n\r\n")
    head = RequestHead(b"GET", b"/ws", ((b"Origin", b"x"),), upgrade)
    assert read(data) == [Request(ID, head)]


# ── writing heads ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("method", "target"),
    [
        (b"", b"/"),
        (b"GET", b""),
        (b"GET", b"/ HTTP/1.1\r\nHost: evil\r\n\r\nGET /"),
        (b"GET", b"/a b"),
        (b"GET", b"/a\tb"),
        (b"GET /", b"/"),
        (b"G\r\nT", b"/"),
    ],
)
def test_a_request_line_that_is_none_is_never_written(method: bytes, target: bytes) -> None:
    """Neither a method nor a target can end its own line."""
    with pytest.raises(LocalProtocolError, match="request line"):
        encode0(Request(ID, RequestHead(method, target, ())))


@pytest.mark.parametrize("status", [-1, 0, 99, 101, 1000])
def test_a_status_that_v0_cannot_carry_is_never_written(status: int) -> None:
    """A 101 would promise raw bytes, which v0 does not have; others are no status."""
    with pytest.raises(LocalProtocolError, match="status"):
        encode0(Response(ID, ResponseHead(status, ())))


INJECTIONS = [
    (b"", b"v"),
    (b"a b", b"v"),
    (b"a:", b"v"),
    (b"a\r\nb", b"v"),
    (b"\xe4", b"v"),
    (b"a", b"v\r\nb: w"),
    (b"a", b"v\nb: w"),
    (b"a", b"v\r"),
    (b"a", b"\x00"),
]


@pytest.mark.parametrize("field", INJECTIONS)
def test_a_field_that_could_be_two_is_never_written(field: tuple[bytes, bytes]) -> None:
    """In a request, in an answer, and in the upgrade offer."""
    fields = ((b"ok", b"1"), field)
    for frame in (
        Request(ID, RequestHead(b"GET", b"/", fields)),
        Response(ID, ResponseHead(200, fields)),
    ):
        with pytest.raises(LocalProtocolError, match="cannot be written"):
            encode0(frame)
    with pytest.raises(LocalProtocolError, match="cannot be written"):
        encode0(Request(ID, RequestHead(b"GET", b"/", (), b"websocket\r\na: b")))


def test_an_answer_s_repeats_are_joined() -> None:
    """A gateway that keeps the last of a name loses nothing; cookies cannot be joined."""
    fields = (
        (b"Vary", b"a"),
        (b"Set-Cookie", b"x=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT"),
        (b"VARY", b"b"),
        (b"ETag", b'"e"'),
        (b"set-cookie", b"y=2"),
        (b"vary", b""),
    )
    assert fields_written(fields) == (
        (b"vary", b"a, b"),
        (b"set-cookie", b"x=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT"),
        (b"etag", b'"e"'),
        (b"set-cookie", b"y=2"),
    )


def test_an_answer_has_no_reason_phrase() -> None:
    """Existing gateways do not expect one."""
    data = encode0(Response(ID, ResponseHead(200, (), b"OK")))
    assert data == message0(MessageType.RESPONSE_HEADERS, b"HTTP/1.1 200\r\n\r\n")


# ── any head ──────────────────────────────────────────────────────────────────────

tokens = st.text("abcXYZ019!#$%&'*+-.^_`|~", min_size=1, max_size=12).map(str.encode)
values = st.binary(max_size=30).map(lambda v: v.translate(None, b"\r\n\0").strip(b" \t"))
targets = st.binary(min_size=1, max_size=30).map(
    lambda t: b"/" + t.translate(None, bytes(range(33)) + b"\x7f")
)
field_lists = st.lists(st.tuples(tokens, values), max_size=6).map(tuple)
ids = st.integers(1, 2**32 - 1).map(StreamId)


@given(ids, tokens, targets, field_lists)
def test_a_request_comes_back(
    stream_id: StreamId, method: bytes, target: bytes, fields: Fields
) -> None:
    """Method, target and fields, with order, repeats and spelling."""
    frame = Request(stream_id, RequestHead(method, target, fields))
    assert read(encode0(frame)) == [frame]


@given(ids, st.integers(200, 999), st.dictionaries(tokens.map(bytes.lower), values, max_size=6))
def test_an_answer_comes_back(stream_id: StreamId, status: int, fields: dict[bytes, bytes]) -> None:
    """Status and fields, where no name is repeated."""
    frame = Response(stream_id, ResponseHead(status, tuple(fields.items())))
    assert read(encode0(frame)) == [frame]


GET = b"GET /a HTTP/1.1\r\nAccept: */*\r\nX-Two: 1\r\n\r\n"
WS = b"GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
ANSWER = b"HTTP/1.1 404 Not Found\r\nset-cookie: a=1\r\nset-cookie: b=2\r\n\r\n"


@given(st.sampled_from([GET, WS, ANSWER]), st.data())
def test_a_mutated_head_raises_nothing_else(text: bytes, data: st.DataObject) -> None:
    """And what is read of it has no line end inside."""
    raw = bytearray(text)
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(
            st.sampled_from(b"\r\n\0 \t:/A") | st.integers(0, 255)
        )
    for kind in (MessageType.OPEN_STREAM, MessageType.RESPONSE_HEADERS, MessageType.WS_UPGRADE):
        try:
            (frame,) = read(message0(kind, bytes(raw)))
        except RemoteProtocolError:
            continue
        assert isinstance(frame, Request | Response)
        for part in [part for pair in frame.head.fields for part in pair]:
            assert not set(part) & set(b"\r\n\0")
