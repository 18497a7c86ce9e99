"""A control plane whose every answer a test decides, with a record of what it was asked.

It runs in a thread of its own, so that programs and synchronous tests can talk to it. It shares
no code with the project.
"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import h11
import trio
from attrs import define, field, frozen


@frozen(kw_only=True)
class Asked:
    """One request, as it came."""

    method: str
    path: str
    token: str | None
    body: Any
    fields: tuple[tuple[bytes, bytes], ...]


@frozen
class Answer:
    """One answer; ``raw`` replaces everything, octet for octet."""

    status: int = 200
    body: object = None
    fields: tuple[tuple[str, str], ...] = ()
    raw: bytes | None = None


Script: TypeAlias = Callable[[Asked], Answer]


def future(hours: float = 24) -> str:
    """Return a time from now as the API spells it."""
    return (datetime.now(UTC) + timedelta(hours=hours)).isoformat().replace("+00:00", "Z")


@define
class Sessions:
    """A script that keeps sessions as the real control plane does, as far as a client sees."""

    edge_url: str = "ws://127.0.0.1:9"
    access_token: str | None = None
    live: dict[str, dict[str, Any]] = field(factory=dict)
    made: int = 0

    def __call__(self, asked: Asked) -> Answer:
        """Answer one request."""
        if asked.path == "/access":
            known = self.access_token is not None and asked.token == self.access_token
            return Answer(200, {"ok": True, "name": "me"}) if known else refusal(401, "no token")
        if (asked.method, asked.path) == ("POST", "/sessions"):
            return self._create(asked)
        session = self.live.get(asked.path.removeprefix("/sessions/"))
        if session is None or asked.token != session["sessionToken"]:
            return refusal(401, "no such session")
        if asked.method == "DELETE":
            del self.live[session["sessionId"]]
            return Answer(200, {"ok": True})
        public = ("sessionId", "slug", "publicUrl", "expiresAt")
        return Answer(200, {name: session[name] for name in public} | {"closed": False})

    def _create(self, asked: Asked) -> Answer:
        if self.access_token not in (None, asked.token):
            return refusal(401, "an access token is needed")
        wish = asked.body
        slug = wish.get("name") or f"made-{self.made}"
        if any(session["slug"] == slug for session in self.live.values()):
            return refusal(409, f"the name {slug} is taken")
        self.made += 1
        session = {
            "sessionId": f"id-{self.made}",
            "slug": slug,
            "publicUrl": f"http://gateway.test/s/{slug}/",
            "ownerUrl": f"http://gateway.test/.wormkey/owner?slug={slug}&token=owner-{self.made}",
            "edgeUrl": self.edge_url,
            "sessionToken": f"{slug}.secret-{self.made}",
            "expiresAt": future(),
        }
        if wish["authMode"] == "basic":
            session["username"] = wish.get("username", "worm")
            session["password"] = wish.get("password", "made-up")
        self.live[session["sessionId"]] = session
        return Answer(201, session)


def refusal(status: int, sentence: str, **fields: str) -> Answer:
    """Return an error of the API's shape; keywords are fields, with _ for -."""
    extra = tuple((name.replace("_", "-"), value) for name, value in fields.items())
    return Answer(status, {"error": sentence, "code": "made_up"}, extra)


@define
class FakeControl:
    """A running fake: where it listens and what it was asked, in order."""

    script: Script
    tls: ssl.SSLContext | None = None
    url: str = ""
    asked: list[Asked] = field(factory=list)

    async def run(self, started: Callable[[], None]) -> None:
        """Serve until cancelled."""
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        self.url = f"{'https' if self.tls else 'http'}://localhost:{port}"
        started()
        await trio.serve_listeners(self._serve, listeners)

    async def _serve(self, stream: trio.abc.Stream) -> None:
        if self.tls is not None:
            stream = trio.SSLStream(stream, self.tls, server_side=True, https_compatible=True)
        try:
            await self._answer(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError):
            pass  # the client hung up, as it may, or spoke TLS where none is
        finally:
            await trio.aclose_forcefully(stream)

    async def _answer(self, stream: trio.abc.Stream) -> None:
        connection = h11.Connection(h11.SERVER)
        head, content = None, b""
        while not isinstance(event := connection.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA:
                connection.receive_data(await stream.receive_some(65536))
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                content += bytes(event.data)
            elif isinstance(event, h11.ConnectionClosed):
                return
        assert head is not None
        named = dict(head.headers)
        asked = Asked(
            method=head.method.decode(),
            path=head.target.decode(),
            token=named.get(b"authorization", b"").removeprefix(b"Bearer ").decode() or None,
            body=json.loads(content) if content else None,
            fields=tuple(head.headers.raw_items()),
        )
        self.asked.append(asked)
        answer = self.script(asked)
        if answer.raw is not None:
            await stream.send_all(answer.raw)
            return
        body = json.dumps(answer.body).encode()
        fields = [*answer.fields, ("Content-Type", "application/json")]
        fields.append(("Content-Length", str(len(body))))
        out = connection.send(h11.Response(status_code=answer.status, headers=fields))
        out += connection.send(h11.Data(data=body)) + connection.send(h11.EndOfMessage())
        await stream.send_all(out)


@contextmanager
def fake_control(script: Script, tls: ssl.SSLContext | None = None) -> Iterator[FakeControl]:
    """Run a fake in a thread for as long as the block lasts."""
    control = FakeControl(script, tls)
    ready, stop = threading.Event(), threading.Event()
    fault: list[Exception] = []

    async def run() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(control.run, ready.set)
            await trio.to_thread.run_sync(stop.wait)
            nursery.cancel_scope.cancel()

    def work() -> None:
        try:
            trio.run(run)
        except Exception as error:  # noqa: BLE001 - raised in the test's own thread below
            fault.append(error)
            ready.set()

    thread = threading.Thread(target=work, name="fake control plane")
    thread.start()
    try:
        if not ready.wait(10) or fault:
            raise RuntimeError("the fake control plane did not start") from next(iter(fault), None)
        yield control
    finally:
        stop.set()
        thread.join(10)
    if fault:
        raise fault[0]
