"""Writes the seeds of the corpus: `python -m fuzz.seeds`. Found inputs are added beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from wormkey import wire, wire0
from wormkey.errors import ErrorCode
from wormkey.frames import (
    Data,
    Fields,
    Frame,
    GoAway,
    Hello,
    Ping,
    Pong,
    Request,
    RequestHead,
    Reset,
    Response,
    ResponseHead,
    StreamId,
    Trailers,
    Window,
)

CORPUS: Final = Path(__file__).with_name("corpus")
ONE: Final = StreamId(1)
FIELDS: Final[Fields] = ((b"Host", b"slug.example"), (b"Cookie", b"a=b; wormkey_viewer=x.y"))
FRAMES: Final[tuple[Frame, ...]] = (
    Hello(
        version=1,
        stream_window_bytes=1 << 18,
        tunnel_window_bytes=1 << 25,
        max_frame_bytes=65536,
        max_streams=16,
        agent=b"seed",
    ),
    Request(ONE, RequestHead(b"GET", b"/a?b", FIELDS, b"websocket"), end_stream=True),
    Response(ONE, ResponseHead(103, FIELDS)),
    Response(ONE, ResponseHead(200, FIELDS, b"OK")),
    Data(ONE, b"hello", blocked=True),
    Data(ONE, b"", end_stream=True),
    Trailers(ONE, ((b"Sum", b"1"),)),
    Reset(ONE, ErrorCode.CANCELLED, b"why"),
    Window(ONE, 4096),
    Ping(b"12345678"),
    Pong(b"12345678"),
    GoAway(ONE, ErrorCode.NO_ERROR, b"bye"),
)
HOST: Final = b"Host: slug.example\r\n"
SEEDS: Final[dict[str, tuple[bytes, ...]]] = {
    "viewer_head": (
        b"GET / HTTP/1.1\r\n" + HOST + b"\r\n",
        b"\r\nPOST /a%2f..//b?c HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\nabc",
        b"GET http://u@slug.example:1/ HTTP/1.1\r\n" + HOST + b"\r\n",
        b"OPTIONS * HTTP/1.1\r\n" + HOST + b"Max-Forwards: 0\r\n\r\n",
        b"GET / HTTP/1.1\r\n"
        + HOST
        + b"Connection: upgrade, x\r\nUpgrade: websocket\r\nX: y\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\nTE: trailers\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"X-Forwarded-For: 1.2.3.4\r\nX_Real_IP: 1\r\n a\r\n\r\n",
        b"GET /s/slug/ HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.1\n" + HOST + b"\n",
    ),
    "origin_head": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nSet-Cookie: a=b; Domain=localhost\r\n\r\n",
        b"HTTP/1.1 302 \r\nLocation: http://localhost:5173/a\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
        b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.0 404\r\nRefresh: 0; url=/x\r\n\r\n",
    ),
    "chunks": (
        b"5\r\nhello\r\n0\r\n\r\n",
        b'5;a="b;c"; d\r\nhello\r\n1\r\n!\r\n0\r\nSum: 1\r\n\r\nGET',
        b"5\nhello\n0\n\n",
        b"ffffffffffffffff\r\n",
        b"0x1\r\n_\r\n",
    ),
    "tunnel_frames": (
        *(wire.encode(frame) for frame in FRAMES),
        b"".join(map(wire.encode, FRAMES)),
    ),
    "tunnel_v1": tuple(wire.encode(frame) for frame in FRAMES[2:]),
    "tunnel_v0": tuple(encoded for frame in FRAMES[1:] if (encoded := wire0.encode0(frame))),
    "field_rules": (
        b"Host:a\nCookie:a=b; wormkey_viewer=c\nConnection:x, close\nX:y",
        b"Origin:https://slug.example\nReferer:https://slug.example/a\nTE:trailers",
        b"Content-Length:1\nContent-Length:2\n:\nX-Forwarded-Host:evil",
    ),
    "pages": (
        b"<!doctype html><html><head><title>x</title></head><body>y</body></html>",
        b"<!-- <head> --><p title='<head>'>text",
        b"<html><script>'<head>'</script>",
        b"\xfe\xff\0<\0h",
        b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xcbH\xcd\xc9\xc9\x07\0\x86\xa6\x106\x05\0\0\0",
    ),
}


def main() -> None:
    """Write each seed to a file of its own."""
    for target, seeds in SEEDS.items():
        folder = CORPUS / target
        folder.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(seeds):
            (folder / f"seed-{number:02}").write_bytes(seed)


if __name__ == "__main__":
    main()
