"""What is fuzzed: one function for each parser, each with what must hold for any octets.

A function returns where the input was refused in the way that its parser promises; it raises
AssertionError, or whatever the parser raised, where it was not. No fuzzer is imported here: the
tests run every target over the whole corpus.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import h11

from wormkey import fields, wire
from wormkey.codings import DECODERS
from wormkey.cookies import values_of, without_own
from wormkey.errors import (
    AdmissionError,
    LocalProtocolError,
    OriginError,
    RemoteProtocolError,
    StreamError,
)
from wormkey.fields import OriginView, ViewerFacts
from wormkey.frames import MAX_FRAME_BYTES, Fields, Hello, RequestHead, StreamId
from wormkey.grammar import check_tunnel_request, check_tunnel_response, split_authority
from wormkey.http1 import (
    HeadBuffer,
    Http1Limits,
    parse_request,
    parse_response,
    take_request_head,
)
from wormkey.http1_compose import compose_fields
from wormkey.http1_content import ChunkedReader
from wormkey.inbox import MuxLimits
from wormkey.markup import HeadInserter
from wormkey.mux import Mux, Role
from wormkey.routing import Page, PublicUrl, ToTunnel, resolve
from wormkey.wire0 import Decoder0

if TYPE_CHECKING:
    from collections.abc import Callable

_LIMITS: Final = Http1Limits()
_FACTS: Final = ViewerFacts(peer="192.0.2.1", scheme=b"https", authority=b"slug.example")
_VIEW: Final = OriginView(scheme=b"http", authority=b"localhost:5173")
_PUBLIC: Final = PublicUrl.parse("https://example")
_CONTROLS: Final = frozenset(b"\r\n\0")


class _MalformedError(Exception):
    """What a chunked reader raises here."""


def viewer_head(data: bytes) -> None:
    """A viewer's head: refused with a status, or h11 takes it too and it leaves clean."""
    whole, split = HeadBuffer(), HeadBuffer()
    whole.data += data
    try:
        raw = take_request_head(whole, _LIMITS)
    except AdmissionError:
        return
    middle = len(data) // 2
    try:
        split.data += data[:middle]
        first = take_request_head(split, _LIMITS)
        if first is None:
            split.data += data[middle:]
            first = take_request_head(split, _LIMITS)
        assert first == raw, "slicing changed a head"
    except AdmissionError:
        pass  # hopeless sooner than it was long: a refusal all the same
    if raw is None:
        return
    try:
        request = parse_request(raw)
    except AdmissionError:
        return
    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=len(raw))
    parser.receive_data(raw)
    assert isinstance(parser.next_event(), h11.Request)
    _travel(request.head)


def _travel(head: RequestHead) -> None:
    """Follow a sound head to the tunnel and to the app: nothing on the way adds a line."""
    host = (fields.get(head.fields, b"host") or [b""])[0]
    cookies = fields.get(head.fields, b"cookie")
    route = resolve(
        target=head.target, host=host, cookies=cookies, page=Page(b"", b""), public=_PUBLIC
    )
    if not isinstance(route, ToTunnel):
        return
    assert head.target.endswith(route.target) or route.target == b"/"
    inner = fields.for_tunnel(RequestHead(head.method, route.target, head.fields), _FACTS)
    check_tunnel_request(inner)
    out = fields.for_origin(inner, _VIEW)
    for name, value in out:
        assert not _CONTROLS.intersection(name + value)
    assert compose_fields(out).count(b"\r\n") == len(out)
    assert sum(name.lower() == b"host" for name, _ in out) == 1


def origin_head(data: bytes) -> None:
    """An app's head: an OriginError, or it passes both ends' rules to the viewer."""
    end = data.find(b"\r\n\r\n")
    raw = data[: end + 4] if end >= 0 else data + b"\r\n\r\n"
    try:
        answer = parse_response(raw, upgrade_asked=True)
    except OriginError:
        return
    request = RequestHead(b"GET", b"/", (), b"websocket")
    inner = fields.for_gateway(answer.head, request, _VIEW)
    try:
        check_tunnel_response(inner)
    except RemoteProtocolError:
        return  # a 1xx or 101 that another rule refuses
    out = fields.for_viewer(inner, _FACTS)
    compose_fields(out.fields)


def chunks(data: bytes) -> None:
    """Chunked content: malformed, or the same however it is cut."""
    whole = _read_chunks([data])
    single = _read_chunks([data[at : at + 1] for at in range(len(data))])
    if whole is not None and whole[0]:
        assert single == whole, "slicing changed whole content"
    assert single == whole or single is None or whole is None


def _read_chunks(pieces: list[bytes]) -> tuple[bool, bytes, Fields, bytes] | None:
    """Return: is it whole, the content, the trailers, what follows; None for malformed octets."""
    reader, content, after = ChunkedReader(_MalformedError), b"", b""
    try:
        for piece in pieces:
            if reader.finished:
                after += piece
                continue
            got, rest = reader.push(piece)
            content, after = content + got, after + rest
    except _MalformedError:
        return None
    return reader.finished, content, reader.trailers, after


def tunnel_frames(data: bytes) -> None:
    """v1 octets: a protocol error, or frames that encode to what decodes to them again."""
    whole, single = wire.Decoder(), wire.Decoder()
    try:
        frames = whole.feed(data)
    except RemoteProtocolError:
        return
    assert whole.pending_bytes <= MAX_FRAME_BYTES + wire.HEADER_BYTES
    one_by_one = [frame for i in range(len(data)) for frame in single.feed(data[i : i + 1])]
    assert one_by_one == frames
    for frame in frames:
        try:
            encoded = wire.encode(frame)
        except LocalProtocolError:
            continue  # longer than this end would send
        assert wire.Decoder().feed(encoded) == [frame]


def tunnel_of(data: bytes, version: int) -> None:
    """A gateway's end that has streams open: an error of the protocol, and nothing else."""
    mux = Mux(Role.GATEWAY, MuxLimits(), version=version)
    try:
        if version:
            hello = Hello(
                version=version,
                stream_window_bytes=1 << 16,
                tunnel_window_bytes=1 << 20,
                max_frame_bytes=MAX_FRAME_BYTES,
                max_streams=16,
            )
            mux.receive(wire.encode(hello))
            for _ in range(3):
                mux.open_stream(RequestHead(b"GET", b"/", ()), end_stream=True)
        for start in range(0, len(data), 64):
            for event in mux.receive(data[start : start + 64]):
                assert event is not None
            while mux.next_message():
                pass
            mux.release(StreamId(1), 0)
    except (RemoteProtocolError, StreamError):
        return
    assert mux.statistics().held_bytes <= MuxLimits().tunnel_window_bytes


def tunnel_v1(data: bytes) -> None:
    """The whole receiving end of v1."""
    tunnel_of(data, 1)


def tunnel_v0(data: bytes) -> None:
    """A v0 message, alone and in a tunnel."""
    try:
        Decoder0().feed(data)
    except RemoteProtocolError:
        pass
    tunnel_of(data, 0)


def field_rules(data: bytes) -> None:
    """Fields that a hostile end says: refused, or composed to exactly as many lines."""
    pairs = tuple(
        (name, value.strip(b" "))
        for line in data.split(b"\n")
        for name, _, value in [line.partition(b":")]
    )
    head = RequestHead(b"GET", b"/", pairs[:64])
    try:
        check_tunnel_request(head)
    except RemoteProtocolError:
        return
    out = fields.for_origin(head, _VIEW)
    assert compose_fields(out).count(b"\r\n") == len(out)
    for _, value in pairs:
        without_own(value)
        values_of(b"wormkey_viewer", [value])
        split_authority(value)


def pages(data: bytes) -> None:
    """A page's octets: every one comes out, in order, with at most the tag between them."""
    for pieces in ([data], [data[i : i + 3] for i in range(0, len(data), 3)]):
        inserter = HeadInserter(b"<TAG>")
        out = b"".join(inserter.push(piece) for piece in pieces) + inserter.end()
        assert out.replace(b"<TAG>", b"", 1) == data or b"<TAG>" in data
    for decoder in DECODERS.values():
        try:
            list(decoder().feed(data))
        except StreamError:
            pass


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    "viewer_head": viewer_head,
    "origin_head": origin_head,
    "chunks": chunks,
    "tunnel_frames": tunnel_frames,
    "tunnel_v1": tunnel_v1,
    "tunnel_v0": tunnel_v0,
    "field_rules": field_rules,
    "pages": pages,
}
