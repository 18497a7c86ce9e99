"""pages.py: every error has a page that says what to do, and nothing on it can run."""

from __future__ import annotations

import base64
import hashlib
import json
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wormkey.fields import get
from wormkey.grammar import check_head_fields
from wormkey.pages import ERRORS, prefers_json, render, render_home

if TYPE_CHECKING:
    from wormkey.frames import Fields

ELEMENTS = {"html", "head", "meta", "title", "style", "body", "main", "p", "h1", "pre", "footer"}


class Reader(HTMLParser):
    """Collects a page's elements, attributes, style and visible text."""

    def __init__(self, page: bytes) -> None:
        """Read the whole page."""
        super().__init__()
        self.elements: set[str] = set()
        self.attributes: set[str] = set()
        self.style = ""
        self.text = ""
        self._in_style = False
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element and its attributes."""
        self.elements.add(tag)
        self.attributes.update(name for name, _ in attrs)
        self._in_style = tag == "style"

    def handle_endtag(self, tag: str) -> None:
        """Leave the style sheet."""
        self._in_style = False

    def handle_data(self, data: str) -> None:
        """Note text or style."""
        if self._in_style:
            self.style += data
        else:
            self.text += data


def one(fields: Fields, name: bytes) -> bytes:
    """Return the only value of this name."""
    [value] = get(fields, name)
    return value


@pytest.mark.parametrize("code", sorted(ERRORS))
def test_every_error_says_what_it_means_and_what_to_do(code: str) -> None:
    """Page and JSON carry the table's sentences, the code and the request's id."""
    entry = ERRORS[code]
    fields, content = render(code=code, request_id="r-1")
    page = Reader(content)
    for words in (str(entry.status), entry.title, entry.meaning, entry.remedy, code, "r-1"):
        assert words in page.text
    assert one(fields, b"wormkey-error") == code.encode()
    fields, content = render(code=code, request_id="r-1", accept=b"application/json")
    assert json.loads(content) == {"error": entry.meaning, "code": code, "requestId": "r-1"}
    assert one(fields, b"content-type") == b"application/json"
    assert 400 <= entry.status < 600


def test_the_table_names_each_status_that_is_promised() -> None:
    """No answer of the gateway's own lacks a text of its own."""
    promised = {400, 401, 403, 404, 408, 410, 413, 414, 417, 421, 429, 431, 501, 502, 503, 504, 505}
    assert promised <= {entry.status for entry in ERRORS.values()}


@given(code=st.text(), request_id=st.text(), message=st.text(), detail=st.text())
def test_no_text_becomes_markup_or_a_field_line(
    code: str, request_id: str, message: str, detail: str
) -> None:
    """Whatever is said, the page has the template's elements only and the fields are sound."""
    for accept in (b"", b"application/json"):
        fields, content = render(
            code=code, request_id=request_id, message=message, detail=detail, accept=accept
        )
        check_head_fields(fields)
        assert int(one(fields, b"content-length")) == len(content)
        if accept:
            assert json.loads(content)["requestId"] == request_id
        else:
            page = Reader(content)
            assert page.elements <= ELEMENTS | {"code"}
            assert page.attributes <= {"lang", "charset", "name", "content", "class"}


def test_markup_is_shown_as_text() -> None:
    """A hostile detail is read, never run."""
    evil = "<script>alert(1)</script>\"'&amp;"
    _, content = render(code="origin_failed", request_id="r", message=evil, detail=evil)
    page = Reader(content)
    assert page.text.count(evil) == 2
    assert "script" not in page.elements


def test_an_unlisted_code_has_a_general_page() -> None:
    """A status and a message are enough; the message goes where the meaning would."""
    fields, content = render(status=418, code="teapot", message="I am short.", request_id="r")
    page = Reader(content)
    assert "418" in page.text
    assert "I am short." in page.text
    assert one(fields, b"wormkey-error") == b"teapot"


def test_json_joins_message_and_detail() -> None:
    """The one sentence of a JSON answer holds what the page shows apart."""
    _, content = render(code="paused", request_id="r", detail="Why?", accept=b"application/json")
    assert json.loads(content)["error"] == ERRORS["paused"].meaning + " Why?"


@pytest.mark.parametrize("answer", [render(code="paused", request_id="r"), render_home()])
def test_a_page_is_fenced_in(answer: tuple[Fields, bytes]) -> None:
    """Not stored, framed, sniffed or referred from; its own style sheet is all it may load."""
    fields, content = answer
    digest = hashlib.sha256(Reader(content).style.encode()).digest()
    policy = one(fields, b"content-security-policy").decode()
    assert policy.startswith("default-src 'none'; ")
    assert f"'sha256-{base64.b64encode(digest).decode()}'" in policy
    assert "frame-ancestors 'none'" in policy
    assert one(fields, b"cache-control") == b"no-store"
    assert one(fields, b"x-content-type-options") == b"nosniff"
    assert one(fields, b"x-frame-options") == b"DENY"
    assert one(fields, b"referrer-policy") == b"no-referrer"


def test_home_is_no_error() -> None:
    """The front page carries no error mark."""
    fields, content = render_home()
    assert not get(fields, b"wormkey-error")
    assert "Wormkey gateway" in Reader(content).text


@pytest.mark.parametrize(
    ("accept", "json_wanted"),
    [
        (b"", False),
        (b"*/*", False),
        (b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", False),
        (b"application/json", True),
        (b"application/json, text/plain, */*", True),
        (b"Application/Problem+JSON", True),
        (b"application/json, text/html", False),
        (b"application/json;q=0.9, text/html;q=0.8", True),
        (b"application/json;q=0.5, */*", False),
        (b"application/json;q=0, text/html;q=0", False),
        (b"application/json;q=0", False),
        (b"application/json;q=high", False),
        (b"application/json; charset=utf-8 ; Q=0.7, text/*;q=0.7", True),
        (b"text/json", False),
        (b"application/jsonp", False),
        (b"json", False),
    ],
)
def test_json_goes_to_those_who_prefer_it(accept: bytes, json_wanted: bool) -> None:
    """JSON must be named, and not less than a page; wildcards do not outweigh it."""
    assert prefers_json(accept) is json_wanted


@given(st.binary(max_size=60).map(b"application/json".__add__))
def test_any_accept_is_read(accept: bytes) -> None:
    """No octets make the choice fail."""
    assert prefers_json(accept) in (True, False)
