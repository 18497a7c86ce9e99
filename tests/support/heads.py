"""Heads as browsers, tools and apps send them, and heads that must be refused, with the reason."""

from __future__ import annotations

from wormkey import grammar
from wormkey.frames import MAX_FIELDS


def request(*lines: bytes, start: bytes = b"GET / HTTP/1.1", host: bytes = b"Host: a") -> bytes:
    """Return a request head of these lines."""
    return b"\r\n".join([start, *([host] if host else []), *lines, b"", b""])


def response(*lines: bytes, start: bytes = b"HTTP/1.1 200 OK") -> bytes:
    """Return a response head of these lines."""
    return b"\r\n".join([start, *lines, b"", b""])


CURL = (
    b"GET /a?b[]={c}|d HTTP/1.1\r\nHost: quiet-otter.localhost:3002\r\n"
    b"User-Agent: curl/8.14.1\r\nAccept: */*\r\n\r\n"
)
CHROMIUM = (
    b"GET /ws?token=x HTTP/1.1\r\nHost: [::1]:3002\r\nConnection: Upgrade\r\n"
    b"Pragma: no-cache\r\nCache-Control: no-cache\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64) Chrome/126.0.0.0 Safari/537.36\r\n"
    b"Upgrade: websocket\r\nOrigin: http://[::1]:3002\r\nSec-WebSocket-Version: 13\r\n"
    b'sec-ch-ua: "Not/A)Brand";v="8", "Chromium";v="126"\r\n'
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
)


FIREFOX = (
    b"POST /api/items?x=1 HTTP/1.1\r\nHost: quiet-otter.localhost:3002\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
    b"Accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8\r\n"
    b"Accept-Language: de,en-US;q=0.7,en;q=0.3\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n"
    b"Content-Type: application/json\r\nContent-Length: 17\r\n"
    b"Referer: http://quiet-otter.localhost:3002/\r\n"
    b"Origin: http://quiet-otter.localhost:3002\r\nConnection: keep-alive\r\n"
    b"Cookie: session=4a8f1c6e; theme=dark\r\nSec-Fetch-Dest: empty\r\n"
    b"Sec-Fetch-Mode: cors\r\nSec-Fetch-Site: same-origin\r\nPriority: u=4\r\n\r\n"
)
UPLOAD = (
    b"PUT /a HTTP/1.1\r\nHost: a:3002\r\nUser-Agent: curl/8.14.1\r\nAccept: */*\r\n"
    b"Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
)
BENCH = (
    b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\nHost: a:3002\r\n"
    b"User-Agent: ApacheBench/2.3\r\nAccept: */*\r\n\r\n"
)
EXPRESS = (
    b"HTTP/1.1 200 OK\r\nX-Powered-By: Express\r\nAccess-Control-Allow-Origin: *\r\n"
    b"Content-Type: text/javascript\r\nCache-Control: no-cache\r\n"
    b'ETag: W/"3a-Jn4Xy1nG0k"\r\nDate: Mon, 23 Nov 2026 05:00:00 GMT\r\n'
    b"Content-Length: 58\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\n\r\n"
)
SIMPLE = (
    b"HTTP/1.0 200 OK\r\nServer: SimpleHTTP/0.6 Python/3.11.2\r\n"
    b"Date: Mon, 23 Nov 2026 05:00:00 GMT\r\nContent-type: text/html; charset=utf-8\r\n\r\n"
)
STREAM = (
    b"HTTP/1.1 200 \r\ncontent-type: text/event-stream\r\nx-empty:\r\nvary:Accept\r\n"
    b"set-cookie: a=b; Path=/\r\nset-cookie: c=d\r\ntransfer-encoding: chunked\r\n\r\n"
)

PLAIN_REQUESTS = [CURL, CHROMIUM, FIREFOX, UPLOAD, BENCH]
PLAIN_ANSWERS = [EXPRESS, SIMPLE, STREAM]

ACCEPTED = [
    *PLAIN_REQUESTS,
    request(start=b"OPTIONS * HTTP/1.1"),
    request(start=b"GET http://example.com HTTP/1.1"),
    request(start=b"GET HTTPS://example.com:443/x?y HTTP/1.1"),
    request(start=b"POST / HTTP/1.1", host=b"host:127.0.0.1"),
    request(start=b"PROPFIND /x HTTP/1.1", host=b"Host: a:"),
    request(b"Content-Length: 5", b"Expect: 100-Continue "),
    request(b"Transfer-Encoding: CHUNKED\t"),
    request(b"X-Empty:", b"X-Latin: caf\xe9", b"X-Tab:\ta\tb "),
    request(start=b"GET / HTTP/1.9"),
    request(start=b"GET / HTTP/1.0", host=b""),
    request(b"Expect: the unexpected", start=b"GET / HTTP/1.0"),
    request(start=b"%b / HTTP/1.1" % (b"M" * grammar.MAX_METHOD_BYTES)),
    request(*[b"a: b"] * (grammar.MAX_REQUEST_FIELDS - 1)),
    request(b"Content-Length: %b" % (b"9" * grammar.MAX_LENGTH_DIGITS)),
]

REFUSED = [
    (b"", 400, "method"),
    (b"\r\n\r\n", 400, "method"),
    (b"GET / HTTP/1.1\nHost: a\n\n", 400, "line feed"),
    (request(b"a: b\rc"), 400, "carriage return"),
    (request(b"a: b\nc: d"), 400, "line feed"),
    (request(b"a: b", b" c"), 400, "folded"),
    (request(b"\tc"), 400, "folded"),
    (request(b"a: b\x00c"), 400, "control"),
    (request(b"a: b\x01"), 400, "control"),
    (request(b"a: b\x7f"), 400, "control"),
    (request(b"a : b"), 400, "blank between"),
    (request(b"a b: c"), 400, "not a token"),
    (request(b"caf\xe9: c"), 400, "not a token"),
    (request(b": c"), 400, "not a token"),
    (request(b"nothing"), 400, "without a colon"),
    (request(start=b" / HTTP/1.1"), 400, "method"),
    (request(start=b"G(T / HTTP/1.1"), 400, "method"),
    (request(start=b"GET  / HTTP/1.1"), 400, "target"),
    (request(start=b"GET / "), 400, "first line"),
    (request(start=b"GET /"), 400, "first line"),
    (request(start=b"GET / http/1.1"), 400, "first line"),
    (request(start=b"GET / HTTP/1.1 "), 400, "first line"),
    (request(start=b"GET / HTTP/11"), 400, "first line"),
    (request(start=b"GET / HTTP/2.0"), 505, "version"),
    (request(start=b"GET / HTTP/2"), 505, "version"),
    (b"PRI * HTTP/2.0\r\n\r\n", 505, "version"),
    (request(start=b"GET /a b HTTP/1.1"), 400, "blanks"),
    (request(start=b"GET /a#b HTTP/1.1"), 400, "#"),
    (request(start=b"GET /\x7f HTTP/1.1"), 400, "controls"),
    (request(start=b"GET /\xc3\xa9 HTTP/1.1"), 400, "ASCII"),
    (request(start=b"GET * HTTP/1.1"), 400, "OPTIONS only"),
    (request(start=b"GET a/b HTTP/1.1"), 400, "neither a path"),
    (request(start=b"GET example.com:80 HTTP/1.1"), 400, "neither a path"),
    (request(start=b"GET ftp://example.com/ HTTP/1.1"), 400, "neither a path"),
    (request(start=b"GET http:///x HTTP/1.1"), 400, "no valid host"),
    (request(start=b"GET http://u:p@a/x HTTP/1.1"), 400, "no valid host"),
    (request(start=b"CONNECT a:443 HTTP/1.1"), 501, "CONNECT"),
    (request(start=b"TRACE / HTTP/1.1"), 501, "TRACE"),
    (request(start=b"%b / HTTP/1.1" % (b"M" * 65)), 501, "longer than 64"),
    (request(host=b""), 400, "no Host"),
    (request(b"HOST: a"), 400, "more than one Host"),
    (request(b"HOST: a", start=b"GET http://a/ HTTP/1.1"), 400, "more than one Host"),
    *[
        (request(host=b"Host: " + host), 400, "no valid host")
        for host in (b"", b"a b", b"a, b", b"a,b", b"u@a", b"a/b", b"a:b", b"a:65536", b"a%20")
    ],
    *[
        (request(host=b"Host: " + host), 400, "no valid host")
        for host in (b"[::1", b"[:::1]", b"::1", b"[::1%25eth0]", b"[v1.a]", b"a:123456", b"\xe9")
    ],
    (request(b"Content-Length: 1", b"Transfer-Encoding: chunked"), 400, "both"),
    (request(b"Content-Length: 1", b"content-length: 1"), 400, "more than one"),
    *[
        (request(b"Content-Length: " + length), 400, "plain number")
        for length in (b"", b"+1", b"-1", b"0x1", b"1,1", b"1 1", b"1_0", b"\xb2", b"9" * 19)
    ],
    (request(b"Transfer-Encoding: gzip, chunked"), 501, "other than chunked"),
    (request(b"Transfer-Encoding: identity"), 501, "other than chunked"),
    (request(b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked"), 501, "other than"),
    *[
        (request(b"Transfer-Encoding:" + coding), 400, "exactly one")
        for coding in (b"", b"chunked, chunked", b"chunked,gzip", b"chunked,", b"chunked;a")
    ],
    (request(b"TE: trailers", b"Transfer-Encoding: \x0bchunked"), 400, "control"),
    (request(b"Transfer-Encoding: chunked", start=b"GET / HTTP/1.0"), 400, "HTTP/1.0"),
    (request(b"Expect: 200-ok"), 417, "100-continue"),
    (request(*[b"a: b"] * grammar.MAX_REQUEST_FIELDS), 431, "fields"),
    (request()[:-2], 400, "empty line"),
    (b"GET / HTTP/1.1\r\n\r\nGET", 400, "empty line"),
]

ANSWERED = [
    *PLAIN_ANSWERS,
    response(),
    response(start=b"HTTP/1.0 404 Not Found"),
    response(start=b"HTTP/1.1 204"),
    response(start=b"HTTP/1.1 200 "),
    response(start=b"HTTP/1.1 299 caf\xe9\tau lait"),
    response(b"Link: </x>; rel=preload", start=b"HTTP/1.1 103 Early Hints"),
    response(b"Set-Cookie: a=b", b"Set-Cookie: c=d", b"Transfer-Encoding: chunked"),
    response(b"content-length: 0"),
    response(*[b"a: b"] * MAX_FIELDS),
]

BROKEN = [
    (b"", "first line"),
    (b"HTTP/1.1 200 OK\n\n", "line feed"),
    (response(start=b"HTTP/2.0 200 OK"), "first line"),
    (response(start=b"HTTP/1.1 20 OK"), "first line"),
    (response(start=b"HTTP/1.1 099 OK"), "first line"),
    (response(start=b"HTTP/1.1 200\tOK"), "first line"),
    (response(b"a: b", b" c"), "folded"),
    (response(b"a : b"), "blank between"),
    (response(b"a: \x00"), "control"),
    (response()[:-2], "empty line"),
    (response(b"Content-Length: 1", b"Content-Length: 1"), "more than one"),
    (response(b"Content-Length: 1", b"Transfer-Encoding: chunked"), "both"),
    (response(b"Content-Length: +1"), "plain number"),
    (response(b"Transfer-Encoding: gzip"), "coding"),
    (response(b"Transfer-Encoding: chunked", start=b"HTTP/1.0 200 OK"), "HTTP/1.0"),
    (response(*[b"a: b"] * (MAX_FIELDS + 1)), "fields"),
]
