"""What each layer costs by itself: the pure steps that a request passes, timed by pytest-benchmark.

`make bench-hot` runs them and compares each with h11 in the same run (bench/guard.py). No step here
does I/O; what the tasks and the kernel cost is measured by `make bench`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import h11

from wormkey import fields, http1, routing, wire
from wormkey.errors import ErrorCode
from wormkey.fields import OriginView, ViewerFacts
from wormkey.frames import (
    Data,
    Frame,
    Hello,
    Request,
    Response,
    StreamId,
)
from wormkey.grammar import check_head_fields
from wormkey.inbox import MuxLimits
from wormkey.mux import Mux, Role

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

RAW = (
    b"GET /assets/app.js?v=3 HTTP/1.1\r\nHost: quiet-otter-12.tunnel.example\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
    b"Accept: */*\r\nAccept-Language: en-GB,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br\r\n"
    b"Referer: https://quiet-otter-12.tunnel.example/\r\nConnection: keep-alive\r\n"
    b"Cookie: theme=dark; sid=0123456789abcdef0123456789abcdef\r\n"
    b"Sec-Fetch-Dest: script\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Site: same-origin\r\n\r\n"
)
# Both heads have a cookie: recent.py keeps neither, so that each step is made in full.
ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Thu, 26 Nov 2026 10:00:00 GMT\r\n"
    b"Content-Type: text/javascript\r\nContent-Length: 5120\r\nConnection: keep-alive\r\n"
    b'ETag: "65f0-1400"\r\nCache-Control: no-cache\r\nVary: Accept-Encoding\r\n'
    b"Set-Cookie: theme=dark; Path=/\r\n\r\n"
)
KEPT = ANSWER.replace(b"Set-Cookie", b"X-Set-Thing")  # an answer of the same size that is kept
LIMITS = http1.Http1Limits()
HEAD = http1.parse_request(RAW).head
OK = http1.parse_response(ANSWER, upgrade_asked=False).head
PUBLIC = routing.PublicUrl.parse("https://tunnel.example")
FACTS = ViewerFacts(peer="192.0.2.7", scheme=b"https", authority=b"quiet-otter-12.tunnel.example")
VIEW = OriginView(scheme=b"http", authority=b"localhost:5173")
INBOUND = fields.for_tunnel(HEAD, FACTS)
OUTBOUND = fields.for_gateway(OK, INBOUND, VIEW)
STREAM = StreamId(1)
PIECE = b"x" * 16384
ROOMY = Hello(
    stream_window_bytes=1 << 18, tunnel_window_bytes=1 << 25, max_streams=1024, agent=b"bench"
)


def h11_cycle() -> None:
    """One request and its answer through h11 as a server: the unit of the other figures."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(RAW)
    connection.next_event()
    connection.next_event()
    connection.send(h11.Response(status_code=200, headers=list(OK.fields)))
    connection.send(h11.Data(data=b"x" * 5120))
    connection.send(h11.EndOfMessage())


def read_head() -> None:
    """A viewer's head from octets to a checked request."""
    buffer = http1.HeadBuffer()
    buffer.data += RAW
    raw = http1.take_request_head(buffer, LIMITS)
    assert raw is not None
    http1.parse_request(raw)


def frames_of(*frames: Frame) -> bytes:
    """Frames as octets."""
    return b"".join(map(wire.encode, frames))


def exchange(gateway: Mux, client: Mux) -> None:
    """One request and its answer of 16 KiB through both ends of a tunnel."""
    stream = gateway.open_stream(INBOUND, end_stream=True)
    _pump(gateway, client)
    client.send_head(stream, OUTBOUND, end_stream=False)
    client.send_data(stream, PIECE, end_stream=True)
    _pump(client, gateway)
    gateway.release(stream, len(PIECE))
    for end in (gateway, client):
        end.close_stream(stream, ErrorCode.NO_ERROR)
    _pump(gateway, client)


def _pump(source: Mux, sink: Mux) -> None:
    while message := source.next_message():
        sink.receive(message)


def test_h11_cycle(benchmark: BenchmarkFixture) -> None:
    """The unit."""
    benchmark(h11_cycle)


def test_read_head(benchmark: BenchmarkFixture) -> None:
    """Octets to a request head."""
    benchmark(read_head)


def test_read_answer(benchmark: BenchmarkFixture) -> None:
    """Octets to an answer's head."""
    benchmark(http1.parse_response, ANSWER, upgrade_asked=False)


def test_recall_answer(benchmark: BenchmarkFixture) -> None:
    """Octets that came before to an answer's head."""
    benchmark(http1.parse_response, KEPT, upgrade_asked=False)


def test_resolve(benchmark: BenchmarkFixture) -> None:
    """A head to its route."""
    host = b"quiet-otter-12.tunnel.example"
    benchmark(routing.resolve, target=HEAD.target, host=host, cookies=(), public=PUBLIC)


def test_for_tunnel(benchmark: BenchmarkFixture) -> None:
    """A viewer's fields to the tunnel's."""
    benchmark(fields.for_tunnel, HEAD, FACTS)


def test_for_origin(benchmark: BenchmarkFixture) -> None:
    """The tunnel's fields to the app's."""
    benchmark(fields.for_origin, INBOUND, VIEW)


def test_for_gateway(benchmark: BenchmarkFixture) -> None:
    """The app's fields to the tunnel's."""
    benchmark(fields.for_gateway, OK, INBOUND, VIEW)


def test_for_viewer(benchmark: BenchmarkFixture) -> None:
    """The tunnel's fields to the viewer's."""
    benchmark(fields.for_viewer, OUTBOUND, FACTS)


def test_check_fields(benchmark: BenchmarkFixture) -> None:
    """The second check, of what came through the tunnel."""
    benchmark(check_head_fields, OUTBOUND.fields)


def test_encode_request(benchmark: BenchmarkFixture) -> None:
    """A request to octets."""
    benchmark(wire.encode, Request(STREAM, INBOUND, end_stream=True))


def test_decode_answer(benchmark: BenchmarkFixture) -> None:
    """An answer's head and content from octets."""
    octets = frames_of(Response(STREAM, OUTBOUND), Data(STREAM, PIECE, end_stream=True))
    benchmark(lambda: list(wire.Decoder().feed(octets)))


def test_mux_exchange(benchmark: BenchmarkFixture) -> None:
    """A whole exchange through two ends of a tunnel."""
    gateway, client = Mux(Role.GATEWAY, MuxLimits()), Mux(Role.CLIENT, MuxLimits())
    _pump(gateway, client)
    _pump(client, gateway)
    benchmark(exchange, gateway, client)
