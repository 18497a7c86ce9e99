"""The owner's bar in a real browser: what it shows, what it sends, and that pages keep out of it.

The session is written by the test at a stand-in for the gateway's desk (desk.py).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.bar import BAR, box, judge, keep_still, press, value, wait_until
from tests.browser.desk import PLAIN, SLUG, Desk, running_desk
from tests.browser.packages import WORKSHOP

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.browser.chromium import Chromium

FORMS = {"path": "localhost", "host": "tunnel.test"}
PHONE = {"width": 360, "height": 640}


@pytest.fixture
def desk() -> Iterator[Desk]:
    """A desk with one session."""
    with running_desk() as desk:
        yield desk


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest, desk: Desk) -> str:
    """How the owner comes to his page; the base host fits."""
    desk.domain = FORMS[request.param]
    return str(request.param)


@pytest.fixture(scope="module")
def shots() -> Path:
    """The folder of pictures, kept for people to look at."""
    folder = WORKSHOP / "shots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def open_bar(browser: Chromium, desk: Desk, form: str, page: str, **options: Any) -> None:
    """Open a page as its owner, and unfold the bar."""
    browser.open(desk.address(form, page), **options)
    browser.wait_for("wormkey-bar")
    press(browser, "#fold")
    browser.wait_for("#lock[data-seen]", frame=BAR)


def did(desk: Desk, count: int = 1) -> list[tuple[str, str]]:
    """What the bar has sent, once it has sent so much."""
    wait_until(lambda: len(desk.posted) >= count)
    return [(each["action"], each["content"]) for each in desk.posted]


def test_the_owner_sees_his_session(form: str, desk: Desk, browser: Chromium, shots: Path) -> None:
    """Folded, open, on a dark phone, closed: every state shows what it should and bars nobody."""
    browser.open(desk.address(form, desk.page("app")))
    browser.wait_for_text("#count", "2 viewers", frame=BAR)
    browser.screenshot(shots / f"bar-{form}-folded.png")
    judge(browser)
    press(browser, "#fold")
    browser.wait_for("#close[data-seen]", frame=BAR)
    browser.wait_for_text("#viewers-list", "Safari on iPhone, no. 2", frame=BAR)
    assert value(browser, "#url") == desk.state["publicUrl"]
    judge(browser)
    for each in ("#rotate", "#close", "#log summary", "#qr-show"):
        press(browser, each)
    browser.wait_for("#qr svg", frame=BAR)
    browser.wait_for_text("#log-rows tr:first-child", "GET /api/<b>x</b>502", frame=BAR)
    browser.wait_for_text("#secret-label", "New password, shown this once", frame=BAR)
    browser.screenshot(shots / f"bar-{form}-open.png")
    judge(browser)
    browser.show(dark=True, size=PHONE)
    wait_until(lambda: box(browser)["bottom"] <= PHONE["height"] - 8)
    wide = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert browser.evaluate(wide, frame=BAR) == 0
    assert browser.evaluate(wide) == 0
    browser.screenshot(shots / f"bar-{form}-phone.png")
    judge(browser)
    desk.end()
    browser.wait_for_text("#notice-text", "This session is over", frame=BAR)
    judge(browser)
    report = browser.report()
    assert report["errors"] == []
    assert not [line for line in report["console"] if "Content Security Policy" in line]


def test_each_button_does_what_it_says(form: str, desk: Desk, browser: Chromium) -> None:
    """Every action goes out once, with the token and the session's name; what it makes is shown."""
    open_bar(browser, desk, form, desk.page("app"))
    press(browser, "#lock")
    assert did(desk) == [("policy", '{"public":false}')]
    desk.tell(policy=desk.state["policy"] | {"public": False, "passwordProtected": True})
    browser.wait_for_text("#link-text", "Locked", frame=BAR)
    browser.wait_for_text("#lock", "Unlock", frame=BAR)
    browser.wait_for_text("#rotate", "New password", frame=BAR)
    press(browser, "#pause")
    assert did(desk, 2)[1:] == [("pause", "")]
    desk.tell(paused=True)
    browser.wait_for_text("#pause", "Resume", frame=BAR)
    press(browser, "#pause[data-seen]")
    assert did(desk, 3)[2:] == [("resume", "")]
    press(browser, "#owner-link[data-seen]")
    browser.wait_for_text("#secret-label", "works once", frame=BAR)
    assert value(browser, "#secret-text") == "https://x.example/1"
    press(browser, "#secret-hide")
    assert value(browser, "#secret-text") == ""
    press(browser, "#viewers-list li:nth-child(2) button[data-seen]")
    browser.wait_for_text("#viewers-list li:nth-child(2) button", "For good?", frame=BAR)
    assert len(desk.posted) == 4
    press(browser, "#viewers-list li:nth-child(2) button[data-seen]")
    did(desk, 5)
    assert desk.posted[4]["query"] == {"slug": SLUG, "id": "v2"}
    press(browser, "#close[data-seen]")
    press(browser, "#close-no")
    press(browser, "#close[data-seen]")
    press(browser, "#close-yes[data-seen]")
    browser.wait_for_text("#link-text", "Closed", frame=BAR)
    assert [action for action, _ in did(desk, 6)[3:]] == ["owner-link", "kick", "close"]


EDITED = {
    "blockPaths": ("/admin\n\n /private ", ["/admin", "/private"]),
    "allowedMethods": ("get head", ["GET", "HEAD"]),
    "maxContentBytes": ("10 mib", 10 * 2**20),
    "maxStreams": ("lots", "lots"),
    "password": (" a secret", " a secret"),
}


def test_rules_are_the_owners_until_he_saves(form: str, desk: Desk, browser: Chromium) -> None:
    """Events leave what he types alone and tell the rest; what he changed goes out, and no more."""
    open_bar(browser, desk, form, desk.page("app"))
    press(browser, "#rules summary")
    assert value(browser, "#maxConcurrentViewers") == "20"
    for field, (text, _) in EDITED.items():
        browser.fill(f"#{field}", text, frame=BAR)
    rules = desk.state["policy"] | {"viewerRate": 7, "maxStreams": 9, "maxContentBytes": 3 * 2**30}
    desk.tell(activeViewers=5, policy=rules)
    browser.wait_for_text("#viewers-count", "5", frame=BAR)
    browser.wait_for_text("#rules-state", "not saved", frame=BAR)
    assert value(browser, "#viewerRate") == "7"
    assert [value(browser, f"#{field}") for field in EDITED] == [
        text for text, _ in EDITED.values()
    ]
    press(browser, "#rules-save[data-seen]")
    [(action, content)] = did(desk)
    assert action == "policy"
    assert json.loads(content) == {field: wish for field, (_, wish) in EDITED.items()}
    browser.wait_for_text("#rules-said", "Saved.", frame=BAR)
    assert value(browser, "#blockPaths") == "/admin\n/private"
    assert value(browser, "#maxContentBytes") == "10MiB"
    assert value(browser, "#password") == ""
    browser.fill("#maxContentBytes", "1500", frame=BAR)
    press(browser, "#rules-discard")
    assert value(browser, "#maxContentBytes") == "10MiB"
    browser.fill("#blockPaths", "/admin\n/private\n", frame=BAR)
    press(browser, "#rules-save[data-seen]")
    browser.wait_for_text("#rules-said", "Nothing has changed.", frame=BAR)
    assert browser.text("#rules-state", frame=BAR) == ""
    assert len(desk.posted) == 1


def test_the_public_url_is_copied(form: str, desk: Desk, browser: Chromium) -> None:
    """On https and localhost by the clipboard's own way, on plain http by the older one."""
    page = desk.page("app", body="<input id=target aria-label=Target>")
    open_bar(browser, desk, form, page)
    press(browser, "[data-copy=url]")
    browser.wait_for_text("#said", "Copied.", frame=BAR)
    browser.click("#target")
    browser.press("Control+V")
    pasted = "() => document.querySelector('#target').value"
    wait_until(lambda: browser.evaluate(pasted) == desk.state["publicUrl"])


HIDE = """(hidden) => {
  Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}"""


def test_one_stream_tells_everything_and_comes_back(desk: Desk, browser: Chromium) -> None:
    """Nothing is polled; a stream that breaks or is refused is asked for again; hidden, none is."""
    open_bar(browser, desk, "path", desk.page("app"))
    before = len(desk.asked)
    for number in range(3, 8):
        desk.tell(activeViewers=number)
        browser.wait_for_text("#viewers-count", str(number), frame=BAR)
    assert desk.asked[before:] == []
    assert desk.asked.count("localhost /.wormkey/events") == 1
    browser.evaluate(HIDE, True, frame=BAR)
    wait_until(lambda: desk.watching == 0)
    desk.tell(activeViewers=9)
    browser.evaluate(HIDE, False, frame=BAR)
    browser.wait_for_text("#viewers-count", "9", frame=BAR)
    desk.refusing = True
    browser.wait_for_text("#link-text", "Reconnecting", frame=BAR)
    desk.tell(connected=False)
    desk.refusing = False
    browser.wait_for_text("#link-text", "App is away", frame=BAR)


def test_it_goes_where_it_is_put_and_stays_there(form: str, desk: Desk, browser: Chromium) -> None:
    """Mouse and keys move it; a reload finds it there, open or folded; it stays in the window."""
    browser.open(desk.address(form, desk.page("app")))
    browser.wait_for("wormkey-bar")
    browser.wait_for_text("#count", "2 viewers", frame=BAR)
    start = box(browser)
    assert start["right"] == 1000 - 16
    grip = (start["left"] + 16, start["top"] + 20)
    keep_still(browser)
    browser.drag(grip, (60.0, 50.0))
    wait_until(lambda: abs(box(browser)["left"] - 44) <= 2)
    assert abs(box(browser)["top"] - 30) <= 2
    browser.evaluate("() => document.querySelector('#grip').focus()", frame=BAR)
    browser.press("ArrowRight")
    wait_until(lambda: abs(box(browser)["left"] - 68) <= 2)
    browser.press("Tab")
    browser.press("Enter")
    browser.wait_for("#lock", frame=BAR)
    wait_until(lambda: box(browser)["bottom"] > 300)
    browser.reload()
    browser.wait_for("#lock", frame=BAR)
    wait_until(lambda: abs(box(browser)["left"] - 68) <= 2)
    press(browser, "#url")
    browser.press("Escape")
    wait_until(lambda: box(browser)["bottom"] < 100)
    focused = "() => document.activeElement.id"
    assert browser.evaluate(focused, frame=BAR) == "fold"
    for _ in range(4):
        browser.evaluate("() => document.querySelector('#grip').focus()", frame=BAR)
        browser.press("ArrowLeft")
    wait_until(lambda: box(browser)["left"] == 8)


STRICT = (
    "default-src 'none'; script-src 'nonce-n0nce'; connect-src 'none'; style-src 'none'; "
    "frame-src %s/.wormkey/bar; require-trusted-types-for 'script'; trusted-types 'none'"
)


def test_a_strict_page_has_the_bar(form: str, desk: Desk, browser: Chromium) -> None:
    """With nothing allowed but the tag and the frame it works; the page has no error of it."""
    page = desk.page("app", Content_Security_Policy=STRICT % desk.base)
    open_bar(browser, desk, form, page)
    press(browser, "#pause")
    assert did(desk) == [("pause", "")]
    assert box(browser)["right"] == 1000 - 16
    assert browser.report()["errors"] == []


def test_a_page_that_shuts_frames_out_has_a_link(desk: Desk, browser: Chromium) -> None:
    """A policy in the page's own text may forbid the frame; then the bar opens in a tab."""
    meta = "<meta http-equiv=Content-Security-Policy content=\"frame-src 'none'\">"
    page = desk.page("app", body="<p>" + meta)
    desk.pages[page] = ({}, desk.pages[page][1].replace("<body>", meta + "<body>"))
    browser.open(desk.address("path", page))
    browser.wait_for("wormkey-bar")
    assert box(browser)["right"] - box(browser)["left"] > 100
    browser.open(desk.address("path", f"{BAR}?slug={SLUG}"))
    browser.wait_for_text("#link-text", "Connected")
    browser.wait_for("#lock")
    judge(browser, frame="")


ROUGH = """<style>
  * { all: unset !important; display: block !important; color: red !important;
    transform: rotate(9deg) !important; opacity: .4 !important; letter-spacing: 1em !important; }
  html { filter: blur(9px) !important; }
  wormkey-bar, iframe { display: none !important; width: 1px !important; left: -99px !important; }
</style><p>Text</p><iframe srcdoc=x></iframe>"""
STYLES = """() => [...document.querySelectorAll("html, body, body *")].map((each) => {
  const style = getComputedStyle(each);
  return [...style].map((name) => `${name}: ${style.getPropertyValue(name)}`).join("; ");
})"""


def test_neither_style_reaches_the_other(desk: Desk, browser: Chromium) -> None:
    """The roughest style sheet leaves the bar as it is; the page computes as it does without it."""
    page = desk.page("rough", body=ROUGH)
    browser.open(desk.base + page)
    without = browser.evaluate(STYLES)
    browser.open(desk.address("path", page))
    browser.wait_for_text("#link-text", "Connected", frame=BAR)
    assert browser.evaluate(STYLES) == without
    edges = box(browser)
    assert edges["right"] == 1000 - 16
    assert 100 < edges["right"] - edges["left"] < 400
    style = "() => getComputedStyle(document.querySelector('#link-text')).letterSpacing"
    assert browser.evaluate(style, frame=BAR) == "normal"
    press(browser, "#fold")
    press(browser, "#pause[data-seen]")
    assert did(desk) == [("pause", "")]


# By then the script has had its own answer.
ASK_AGAIN = """async (url) => {
  for (let i = 0; i < 3; i += 1) await (await fetch(url, { cache: "no-store" })).json();
  await new Promise((resolve) => setTimeout(resolve));
}"""


def test_nobody_else_sees_anything(form: str, desk: Desk, browser: Chromium) -> None:
    """A visitor's page with the tag, and an owner's page in a frame, hold no bar."""
    page = desk.page("app")
    root = desk.by_host if form == "host" else desk.base
    browser.open(root + page)
    wait_until(lambda: any(each.endswith("/.wormkey/me") for each in desk.asked))
    browser.evaluate(ASK_AGAIN, f"/.wormkey/me?slug={SLUG}")
    assert browser.frames() == [root + page]
    outer = desk.page("outer", body=f"<iframe src={page}></iframe>")
    desk.pages[outer] = ({}, PLAIN % "" + f"<iframe src={page}></iframe>")
    browser.open(desk.address(form, outer))
    browser.wait_for_text("h1", "An app", frame=page)
    assert browser.frames() == [root + outer, root + page]
    assert "wormkey-bar" not in browser.evaluate(
        "() => document.documentElement.outerHTML", frame=page
    )


TWICE = """async (source) => {
  const script = document.createElement("script");
  script.src = source;
  await new Promise((resolve) => { script.onload = resolve; document.head.append(script); });
}"""


def test_two_tags_bring_one_bar(desk: Desk, browser: Chromium) -> None:
    """A page that brings the tag itself has one bar, not two."""
    open_bar(browser, desk, "path", desk.page("app"))
    browser.evaluate(TWICE, f"{desk.base}/.wormkey/overlay.js?slug={SLUG}")
    assert browser.evaluate("() => document.querySelectorAll('wormkey-bar').length") == 1
    assert desk.asked.count("localhost /.wormkey/me") == 1


COVER = """() => {
  const cover = document.createElement("div");
  cover.popover = "manual";
  cover.style.cssText =
    "position:fixed;inset:0;width:100%;height:100%;pointer-events:none;opacity:.01";
  document.body.append(cover);
  cover.showPopover();
}"""
FORGE = """() => {
  const spot = { x: "left", y: "top", dx: 300, dy: 300 };
  const forged = { spot, size: [900, 700], move: [-200, -200] };
  window.postMessage({ wormkey: forged }, "*");
  return new Promise((resolve) => setTimeout(resolve, 50));
}"""


def test_a_page_cannot_borrow_the_owners_click(form: str, desk: Desk, browser: Chromium) -> None:
    """Under a cover that lets clicks through no button acts; forged messages move nothing."""
    open_bar(browser, desk, form, desk.page("app"))
    wait_until(lambda: box(browser)["bottom"] - box(browser)["top"] > 200)
    edges = box(browser)
    browser.evaluate(FORGE)
    assert box(browser) == edges
    browser.evaluate(COVER)
    browser.wait_for("#pause:not([data-seen])", frame=BAR)
    press(browser, "#pause")
    browser.wait_for_text("#notice-text", "This button did nothing", frame=BAR)
    assert desk.posted == []


def test_a_frame_without_its_cookie_leads_to_a_tab(desk: Desk, browser: Chromium) -> None:
    """<slug>.localhost is another site than localhost: the bar says so, and opens by itself."""
    browser.open(desk.address("host", desk.page("app")))
    browser.wait_for_text("#link-text", "Open the bar", frame=BAR)
    press(browser, "#fold")
    browser.wait_for("#tab", frame=BAR)
    judge(browser)
    href = browser.evaluate("() => document.querySelector('#tab').href", frame=BAR)
    browser.visit(href, "bar")
    browser.wait_for_text("#link-text", "Connected")
    browser.click("#lock")
    assert did(desk) == [("policy", '{"public":false}')]
