"""grammar.py: what browsers and tools send passes; what two parsers could dispute does not."""

from __future__ import annotations

import h11
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from tests.support.octets import raw_values, targets, tokens
from wormkey import grammar
from wormkey.errors import AdmissionError, ErrorCode, OriginError
from wormkey.frames import MAX_FIELDS
from wormkey.grammar import check_request_head, check_response_head

DECISIVE = (b"host", b"content-length", b"transfer-encoding", b"expect", b"connection")
plain_fields = st.lists(
    st.tuples(tokens.filter(lambda name: name.lower() not in DECISIVE), raw_values), max_size=6
)


def request(*lines: bytes, start: bytes = b"GET / HTTP/1.1", host: bytes = b"Host: a") -> bytes:
    """Return a request head of these lines."""
    return b"\r\n".join([start, *([host] if host else []), *lines, b"", b""])


def parsed_by_h11(role: type[h11.Sentinel], raw: bytes) -> h11.Request | h11.Response:
    """Return the head as h11 reads it."""
    connection = h11.Connection(role)
    if role is h11.CLIENT:
        connection.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    connection.receive_data(raw)
    event = connection.next_event()
    assert isinstance(event, h11.Request | h11.Response | h11.InformationalResponse)
    return event


# ── requests ──────────────────────────────────────────────────────────────────────────────────
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


@pytest.mark.parametrize(
    "raw",
    [
        CURL,
        CHROMIUM,
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
    ],
)
def test_what_is_normally_sent_passes(raw: bytes) -> None:
    """Heads of browsers and tools, and the corners that RFC 9112 allows, are accepted."""
    check_request_head(raw)


@given(method=tokens, target=targets, fields=plain_fields)
@example(method=b"GET", target=b"//x", fields=[])
def test_every_plain_request_passes_and_reads_as_h11_reads_it(
    method: bytes, target: bytes, fields: list[tuple[bytes, bytes]]
) -> None:
    """Any token, target and clean fields pass, and h11 then finds the very same parts."""
    lines = [name + b":" + value for name, value in fields]
    raw = request(*lines, start=b"%b %b HTTP/1.1" % (method, target))
    assume(method not in (b"CONNECT", b"TRACE"))
    check_request_head(raw)
    event = parsed_by_h11(h11.SERVER, raw)
    assert isinstance(event, h11.Request)
    assert (event.method, event.target) == (method, target)
    kept = [(name, value.strip(b" \t")) for name, value in fields]
    assert event.headers.raw_items()[1:] == kept


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


@pytest.mark.parametrize(("raw", "status", "words"), REFUSED)
def test_what_can_be_read_in_two_ways_is_refused(raw: bytes, status: int, words: str) -> None:
    """Each fault has its status, its code, and a sentence that says what is wrong."""
    with pytest.raises(AdmissionError, match=words) as caught:
        check_request_head(raw)
    assert caught.value.status == status
    assert caught.value.code in {
        "bad_request",
        "expectation_failed",
        "head_too_large",
        "not_implemented",
        "version_not_supported",
    }


mutations = st.tuples(st.integers(0, 400), st.integers(0, 3), st.binary(max_size=3))


@given(
    raw=st.sampled_from([CURL, CHROMIUM, *[row[0] for row in REFUSED[:60]]]),
    changes=st.lists(mutations, min_size=1, max_size=4),
)
def test_a_damaged_request_is_refused_or_means_the_same_to_h11(
    raw: bytes, changes: list[tuple[int, int, bytes]]
) -> None:
    """Whatever passes is parsed by h11 too; whatever does not is an AdmissionError."""
    for at, drop, insert in changes:
        raw = raw[:at] + insert + raw[at + drop :]
    try:
        check_request_head(raw)
    except AdmissionError:
        return
    event = parsed_by_h11(h11.SERVER, raw)
    assert isinstance(event, h11.Request)
    lines = raw.split(b"\r\n")[1:-2]
    assert [name for name, _ in event.headers.raw_items()] == [
        line.partition(b":")[0] for line in lines
    ]


# ── responses ─────────────────────────────────────────────────────────────────────────────────
def response(*lines: bytes, start: bytes = b"HTTP/1.1 200 OK") -> bytes:
    """Return a response head of these lines."""
    return b"\r\n".join([start, *lines, b"", b""])


@pytest.mark.parametrize(
    "raw",
    [
        response(),
        response(start=b"HTTP/1.0 404 Not Found"),
        response(start=b"HTTP/1.1 204"),
        response(start=b"HTTP/1.1 200 "),
        response(start=b"HTTP/1.1 299 caf\xe9\tau lait"),
        response(b"Link: </x>; rel=preload", start=b"HTTP/1.1 103 Early Hints"),
        response(b"Set-Cookie: a=b", b"Set-Cookie: c=d", b"Transfer-Encoding: chunked"),
        response(b"content-length: 0"),
        response(*[b"a: b"] * MAX_FIELDS),
    ],
)
def test_what_origins_normally_answer_passes(raw: bytes) -> None:
    """Answers with and without reason, interim ones, both framings: accepted, by h11 too."""
    check_response_head(raw)
    parsed_by_h11(h11.CLIENT, raw)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
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
    ],
)
def test_a_broken_answer_is_the_origins_failure(raw: bytes, words: str) -> None:
    """An origin that breaks HTTP gets the error that becomes a 502, with what broke."""
    with pytest.raises(OriginError, match=words) as caught:
        check_response_head(raw)
    assert caught.value.code is ErrorCode.ORIGIN_FAILED


@given(st.binary(max_size=80))
def test_any_octets_get_an_answer(raw: bytes) -> None:
    """No input makes either check raise anything else."""
    with pytest.raises(AdmissionError):
        check_request_head(b"G\x00" + raw)
    with pytest.raises(OriginError):
        check_response_head(raw + b"\r")
