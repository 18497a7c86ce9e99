"""Vite, webpack-dev-server and Next.js, with hot module replacement, in a real browser.

Each test runs three times: straight to the dev server, which shows that the app and the test are
sound, and through a tunnel by both kinds of public URL.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.browser.chromium import Chromium
    from tests.browser.conftest import Workshop
    from tests.browser.programs import DevServer

EDITS = itertools.count(1)


def console_errors(browser: Chromium) -> list[str]:
    """What the page's console shows in red, and what broke the page."""
    report = browser.report()
    return [*report["errors"], *(line for line in report["console"] if line.startswith("error:"))]


def edit_until_seen(server: DevServer, browser: Chromium, message: str) -> None:
    """Save the file until the page shows it, as a developer who presses save again.

    Next.js now and then misses a change of the first seconds, while it still compiles for the
    first page: it says that it rebuilt, and nothing of it is on the wire.
    """
    for _ in range(3):
        server.edit(message)
        try:
            browser.wait_for_text("#message", message, timeout_ms=6_000)
        except AssertionError:
            continue
        return
    server.edit(message)
    browser.wait_for_text("#message", message)


@pytest.mark.parametrize("name", ["vite", "webpack", "next"])
def test_an_edit_reaches_the_open_page_without_a_reload(
    name: str, route: str, workshop: Workshop, browser: Chromium, request: pytest.FixtureRequest
) -> None:
    """A saved source file changes the page that is open; what the page holds in memory stays."""
    server = workshop.server(name)
    opened = browser.open(workshop.url(server.port, route, request))
    assert opened["status"] == 200
    browser.wait_for("#message:not(:text('not yet'))")
    if name == "next":
        browser.wait_for("[data-hydrated=true]")
    browser.evaluate("() => { window.marker = 'kept'; }")

    for _ in range(2):
        message = f"edit {next(EDITS)}"
        edit_until_seen(server, browser, message)

    assert browser.evaluate("() => window.marker") == "kept"
    assert browser.report()["loads"] == 1
    assert console_errors(browser) == []


def test_a_server_action_answers_through_the_tunnel(
    route: str, workshop: Workshop, browser: Chromium, request: pytest.FixtureRequest
) -> None:
    """Next.js compares Origin with X-Forwarded-Host before it runs an action; they agree."""
    url = workshop.url(workshop.server("next").port, route, request)
    browser.open(url)
    browser.wait_for("[data-hydrated=true]")
    browser.fill("#word", "through the tunnel")
    browser.click("#shout")
    browser.wait_for_text("#answer", "THROUGH THE TUNNEL")
    report = browser.report()
    assert report["url"].startswith(url)
    assert console_errors(browser) == []
