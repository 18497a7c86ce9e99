"""An owner and his bar with the real programs: he claims, looks, shuts out, lets in, and closes."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from tests.browser import programs
from tests.browser.bar import BAR, judge, press, value, wait_until
from tests.browser.packages import WORKSHOP

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Iterator
    from pathlib import Path

    from tests.browser.chromium import Chromium
    from tests.browser.conftest import Workshop

STRICT = (
    "default-src 'none'; style-src 'self'; require-trusted-types-for 'script'; trusted-types 'none'"
)


class App(BaseHTTPRequestHandler):
    """A page, and the same under a strict policy."""

    def do_GET(self) -> None:
        """Send it."""
        content = b"<!doctype html><html lang=en><head><title>An app</title></head><h1>An app</h1>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        if self.path == "/strict":
            self.send_header("Content-Security-Policy", STRICT)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: failures print what matters."""


@pytest.fixture(scope="module")
def app() -> Iterator[int]:
    """The app's port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), App) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def host_daemon(run: Path, stack: contextlib.ExitStack) -> programs.Daemon:
    """A `wormkeyd` whose tunnels are hosts under one domain, as a public server's are."""
    return stack.enter_context(programs.daemon(run, "tunnel.test"))


@pytest.fixture(params=["path", "host"])
def served(request: pytest.FixtureRequest) -> programs.Daemon:
    """The daemon, by each kind of public URL."""
    name = "host_daemon" if request.param == "host" else "daemon"
    found: programs.Daemon = request.getfixturevalue(name)
    return found


def claim(browser: Chromium, tunnel: programs.Tunnel) -> None:
    """Open the owner's link in a new profile; the page is the app's, with the bar in it."""
    opened = browser.open(tunnel.owner_url)
    assert opened["status"] == 200
    assert opened["url"].rstrip("/") == tunnel.url.rstrip("/")
    browser.wait_for("wormkey-bar")
    browser.leave("owner")
    press(browser, "#fold")
    browser.wait_for("#close[data-seen]", frame=BAR)


def visit(browser: Chromium, tunnel: programs.Tunnel, path: str = "") -> int:
    """Open the public URL, or a path under it, as a stranger nobody has seen; the status."""
    url = f"{tunnel.url.rstrip('/')}/{path}"
    status: int = browser.visit(url, "stranger", stranger=True)["status"]
    return status


def test_an_owner_rules_his_tunnel(
    served: programs.Daemon, app: int, run: Path, browser: Chromium
) -> None:
    """Lock, password, pause, kick and close act on others at once, and the owner sees it live."""
    with programs.exposed(app, served, run, "ruled") as tunnel:
        claim(browser, tunnel)
        assert value(browser, "#url") == tunnel.url
        press(browser, "#qr-show")
        browser.wait_for("#qr svg", frame=BAR)
        press(browser, "#qr-show")
        lock(browser, tunnel)
        set_password(browser, tunnel)
        pause(browser)
        kick(browser)
        close(browser)


def lock(browser: Chromium, tunnel: programs.Tunnel) -> None:
    """Lock the page, find a stranger shut out and the owner not, and unlock it."""
    press(browser, "#lock[data-seen]")
    browser.wait_for_text("#link-text", "Locked", frame=BAR)
    assert visit(browser, tunnel) == 403
    browser.enter("owner")
    assert browser.reload()["status"] == 200
    browser.wait_for("#lock[data-seen]", frame=BAR)
    press(browser, "#lock[data-seen]")
    browser.wait_for_text("#link-text", "Connected", frame=BAR)


def set_password(browser: Chromium, tunnel: programs.Tunnel) -> None:
    """Make a password; a stranger types it and is in, and his page has no bar."""
    press(browser, "#rotate[data-seen]")
    browser.wait_for_text("#secret-label", "New password, shown this once", frame=BAR)
    shots = WORKSHOP / "shots"
    shots.mkdir(parents=True, exist_ok=True)
    form = "path" if "localhost" in tunnel.url else "host"
    browser.screenshot(shots / f"owner-{form}-password.png")
    password = str(value(browser, "#secret-text"))
    assert visit(browser, tunnel) == 401
    browser.fill("#password", password)
    browser.click("button")
    browser.wait_for_text("h1", "An app")
    assert browser.frames() == [browser.report()["url"]]


def pause(browser: Chromium) -> None:
    """Pause; the stranger waits, the owner does not; go on."""
    browser.enter("owner")
    press(browser, "#pause[data-seen]")
    browser.wait_for_text("#link-text", "Paused", frame=BAR)
    browser.enter("stranger")
    assert browser.reload()["status"] == 503
    browser.enter("owner")
    assert browser.reload()["status"] == 200
    browser.wait_for("#pause[data-seen]", frame=BAR)
    press(browser, "#pause[data-seen]")
    browser.wait_for_text("#link-text", "Connected", frame=BAR)
    browser.enter("stranger")
    assert browser.reload()["status"] == 200


def kick(browser: Chromium) -> None:
    """Kick the stranger, who came last; the bar as it stands bars nobody."""
    browser.enter("owner")
    last = "#viewers-list li:last-child button"
    browser.wait_for_text("#viewers-list li:last-child", "Chrome on Linux", frame=BAR)
    press(browser, f"{last}[data-seen]")
    press(browser, f"{last}[data-seen].bad")
    browser.wait_for_text("#viewers-count", "some removed", frame=BAR)
    judge(browser)
    browser.enter("stranger")
    assert browser.reload()["status"] == 403


def close(browser: Chromium) -> None:
    """Close the tunnel; the public URL is gone for good."""
    browser.enter("owner")
    press(browser, "#log summary")
    browser.wait_for_text("#log-rows", "GET /", frame=BAR)
    press(browser, "#close[data-seen]")
    press(browser, "#close-yes[data-seen]")
    browser.wait_for_text("#notice-text", "This session is over", frame=BAR)
    browser.enter("stranger")
    assert browser.reload()["status"] == 410


def save(browser: Chromium, said: str, **fields: str) -> None:
    """Write into the rules' fields, save, and read what comes back."""
    browser.enter("owner")
    for field, text in fields.items():
        browser.fill(f"#{field}", text, frame=BAR)
    press(browser, "#rules-save[data-seen]")
    browser.wait_for_text("#rules-said", said, frame=BAR)


def test_an_owner_makes_rules_in_his_bar(
    host_daemon: programs.Daemon, app: int, run: Path, browser: Chromium
) -> None:
    """A stranger meets them at once; one that makes no sense is refused in the server's words."""
    with programs.exposed(app, host_daemon, run, "bound") as tunnel:
        claim(browser, tunnel)
        press(browser, "#rules summary")
        save(browser, "Saved.", blockPaths="/private\n/admin", maxConcurrentViewers="1")
        assert visit(browser, tunnel, "Private/diary") == 403
        assert visit(browser, tunnel) == 200
        assert browser.reload()["status"] == 200  # with his cookie: the next stranger is not he
        assert visit(browser, tunnel) == 429
        refused = (
            "policy.maxConcurrentViewers must be a whole number up to 10000, or 0 for no limit"
        )
        save(browser, refused, maxConcurrentViewers="a few", password="of my own")
        invalid = "() => document.querySelector('[aria-invalid=true]') === document.activeElement"
        assert browser.evaluate(invalid, frame=BAR)
        assert value(browser, "#maxConcurrentViewers") == "a few"
        browser.screenshot(WORKSHOP / "shots" / "owner-rules.png")
        judge(browser)
        assert visit(browser, tunnel) == 429
        save(browser, "Saved.", maxConcurrentViewers="2")
        assert visit(browser, tunnel) == 401
        browser.fill("#password", "of my own")
        browser.click("button")
        browser.wait_for_text("h1", "An app")
        browser.enter("owner")
        browser.show(dark=True, size={"width": 360, "height": 640})
        press(browser, "#unprotect")
        judge(browser)
        browser.screenshot(WORKSHOP / "shots" / "owner-rules-phone.png")
        save(browser, "Saved.", maxConcurrentViewers="20")
        assert visit(browser, tunnel) == 200


def test_two_tunnels_in_two_tabs_have_two_bars(
    served: programs.Daemon, app: int, run: Path, browser: Chromium
) -> None:
    """Each tab's bar is about its own tunnel, and what one does leaves the other alone."""
    with (
        programs.exposed(app, served, run, "first") as first,
        programs.exposed(app, served, run, "second") as second,
    ):
        claim(browser, first)
        assert browser.visit(second.owner_url, "second")["status"] == 200
        browser.wait_for("wormkey-bar")
        browser.wait_for("#pause[data-seen]", frame=BAR)
        press(browser, "#pause[data-seen]")
        browser.wait_for_text("#link-text", "Paused", frame=BAR)
        assert value(browser, "#url") == second.url
        browser.enter("owner")
        assert value(browser, "#url") == first.url
        assert browser.text("#link-text", frame=BAR) == "Connected"
        assert visit(browser, first) == 200
        assert visit(browser, second) == 503


def test_a_strict_page_keeps_its_policy_and_has_the_bar(
    served: programs.Daemon, app: int, run: Path, browser: Chromium
) -> None:
    """The gateway lets the bar past a page's policy, and the bar needs no more than that."""
    with programs.exposed(app, served, run, "strict") as tunnel:
        claim(browser, tunnel)
        browser.visit(f"{tunnel.url.rstrip('/')}/strict", "strict")
        browser.wait_for("wormkey-bar")
        browser.wait_for_text("#link-text", "Connected", frame=BAR)
        added = "() => { const p = document.createElement('p'); p.innerHTML = '<b>x</b>'; }"
        with pytest.raises(AssertionError, match="TrustedHTML"):
            browser.evaluate(added)


def test_the_sample_app_with_its_bar(
    workshop: Workshop, daemon: programs.Daemon, run: Path, browser: Chromium
) -> None:
    """The picture of the handbook: the page looks as ever, and the bar lies in its corner."""
    with programs.exposed(workshop.sample_port(), daemon, run, "pictured") as tunnel:
        claim(browser, tunnel)
        wait_until(lambda: browser.text("#socket-state").startswith("open"))
        browser.screenshot(WORKSHOP / "shots" / "sample-app-with-bar.png")
        assert browser.report()["errors"] == []
