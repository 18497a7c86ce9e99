"""http1.py's reading of plain heads: what h11 reads, octet for octet, or left to h11.

h11 is asked directly here, with nothing of ours between the octets and its event.
"""

from __future__ import annotations

import contextlib

import h11
import pytest
from hypothesis import event, given, settings, target
from hypothesis import strategies as st

from tests.support.heads import (
    ACCEPTED,
    ANSWERED,
    BROKEN,
    PLAIN_ANSWERS,
    PLAIN_REQUESTS,
    REFUSED,
    request,
    response,
)
from tests.support.octets import TEXT, octets, targets, tokens
from wormkey.errors import AdmissionError, OriginError
from wormkey.frames import Fields, RequestHead, ResponseHead
from wormkey.grammar import check_request_head, check_response_head
from wormkey.http1 import (
    parse_request,
    parse_response,
    read_plain_request,
    read_plain_response,
)

REQUESTS = [*ACCEPTED, *[row[0] for row in REFUSED]]
ANSWERS = [*ANSWERED, *[row[0] for row in BROKEN]]

Event = h11.Request | h11.Response | h11.InformationalResponse


def by_h11(raw: bytes, *, upgrade_asked: bool | None = None) -> Event | None:
    """What h11 alone makes of a request (or of an answer, where it says what was asked)."""
    parser = h11.Connection(h11.SERVER if upgrade_asked is None else h11.CLIENT, len(raw))
    if upgrade_asked is not None:
        offer = [("Upgrade", "any")] if upgrade_asked else []
        parser.send(h11.Request(method="GET", target="/", headers=[("Host", "a"), *offer]))
    parser.receive_data(raw)
    try:
        found = parser.next_event()
    except h11.RemoteProtocolError:
        return None
    if isinstance(found, h11.Request | h11.Response | h11.InformationalResponse):
        return found
    return None


def fields_of(found: Event) -> Fields:
    """h11's fields, spelled as they came."""
    return tuple(found.headers.raw_items())


def framing_of(found: Event) -> tuple[bool, int | None]:
    """Chunked or not, and the length: what h11 decides the content's end by (RFC 9112 §6.3)."""
    values = dict(found.headers)
    length = values.get(b"content-length")
    return values.get(b"transfer-encoding") == b"chunked", None if length is None else int(length)


def keeps_alive(found: Event) -> bool:
    """Whether the connection goes on: h11's own answer, but that 1.0 may ask for it."""
    options = {
        option.strip().lower()
        for name, value in found.headers
        if name == b"connection"
        for option in value.split(b",")
    }
    return b"close" not in options and (found.http_version >= b"1.1" or b"keep-alive" in options)


# ── generated heads ───────────────────────────────────────────────────────────────────────────
NAMES = (
    *(
        b"Host",
        b"host",
        b"HOST",
        b"Connection",
        b"connection",
        b"Content-Length",
        b"content-length",
    ),
    *(b"Transfer-Encoding", b"transfer-encoding", b"Expect", b"Upgrade", b"Cookie", b"X-Content-"),
    *(b"Accept", b"X", b"a:", b" a", b"a ", b"", b"\tb", b"Connection\x00"),
)
VALUES = (
    *(b"a", b"a:3002", b"[::1]:80", b"close", b"Keep-Alive", b"close, keep-alive", b"x,, Close ,"),
    *(b"5", b"0", b"007", b"1, 1", b"+1", b"chunked", b"Chunked", b"chunked, chunked", b"gzip"),
    *(b"100-continue", b"100-Continue", b"websocket", b"a\xffb", b"a:b: c", b"a\rb", b"a\nb", b""),
    *(b"\x0bchunked", b"chunked\x0c", b"5\x1f", b"a\x00", b"\x7f", b"\x80", b"\xa0", b"\x85x"),
)
BLANKS = (b"", b" ", b"  ", b"\t", b" \t ")
BREAKS = (*[b"\r\n"] * 12, b"\n", b"\r", b"\r\r\n", b"\r\n ", b"\r\n\t")

blanks = st.sampled_from(BLANKS)
lines = st.builds(
    lambda *parts: b"".join(parts),
    st.one_of(st.sampled_from(NAMES), tokens),
    st.just(b":"),
    blanks,
    st.one_of(st.sampled_from(VALUES), octets(TEXT), st.binary(max_size=8)),
    blanks,
)
breaks = st.sampled_from(BREAKS)
versions = st.sampled_from([*[b"HTTP/1.1"] * 8, b"HTTP/1.0", b"HTTP/1.2", b"HTTP/1.9", b"HTTP/2.0"])
request_lines = st.builds(
    lambda *parts: b" ".join(parts),
    st.one_of(st.sampled_from([b"GET", b"POST", b"OPTIONS", b"HEAD", b"CONNECT", b"get"]), tokens),
    st.one_of(targets, st.sampled_from([b"/", b"*", b"http://a/x", b"//a", b"a:80", b"/\xff"])),
    versions,
)
status_lines = st.builds(
    lambda version, status, reason: version + b" " + status + reason,
    versions,
    st.sampled_from(
        [b"200", b"204", b"304", b"404", b"999", b"100", b"101", b"103", b"099", b"20"]
    ),
    st.one_of(st.sampled_from([b"", b" ", b" OK", b"  OK ", b"\tOK"]), octets(TEXT)),
)


DECISIVE = {
    b"Content-Length": (b"5", b"0", b"007"),
    b"TRANSFER-encoding": (b"chunked", b"Chunked"),
    b"expect": (b"100-continue", b"100-Continue"),
    b"connection": (b"close", b"Keep-Alive", b"a, CLOSE ,", b"keep-alive,close", b"upgrade", b""),
}
sound_lines = st.builds(
    lambda pair, before, after: (pair[0], pair[0] + b":" + before + pair[1] + after),
    st.one_of(
        st.tuples(tokens, octets(TEXT)),
        st.tuples(tokens, octets(TEXT)),
        *[st.tuples(st.just(n), st.sampled_from(v)) for n, v in DECISIVE.items()],
    ).filter(lambda pair: pair[0].lower() != b"host"),
    blanks,
    st.one_of(st.just(b""), st.just(b""), blanks),
)


@st.composite
def sound(draw: st.DrawFn, start_lines: st.SearchStrategy[bytes], first: bytes) -> bytes:
    """A head with right line ends, which tells the end of its content in one way at most."""
    head, framed = draw(start_lines) + b"\r\n" + first, False
    for name, line in draw(st.lists(sound_lines, max_size=6)):
        frames = name in (b"Content-Length", b"TRANSFER-encoding")
        if not (frames and framed):
            head += line + b"\r\n"
        framed = framed or frames
    return head + b"\r\n"


@st.composite
def built(draw: st.DrawFn, start_lines: st.SearchStrategy[bytes], first: bytes) -> bytes:
    """A head put together from parts, most of them sound, each of them sometimes not."""
    head = draw(start_lines) + draw(breaks) + (first if draw(st.integers(0, 9)) else b"")
    for line in draw(st.lists(lines, max_size=5)):
        head += line + draw(breaks)
    return head + draw(st.sampled_from([*[b"\r\n"] * 6, b"\n", b"", b"\r\n\r\n", b"\r\nGET"]))


@st.composite
def damaged(draw: st.DrawFn, heads: list[bytes]) -> bytes:
    """A head of the corpus with pieces taken out, put in or doubled."""
    raw = draw(st.sampled_from(heads))
    nasty = [b" ", b"\t", b"\r", b"\n", b"\r\n", b":", b",", b"\0", b"\x0b", b"\x7f", b"\xff", b"C"]
    inserts = st.one_of(st.sampled_from(nasty), lines.map(b"\r\n".__add__), st.binary(max_size=3))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(raw)))
        raw = raw[:at] + draw(inserts) + raw[at + draw(st.integers(0, 3)) :]
    return raw


sound_requests = st.builds(
    b"%b %b HTTP/1.%b".__mod__,
    st.tuples(tokens, targets, st.sampled_from([b"1", b"1", b"1", b"0", b"7"])),
)
sound_statuses = st.builds(
    b"HTTP/1.%b %d%b".__mod__,
    st.tuples(
        st.sampled_from([b"1", b"1", b"1", b"0", b"7"]),
        st.one_of(st.integers(200, 999), st.integers(100, 199)),
        st.one_of(st.just(b""), octets(TEXT).map(b" ".__add__)),
    ),
)
requests = st.one_of(
    sound(sound_requests, b"Host: a\r\n"),
    sound(sound_requests, b"Host: a\r\n"),
    built(request_lines, b"Host: a\r\n"),
    damaged(REQUESTS),
    damaged(ACCEPTED),
)
answers = st.one_of(
    sound(sound_statuses, b""),
    sound(sound_statuses, b""),
    built(status_lines, b""),
    damaged(ANSWERS),
    damaged(ANSWERED),
)


# The promises are those of a reader of hostile octets: look longer than elsewhere.
many = settings(max_examples=300)


# ── the promises ──────────────────────────────────────────────────────────────────────────────
@many
@given(requests)
def test_a_request_means_what_h11_says_or_is_refused(raw: bytes) -> None:
    """Accepted means that h11 accepts it too, and reads the same parts, framing and persistence."""
    try:
        got = parse_request(raw)
    except AdmissionError:
        event("refused")
        return
    event("plain" if read_plain_request(check_request_head(raw)) else "read by h11")
    found = by_h11(raw)
    assert isinstance(found, h11.Request)
    assert got.head == RequestHead(found.method, found.target, fields_of(found))
    assert got.http_version == found.http_version
    chunked, length = framing_of(found)
    assert (got.has_content, got.content_length) == (chunked or bool(length), length)
    assert got.keep_alive is keeps_alive(found)
    awaited = b"100-continue" in [v.lower() for name, v in found.headers if name == b"expect"]
    assert got.expects_continue is (awaited and got.has_content and found.http_version >= b"1.1")


@many
@given(answers, st.booleans())
def test_an_answer_means_what_h11_says_or_is_refused(raw: bytes, upgrade_asked: bool) -> None:
    """The same for answers, 1xx and 101 among them."""
    try:
        got = parse_response(raw, upgrade_asked=upgrade_asked)
    except OriginError:
        event("refused")
        return
    event("plain" if read_plain_response(check_response_head(raw)) else "read by h11")
    found = by_h11(raw, upgrade_asked=upgrade_asked)
    assert isinstance(found, h11.Response | h11.InformationalResponse)
    assert got.head == ResponseHead(found.status_code, fields_of(found), found.reason)
    assert (got.chunked, got.content_length) == framing_of(found)
    assert got.keep_alive is keeps_alive(found)


@many
@given(requests)
def test_a_plain_request_is_read_as_h11_reads_it(raw: bytes) -> None:
    """The reader itself: the same head as h11's, or none."""
    with contextlib.suppress(AdmissionError):
        plain = read_plain_request(check_request_head(raw))
        if plain is not None:
            target(len(plain.fields))
            found = by_h11(raw)
            assert isinstance(found, h11.Request)
            assert plain == RequestHead(found.method, found.target, fields_of(found))


@many
@given(answers)
def test_a_plain_answer_is_read_as_h11_reads_it(raw: bytes) -> None:
    """The reader itself: the same head as h11's, whatever was asked, or none."""
    with contextlib.suppress(OriginError):
        plain = read_plain_response(check_response_head(raw))
        if plain is not None:
            target(len(plain.fields))
            for upgrade_asked in (False, True):
                found = by_h11(raw, upgrade_asked=upgrade_asked)
                assert isinstance(found, h11.Response)
                assert plain == ResponseHead(found.status_code, fields_of(found), found.reason)


@many
@given(requests)
def test_what_h11_refuses_is_refused(raw: bytes) -> None:
    """No request gets past h11."""
    if by_h11(raw) is None:
        with pytest.raises(AdmissionError):
            parse_request(raw)


@many
@given(answers, st.booleans())
def test_what_h11_refuses_is_no_answer(raw: bytes, upgrade_asked: bool) -> None:
    """No answer gets past h11."""
    if by_h11(raw, upgrade_asked=upgrade_asked) is None:
        with pytest.raises(OriginError):
            parse_response(raw, upgrade_asked=upgrade_asked)


@pytest.mark.parametrize("raw", [*PLAIN_REQUESTS, request(), request(b"X-Empty:", b"b:c")])
def test_what_browsers_and_tools_send_is_plain(raw: bytes) -> None:
    """The short way is the usual one."""
    assert read_plain_request(check_request_head(raw)) is not None


@pytest.mark.parametrize("raw", PLAIN_ANSWERS)
def test_what_apps_answer_is_plain(raw: bytes) -> None:
    """Lengths, chunks or the close at the end, with or without a reason."""
    assert read_plain_response(check_response_head(raw)) is not None


@pytest.mark.parametrize(
    "raw",
    [
        request(start=b"GET http://a/ HTTP/1.1"),
        request(start=b"OPTIONS * HTTP/1.1"),
        request(start=b"GET / HTTP/1.2"),
        request(b"a: b "),
        request(b"a: b\t", b"c: d"),
        request(b"a: "),
        request(b"Transfer-Encoding: Chunked"),
    ],
)
def test_other_requests_are_left_to_h11(raw: bytes) -> None:
    """Other targets and versions, blanks at a line's end, a coding that h11 spells anew."""
    assert read_plain_request(check_request_head(raw)) is None
    found = by_h11(raw)
    assert found is not None
    assert parse_request(raw).head.fields == fields_of(found)


@pytest.mark.parametrize(
    "raw",
    [
        response(start=b"HTTP/1.1 103 Early Hints"),
        response(start=b"HTTP/1.1 101 Switching Protocols"),
        response(start=b"HTTP/1.9 200 OK"),
        response(b"a: b "),
        response(b"Transfer-Encoding: CHUNKED"),
    ],
)
def test_other_answers_are_left_to_h11(raw: bytes) -> None:
    """Interim answers and 101, which depend on what was asked, and the same corners."""
    assert read_plain_response(check_response_head(raw)) is None
    found = by_h11(raw, upgrade_asked=True)
    assert found is not None
    assert parse_response(raw, upgrade_asked=True).head.fields == fields_of(found)
