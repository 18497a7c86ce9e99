"""http1.py: heads are found, bounded and parsed as they are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wormkey.errors import AdmissionError, OriginError
from wormkey.http1 import (
    MAX_BLANK_BYTES,
    HeadBuffer,
    Http1Limits,
    asks_to_close,
    parse_request,
    parse_response,
    take_request_head,
)

LIMITS = Http1Limits(max_head_bytes=200, max_target_bytes=100)
HEAD = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"


def request(*lines: bytes, start: bytes = b"POST / HTTP/1.1") -> bytes:
    """A request head with these field lines after Host."""
    return b"\r\n".join((start, b"Host: x", *lines, b"", b""))


def response(*lines: bytes, start: bytes = b"HTTP/1.1 200 OK") -> bytes:
    """A response head with these field lines."""
    return b"\r\n".join((start, *lines, b"", b""))


def refusal(octets: bytes) -> tuple[int, str]:
    """Status and code of the refusal of these octets as the start of a request."""
    buffer = HeadBuffer()
    buffer.data += octets
    with pytest.raises(AdmissionError) as caught:
        take_request_head(buffer, LIMITS)
    return caught.value.status, caught.value.code


@given(st.integers(0, len(HEAD)), st.binary(max_size=9), st.integers(0, 3))
def test_a_head_is_found_wherever_it_is_cut(at: int, after: bytes, blank_lines: int) -> None:
    """Two reads or one, with empty lines before and anything behind: the head comes out whole."""
    buffer = HeadBuffer()
    buffer.data += b"\r\n" * blank_lines + HEAD[:at]
    first = take_request_head(buffer, LIMITS)
    buffer.data += HEAD[at:] + after
    assert (first or take_request_head(buffer, LIMITS)) == HEAD
    assert buffer.take_all() == after
    assert not buffer.started


def test_a_head_is_found_byte_by_byte() -> None:
    """A CR at a read's end is not taken for a bare one."""
    buffer = HeadBuffer()
    for at, octet in enumerate(b"\r\n" + HEAD):
        assert take_request_head(buffer, LIMITS) is None
        assert buffer.started is (at > 2)
        buffer.data.append(octet)
    assert take_request_head(buffer, LIMITS) == HEAD


def test_heads_follow_each_other() -> None:
    """Pipelined heads come out one by one."""
    buffer = HeadBuffer()
    buffer.data += HEAD * 3
    assert [take_request_head(buffer, LIMITS) for _ in range(4)] == [HEAD, HEAD, HEAD, None]


def test_size_limits_hold_for_complete_and_incomplete_heads() -> None:
    """414 for the request line, 431 for the whole head, one octet over either limit."""
    line = b"GET /" + b"a" * (LIMITS.max_target_bytes - len(b"GET / HTTP/1.1")) + b" HTTP/1.1"
    buffer = HeadBuffer()
    buffer.data += line + b"\r\nHost: x\r\n\r\n"
    assert take_request_head(buffer, LIMITS) is not None
    assert refusal(b"x" + line + b"\r\nHost: x\r\n\r\n") == (414, "target_too_long")
    assert refusal(b"x" + line) == (414, "target_too_long")
    filler = b"f: " + b"a" * (LIMITS.max_head_bytes - len(request(b"f: ")))
    buffer.data += request(filler)
    assert take_request_head(buffer, LIMITS) == request(filler)
    assert refusal(request(filler + b"a")) == (431, "head_too_large")
    assert refusal(request(filler)[:-4] + b"aaaaa") == (431, "head_too_large")


def test_what_can_be_no_request_is_not_waited_for() -> None:
    """A TLS handshake, a bare line feed or endless empty lines are refused at once."""
    bad = (400, "bad_request")
    assert refusal(b"\x16\x03\x01") == bad
    assert refusal(b"\nGET / HTTP/1.1") == bad
    assert refusal(b"\r\n" * (MAX_BLANK_BYTES // 2 + 1)) == bad


def test_a_request_is_kept_as_it_came() -> None:
    """Order, repeats, spelling, target and method pass untouched."""
    raw = request(b"X-b: 1", b"x-B:2 ", b"Cookie: a=\xff", start=b"pUrGe /%2f/../?q=%zz HTTP/1.1")
    got = parse_request(raw)
    assert got.head.method == b"pUrGe"
    assert got.head.target == b"/%2f/../?q=%zz"
    expected = ((b"Host", b"x"), (b"X-b", b"1"), (b"x-B", b"2"), (b"Cookie", b"a=\xff"))
    assert got.head.fields == expected
    assert got.raw_head == raw
    assert (got.has_content, got.content_length, got.expects_continue) == (False, None, False)


@pytest.mark.parametrize(
    ("lines", "has_content", "length"),
    [
        ((), False, None),
        ((b"Content-Length: 0",), False, 0),
        ((b"content-length: 12",), True, 12),
        ((b"Transfer-Encoding: Chunked",), True, None),
    ],
)
def test_framing_of_requests(
    lines: tuple[bytes, ...], has_content: bool, length: int | None
) -> None:
    """Content is announced by a length over zero or by chunks, and by nothing else."""
    got = parse_request(request(*lines))
    assert (got.has_content, got.content_length) == (has_content, length)


def test_a_hundred_is_awaited_only_where_it_can_be() -> None:
    """HTTP/1.1 with content to come; other expectations are refused."""
    wait = b"Expect: 100-Continue"
    assert parse_request(request(wait, b"Content-Length: 1")).expects_continue
    assert not parse_request(request(wait)).expects_continue
    old = request(wait, b"Content-Length: 1", start=b"POST / HTTP/1.0")
    assert not parse_request(old).expects_continue
    with pytest.raises(AdmissionError) as caught:
        parse_request(request(b"Expect: tea"))
    assert caught.value.status == 417


@pytest.mark.parametrize(
    ("version", "lines", "keeps"),
    [
        (b"1.1", (), True),
        (b"1.1", (b"Connection: x, CLOSE",), False),
        (b"1.1", (b"Connection: x", b"connection: close"), False),
        (b"1.1", (b"Connection: closed",), True),
        (b"1.0", (), False),
        (b"1.0", (b"Connection: Keep-Alive",), True),
        (b"1.0", (b"Connection: keep-alive, close",), False),
        (b"1.9", (), True),
    ],
)
def test_persistence(version: bytes, lines: tuple[bytes, ...], keeps: bool) -> None:
    """HTTP/1.1 stays open unless someone says close, HTTP/1.0 closes unless it says otherwise."""
    asked = parse_request(request(*lines, start=b"GET / HTTP/" + version))
    answer = response(*lines, start=b"HTTP/" + version + b" 200 OK")
    assert asked.keep_alive is keeps
    assert parse_response(answer, upgrade_asked=False).keep_alive is keeps


def test_malformed_heads_never_reach_h11() -> None:
    """grammar.py's verdict comes first, in both directions."""
    with pytest.raises(AdmissionError):
        parse_request(b"GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n")
    with pytest.raises(OriginError):
        parse_response(b"HTTP/1.1 200 OK\nA: b\n\n", upgrade_asked=False)


def test_an_answer_is_kept_as_it_came() -> None:
    """Reason, order, repeats and spelling pass; the framing is told beside them."""
    raw = response(b"SET-cookie: a", b"Set-Cookie: b", start=b"HTTP/1.1 299 Very  fine \xe4")
    got = parse_response(raw, upgrade_asked=False)
    assert (got.head.status, got.head.reason) == (299, b"Very  fine \xe4")
    assert got.head.fields == ((b"SET-cookie", b"a"), (b"Set-Cookie", b"b"))
    assert (got.chunked, got.content_length) == (False, None)
    assert parse_response(response(b"Content-Length: 7"), upgrade_asked=False).content_length == 7
    assert parse_response(response(b"Transfer-Encoding: chunked"), upgrade_asked=False).chunked


def test_interim_answers_are_told_from_the_final_one() -> None:
    """100 and 103 are interim; 101 is final, and only after an upgrade was asked for."""
    early = response(b"Link: </a>", start=b"HTTP/1.1 103 Early Hints")
    assert parse_response(early, upgrade_asked=False).head.interim
    switch = response(b"Connection: Upgrade", b"Upgrade: x", start=b"HTTP/1.1 101 Go")
    got = parse_response(switch, upgrade_asked=True).head
    assert (got.status, got.interim, got.reason) == (101, False, b"Go")
    with pytest.raises(OriginError):
        parse_response(switch, upgrade_asked=False)


def test_close_is_found_in_lists() -> None:
    """Connection is a list of case-insensitive tokens."""
    assert asks_to_close(((b"connection", b"x ,Close"),))
    assert not asks_to_close(((b"connection", b"closed"), (b"x", b"close")))
