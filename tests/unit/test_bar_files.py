"""assets/: the owner's bar is small, brings everything along, and gives the page nothing."""

from __future__ import annotations

import gzip
import re
from html.parser import HTMLParser
from importlib import resources

import pytest

from wormkey.rules import RULE_NAMES

MAX_BAR_BYTES = 15_000  # gzipped, all files together: a second on a slow phone
NAMES = ("overlay.js", "bar.html", "bar.css", "bar.js")
SCRIPTS = ("overlay.js", "bar.js")
FILES = {
    name: resources.files("wormkey").joinpath(f"assets/{name}").read_text("utf-8") for name in NAMES
}
# The files without what only people read.
CODE = {name: re.sub(r"^ *//.*|(?<= )// .*", "", FILES[name], flags=re.MULTILINE) for name in NAMES}


class Reader(HTMLParser):
    """Collects the elements of the frame's page."""

    def __init__(self, page: str) -> None:
        """Read the whole page."""
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.tags.append((tag, dict(attrs)))


TAGS = Reader(FILES["bar.html"]).tags
IDS = [str(attributes["id"]) for _, attributes in TAGS if "id" in attributes]


def test_the_bar_is_small() -> None:
    """All files together stay under their limit, each gzipped by itself."""
    sizes = {name: len(gzip.compress(text.encode())) for name, text in FILES.items()}
    assert sum(sizes.values()) < MAX_BAR_BYTES, sizes


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_loaded_from_elsewhere(name: str) -> None:
    """No file names another host; the one address is a namespace, which is never asked for."""
    text = CODE[name].replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?:|@import|url\(", text)


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_text_becomes_code_or_markup(name: str) -> None:
    """Trusted Types and policies without 'unsafe-eval' stop nothing; names of viewers are text."""
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|srcdoc|\beval\b|Function\("
    assert not re.search(forbidden, CODE[name])
    assert "setTimeout(`" not in CODE[name]


def test_the_frames_page_has_no_inline_code() -> None:
    """What its own policy would block is not there: handlers, scripts, styles."""
    for tag, attributes in TAGS:
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        assert tag != "style"
        assert tag != "script" or attributes["src"] == "/.wormkey/bar.js"


def test_what_runs_in_the_page_knows_no_secret() -> None:
    """The loader reads no token, sends no action, and keeps nothing in the page's storage."""
    loader = CODE["overlay.js"].lower()
    for word in ("csrf", "token", "password", "state", "post(", '"post"', "storage", "cookie"):
        assert word not in loader.replace("postmessage", ""), word


def test_every_element_that_the_script_names_is_there_once() -> None:
    """The ids of the page are distinct, and the script asks for no other."""
    assert len(IDS) == len(set(IDS))
    script = CODE["bar.js"]
    named = set(re.findall(r'(?:\$|write)\("([\w-]+)"', script))
    assert named
    assert named <= set(IDS)


def test_every_control_has_a_name() -> None:
    """Each button says what it does, each field has its label, each part that opens says so."""
    labels = {attributes.get("for") for tag, attributes in TAGS if tag == "label"}
    for tag, attributes in TAGS:
        if tag in ("input", "textarea"):
            assert attributes["id"] in labels
        if tag == "button":
            assert attributes["type"] == "button"
        if "aria-controls" in attributes:
            assert attributes["aria-controls"] in IDS
            assert "aria-expanded" in attributes


def test_every_rule_has_its_field() -> None:
    """What the API takes the bar takes: each rule once, the lock and the password by two ways."""
    named = [str(attributes["name"]) for _, attributes in TAGS if "data-rule" in attributes]
    assert sorted({*named, "public"}) == sorted((*RULE_NAMES, "password"))
    assert len(named) == len(set(named)) + 1


@pytest.mark.parametrize("name", NAMES)
def test_messages_between_the_frame_and_the_page_name_their_receiver(name: str) -> None:
    """No message goes to whoever is there, and each is taken from one window of one origin only."""
    assert not re.search(r"""postMessage\([^)]*["']\*["']""", CODE[name])
    if name in SCRIPTS:
        [listener] = re.findall(
            r'addEventListener\("message".*?return;', CODE[name], flags=re.DOTALL
        )
        assert "event.source" in listener
        assert "event.origin" in listener
