"""wire.py: what is written can be read, however it is cut, and nonsense has a name."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import codec
from wormkey import wire
from wormkey.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from wormkey.frames import (
    MAX_AGENT_BYTES,
    MAX_DETAIL_BYTES,
    MAX_FIELDS,
    MAX_FRAME_BYTES,
    MAX_OPAQUE_BYTES,
    MAX_STREAM_ID,
    MAX_WINDOW_BYTES,
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
from wormkey.wire import Decoder, FrameType, encode

# ── any frame ─────────────────────────────────────────────────────────────────────────────────

u32 = st.integers(0, 2**32 - 1)
windows = st.integers(0, MAX_WINDOW_BYTES)
ids = st.integers(1, MAX_STREAM_ID).map(StreamId)
codes = st.sampled_from(ErrorCode)
texts = st.binary(max_size=40)
details = st.binary(max_size=MAX_DETAIL_BYTES)
opaque = st.binary(max_size=MAX_OPAQUE_BYTES)
fields = st.lists(st.tuples(texts, texts), max_size=8).map(tuple)
request_heads = st.builds(RequestHead, texts, texts, fields, texts)
response_heads = st.builds(ResponseHead, st.integers(100, 999), fields, texts, texts)

frames: st.SearchStrategy[Frame] = st.one_of(
    st.builds(
        Hello,
        st.integers(1, 255),
        windows,
        windows,
        st.integers(MAX_FRAME_BYTES, 2**32 - 1),
        u32,
        u32,
        st.binary(max_size=MAX_AGENT_BYTES),
    ),
    st.builds(Request, ids, request_heads, st.booleans()),
    st.builds(Response, ids, response_heads, st.booleans()),
    st.builds(Data, ids, st.binary(max_size=200), st.booleans(), st.booleans()),
    st.builds(Trailers, ids, fields),
    st.builds(Reset, ids, codes, details),
    st.builds(Window, st.just(TUNNEL) | ids, u32),
    st.builds(Ping, opaque),
    st.builds(Pong, opaque),
    st.builds(GoAway, u32.map(StreamId), codes, details),
    st.just(Pause()),
    st.just(Resume()),
)

ID = StreamId(3)
FULL = Data(ID, bytes(range(256)) * 256, end_stream=True)
PLAIN: list[Frame] = [
    Hello(1, 10, 20, MAX_FRAME_BYTES, 30, 0, b"agent"),
    Request(ID, RequestHead(b"GET", b"/", ((b"a", b"1"), (b"a", b"")))),
    Response(ID, ResponseHead(200, (), b"OK")),
    Data(ID, b"content", end_stream=True, blocked=True),
    Trailers(ID, ((b"x", b"y"),)),
    Reset(ID, ErrorCode.CANCELLED, b"left"),
    Window(TUNNEL, 5),
    Ping(b"12345678"),
    Pong(b""),
    GoAway(ID, ErrorCode.NO_ERROR),
    Pause(),
    Resume(),
]


# ── round trips ───────────────────────────────────────────────────────────────────────────────


@given(frames)
def test_a_frame_comes_back(frame: Frame) -> None:
    """What encode writes, a Decoder reads as the same value."""
    assert Decoder().feed(encode(frame)) == [frame]


@given(st.lists(frames, max_size=6), st.lists(st.integers(0, 2**20), max_size=8))
def test_message_boundaries_mean_nothing(sent: list[Frame], cuts: list[int]) -> None:
    """Any slicing of the same bytes gives the same frames, and nothing is left over."""
    decoder = Decoder()
    data = b"".join(map(encode, sent))
    assert codec.feed(decoder, codec.chunked(data, cuts)) == sent
    assert decoder.pending_bytes == 0


@pytest.mark.parametrize("frame", PLAIN, ids=lambda frame: type(frame).__name__)
def test_a_frame_is_read_however_it_is_cut(frame: Frame) -> None:
    """Whole, byte by byte, in pieces, with a tail: the same frame."""
    codec.check_feeding(Decoder, encode(frame), [frame])


@pytest.mark.parametrize("size", [0, 1, 255, 256, 511, 512, 513, 1024, 20_000])
def test_texts_of_any_length_come_back(size: int) -> None:
    """Each text of a head, whether its length is at hand or not, around the edges of a byte."""
    text = bytes(size)
    fields = ((text, b"1"), (b"a", text))
    for frame in (
        Request(ID, RequestHead(text, b"/", fields)),
        Request(ID, RequestHead(b"GET", text, (), text)),
        Response(ID, ResponseHead(200, fields, text)),
        Response(ID, ResponseHead(101, (), b"", text)),
        Trailers(ID, fields),
    ):
        assert Decoder().feed(encode(frame)) == [frame]


def test_frames_of_one_message_come_in_order() -> None:
    """Frames that travel together are told apart again."""
    data = b"".join(map(encode, PLAIN))
    for pieces in codec.slicings(data):
        assert codec.feed(Decoder(), pieces) == PLAIN


@pytest.mark.parametrize("end_stream", [False, True])
@pytest.mark.parametrize("blocked", [False, True])
def test_the_hot_path_writes_the_same_frame(end_stream: bool, blocked: bool) -> None:
    """A header from data_header and the content behind it are what encode writes."""
    data = wire.data_header(ID, 7, end_stream=end_stream, blocked=blocked) + b"content"
    assert data == encode(Data(ID, b"content", end_stream, blocked))


# ── what is held ──────────────────────────────────────────────────────────────────────────────


def test_a_full_frame_may_come_byte_by_byte() -> None:
    """The largest frame, in the smallest pieces: never more than the frame is held."""
    decoder = Decoder()
    data = encode(FULL)
    for at in range(len(data) - 1):
        assert decoder.feed(data[at : at + 1]) == []
    assert decoder.pending_bytes == len(data) - 1
    assert decoder.feed(data[-1:] + b"\x04") == [FULL]
    assert decoder.pending_bytes == 1


def test_nothing_comes_of_nothing() -> None:
    """An empty message is no frame, before and within one."""
    decoder = Decoder()
    data = encode(PLAIN[1])
    assert codec.feed(decoder, [b"", data[:12], b"", data[12:], b""]) == [PLAIN[1]]


def test_a_frame_over_the_limit_is_refused_by_its_header() -> None:
    """A length alone is enough: nothing of a frame that is too long is ever held."""
    for length in (MAX_FRAME_BYTES + 1, 2**31, 2**32 - 1):
        header = codec.header(FrameType.DATA, 0, ID, length)
        for pieces in codec.slicings(header):
            with pytest.raises(RemoteProtocolError, match="over the limit") as caught:
                codec.feed(Decoder(), pieces)
            assert caught.value.code is ErrorCode.FRAME_SIZE_ERROR


def test_the_limit_is_the_hello_s() -> None:
    """An end that said less takes less, to the byte, of unknown types too."""
    fitting = codec.frame(0x7F, bytes(100))
    assert Decoder(max_frame_bytes=100).feed(fitting) == []
    with pytest.raises(RemoteProtocolError, match="of 100 bytes, over the limit of 99"):
        Decoder(max_frame_bytes=99).feed(fitting)


# ── room to grow ──────────────────────────────────────────────────────────────────────────────


@given(st.integers(max(FrameType) + 1, 255) | st.just(0), st.sampled_from([0, 3]), texts)
def test_an_unknown_type_is_ignored(kind: int, stream_id: int, payload: bytes) -> None:
    """A newer end's frame passes without a trace, and the one behind it is read."""
    data = codec.frame(kind, payload, flags=0xFF, stream_id=stream_id) + encode(Pause())
    for pieces in ([data], [data[:5], data[5:]]):
        assert codec.feed(Decoder(), pieces) == [Pause()]


def test_an_unknown_error_code_is_an_internal_error() -> None:
    """RESET and GOAWAY with a code of the future are understood."""
    reset = codec.frame(FrameType.RESET, b"\x00\x00\x01\x00why", stream_id=ID)
    assert Decoder().feed(reset) == [Reset(ID, ErrorCode.INTERNAL_ERROR, b"why")]
    away = codec.frame(FrameType.GOAWAY, b"\x00\x00\x00\x03\xff\xff\xff\xffwhy")
    assert Decoder().feed(away) == [GoAway(ID, ErrorCode.INTERNAL_ERROR, b"why")]


def test_unknown_parameters_of_a_hello_are_ignored() -> None:
    """Even twice, with any length, between known ones; a greater version is no error."""
    unknown = codec.parameter(0x99, b"") + codec.parameter(0x99, bytes(300))
    agent = codec.parameter(wire.Parameter.AGENT, b"new")
    data = codec.frame(FrameType.HELLO, b"\x02" + unknown + agent + unknown)
    assert Decoder().feed(data) == [Hello(version=2, agent=b"new")]


# ── the peer's faults ─────────────────────────────────────────────────────────────────────────

HELLO_WINDOW = codec.parameter(wire.Parameter.STREAM_WINDOW_BYTES, bytes(4))
HELLO_AGENT = codec.parameter(wire.Parameter.AGENT, b"a")
HEAD = codec.text(b"GET") + codec.text(b"/") + codec.text(b"")
SIZE = ErrorCode.FRAME_SIZE_ERROR
RULE = ErrorCode.PROTOCOL_ERROR

MALFORMED = {
    "a HELLO without a version": (FrameType.HELLO, b"", RULE),
    "version 0": (FrameType.HELLO, b"\x00", RULE),
    "half a parameter": (FrameType.HELLO, b"\x01\x00\x01", RULE),
    "a parameter cut short": (FrameType.HELLO, b"\x01" + HELLO_WINDOW[:-1], RULE),
    "a number of three bytes": (FrameType.HELLO, b"\x01" + codec.parameter(1, bytes(3)), RULE),
    "a number twice": (FrameType.HELLO, b"\x01" + HELLO_WINDOW * 2, RULE),
    "an agent twice": (FrameType.HELLO, b"\x01" + HELLO_AGENT * 2, RULE),
    "an empty agent twice": (FrameType.HELLO, b"\x01" + codec.parameter(6, b"") * 2, RULE),
    "a long agent": (FrameType.HELLO, b"\x01" + codec.parameter(6, bytes(256)), RULE),
    "an empty REQUEST": (FrameType.REQUEST, b"", RULE),
    "a text over the end": (FrameType.REQUEST, b"\x00\x04GET", RULE),
    "a head without fields": (FrameType.REQUEST, HEAD, RULE),
    "half a count of fields": (FrameType.REQUEST, HEAD + b"\x00", RULE),
    "a field that is not there": (FrameType.REQUEST, HEAD + b"\x00\x01", RULE),
    "a name over the end": (FrameType.REQUEST, HEAD + b"\x00\x01\xff\xffa", RULE),
    "a name without a value": (FrameType.REQUEST, HEAD + b"\x00\x01\x00\x01a", RULE),
    "half a length of a value": (FrameType.REQUEST, HEAD + b"\x00\x01\x00\x01a\x00", RULE),
    "a value over the end": (FrameType.REQUEST, HEAD + b"\x00\x01\x00\x01a\x00\x02b", RULE),
    "bytes behind the fields": (FrameType.REQUEST, HEAD + b"\x00\x00!", RULE),
    "too many fields": (FrameType.TRAILERS, b"\x01\x01" + bytes(4 * 257), SIZE),
    "status 99": (FrameType.RESPONSE, b"\x00\x63" + bytes(6), RULE),
    "status 1000": (FrameType.RESPONSE, b"\x03\xe8" + bytes(6), RULE),
    "an empty RESET": (FrameType.RESET, b"", RULE),
    "a long RESET": (FrameType.RESET, bytes(4 + MAX_DETAIL_BYTES + 1), SIZE),
    "a WINDOW of three bytes": (FrameType.WINDOW, bytes(3), RULE),
    "a WINDOW of five bytes": (FrameType.WINDOW, bytes(5), RULE),
    "a long PING": (FrameType.PING, bytes(MAX_OPAQUE_BYTES + 1), SIZE),
    "a long PONG": (FrameType.PONG, bytes(MAX_OPAQUE_BYTES + 1), SIZE),
    "a short GOAWAY": (FrameType.GOAWAY, bytes(7), RULE),
    "a long GOAWAY": (FrameType.GOAWAY, bytes(8 + MAX_DETAIL_BYTES + 1), SIZE),
    "PAUSE with a payload": (FrameType.PAUSE, b"!", RULE),
    "RESUME with a payload": (FrameType.RESUME, b"!", RULE),
}
STREAM_TYPES = {"REQUEST", "RESPONSE", "DATA", "TRAILERS", "RESET", "WINDOW"}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_frame_is_the_peer_s_fault(name: str) -> None:
    """It has a name and a code, however it is cut."""
    kind, payload, code = MALFORMED[name]
    data = codec.frame(kind, payload, stream_id=ID if kind.name in STREAM_TYPES else TUNNEL)
    for pieces in ([data], [data[:3], data[3:11], data[11:]]):
        with pytest.raises(RemoteProtocolError) as caught:
            codec.feed(Decoder(), pieces)
        assert caught.value.code is code


@pytest.mark.parametrize("kind", [*FrameType, 0x7F])
def test_no_frame_has_a_stream_id_over_the_greatest(kind: int) -> None:
    """The reserved bit stays reserved, for every type."""
    with pytest.raises(RemoteProtocolError, match="on stream"):
        Decoder().feed(codec.header(kind, 0, MAX_STREAM_ID + 1, 0))


@given(frames, st.data())
def test_a_mutated_frame_raises_nothing_else(frame: Frame, data: st.DataObject) -> None:
    """Flipped, lost and added bytes give frames or RemoteProtocolError, never another error."""
    raw = bytearray(encode(frame) + encode(Ping(b"behind")))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        match data.draw(st.sampled_from(["flip", "lose", "add"])):
            case "flip":
                raw[at] ^= data.draw(st.integers(1, 255))
            case "lose":
                del raw[at : at + data.draw(st.integers(0, 4))]
            case _:
                raw[at:at] = data.draw(st.binary(max_size=8))
        if not raw:
            break
    decoder = Decoder()
    try:
        decoder.feed(bytes(raw))
    except RemoteProtocolError:
        return
    assert decoder.pending_bytes <= len(raw)


@given(st.lists(st.binary(max_size=64), max_size=8))
def test_noise_raises_nothing_else(pieces: list[bytes]) -> None:
    """Arbitrary bytes give frames or RemoteProtocolError, and whatever is read can be written."""
    try:
        read = codec.feed(Decoder(), pieces)
    except RemoteProtocolError:
        return
    assert Decoder().feed(b"".join(map(encode, read))) == read


# ── our own faults ────────────────────────────────────────────────────────────────────────────

LONG = bytes(0x10000)
UNSAYABLE: dict[str, Frame] = {
    "content over the limit": Data(ID, bytes(MAX_FRAME_BYTES + 1)),
    "a head over the limit": Request(ID, RequestHead(b"GET", LONG[1:], ((b"a", b"b"),))),
    "a target over 65,535": Request(ID, RequestHead(b"GET", LONG, ())),
    "a name over 65,535": Trailers(ID, ((LONG, b""),)),
    "a value over 65,535": Trailers(ID, ((b"", LONG),)),
    "too many fields": Trailers(ID, ((b"a", b"b"),) * (MAX_FIELDS + 1)),
    "a stream's frame on stream 0": Data(TUNNEL, b""),
    "a negative stream": Window(StreamId(-1), 1),
    "a stream over the greatest": Reset(StreamId(MAX_STREAM_ID + 1), ErrorCode.CANCELLED),
    "status 99": Response(ID, ResponseHead(99, ())),
    "status 1000": Response(ID, ResponseHead(1000, ())),
    "a negative window": Window(ID, -1),
    "a window over four bytes": Window(ID, 2**32),
    "a long PING": Ping(bytes(MAX_OPAQUE_BYTES + 1)),
    "a long PONG": Pong(bytes(MAX_OPAQUE_BYTES + 1)),
    "version 0": Hello(version=0),
    "version 256": Hello(version=256),
    "a frame limit under the floor": Hello(max_frame_bytes=MAX_FRAME_BYTES - 1),
    "a HELLO window over the greatest": Hello(tunnel_window_bytes=MAX_WINDOW_BYTES + 1),
}


@pytest.mark.parametrize("name", UNSAYABLE)
def test_what_a_peer_would_refuse_is_never_written(name: str) -> None:
    """Our own mistake is named here and not at the other end."""
    with pytest.raises(LocalProtocolError):
        encode(UNSAYABLE[name])


@pytest.mark.parametrize(
    "frame", [Reset(ID, ErrorCode.ORIGIN_FAILED), GoAway(ID, ErrorCode.NO_ERROR)]
)
def test_a_long_detail_is_cut(frame: Reset | GoAway) -> None:
    """A sentence for people is not worth an error."""
    long, cut = (attrs.evolve(frame, detail=b"x" * (MAX_DETAIL_BYTES + n)) for n in (9, 0))
    assert Decoder().feed(encode(long)) == [cut]


def test_a_long_agent_is_cut() -> None:
    """As a detail is."""
    (hello,) = Decoder().feed(encode(Hello(agent=b"x" * 300)))
    assert hello == Hello(agent=b"x" * MAX_AGENT_BYTES)


def test_the_largest_frames_pass() -> None:
    """The limits are met, not only kept: a full frame, the longest field, the most fields."""
    full: list[Frame] = [
        FULL,
        Trailers(ID, ((b"a", bytes(MAX_FRAME_BYTES - 2 - 4 - 1)),)),
        Trailers(ID, ((b"a", b"b"),) * MAX_FIELDS),
        Reset(StreamId(MAX_STREAM_ID), ErrorCode.CANCELLED, bytes(MAX_DETAIL_BYTES)),
    ]
    assert Decoder().feed(b"".join(map(encode, full))) == full
