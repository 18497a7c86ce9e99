"""The gateway's own pages in a real browser: nobody is shut out, nothing runs, the form works.

axe-core judges every page, light on a desk and dark on a phone. The pages come from a small server
here, with their true status and fields: what they look like needs no tunnel.
"""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qs

import pytest

from tests.browser.packages import MODULES
from wormkey.codes import ERRORS
from wormkey.pages import render, render_gate, render_home

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.browser.chromium import Chromium
    from wormkey.frames import Fields

ID = "3f9c2b7ae1d04c55"
LONG = "Nothing answers on localhost:5173. <script>alert(1)</script> " * 8 + "x" * 1500
NARROW = {"width": 320, "height": 640}  # CSS pixels; WCAG 1.4.10 asks for this width
TARGET = "/home?a=1&b=%22"


def gate(*, wrong: bool) -> tuple[Fields, bytes]:
    """The password form of a tunnel with a long name."""
    slug = "quiet-otter-42-k3v9x2ma"
    return render_gate(slug=slug, request_id=ID, target=TARGET.encode(), by_path=False, wrong=wrong)


PAGES: dict[str, tuple[int, tuple[Fields, bytes]]] = {
    **{
        code: (
            entry.status,
            render(code=code, request_id=ID, safe=True, fields=((b"Retry-After", b"60"),)),
        )
        for code, entry in ERRORS.items()
    },
    "long": (502, render(code="origin_failed", request_id=ID, message=LONG, detail=LONG)),
    "home": (200, render_home()),
    "gate": (401, gate(wrong=False)),
    "gate-wrong": (401, gate(wrong=True)),
}


class Gateway(BaseHTTPRequestHandler):
    """Shows PAGES by name, and takes the password form."""

    posted: ClassVar[list[dict[str, Any]]] = []

    def do_GET(self) -> None:
        """Send a page with its fields."""
        status, (fields, content) = PAGES.get(self.path[1:].partition("?")[0], (404, ((), b"")))
        self.send_response(status)
        for name, value in fields:
            self.send_header(name.decode(), value.decode())
        self.end_headers()
        self.wfile.write(content)

    def do_POST(self) -> None:
        """Note the form and lead on to its target, as the gateway does after the password."""
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        names = ("Origin", "Sec-Fetch-Site")
        said = {name: self.headers[name] for name in names}
        self.posted.append({"path": self.path, "form": form, **said})
        self.send_response(303)
        self.send_header("Location", form["target"][0])
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: failures print what matters."""


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    """The URL under which the pages are served."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Gateway) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


JUDGE = """async () => {
  %s;
  const { violations, passes } = await axe.run();
  const nodes = (violation) => violation.nodes.map((node) => node.html);
  return {
    passed: passes.map((rule) => rule.id),
    faults: violations.map((v) => `${v.impact} ${v.id}: ${v.help}: ${nodes(v)}`),
  };
}"""


@pytest.fixture(scope="module")
def judge(run: object) -> str:
    """The program that runs axe-core in a page; ``run`` has installed it."""
    return JUDGE % (MODULES / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PAGES)
def test_a_page_shuts_nobody_out(name: str, base: str, judge: str, browser: Chromium) -> None:
    """axe-core finds no fault, nothing is cut off at 320 pixels, no script runs, nothing loads."""
    opened = browser.open(f"{base}/{name}")
    assert opened["status"] == PAGES[name][0]
    assert browser.evaluate("() => performance.getEntriesByType('resource').length") == 0
    light = browser.evaluate(judge)
    browser.show(dark=True, size=NARROW)
    dark = browser.evaluate(JUDGE % "")
    for verdict in (light, dark):
        assert "color-contrast" in verdict["passed"]
        assert verdict["faults"] == []
    assert browser.evaluate("() => document.documentElement.scrollWidth") == NARROW["width"]
    report = browser.report()
    assert (report["errors"], report["failed"]) == ([], [])
    assert not [line for line in report["console"] if "Content Security Policy" in line]


PAPER = "() => getComputedStyle(document.body).backgroundColor"


def test_a_dark_screen_gets_a_dark_page_and_paper_stays_white(base: str, browser: Chromium) -> None:
    """Each medium has its colours; what cannot be pressed on paper is not printed."""
    browser.open(f"{base}/no_tunnel", dark=True)
    assert browser.evaluate(PAPER) == "rgb(23, 25, 27)"
    browser.show(dark=True, paper=True)
    assert browser.evaluate(PAPER) == "rgb(255, 255, 255)"
    shown = "() => getComputedStyle(document.querySelector('.again')).display"
    assert browser.evaluate(shown) == "none"
    browser.show(dark=False)
    assert browser.evaluate(PAPER) == "rgb(251, 250, 247)"


@pytest.mark.parametrize("name", ["gate", "gate-wrong"])
def test_the_password_form_works_without_scripts(name: str, base: str, browser: Chromium) -> None:
    """The password goes to the gateway with the page's true origin; then comes the target."""
    Gateway.posted.clear()
    browser.open(f"{base}/{name}", scripts=False)
    browser.fill("#password", "correct horse & <battery>")
    browser.click("button")
    browser.wait_for("h1")
    browser.wait_for_text("h1", "This is a Wormkey gateway")
    assert browser.report()["url"] == base + TARGET
    [posted] = Gateway.posted
    assert posted == {
        "path": "/.wormkey/gate",
        "form": {
            "target": [TARGET],
            "username": ["quiet-otter-42-k3v9x2ma"],
            "password": ["correct horse & <battery>"],
        },
        "Origin": base,
        "Sec-Fetch-Site": "same-origin",
    }


def test_a_page_is_asked_for_again_by_its_link(base: str, browser: Chromium) -> None:
    """The link leads to the page's own address, query and all."""
    browser.open(f"{base}/no_tunnel?a=1", scripts=False)
    browser.click(".act")
    browser.wait_for_text("h1", "The tunnel is not connected")
    report = browser.report()
    assert report["url"] == f"{base}/no_tunnel?a=1"
    assert report["loads"] == 2
