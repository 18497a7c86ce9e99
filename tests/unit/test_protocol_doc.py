"""docs/protocol.md: its tables and the code say the same."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from tests.support import codec
from wormkey import frames, stream, wire, wire0
from wormkey.errors import ErrorCode, RemoteProtocolError
from wormkey.frames import (
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

TABLES = codec.tables()
ROWS = {row["Name"]: row for row in TABLES["frames"]}
NUMBERS = [row for row in TABLES["parameters"] if row["Name"] != "AGENT"]
STREAM = StreamId(7)
FIELDS = ((b"Accept", b"*/*"), (b"X-Two", b"1"), (b"X-Two", b""))

SAMPLES: dict[str, Frame] = {
    "HELLO": Hello(1, 262144, 33554432, 65536, 1024, 5, b"wormkey/1"),
    "REQUEST": Request(STREAM, RequestHead(b"GET", b"/a?b=%20", FIELDS, b"websocket")),
    "RESPONSE": Response(STREAM, ResponseHead(404, FIELDS, b"Not Found", b"h2c")),
    "DATA": Data(STREAM, b"content"),
    "TRAILERS": Trailers(STREAM, FIELDS),
    "RESET": Reset(STREAM, ErrorCode.ORIGIN_FAILED, b"closed early"),
    "WINDOW": Window(STREAM, 131072),
    "PING": Ping(b"12345678"),
    "PONG": Pong(b"12345678"),
    "GOAWAY": GoAway(StreamId(9), ErrorCode.REPLACED, b"another tunnel"),
    "PAUSE": Pause(),
    "RESUME": Resume(),
}


def values_of(sample: Frame) -> dict[str, Any]:
    """A frame's parts under the names that the table gives them."""
    values = attrs.asdict(sample, recurse=False)
    head = values.get("head")
    return values | (attrs.asdict(head, recurse=False) if head else {})


def from_table(name: str, *, flags: int = 0, stream_id: int | None = None) -> bytes:
    """A sample's bytes, built from its row alone."""
    row, values = ROWS[name], values_of(SAMPLES[name])
    payload = codec.payload_of(row["Payload"], values, TABLES["parameters"])
    if stream_id is None:
        stream_id = 0 if row["Stream"] == "0" else values["stream_id"]
    return codec.frame(int(row["Type"], 16), payload, flags=flags, stream_id=stream_id)


def test_the_frame_table_is_the_code_s() -> None:
    """Every type stands in the table under its number, and no other; each one has a sample."""
    assert {row["Name"]: int(row["Type"], 16) for row in ROWS.values()} == {
        kind.name: int(kind) for kind in wire.FrameType
    }
    assert list(SAMPLES) == list(ROWS)
    assert {row["Sender"] for row in ROWS.values()} <= {"both", "gateway", "client"}


@pytest.mark.parametrize("name", ROWS)
def test_the_code_writes_what_the_table_draws(name: str) -> None:
    """A frame's bytes are those that its row's layout gives."""
    flags = wire.END_STREAM if name == "TRAILERS" else 0
    assert wire.encode(SAMPLES[name]) == from_table(name, flags=flags)


@pytest.mark.parametrize("name", ROWS)
def test_the_code_reads_what_the_table_draws(name: str) -> None:
    """A frame built from its row is understood, whatever flags of the future it carries."""
    known = sum(int(row["Bit"], 16) for row in TABLES["flags"])
    for flags in (0, 0xFF & ~known):
        assert wire.Decoder().feed(from_table(name, flags=flags)) == [SAMPLES[name]]


@pytest.mark.parametrize("name", ROWS)
def test_a_frame_is_taken_on_the_streams_of_its_row_only(name: str) -> None:
    """Stream 0 or n, as the table says; anything else is the peer's fault."""
    allowed = ROWS[name]["Stream"].split(" or ")
    for word, stream_id in (("0", 0), ("n", STREAM)):
        data = from_table(name, stream_id=stream_id)
        if word in allowed:
            assert len(wire.Decoder().feed(data)) == 1
        else:
            with pytest.raises(RemoteProtocolError):
                wire.Decoder().feed(data)


@pytest.mark.parametrize("row", TABLES["flags"], ids=lambda row: row["Name"])
def test_a_flag_is_written_and_read_on_the_frames_of_its_row(row: dict[str, str]) -> None:
    """The frame table and the flag table agree with each other and with the code."""
    bit = int(row["Bit"], 16)
    assert getattr(wire, row["Name"]) == bit
    on = [name for name in ROWS if row["Name"] in ROWS[name]["Flags"].split()]
    assert row["On"].split(", ") == on
    for name in on:
        sample: Any = SAMPLES[name]
        if name != "TRAILERS":  # which always ends its half
            sample = attrs.evolve(sample, **{row["Name"].lower(): True})
        data = from_table(name, flags=bit)
        assert wire.encode(sample) == data
        assert wire.Decoder().feed(data) == [sample]


def test_the_parameter_table_is_the_code_s() -> None:
    """Ids, names and defaults of HELLO's parameters."""
    rows = TABLES["parameters"]
    assert {row["Name"]: int(row["Id"], 16) for row in rows} == {
        key.name: int(key) for key in wire.Parameter
    }
    (hello,) = wire.Decoder().feed(codec.frame(wire.FrameType.HELLO, b"\x01"))
    defaults = {row["Name"].lower(): int(row["Default"]) for row in NUMBERS}
    assert hello == Hello(version=1, agent=b"", **defaults)


@pytest.mark.parametrize("row", NUMBERS, ids=lambda row: row["Name"])
def test_a_parameter_keeps_the_range_of_its_row(row: dict[str, str]) -> None:
    """The least and the greatest value are taken, their neighbours outside are refused."""

    def read(value: int) -> Frame:
        payload = b"\x01" + codec.parameter(int(row["Id"], 16), value.to_bytes(4, "big"))
        (frame,) = wire.Decoder().feed(codec.frame(wire.FrameType.HELLO, payload))
        return frame

    least, greatest = int(row["Least"]), int(row["Greatest"])
    for value in (least, greatest):
        assert getattr(read(value), row["Name"].lower()) == value
    for value in (least - 1, greatest + 1):
        if 0 <= value < 2**32:
            with pytest.raises(RemoteProtocolError):
                read(value)


def test_the_error_table_is_the_code_s() -> None:
    """Every error code stands in the table under its number, and no other."""
    assert {row["Name"]: int(row["Code"], 16) for row in TABLES["errors"]} == {
        code.name: int(code) for code in ErrorCode
    }


def test_the_state_table_is_the_code_s() -> None:
    """What may follow what on one half of a stream."""
    assert {(row["State"], row["Input"]): row["Next"] for row in TABLES["states"]} == {
        (half.name, what.name): after.name for (half, what), after in stream.TABLE.items()
    }


@pytest.mark.parametrize("row", TABLES["limits"], ids=lambda row: row["Limit"])
def test_a_limit_is_the_code_s(row: dict[str, str]) -> None:
    """Each number of the limits table is the constant of that name."""
    assert getattr(frames, row["Limit"]) == int(row["Value"])


def test_the_v0_table_is_the_code_s() -> None:
    """Types of protocol v0."""
    assert {row["Name"]: int(row["Type"], 16) for row in TABLES["v0"]} == {
        kind.name: int(kind) for kind in wire0.MessageType
    }


def test_the_subprotocol_is_named() -> None:
    """The name that opens a v1 tunnel is the document's."""
    text = (codec.ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
    assert f"the subprotocol `{frames.SUBPROTOCOL}`" in text
