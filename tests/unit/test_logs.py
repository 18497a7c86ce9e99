"""Log records: one a line, facts beside the event, no secret in any of them."""

from __future__ import annotations

import io
import json
import logging
import re
import secrets
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.logs import restored_logging
from wormkey.logs import JsonFormatter, TextFormatter, set_up_logging

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger("wormkey.test_logs")


@pytest.fixture
def _clean_logging() -> Iterator[None]:
    """Put the process's logging back as it was."""
    with restored_logging():
        yield


def record(event: str, /, **extra: Any) -> logging.LogRecord:
    """Return a record of a fixed moment, 2001-09-09T01:46:40.5Z."""
    made = logging.LogRecord("wormkey.x", logging.INFO, __file__, 1, event, None, None)
    made.created = 1_000_000_000.5
    made.__dict__.update(extra)
    return made


def test_text_is_time_level_event_and_facts() -> None:
    """A line that people read and grep finds."""
    made = record("ready", control="http://127.0.0.1:3001", sessions=3, quiet=True, peer=None)
    assert TextFormatter().format(made) == (
        "2001-09-09T01:46:40.500Z info ready control=http://127.0.0.1:3001 sessions=3 quiet=true"
        " peer=null"
    )


def test_json_is_an_object_with_the_same_facts() -> None:
    """Time, level, logger and event come first and cannot be replaced."""
    line = JsonFormatter().format(
        record("ready", control="http://a", event="x", time="y", n=b"\xff")
    )
    assert list(json.loads(line).items()) == [
        ("time", "2001-09-09T01:46:40.500Z"),
        ("level", "info"),
        ("logger", "wormkey.x"),
        ("event", "ready"),
        ("control", "http://a"),
        ("n", "\\xff"),
    ]


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
@given(event=st.text(), fact=st.text() | st.binary() | st.integers() | st.lists(st.text()))
def test_whatever_is_logged_is_one_line_of_ascii(
    formatter: logging.Formatter, event: str, fact: object
) -> None:
    """No text of a peer's can start a line of its own or move a terminal's cursor."""
    line = formatter.format(record(event.replace("%", ""), fact=fact))
    assert re.fullmatch(r"[ -~]+", line)


@given(st.text())
def test_a_fact_in_text_can_be_read_back(fact: str) -> None:
    """Quoted as JSON where it is not plain."""
    text = TextFormatter().format(record("x", fact=fact)).partition(" x fact=")[2]
    assert (json.loads(text) if text.startswith('"') else text) == fact or "[secret]" in text


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_an_error_brings_its_traceback_on_the_same_line(formatter: logging.Formatter) -> None:
    """Nothing is lost and nothing is spread over lines."""
    made = record("unexpected error")
    try:
        raise ValueError("bad\nvalue")
    except ValueError as error:
        made.exc_info = (type(error), error, error.__traceback__)
    made.stack_info = "Stack:\n  here"
    line = formatter.format(made)
    assert "\n" not in line
    assert "ValueError: bad" in line
    assert "test_logs.py" in line
    assert "Stack:" in line


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
@pytest.mark.parametrize(
    "quote",
    [
        "{0}",
        "quiet-otter-42-k3v9x2ma.{0}",
        "wk_{0}",
        "Authorization: Bearer {0}",
        "GET /.wormkey/owner?slug=a&token={0} HTTP/1.1",
        "basic {0}",
        "'{0}'",
    ],
)
def test_what_looks_like_a_secret_is_blotted_out(formatter: logging.Formatter, quote: str) -> None:
    """In the event, in a fact and in an error's text: whoever logged it by mistake."""
    for _ in range(50):
        secret = secrets.token_urlsafe(32)
        made = record(quote.format(secret), fact=quote.format(secret))
        error = ValueError(quote.format(secret))
        made.exc_info = (ValueError, error, None)
        assert secret not in formatter.format(made)


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
@pytest.mark.parametrize(
    "text", ["Bearer abc", "bearer abc", "password=abc", "token=abc", "Basic YWJjOmRlZg=="]
)
def test_short_secrets_go_by_what_stands_before_them(
    formatter: logging.Formatter, text: str
) -> None:
    """Credentials in the forms that protocols give them."""
    line = formatter.format(record("x", fact=text))
    assert "abc" not in line
    assert "YWJj" not in line


@pytest.mark.parametrize("name", ["token", "session_token", "password", "cookie", "Authorization"])
def test_a_fact_that_is_named_as_a_secret_is_never_shown(name: str) -> None:
    """Whatever its text looks like."""
    assert "abc" not in TextFormatter().format(record("x", **{name: "abc"}))


def test_ids_are_no_secrets() -> None:
    """Slugs, session ids and digests stay readable."""
    facts = {"session": "0123456789abcdef" * 2, "slug": "a" * 63, "token_name": "laptop"}
    line = TextFormatter().format(record("session created", **facts))
    assert all(value in line for value in facts.values())


@pytest.mark.usefixtures("_clean_logging")
def test_the_level_is_the_projects_own() -> None:
    """Libraries are heard from warning upwards, since they quote peers in debug records."""
    stream = io.StringIO()
    set_up_logging("json", "debug", stream)
    log.debug("ours")
    logging.getLogger("some.library").info("theirs")
    logging.getLogger("some.library").warning("theirs, grave")
    events = [json.loads(line)["event"] for line in stream.getvalue().splitlines()]
    assert events == ["ours", "theirs, grave"]


@pytest.mark.usefixtures("_clean_logging")
def test_setting_up_again_replaces_the_first() -> None:
    """A reload changes the form and doubles no record."""
    first, second = io.StringIO(), io.StringIO()
    set_up_logging("json", "info", first)
    set_up_logging("text", "warning", second)
    log.info("quiet")
    log.warning("loud")
    assert first.getvalue() == ""
    assert second.getvalue().endswith(" warning loud\n")


@pytest.mark.usefixtures("_clean_logging")
def test_no_level_silences_the_access_log() -> None:
    """Who switched it on wants its records, however little else he wants to read."""
    stream = io.StringIO()
    set_up_logging("text", "error", stream)
    log.warning("quiet")
    logging.getLogger("wormkey.access").info("exchange", extra={"status": 200})
    assert stream.getvalue().endswith(" info exchange status=200\n")
    assert stream.getvalue().count("\n") == 1


@pytest.mark.usefixtures("_clean_logging")
def test_a_closed_stderr_ends_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """The daemon goes on when whoever read its log has left."""
    stream = io.StringIO()
    set_up_logging("text", "info", stream)
    stream.close()
    log.info("into the void")
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("_clean_logging")
def test_warnings_of_python_are_records_too() -> None:
    """Nothing but records goes to stderr."""
    stream = io.StringIO()
    set_up_logging("json", "info", stream)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("old ways", stacklevel=1)
    assert "old ways" in json.loads(stream.getvalue())["event"]
