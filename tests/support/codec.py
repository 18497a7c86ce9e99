"""Ways to feed a decoder, and a second encoder that is built from the tables of docs/protocol.md.

What is here knows the protocol's text and not its code, so that a mistake of one shows in the
other.
"""

from __future__ import annotations

import re
import struct
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

ROOT = Path(__file__).resolve().parents[2]

Row: TypeAlias = dict[str, str]


class Feeder(Protocol):
    """What every decoder of byte streams is."""

    def feed(self, data: bytes, /) -> list[Any]:
        """Return what ``data`` completes."""


def slicings(data: bytes) -> Iterator[list[bytes]]:
    """Cut ``data`` every way a network may: whole, byte by byte, in odd pieces, at every place."""
    yield [data]
    yield [data[at : at + 1] for at in range(len(data))]
    for step in (2, 7, 64):
        yield [data[at : at + step] for at in range(0, len(data), step)]
    for at in range(min(len(data), 64) + 1):
        yield [data[:at], data[at:]]


def feed(decoder: Feeder, pieces: Sequence[bytes]) -> list[Any]:
    """Return all that the pieces complete, in order."""
    return [item for piece in pieces for item in decoder.feed(piece)]


def check_feeding(make: Callable[[], Feeder], data: bytes, expected: list[Any]) -> None:
    """Feed one frame every way, with and without the start of another: the same comes out."""
    for tail in (b"", data[:1], data[:-1]):
        for pieces in slicings(data + tail):
            assert feed(make(), pieces) == expected, (pieces, tail)


def chunked(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    """Cut ``data`` at these places, which need be neither sorted nor inside it."""
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(places)]


def tables() -> dict[str, list[Row]]:
    """Read the tables of docs/protocol.md that stand behind a ``<!-- table: name -->`` mark."""
    text = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
    found: dict[str, list[Row]] = {}
    for name, block in re.findall(r"<!-- table: (\w+) -->\n((?:\|.*\n)+)", text):
        head, _, *rows = [
            [cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()
        ]
        found[name] = [dict(zip(head, row, strict=True)) for row in rows]
    return found


def header(kind: int, flags: int, stream_id: int, length: int) -> bytes:
    """A frame header as docs/protocol.md §3 draws it."""
    return struct.pack(">BBII", kind, flags, stream_id, length)


def frame(kind: int, payload: bytes = b"", *, flags: int = 0, stream_id: int = 0) -> bytes:
    """A frame, well-formed or not."""
    return header(kind, flags, stream_id, len(payload)) + payload


def message0(kind: int, payload: bytes = b"", stream_id: int = 3) -> bytes:
    """A message of protocol v0 as docs/protocol.md §12 draws it."""
    return struct.pack(">BI", kind, stream_id) + payload


def text(value: bytes) -> bytes:
    """A length-prefixed part."""
    return struct.pack(">H", len(value)) + value


def field_section(fields: Sequence[tuple[bytes, bytes]]) -> bytes:
    """A count, then names and values."""
    return struct.pack(">H", len(fields)) + b"".join(text(n) + text(v) for n, v in fields)


def parameter(key: int, value: bytes) -> bytes:
    """One parameter of a HELLO."""
    return struct.pack(">HH", key, len(value)) + value


def payload_of(layout: str, values: Mapping[str, Any], parameters: Sequence[Row]) -> bytes:
    """Build a payload from a layout of the frame table, e.g. ``status:u16 reason:text fields``."""
    parts = []
    for part in layout.strip("`").split():
        name, _, kind = part.partition(":")
        match kind or name:
            case "u8" | "u16" | "u32" as number:
                parts.append(int(values[name]).to_bytes(int(number[1:]) // 8, "big"))
            case "text":
                parts.append(text(values[name]))
            case "fields":
                parts.append(field_section(values["fields"]))
            case "rest":
                parts.append(values[name])
            case "parameters":
                for row in parameters:
                    value = values[row["Name"].lower()]
                    raw = value if isinstance(value, bytes) else struct.pack(">I", value)
                    parts.append(parameter(int(row["Id"], 16), raw))
            case _:
                raise AssertionError(part)
    return b"".join(parts)
