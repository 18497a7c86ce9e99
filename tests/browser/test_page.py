"""The sample app in a real browser: cookies, a form, an upload, streams and a WebSocket."""

from __future__ import annotations

import hashlib
import itertools
import random
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.browser.chromium import Chromium
    from tests.browser.conftest import Workshop

UPLOAD_BYTES = 3 * 1024 * 1024
MESSAGE_BYTES = 2 * 1024 * 1024


@pytest.fixture
def url(route: str, workshop: Workshop, request: pytest.FixtureRequest) -> str:
    """The sample app's URL by this route."""
    return workshop.url(workshop.sample_port(), route, request)


def test_two_cookies_are_set_and_come_back(url: str, browser: Chromium) -> None:
    """Both Set-Cookie fields of one answer arrive, and the next request brings them to the app."""
    assert browser.open(url)["status"] == 200
    cookies = browser.cookies()
    assert cookies["visits"]["value"] == "1"
    assert cookies["last_page"]["value"] == "home"
    assert cookies["last_page"]["httpOnly"]
    browser.reload()
    assert browser.text("#visits") == "2"


def test_the_app_is_told_the_public_url_and_asked_by_its_own_name(
    url: str, workshop: Workshop, browser: Chromium
) -> None:
    """X-Forwarded-Proto, -Host and -Prefix give the viewer's URL; Host is the app's own."""
    browser.open(url)
    assert browser.text("#url") == url
    assert browser.text("#host") == f"localhost:{workshop.sample_port()}"


def test_a_form_is_posted_and_its_redirect_stays_on_the_public_url(
    url: str, browser: Chromium
) -> None:
    """POST, 303 to the app's root, and the page again, on the URL the viewer knows."""
    browser.open(url)
    greeting = f"greetings by {url}"
    browser.fill("#greeting", greeting)
    browser.click("#greet")
    browser.wait_for_text("#greetings", greeting)
    assert browser.report()["url"] == url


def test_an_upload_arrives_whole(url: str, tmp_path: Path, browser: Chromium) -> None:
    """A file chosen in the page has the same digest at the app."""
    content = random.Random(7).randbytes(UPLOAD_BYTES)
    file = tmp_path / "photo.jpg"
    file.write_bytes(content)
    browser.open(url)
    browser.choose("#file", file)
    expected = f"{UPLOAD_BYTES} bytes, SHA-256 {hashlib.sha256(content).hexdigest()}"
    browser.wait_for_text("#upload-answer", expected)


READ_STREAM = """async () => {
  const response = await fetch("stream");
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  const chunks = [];
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return chunks;
    chunks.push({ text: value, at_ms: performance.now() });
  }
}"""


def test_a_streamed_answer_arrives_chunk_by_chunk(url: str, browser: Chromium) -> None:
    """Each line is in the page about when the app writes it, not when the answer ends."""
    browser.open(url)
    chunks = browser.evaluate(READ_STREAM)
    assert [chunk["text"] for chunk in chunks] == [f"line {n} of 5\n" for n in range(1, 6)]
    pauses_ms = [b["at_ms"] - a["at_ms"] for a, b in itertools.pairwise(chunks)]
    assert min(pauses_ms) > 200  # the app pauses 400 ms


READ_EVENTS = """() => new Promise((resolve, reject) => {
  const source = new EventSource("events");
  const seen = [];
  source.onerror = () => reject(new Error(`after ${seen.length} events`));
  source.onmessage = (event) => {
    const { count } = JSON.parse(event.data);
    seen.push({ id: event.lastEventId, count, at_ms: performance.now() });
    if (seen.length === 4) { source.close(); resolve(seen); }
  };
})"""


def test_server_sent_events_arrive_one_by_one(url: str, browser: Chromium) -> None:
    """Events reach the page while the answer goes on for ever."""
    browser.open(url)
    events = browser.evaluate(READ_EVENTS)
    assert [(event["id"], event["count"]) for event in events] == [(str(n), n) for n in range(1, 5)]
    assert events[3]["at_ms"] - events[0]["at_ms"] > 1000  # three pauses of 500 ms


ECHO = """(size) => new Promise((resolve, reject) => {
  const url = new URL("echo", location.href).href.replace(/^http/, "ws");
  const socket = new WebSocket(url, ["other", "echo"]);
  socket.binaryType = "arraybuffer";
  const sent = new Uint8Array(size);
  for (let i = 0; i < size; i += 1) sent[i] = (i * 31 + (i >> 8)) & 255;
  const result = {};
  socket.onerror = () => reject(new Error("the WebSocket failed"));
  socket.onopen = () => {
    result.protocol = socket.protocol;
    result.extensions = socket.extensions;
    socket.send("grüße");
    socket.send(sent);
  };
  socket.onmessage = ({ data }) => {
    if (typeof data === "string") { result.text = data; return; }
    const received = new Uint8Array(data);
    result.same = received.length === size && received.every((octet, i) => octet === sent[i]);
    socket.send("close 4001");
  };
  socket.onclose = ({ code, reason, wasClean }) => resolve({ ...result, code, reason, wasClean });
})"""


def test_a_websocket_carries_text_and_bytes_and_the_apps_close_code(
    url: str, browser: Chromium
) -> None:
    """Subprotocol, extension, a text, a message of 2 MiB and the app's close code come through."""
    browser.open(url)
    result = browser.evaluate(ECHO, MESSAGE_BYTES)
    assert result["protocol"] == "echo"
    assert "permessage-deflate" in result["extensions"]
    assert result["text"] == "grüße"
    assert result["same"]
    assert (result["code"], result["reason"], result["wasClean"]) == (4001, "as you asked", True)


LEAVE = """() => new Promise((resolve, reject) => {
  const socket = new WebSocket(new URL("echo", location.href).href.replace(/^http/, "ws"));
  socket.onerror = () => reject(new Error("the WebSocket failed"));
  socket.onopen = () => socket.close(4002, "enough");
  socket.onclose = ({ code, wasClean }) => resolve({ code, wasClean, protocol: socket.protocol });
})"""


def test_a_page_that_closes_its_websocket_gets_a_clean_close(url: str, browser: Chromium) -> None:
    """The closing handshake that the page starts is finished by the app."""
    browser.open(url)
    assert browser.evaluate(LEAVE) == {"code": 4002, "wasClean": True, "protocol": ""}


def test_the_page_shows_no_error(url: str, browser: Chromium) -> None:
    """Everything the page asks for is found, and its own parts all come to life."""
    browser.open(url)
    browser.wait_for("#socket-state.open")
    browser.wait_for_text("#counter", "2")
    browser.click("#stream-start")
    browser.wait_for_text("#stream-answer", "line 5 of 5")
    browser.fill("#echo-text", "over and out")
    browser.click("#echo-form button")
    browser.wait_for_text("#echo-answer", "over and out")
    report = browser.report()
    assert (report["errors"], report["failed"], report["answers"]) == ([], [], [])
