"""A stand-in for the gateway's desk: it serves the bar's files and one session that a test writes.

By path and by host, with the two cookies and the fields of the real one. What a test could hardly
bring a real session into is told here: crowds, an end in mid-stream. What the desk decides is
tested at the real one.
"""

from __future__ import annotations

import contextlib
import copy
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from wormkey.rules import OPEN_TO_ALL

if TYPE_CHECKING:
    from collections.abc import Iterator

SLUG = "quiet-otter-42"
CSRF = "c5rf"
PLAIN = "<!doctype html><html lang=en><title>An app</title>%s<body><h1>An app</h1>"
FILES = {
    "overlay.js": ("overlay.js", "text/javascript"),
    "bar": ("bar.html", "text/html; charset=utf-8"),
    "bar.js": ("bar.js", "text/javascript"),
    "bar.css": ("bar.css", "text/css"),
}
STATE: dict[str, Any] = {
    "slug": SLUG,
    "owner": True,
    "activeViewers": 2,
    "activeStreams": 1,
    "viewers": [
        {
            "id": f"v{number}",
            "name": f"{agent}, no. {number}",
            "address": f"198.51.100.{number}",
            "firstSeen": "2026-01-05T09:30:00.000Z",
            "requests": number * 7,
            "streams": number - 1,
        }
        for number, agent in enumerate(("Firefox on Linux", "Safari on iPhone"), 1)
    ],
    "kickedViewerIds": [],
    "policy": {**OPEN_TO_ALL.as_json(), "passwordProtected": False},
    "authMode": "none",
    "paused": False,
    "csrf": CSRF,
    "connected": True,
    "roundTripMs": 12.4,
    "publicUrl": f"https://{SLUG}.example.com",
    "qr": ["1010101", "0100010", "1111111", "0001000", "1010101", "0110110", "1000001"],
    "expiresAt": "2026-01-06T09:30:00.000Z",
    "requests": [
        {
            "time": "2026-01-05T09:31:00.000Z",
            "viewer": "v1",
            "method": "GET",
            "path": path,
            "status": status,
            "durationMs": 8.25,
        }
        for path, status in (("/", 200), ("/assets/style.css", 304), ("/api/<b>x</b>", 502))
    ],
}


class Desk(ThreadingHTTPServer):
    """The session, the pages of its app by path, and what the bar has sent."""

    daemon_threads = True

    def __init__(self) -> None:
        """Listen on a free port of this machine."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.domain = "localhost"
        self.changed = threading.Condition()
        self.state = copy.deepcopy(STATE)
        self.pages: dict[str, tuple[dict[str, str], str]] = {}
        self.posted: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self.watching = 0
        self.turn = 0
        self.over = False
        self.refusing = False  # answers 503 to whoever wants events

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of browsers that leave in the middle."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]

    def address(self, form: str, page: str) -> str:
        """The owner's link to a page of the app, by path or by host."""
        target = f"host:{page}" if form == "host" else page
        return f"{self.base}/.wormkey/owner?slug={SLUG}&to={target}"

    @property
    def base(self) -> str:
        """The URL of the base host."""
        return f"http://{self.domain}:{self.server_port}"

    @property
    def by_host(self) -> str:
        """The URL of the tunnel's own host."""
        return f"http://{SLUG}.{self.domain}:{self.server_port}"

    def page(self, name: str, *, body: str = "", **fields: str) -> str:
        """Serve a page of the app that has the bar's tag as the gateway puts it in; its path."""
        base = self.base.removeprefix("http:")
        tag = f'<script src="{base}/.wormkey/overlay.js?slug={SLUG}" '
        said = {key.replace("_", "-"): value for key, value in fields.items()}
        self.pages[f"/{name}"] = (said, PLAIN % (tag + 'async nonce="n0nce"></script>') + body)
        return f"/{name}"

    def tell(self, **state: object) -> None:
        """Change the session's state, and tell whoever watches."""
        with self.changed:
            self.state |= state
            self.turn += 1
            self.changed.notify_all()

    def end(self) -> None:
        """End the session."""
        self.over = True
        self.tell()


class _Handler(BaseHTTPRequestHandler):
    """One request for the desk or the app."""

    protocol_version = "HTTP/1.1"
    timeout: ClassVar[float | None] = 60.0

    @property
    def desk(self) -> Desk:
        """The server, by its own type."""
        assert isinstance(self.server, Desk)
        return self.server

    def do_GET(self) -> None:
        """Answer what is asked for."""
        url = urlsplit(self.path)
        name = url.path.removeprefix("/.wormkey/")
        with self.desk.changed:
            self.desk.asked.append(f"{self.headers['Host'].partition(':')[0]} {url.path}")
        if name == url.path:
            fields, page = self.desk.pages.get(url.path, ({}, "no such page"))
            self._say(200 if fields or page != "no such page" else 404, page, "text/html", fields)
        elif name in FILES:
            self._file(name)
        elif name in ("owner", "pass"):
            self._claim(name, parse_qs(url.query).get("to", ["/"])[0])
        elif name == "events" and self._is_owner() and not self.desk.refusing:
            self._events()
        elif name == "me" and not self.desk.over:
            self._say(200, json.dumps({"owner": self._is_owner()}), "application/json")
        else:
            status = 503 if self.desk.refusing else 410 if self.desk.over else 403
            self._say(status, json.dumps({"error": "No.", "code": "no"}), "application/json")

    def do_POST(self) -> None:
        """Note an action; rotate-password, owner-link and policy have their answers."""
        url = urlsplit(self.path)
        content = self.rfile.read(int(self.headers["Content-Length"] or 0)).decode()
        name = url.path.removeprefix("/.wormkey/")
        fine = self._is_owner() and self.headers["Wormkey-Csrf"] == CSRF
        if fine and self.headers["Origin"] == self.desk.base:
            query = {key: value[0] for key, value in parse_qs(url.query).items()}
            self.desk.posted.append({"action": name, "query": query, "content": content})
            answer = {"ok": True, "password": "a-new-password", "ownerUrl": "https://x.example/1"}
            if name == "policy":
                answer["policy"] = self.desk.state["policy"] | json.loads(content)
            self._say(200, json.dumps(answer), "application/json")
        else:
            self._say(
                403, json.dumps({"error": "Not yours.", "code": "forbidden"}), "application/json"
            )

    def _is_owner(self) -> bool:
        on_base = not self.headers["Host"].startswith(SLUG)
        cookie = f"wormkey_owner_{SLUG}=1" if on_base else "wormkey_pass=1"
        return cookie in (self.headers["Cookie"] or "").split("; ")

    def _claim(self, name: str, target: str) -> None:
        by_host = name == "owner" and target.startswith("host:")
        cookie = f"wormkey_owner_{SLUG}=1" if name == "owner" else "wormkey_pass=1"
        location = f"{self.desk.by_host}/.wormkey/pass?to={target[5:]}" if by_host else target
        fields = {"Location": location, "Set-Cookie": f"{cookie}; Path=/; HttpOnly; SameSite=Lax"}
        self._say(303, "", "text/plain", fields)

    def _file(self, name: str) -> None:
        file, content_type = FILES[name]
        fields = {"Cross-Origin-Resource-Policy": "cross-origin", "Referrer-Policy": "no-referrer"}
        if name == "bar":
            fields["Cross-Origin-Embedder-Policy"] = "require-corp"
            fields["Content-Security-Policy"] = (
                "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
                "img-src 'self' data:; base-uri 'none'; form-action 'none'; "
                f"frame-ancestors 'self' {self.desk.by_host}"
            )
        text = resources.files("wormkey").joinpath(f"assets/{file}").read_text("utf-8")
        self._say(200, text, content_type, fields)

    def _events(self) -> None:
        desk = self.desk
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        with desk.changed:
            desk.watching += 1
            desk.changed.notify_all()
        told = -1
        with contextlib.suppress(OSError):
            while not (desk.over or desk.refusing):
                with desk.changed:
                    if desk.turn == told:
                        desk.changed.wait(0.5)
                    changed, told, state = desk.turn != told, desk.turn, json.dumps(desk.state)
                line = f"event: state\ndata: {state}\n\n" if changed else ":\n\n"
                self.wfile.write(f"retry: 200\n{line}".encode())
            if desk.over:
                self.wfile.write(b"event: end\ndata: {}\n\n")
        with desk.changed:
            desk.watching -= 1
            desk.changed.notify_all()

    def _say(
        self, status: int, text: str, content_type: str, fields: dict[str, str] | None = None
    ) -> None:
        content = text.encode()
        self.send_response(status)
        for name, value in ({"Content-Type": content_type} | (fields or {})).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: failures print what matters."""


@contextlib.contextmanager
def running_desk() -> Iterator[Desk]:
    """A desk that serves until the block ends."""
    with Desk() as desk:
        thread = threading.Thread(target=desk.serve_forever)
        thread.start()
        try:
            yield desk
        finally:
            desk.refusing = True
            desk.shutdown()
            thread.join()
