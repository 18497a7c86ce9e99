"""wire0.py: v0 says what it can and ignores what existing programs ignore."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.codec import message0
from wormkey.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from wormkey.frames import (
    TUNNEL,
    Data,
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
from wormkey.wire0 import (
    MAX_DATA_BYTES0,
    MAX_MESSAGE_BYTES0,
    Decoder0,
    MessageType,
    encode0,
)

ID = StreamId(3)


def read(data: bytes) -> list[Frame]:
    """Feed one message to a fresh decoder."""
    return Decoder0().feed(data)


# ── each message ──────────────────────────────────────────────────────────────────────────────

GET = b"GET /a?b=%20 HTTP/1.1\r\nAccept: */*\r\nX-Two: 1\r\nX-Two: 2\r\n\r\n"
GET_HEAD = RequestHead(
    b"GET", b"/a?b=%20", ((b"Accept", b"*/*"), (b"X-Two", b"1"), (b"X-Two", b"2"))
)
WS = b"GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nOrigin: x\r\n\r\n"
ANSWER = b"HTTP/1.1 404\r\ncontent-type: text/plain\r\nset-cookie: a=1\r\nset-cookie: b=2\r\n\r\n"
ANSWER_HEAD = ResponseHead(
    404, ((b"content-type", b"text/plain"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"))
)

BOTH_WAYS: list[tuple[bytes, Frame]] = [
    (message0(0x01, GET), Request(ID, GET_HEAD)),
    (message0(0x02, b"content"), Data(ID, b"content")),
    (message0(0x03), Data(ID, b"", end_stream=True)),
    (message0(0x04), Reset(ID, ErrorCode.CANCELLED)),
    (message0(0x05, ANSWER), Response(ID, ANSWER_HEAD)),
    (
        message0(0x06, WS),
        Request(ID, RequestHead(b"GET", b"/ws", ((b"Origin", b"x"),), b"websocket")),
    ),
    (message0(0x09, stream_id=0), Ping()),
    (message0(0x0A, stream_id=0), Pong()),
    (message0(0x0B, stream_id=0), Pause()),
    (message0(0x0C, stream_id=0), Resume()),
]


@pytest.mark.parametrize(("data", "frame"), BOTH_WAYS)
def test_a_message_is_a_frame_both_ways(data: bytes, frame: Frame) -> None:
    """The same bytes are written and read for what both versions can say."""
    assert read(data) == [frame]
    assert encode0(frame) == data


@pytest.mark.parametrize(
    "frame",
    [
        Hello(),
        Window(ID, 5),
        GoAway(ID, ErrorCode.NO_ERROR),
        Data(ID, b""),
        Response(ID, ResponseHead(103, ((b"Link", b"</a>"),))),
    ],
)
def test_what_v0_has_no_word_for_is_not_said(frame: Frame) -> None:
    """No message at all, rather than one that an existing program would misread."""
    assert encode0(frame) == b""


def test_what_v0_says_shorter_keeps_its_meaning() -> None:
    """Trailers end the stream, a reset cancels whatever its code, a ping has no payload."""
    end = message0(MessageType.STREAM_END)
    assert encode0(Trailers(ID, ((b"a", b"b"),))) == end
    reset = Reset(ID, ErrorCode.ORIGIN_FAILED, b"why")
    assert encode0(reset) == message0(MessageType.STREAM_CANCEL)
    assert encode0(Ping(b"12345678")) == message0(MessageType.PING, stream_id=0)
    assert encode0(Pong(b"12345678")) == message0(MessageType.PONG, stream_id=0)


@pytest.mark.parametrize(("data", "frame"), [BOTH_WAYS[0], BOTH_WAYS[4], BOTH_WAYS[5]])
def test_the_end_of_a_head_s_stream_is_the_caller_s_next_message0(
    data: bytes, frame: Request | Response
) -> None:
    """A head with END_STREAM is written as the head alone."""
    assert encode0(attrs.evolve(frame, end_stream=True)) == data


def test_content_and_its_end_are_two_messages() -> None:
    """Both in one frame would lose one of them; that is our bug."""
    with pytest.raises(LocalProtocolError, match="two messages"):
        encode0(Data(ID, b"x", end_stream=True))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x01\x00\x00\x00",
        message0(0x00, b"x"),
        message0(0x0D, b"x"),
        message0(0xFF),
        message0(MessageType.WS_DATA, b"x"),
        message0(MessageType.WS_CLOSE),
        message0(MessageType.STREAM_DATA),
    ],
)
def test_what_existing_programs_ignore_is_ignored(data: bytes) -> None:
    """Short messages, unknown types, the WebSocket relay and empty content mean nothing."""
    assert read(data) == []


@pytest.mark.parametrize("kind", [MessageType.PING, MessageType.PAUSE])
def test_a_tunnel_s_message_counts_wherever_it_comes(kind: MessageType) -> None:
    """On a stream, with a payload: v0 states no rule, so none is broken."""
    assert read(message0(kind, b"payload", stream_id=9)) == read(message0(kind, stream_id=0))


@pytest.mark.parametrize("kind", range(0x01, 0x07))
def test_a_stream_s_message_on_stream_0_is_the_peer_s_fault(kind: int) -> None:
    """Stream 0 is the control stream."""
    with pytest.raises(RemoteProtocolError, match="on stream 0"):
        read(message0(kind, b"x", stream_id=0))


@pytest.mark.parametrize("stream_id", [0, -1, 2**32])
def test_a_stream_s_message_is_never_written_on_no_stream(stream_id: int) -> None:
    """Our own mistake is named here."""
    with pytest.raises(LocalProtocolError, match="on stream"):
        encode0(Data(StreamId(stream_id), b"x"))


# ── limits ────────────────────────────────────────────────────────────────────────────────────


def test_content_of_any_length_is_taken_up_to_the_limit() -> None:
    """A message of exactly the limit passes, one byte more is refused by its length."""
    decoder = Decoder0(max_message_bytes=105)
    assert decoder.feed(message0(MessageType.STREAM_DATA, bytes(100))) == [Data(ID, bytes(100))]
    with pytest.raises(RemoteProtocolError, match="106 bytes, over the limit of 105") as caught:
        decoder.feed(message0(MessageType.STREAM_DATA, bytes(101)))
    assert caught.value.code is ErrorCode.FRAME_SIZE_ERROR
    assert MAX_DATA_BYTES0 < MAX_MESSAGE_BYTES0


# ── any content, any bytes ────────────────────────────────────────────────────────────────────

ids = st.integers(1, 2**32 - 1).map(StreamId)


@given(ids, st.binary(min_size=1, max_size=200))
def test_content_comes_back(stream_id: StreamId, data: bytes) -> None:
    """Content is not looked at."""
    assert read(encode0(Data(stream_id, data))) == [Data(stream_id, data)]


@given(
    st.binary(max_size=100)
    | st.tuples(st.integers(1, 12), st.binary(max_size=80)).map(
        lambda pair: message0(pair[0], pair[1])
    )
)
def test_noise_raises_nothing_else(data: bytes) -> None:
    """Arbitrary bytes give a frame, nothing, or RemoteProtocolError."""
    try:
        assert len(read(data)) <= 1
    except RemoteProtocolError:
        pass


def test_messages_are_independent() -> None:
    """A decoder holds nothing between messages: after a fault the next one is read."""
    decoder = Decoder0()
    with pytest.raises(RemoteProtocolError):
        decoder.feed(message0(MessageType.OPEN_STREAM, b"nonsense"))
    assert decoder.feed(message0(MessageType.PING, stream_id=TUNNEL)) == [Ping()]
