"""pages.py: every error has a page that says what to do, and nothing on it can run or load."""

from __future__ import annotations

import base64
import hashlib
import json
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wormkey.codes import ERRORS, SIDES
from wormkey.fields import get
from wormkey.grammar import check_head_fields
from wormkey.pages import prefers_json, render, render_gate, render_home

if TYPE_CHECKING:
    from wormkey.frames import Fields

ELEMENTS = {"html", "head", "meta", "title", "style", "body", "main", "p", "h1", "footer"} | {
    *("h2", "pre", "code", "strong", "a"),
}
ATTRIBUTES = {"lang", "charset", "name", "content", "class", "href"}


class Reader(HTMLParser):
    """Collects a page's elements, attributes, style and visible text."""

    def __init__(self, page: bytes) -> None:
        """Read the whole page."""
        super().__init__()
        self.elements: set[str] = set()
        self.attributes: set[str] = set()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.style = ""
        self.text = ""
        self._in_style = False
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element and its attributes."""
        self.elements.add(tag)
        self.attributes.update(name for name, _ in attrs)
        self.tags.append((tag, dict(attrs)))
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

    @property
    def words(self) -> str:
        """The visible text with single spaces."""
        return " ".join(self.text.split())

    def of(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of each element of this name."""
        return [attributes for name, attributes in self.tags if name == tag]


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
    side = SIDES[entry.side]
    for words in (str(entry.status), entry.title, entry.meaning, entry.remedy, side, code, "r-1"):
        assert words in page.words
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
            assert page.elements <= ELEMENTS
            assert page.attributes <= ATTRIBUTES


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


def gate(
    *, wrong: bool = False, by_path: bool = False, accept: bytes = b""
) -> tuple[Fields, bytes]:
    """The password form of a tunnel called shop."""
    return render_gate(
        slug="shop",
        request_id="r-1",
        target=b'/cart?a=1&b="<',
        by_path=by_path,
        wrong=wrong,
        accept=accept,
    )


@pytest.mark.parametrize(
    ("answer", "form", "referrer"),
    [
        (render(code="paused", request_id="r"), "'none'", b"no-referrer"),
        (render_home(), "'none'", b"no-referrer"),
        (gate(), "'self'", b"same-origin"),
    ],
)
def test_a_page_is_fenced_in(answer: tuple[Fields, bytes], form: str, referrer: bytes) -> None:
    """Not stored, framed, sniffed or referred from; its own style sheet is all it may load.

    Only the password form may be sent, to this host, and only it names its origin there.
    """
    fields, content = answer
    digest = hashlib.sha256(Reader(content).style.encode()).digest()
    assert one(fields, b"content-security-policy").decode().split("; ") == [
        "default-src 'none'",
        f"style-src 'sha256-{base64.b64encode(digest).decode()}'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        f"form-action {form}",
    ]
    assert one(fields, b"cache-control") == b"no-store"
    assert one(fields, b"x-content-type-options") == b"nosniff"
    assert one(fields, b"x-frame-options") == b"DENY"
    assert one(fields, b"referrer-policy") == referrer


@pytest.mark.parametrize("wait", [0, 1, 60])
@pytest.mark.parametrize("safe", [True, False])
def test_a_page_says_when_to_try_again(wait: int, safe: bool) -> None:
    """Retry-After goes out and is said in words; what is safe to send again has a link."""
    retry = ((b"Retry-After", b"%d" % wait),) if wait else ()
    fields, content = render(code="no_tunnel", request_id="r", fields=retry, safe=safe)
    page = Reader(content)
    assert get(fields, b"retry-after") == [value for _, value in retry]
    links = [each for each in page.of("a") if each["href"] == ""]
    assert len(links) == (1 if safe else 0)
    said = {0: "", 1: "after a second", 60: "after 60 seconds"}[wait]
    assert (f"Try again {said}" if safe else said) in page.words.replace(
        "againafter", "again after"
    )
    assert ("seconds" in page.words) is (wait == 60)


@pytest.mark.parametrize("code", sorted(ERRORS))
def test_a_page_offers_another_try_only_where_it_may_help(code: str) -> None:
    """What is over for good has no link; no page reloads by itself."""
    _, content = render(code=code, request_id="r", safe=True)
    page = Reader(content)
    may_pass = {408, 429, 500, 502, 503, 504}
    assert bool(page.of("a")) is (ERRORS[code].status in may_pass or code == "credentials_required")
    assert not [each for each in page.of("meta") if "http-equiv" in each]


@pytest.mark.parametrize("value", [b"Wed, 21 Oct 2026 07:28:00 GMT", b"", b"-1", b"9" * 40])
def test_any_retry_after_is_survived(value: bytes) -> None:
    """A date, or nonsense, goes out as it is and makes no page fail."""
    fields, content = render(code="paused", request_id="r", fields=((b"Retry-After", value),))
    assert one(fields, b"retry-after") == value
    assert "Paused by its owner" in Reader(content).text


# ── the password form ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("by_path", "action"), [(False, "/.wormkey/gate"), (True, "/.wormkey/gate?slug=shop")]
)
def test_the_form_asks_for_one_password(by_path: bool, action: str) -> None:
    """It posts to the gateway, brings the target back, and a password manager knows its fields."""
    fields, content = gate(by_path=by_path)
    page = Reader(content)
    [form] = page.of("form")
    assert form == {"method": "post", "action": action}
    inputs = {each["name"]: each for each in page.of("input")}
    assert set(inputs) == {"target", "username", "password"}
    assert inputs["target"] == {"type": "hidden", "name": "target", "value": '/cart?a=1&b="<'}
    assert inputs["username"]["autocomplete"] == "username"
    assert inputs["username"]["value"] == "shop"
    assert "hidden" in inputs["username"]
    password = inputs["password"]
    assert (password["type"], password["autocomplete"]) == ("password", "current-password")
    assert [each["for"] for each in page.of("label")] == [password["id"]]
    assert "value" not in password
    assert len(page.of("button")) == 1
    assert one(fields, b"wormkey-error") == b"password_required"
    assert one(fields, b"wormkey-request-id") == b"r-1"
    assert "shop" in page.text
    assert "r-1" in page.text


def test_a_wrong_password_is_announced() -> None:
    """Title, a role, and the field's description say it, so that a screen reader does."""
    _, right = gate()
    fields, content = gate(wrong=True)
    page, calm = Reader(content), Reader(right)
    [alert] = [each for _, each in page.tags if each.get("role") == "alert"]
    [password] = [each for each in page.of("input") if each["name"] == "password"]
    assert password["aria-describedby"] == alert["id"]
    assert password["aria-invalid"] == "true"
    assert "That was not the password." in page.text
    assert "Wrong password" in page.text
    assert "not the password" not in calm.text
    assert "aria-invalid" not in calm.attributes
    assert one(fields, b"www-authenticate") == b'Bearer realm="shop", error="invalid_token"'


def test_scripts_are_told_how_to_send_the_password() -> None:
    """A 401 has a challenge (RFC 9110 §15.5.2); JSON names the code and the field."""
    fields, content = gate(accept=b"application/json")
    assert one(fields, b"www-authenticate") == b'Bearer realm="shop"'
    answer = json.loads(content)
    assert (answer["code"], answer["requestId"]) == ("password_required", "r-1")
    assert "Authorization: Bearer" in answer["error"]
    _, content = gate(accept=b"application/json", wrong=True)
    assert "not the password" in json.loads(content)["error"]


@given(slug=st.text(), request_id=st.text(), target=st.binary())
def test_no_form_becomes_markup_or_a_field_line(slug: str, request_id: str, target: bytes) -> None:
    """Whatever is named and wherever the viewer goes, the form stays the form."""
    fields, content = render_gate(slug=slug, request_id=request_id, target=target, by_path=True)
    check_head_fields(fields)
    page = Reader(content)
    assert page.elements <= ELEMENTS | {"form", "input", "label", "button"}
    assert len(page.of("form")) == 1
    assert len(page.of("input")) == 3


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
