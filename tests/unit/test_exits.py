"""exits.py: each answer of a control plane is one exit code and one printable sentence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wormkey.api import ApiAnswer
from wormkey.exits import ExitCode, failure_of, no_control_plane

URL = "https://tunnel.test"


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, ExitCode.REFUSED),
        (401, ExitCode.NOT_AUTHORISED),
        (403, ExitCode.NOT_AUTHORISED),
        (404, ExitCode.SESSION_ENDED),
        (409, ExitCode.REFUSED),
        (410, ExitCode.SESSION_ENDED),
        (429, ExitCode.RATE_LIMITED),
        (500, ExitCode.UNEXPECTED),
        (503, ExitCode.CONTROL_PLANE_UNREACHABLE),
        (308, ExitCode.CONTROL_PLANE_UNREACHABLE),
        (418, ExitCode.CONTROL_PLANE_UNREACHABLE),
    ],
)
def test_statuses_and_codes(status: int, code: ExitCode) -> None:
    """A script can tell why a verb failed."""
    assert failure_of(ApiAnswer(status, ()), URL).exit_code is code


@pytest.mark.parametrize("status", [404, 410])
def test_nothing_is_over_where_no_session_was_asked_about(status: int) -> None:
    """`wormkey login` with the gateway's URL: the place is wrong, and the sentence names it."""
    failure = failure_of(ApiAnswer(status, ()), URL, of_session=False)
    assert failure.exit_code is ExitCode.CONTROL_PLANE_UNREACHABLE
    assert f"{URL} is no Wormkey control plane" in str(failure)


@given(st.integers(100, 999), st.text())
def test_no_sentence_of_a_server_breaks_the_line(status: int, said: str) -> None:
    """Whatever a server says, the failure is printable, and bounded."""
    message = str(failure_of(ApiAnswer(status, (), {"error": said}), URL))
    assert message.isprintable()
    assert len(message) < 1000


def test_the_wait_is_told() -> None:
    """Too many requests: the user learns when to come back, if the server said it."""
    assert "in 9 s" in str(failure_of(ApiAnswer(429, ((b"Retry-After", b"9"),)), URL))
    assert "later" in str(failure_of(ApiAnswer(429, ()), URL))


def test_no_answer_names_the_remedy() -> None:
    """A first user has forgotten the daemon, or named the wrong place."""
    failure = no_control_plane("no control plane at x: connection refused")
    assert failure.exit_code is ExitCode.CONTROL_PLANE_UNREACHABLE
    assert "wormkeyd" in str(failure)
    assert "--control-plane" in str(failure)


def test_the_numbers_are_the_promised_ones() -> None:
    """Scripts compare numbers, not names."""
    assert [int(code) for code in ExitCode] == [0, 1, 2, 11, 12, 13, 14, 15, 16]
