"""What a browser calls itself, in short."""

from __future__ import annotations

import pytest

from wormkey.agents import MAX_NAME_CHARS, agent_name

MOZILLA = "Mozilla/5.0 "
WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko) "


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (
            MOZILLA + "(X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
            "Firefox on Linux",
        ),
        (MOZILLA + "(Windows NT 10.0) " + WEBKIT + "Chrome/126 Safari/537.36", "Chrome on Windows"),
        (MOZILLA + "(Windows NT 10.0) " + WEBKIT + "Chrome/126 Edg/126", "Edge on Windows"),
        (MOZILLA + "(Macintosh; Intel Mac OS X 10_15) Version/17 Safari/605", "Safari on macOS"),
        (MOZILLA + "(iPhone; CPU like Mac OS X) CriOS/126 Safari/604", "Chrome on iPhone"),
        (MOZILLA + "(Linux; Android 14) " + WEBKIT + "Chrome/126 Mobile", "Chrome on Android"),
        ("Firefox/128.0", "Firefox"),
        ("curl/8.5.0", "curl"),
        ("python-requests/2.32", "python-requests"),
        ("", "Unknown"),
        ("<script>", "Unknown"),
        ("x" * 1000, "x" * MAX_NAME_CHARS),
    ],
)
def test_a_name_is_short_and_plain(text: str, name: str) -> None:
    """A browser and its system, or a program's own name; never markup, never long."""
    assert agent_name(text.encode()) == name
