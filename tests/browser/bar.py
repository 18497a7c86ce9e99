"""What the tests of the owner's bar share: they look at it, press its buttons, and judge it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.browser.packages import MODULES

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.browser.chromium import Chromium

BAR = "/.wormkey/bar"  # in the URL of its frame
WAIT_S = 10.0
STILL_S = 0.8


def wait_until(promise: Callable[[], object]) -> None:
    """Return when it is so."""
    deadline = time.monotonic() + WAIT_S
    while not promise():
        assert time.monotonic() < deadline, promise
        time.sleep(0.02)


JUDGE = """async () => {
  %s;
  const { violations, passes } = await axe.run();
  const nodes = (violation) => violation.nodes.map((node) => node.html);
  return {
    passed: passes.map((rule) => rule.id),
    faults: violations.map((v) => `${v.impact} ${v.id}: ${v.help}: ${nodes(v)}`),
  };
}"""


def judge(browser: Chromium, frame: str = BAR) -> None:
    """axe-core finds no fault in the bar as it stands."""
    source = (MODULES / "axe-core" / "axe.min.js").read_text(encoding="utf-8")
    verdict = browser.evaluate(JUDGE % source, frame=frame)
    assert "color-contrast" in verdict["passed"]
    assert verdict["faults"] == []


BOX = """() => {
  const bar = document.querySelector("wormkey-bar");
  const { left, top, right, bottom } = bar.getBoundingClientRect();
  return { left, top, right, bottom };
}"""


def box(browser: Chromium) -> dict[str, float]:
    """Where the bar is in the window, in pixels."""
    edges: dict[str, float] = browser.evaluate(BOX)
    return edges


def keep_still(browser: Chromium) -> None:
    """Wait as a person does, who sees the bar stand still before he points at it.

    Chromium drops what the mouse does in a frame that wants to know whether it is seen, of another
    origin, within 500 ms of its last move.
    """
    if "//localhost" not in browser.report()["url"]:
        time.sleep(STILL_S)


def value(browser: Chromium, field: str) -> object:
    """What a field of the bar holds; of a box, whether it is ticked."""
    code = """(field) => {
      const { type, checked, value } = document.querySelector(field);
      return type === "checkbox" ? checked : value;
    }"""
    return browser.evaluate(code, field, frame=BAR)


def press(browser: Chromium, selector: str) -> None:
    """Click in the bar."""
    keep_still(browser)
    browser.click(selector, frame=BAR)
