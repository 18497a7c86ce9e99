"""http1_compose.py: heads go out as they are, and nothing in them becomes another line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wormkey.errors import LocalProtocolError, StreamError
from wormkey.frames import ResponseHead
from wormkey.http1_compose import (
    AnswerLines,
    compose_answer,
    compose_connection,
    compose_fields,
    compose_request_line,
    compose_status_line,
    current_date,
    declared_length,
)


def test_fields_go_out_as_they_are() -> None:
    """Order, repeats and spelling are kept."""
    fields = ((b"b", b"1"), (b"A", b""), (b"B", b"\x80 \t~"))
    assert compose_fields(fields) == b"b: 1\r\nA: \r\nB: \x80 \t~\r\n"
    assert compose_fields(()) == b""


octets = st.binary(max_size=6)


@given(st.lists(st.tuples(octets, octets), max_size=3), octets, octets, octets)
def test_nothing_composed_is_more_than_it_says(
    fields: list[tuple[bytes, bytes]], method: bytes, target: bytes, reason: bytes
) -> None:
    """Each field stays one line, each start line one line; the rest is an error."""
    for compose, lines in (
        (lambda: compose_fields(tuple(fields)), len(fields)),
        (lambda: compose_request_line(method, target), 1),
        (lambda: compose_status_line(200, reason), 1),
    ):
        try:
            out = compose()
        except StreamError:
            continue
        assert out.count(b"\n") == out.count(b"\r") == out.count(b"\r\n") == lines
        assert b"\0" not in out


@pytest.mark.parametrize(
    "bad", [(b"", b"x"), (b"a b", b"x"), (b"a:", b"x"), (b"a\r\nb", b"x"), (b"a", b"x\ny")]
)
def test_a_field_cannot_become_another(bad: tuple[bytes, bytes]) -> None:
    """A colon, a blank or a line break in a name, a line break in a value: an error."""
    with pytest.raises(StreamError):
        compose_fields(((b"ok", b"ok"), bad))


def test_start_lines_are_guarded() -> None:
    """A method that is no token, a target with a blank, a status off the scale: an error."""
    for method, target in ((b"G T", b"/"), (b"", b"/"), (b"GET", b""), (b"GET", b"/ HTTP/1.1")):
        with pytest.raises(StreamError):
            compose_request_line(method, target)
    for status, reason in ((99, b""), (1000, b""), (200, b"a\r\nb: c")):
        with pytest.raises(StreamError):
            compose_status_line(status, reason)


def test_a_tunnelled_length_is_one_plain_number() -> None:
    """Two of them, a sign, a list or too many digits: an error."""
    assert declared_length(((b"content-LENGTH", b"007"), (b"a", b"b"))) == 7
    assert declared_length(()) is None
    for value in (b"", b"+1", b"1, 1", b"-1", b"1 ", b"\xb2", b"1" * 19):
        with pytest.raises(StreamError):
            declared_length(((b"Content-Length", value),))
    with pytest.raises(StreamError):
        declared_length(((b"Content-Length", b"1"), (b"content-length", b"1")))


def test_the_date_is_now() -> None:
    """The Date of an answer is the current second in GMT."""
    now = datetime.now(UTC)
    assert abs(parsedate_to_datetime(current_date().decode()) - now) < timedelta(seconds=2)
    assert current_date().endswith(b" GMT")


@pytest.mark.parametrize(
    ("keep", "upgrade", "old", "lines"),
    [
        (True, b"", False, b""),
        (True, b"", True, b"Connection: keep-alive\r\n"),
        (False, b"", False, b"Connection: close\r\n"),
        (True, b"websocket", False, b"Upgrade: websocket\r\nConnection: Upgrade\r\n"),
        (False, b"websocket", False, b"Upgrade: websocket\r\nConnection: Upgrade, close\r\n"),
    ],
)
def test_what_an_answer_says_of_its_connection(
    keep: bool, upgrade: bytes, old: bool, lines: bytes
) -> None:
    """HTTP/1.1 goes on unless told; an answer that asks for an upgrade names it twice."""
    assert compose_connection(keep, upgrade, old=old) == lines


def test_an_answer_says_itself_and_no_more() -> None:
    """Its length and whether it has a Date are told; framing is another's affair."""
    composed = compose_answer(
        ResponseHead(200, ((b"content-length", b"3"), (b"DATE", b"x")), b"OK")
    )
    assert composed == AnswerLines(
        b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\nDATE: x\r\n", length=3, has_date=True
    )
    bare = compose_answer(ResponseHead(404, ()))
    assert bare == AnswerLines(b"HTTP/1.1 404 \r\n", length=None, has_date=False)


def test_no_content_has_no_length() -> None:
    """RFC 9110 §8.6: a 204 has no Content-Length; what its app declared is still checked."""
    head = ResponseHead(204, ((b"Content-Length", b"0"), (b"a", b"b")))
    assert compose_answer(head) == AnswerLines(b"HTTP/1.1 204 \r\na: b\r\n", 0, has_date=False)
    with pytest.raises(StreamError):
        compose_answer(ResponseHead(204, ((b"Content-Length", b"x"),)))


@pytest.mark.parametrize("name", [b"Connection", b"keep-alive", b"Transfer-Encoding", b"UPGRADE"])
def test_fields_of_one_hop_are_not_composed(name: bytes) -> None:
    """Whoever left one in has forgotten to remove it."""
    with pytest.raises(LocalProtocolError):
        compose_answer(ResponseHead(200, ((b"a", b"b"), (name, b"x"))))
