"""The vocabulary of a tunnel: heads and frames as values, and the limits both ends keep.

Everything that crosses a tunnel is one of these, whatever protocol version carries it: wire.py
speaks v1, wire0.py speaks v0. Values only: no bytes layout, no states, no roles
(docs/protocol.md §3 is the text).
"""

from __future__ import annotations

from typing import Any, Final, NewType, TypeAlias

from attrs import field, frozen

from wormkey.errors import ErrorCode

StreamId = NewType("StreamId", int)
Fields: TypeAlias = tuple[tuple[bytes, bytes], ...]

SUBPROTOCOL: Final = "wormkey.v1"
VERSION: Final = 1
TUNNEL: Final = StreamId(0)  # the stream id of frames about the tunnel itself
MAX_STREAM_ID: Final = 2**31 - 1  # one bit in reserve, as RFC 9113 §5.1.1 keeps

MAX_FRAME_BYTES: Final = 64 * 1024  # payload; 256 KiB messages were slower than 64 KiB ones
MIN_FRAME_LIMIT_BYTES: Final = MAX_FRAME_BYTES  # so any head fits any peer; nobody splits a head
MAX_MESSAGE_BYTES: Final = MAX_FRAME_BYTES + 1024  # one full frame, or small ones up to 64 KiB
MAX_FIELDS: Final = 256  # Apache takes 100, Node 1,000; a browser sends about 20
MAX_OPAQUE_BYTES: Final = 64
MAX_AGENT_BYTES: Final = 255
MAX_DETAIL_BYTES: Final = 1024
MAX_WINDOW_BYTES: Final = 2**31 - 1  # as RFC 9113 §6.9.1


@frozen
class Head:
    """What the two kinds of heads share: ``memo``, where recent.py keeps what was made of one.

    None for a head that is not kept. A copy that differs starts without it.
    """

    memo: dict[str, tuple[object, Any]] | None = field(
        init=False, default=None, eq=False, repr=False
    )


@frozen
class RequestHead(Head):
    """A request without its content. ``upgrade`` is the offered protocol (b"" for none)."""

    method: bytes
    target: bytes
    fields: Fields
    upgrade: bytes = b""


@frozen
class ResponseHead(Head):
    """An answer without its content; 1xx are interim, 101 ends HTTP on its stream."""

    status: int
    fields: Fields
    reason: bytes = b""
    upgrade: bytes = b""

    @property
    def interim(self) -> bool:
        """Whether another head follows (RFC 9110 §15.2); 101 is a final answer here."""
        return self.status < 200 and self.status != 101


@frozen
class Hello:
    """What an end of the tunnel can do and how much it takes; its first frame."""

    version: int = VERSION
    stream_window_bytes: int = 0
    tunnel_window_bytes: int = 0
    max_frame_bytes: int = MAX_FRAME_BYTES
    max_streams: int = 0
    features: int = 0
    agent: bytes = b""


@frozen
class Request:
    """Opens a stream (gateway to client)."""

    stream_id: StreamId
    head: RequestHead
    end_stream: bool = False


@frozen
class Response:
    """Answers a stream (client to gateway): interim heads, then one final head."""

    stream_id: StreamId
    head: ResponseHead
    end_stream: bool = False


@frozen
class Data:
    """Content, or raw bytes after a 101; its length is flow-controlled.

    ``blocked`` says that the stream's window is used up and more content waits: a receiver whose
    next hop keeps up may then widen the window.
    """

    stream_id: StreamId
    data: bytes
    end_stream: bool = False
    blocked: bool = False


@frozen
class Trailers:
    """A trailer section (RFC 9110 §6.5); ends the sender's half."""

    stream_id: StreamId
    fields: Fields


@frozen
class Reset:
    """Ends a stream at once, both halves."""

    stream_id: StreamId
    code: ErrorCode
    detail: bytes = b""


@frozen
class Window:
    """Grants the peer ``increment`` more flow-controlled bytes on a stream or (0) the tunnel."""

    stream_id: StreamId
    increment: int


@frozen
class Ping:
    """Asks for a Pong with the same payload."""

    payload: bytes = b""


@frozen
class Pong:
    """Answers a Ping with its payload."""

    payload: bytes = b""


@frozen
class GoAway:
    """No new streams: those up to ``last_stream_id`` finish, later ones were not touched."""

    last_stream_id: StreamId
    code: ErrorCode
    detail: bytes = b""


@frozen
class Pause:
    """The client wants no new requests."""


@frozen
class Resume:
    """The client takes requests again."""


Frame: TypeAlias = (
    Hello
    | Request
    | Response
    | Data
    | Trailers
    | Reset
    | Window
    | Ping
    | Pong
    | GoAway
    | Pause
    | Resume
)

# What a Mux tells its owner; the other frames are its own affair.
Event: TypeAlias = (
    Hello | Request | Response | Data | Trailers | Reset | Pong | GoAway | Pause | Resume
)
