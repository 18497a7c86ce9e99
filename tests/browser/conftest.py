"""Fixtures of the browser tests. Every test drives the real programs with a real browser."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from tests.browser import packages, programs
from tests.browser.chromium import Chromium

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROUTES = ("direct", "path", "host")
LOG_TAIL_CHARACTERS = 6000


@pytest.fixture(scope="session")
def run() -> Path:
    """The folder of this run: copies of the apps, state, logs."""
    assert packages.main() == 0, "what the browser tests need is not installed; see above"
    return programs.new_run_folder()


@pytest.fixture(scope="session")
def stack() -> Iterator[contextlib.ExitStack]:
    """Everything that is started once and shared ends here."""
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture(scope="session")
def browser(run: Path) -> Iterator[Chromium]:
    """One Chromium for all tests; each page it opens has a profile of its own."""
    browser = Chromium(run / "logs" / "driver.log")
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def daemon(run: Path, stack: contextlib.ExitStack) -> programs.Daemon:
    """One `wormkeyd` for all tests."""
    return stack.enter_context(programs.daemon(run))


class Workshop:
    """Starts each dev server, the sample app and each tunnel when a test first asks for it."""

    def __init__(self, run: Path, stack: contextlib.ExitStack) -> None:
        """Start nothing yet."""
        self.run = run
        self._stack = stack
        self._servers: dict[str, programs.DevServer] = {}
        self._tunnels: dict[int, programs.Tunnel] = {}
        self._sample_port: int | None = None

    def server(self, name: str) -> programs.DevServer:
        """The dev server of this name."""
        if name not in self._servers:
            self._servers[name] = self._stack.enter_context(programs.dev_server(name, self.run))
        return self._servers[name]

    def sample_port(self) -> int:
        """The sample app's port."""
        if self._sample_port is None:
            self._sample_port = self._stack.enter_context(programs.sample_app(self.run))
        return self._sample_port

    def url(self, port: int, route: str, request: pytest.FixtureRequest) -> str:
        """The URL of the app on ``port`` by this route; the tunnel is opened when needed."""
        if route == "direct":
            return f"http://localhost:{port}/"
        if port not in self._tunnels:
            daemon = request.getfixturevalue("daemon")
            tunnel = programs.exposed(port, daemon, self.run)
            self._tunnels[port] = self._stack.enter_context(tunnel)
        tunnels = self._tunnels[port]
        return tunnels.by_path if route == "path" else tunnels.by_host


@pytest.fixture(scope="session")
def workshop(run: Path, stack: contextlib.ExitStack) -> Workshop:
    """The apps and tunnels that tests share."""
    return Workshop(run, stack)


@pytest.fixture(params=ROUTES)
def route(request: pytest.FixtureRequest) -> str:
    """How the viewer comes: without a tunnel (the control), by /s/<slug>/, by <slug>.localhost."""
    return str(request.param)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Add the end of each program's log to a failure."""
    report = yield
    run = getattr(item, "funcargs", {}).get("run")
    if report is not None and report.failed and run is not None:
        for log in sorted((run / "logs").glob("*.log")):
            report.sections.append(
                (log.name, log.read_text(errors="replace")[-LOG_TAIL_CHARACTERS:])
            )
    return report
