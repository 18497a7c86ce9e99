"""A hostile page, served through a tunnel, in the owner's own browser: it presses no button.

What runs in the page here is what its author could have put there. By host everything fails; by
path (docs/decisions/013-tunnels-in-one-browser.md) the pages of all tunnels are one origin, and
that it succeeds there is shown, too: nobody should believe otherwise.
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from attrs import frozen

from tests.browser import programs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.browser.chromium import Chromium
    from tests.browser.conftest import Workshop

PROGRAMS = Path(sys.executable)

ATTACK = """async ({ base, slug }) => {
  const at = (path) => `${base}/.wormkey/${path}?slug=${slug}`;
  const tried = {};
  const ask = async (name, url, options) => {
    tried[name] = await fetch(url, { credentials: "include", ...options }).then(
      (answer) => answer.type === "opaque" ? "opaque" : `${answer.status}`,
      () => "failed",
    );
  };
  for (const path of ["state", "urls", "events", "me", "bar"]) await ask(path, at(path), {});
  const actions = ["policy", "kick", "rotate-password", "pause", "close", "owner-link"];
  for (const path of actions) {
    const body = '{"public":false}';
    await ask(`${path} simple`, at(path), { method: "POST", mode: "no-cors", body });
    await ask(`${path} token`, at(path), {
      method: "POST",
      headers: { "Wormkey-Csrf": "x", "Content-Type": "application/json" },
      body,
    });
    const frame = document.createElement("iframe");
    frame.name = `into-${path}`;
    document.body.append(frame);
    const form = document.createElement("form");
    Object.assign(form, { method: "post", action: at(path), target: frame.name });
    document.body.append(form);
    const sent = new Promise((done) => { frame.onload = done; setTimeout(done, 3000); });
    form.submit();
    await sent;
  }
  tried.socket = await new Promise((done) => {
    const socket = new WebSocket(at("events").replace(/^http/, "ws"));
    socket.onopen = () => done("open");
    socket.onerror = () => done("failed");
  });
  const bar = document.createElement("iframe");
  bar.src = at("bar");
  document.body.append(bar);
  await new Promise((done) => { bar.onload = done; setTimeout(done, 3000); });
  try {
    tried.frame = bar.contentDocument ? "open" : "shut";
  } catch {
    tried.frame = "shut";
  }
  return tried;
}"""
READ = """async ({ base, slug }) => {
  const answer = await fetch(`${base}/.wormkey/state?slug=${slug}`, { credentials: "include" });
  return answer.json();
}"""
GO = "(url) => { setTimeout(() => { location.href = url; }, 0); }"


@frozen
class Site:
    """A gateway with one tunnel, and its owner's link."""

    base: str
    slug: str
    owner_url: str

    @property
    def about(self) -> dict[str, str]:
        """What the hostile page knows: all of it is public."""
        return {"base": self.base, "slug": self.slug}


@contextlib.contextmanager
def gateway(routing: str, run: Path, workshop: Workshop) -> Iterator[Site]:
    """Run a daemon whose base host is of one site with its tunnels', and one tunnel."""
    port, logs = programs.free_port(), run / "logs" / routing
    base = f"http://tunnel.test:{port}"
    served = [
        PROGRAMS.with_name("wormkeyd"),
        "--control=127.0.0.1:0",
        f"--gateway=127.0.0.1:{port}",
        f"--public-url={base}",
        f"--routing={routing}",
        f"--state-dir={run / routing}",
        "--log-format=json",
    ]
    with programs.running("wormkeyd", served, run, logs=logs) as daemon:
        ready = daemon.wait_until(lambda: programs._ready_record(daemon.said()))
        output = logs / "expose.json"
        output.unlink(missing_ok=True)
        shared = [
            *(PROGRAMS.with_name("wormkey"), "expose", str(workshop.sample_port())),
            *(f"--control-plane={ready['control']}", f"--edge=ws://127.0.0.1:{port}"),
            *(f"--output={output}", "--json"),
        ]
        with programs.running("expose", shared, run, logs=logs) as client:
            made = client.wait_until(lambda: output.is_file() and json.loads(output.read_text()))
            yield Site(base, made["slug"], made["owner_url"])


def claim(browser: Chromium, site: Site) -> None:
    """Open the owner's link, and look at the app."""
    assert browser.open(site.owner_url)["status"] == 200
    browser.wait_for("#visits")


def state(browser: Chromium, site: Site) -> dict[str, Any]:
    """Return the state, read by the owner's own page of the base host."""
    browser.evaluate(GO, f"{site.base}/.wormkey/bar?slug={site.slug}")
    browser.wait_for("html:not(:has(#visits))")
    found: dict[str, Any] = browser.evaluate(READ, site.about)
    return found


def test_by_host_a_hostile_page_does_nothing(
    run: Path, workshop: Workshop, browser: Chromium
) -> None:
    """It reads no state, presses no button, opens no socket, and sees nothing of the bar."""
    with gateway("host", run, workshop) as site:
        claim(browser, site)
        assert browser.report()["url"].startswith(f"http://{site.slug}.tunnel.test:")
        before = state(browser, site)
        browser.evaluate(GO, site.base.replace("//", f"//{site.slug}.") + "/")
        browser.wait_for("#visits")
        tried = browser.evaluate(ATTACK, site.about)
        simple = {name: what for name, what in tried.items() if name.endswith(" simple")}
        assert set(simple.values()) == {"opaque"}  # sent, unread, and refused
        others = {name: what for name, what in tried.items() if name not in simple}
        assert others.pop("frame") == "shut"
        assert set(others.values()) == {"failed"}, others
        after = state(browser, site)
        for name in ("policy", "paused", "kickedViewerIds", "csrf", "expiresAt"):
            assert after[name] == before[name]


def test_by_path_on_a_gateway_by_host_a_page_has_nobodys_origin(
    run: Path, workshop: Workshop, browser: Chromium
) -> None:
    """Both forms are accepted; on the base host the page runs in a sandbox."""
    with gateway("host", run, workshop) as site:
        claim(browser, site)
        browser.evaluate(GO, f"{site.base}/s/{site.slug}/")
        browser.wait_for_text("#url", f"{site.base}/s/{site.slug}/")
        assert browser.evaluate("() => self.origin") == "null"
        with pytest.raises(AssertionError, match="Failed to fetch"):
            browser.evaluate(READ, site.about)


def test_by_path_a_page_of_the_same_origin_reads_the_state(
    run: Path, workshop: Workshop, browser: Chromium
) -> None:
    """Which no gateway can prevent: the decision says so, and so does `wormkeyd check`."""
    with gateway("path", run, workshop) as site:
        claim(browser, site)
        assert browser.evaluate(READ, site.about)["owner"] is True
        assert all("owner" not in each for each in browser.evaluate("() => [document.cookie]"))
