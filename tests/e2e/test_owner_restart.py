"""What an owner decided, after his daemon was killed: every rule, the kick, and who he is."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import trio
from attrs import define, field

from tests.support.origin import Connection, response, start_origin
from tests.support.process import Daemon, running_daemon
from tests.support.share import addresses_of, share
from tests.support.viewer import open_viewer
from tests.support.websocket import accept_websocket, handshake_fields
from tests.support.world import Connected

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.messages import Response

RULES = {
    "blockPaths": ["/admin"],
    "deniedNetworks": ["198.51.100.0/24"],
    "allowedMethods": ["GET", "POST"],
    "maxContentBytes": 10,
    "maxConcurrentViewers": 1,
    "password": "open sesame",
}
BEARER = (b"Authorization", b"Bearer open sesame")


@define(eq=False)
class Someone:
    """A browser at one address, which keeps its cookies."""

    daemon: Daemon
    slug: str
    address: str
    jar: dict[bytes, bytes] = field(factory=dict)

    async def ask(
        self, path: str, *fields: tuple[bytes, bytes], method: str = "GET", content: bytes = b""
    ) -> Response:
        """Send a request to the base host."""
        cookies = b"; ".join(b"%b=%b" % pair for pair in self.jar.items())
        sent = [(b"X-Forwarded-For", self.address.encode()), (b"Accept", b"text/html"), *fields]
        if cookies:
            sent.append((b"Cookie", cookies))
        base = b"localhost:%d" % self.daemon.gateway[1]
        viewer = await open_viewer(*self.daemon.gateway, base)
        answer = await viewer.exchange(
            path.encode(), method=method.encode(), fields=sent, content=content or None
        )
        await viewer.aclose()
        for value in answer.head.all(b"Set-Cookie"):
            name, _, rest = value.partition(b";")[0].partition(b"=")
            self.jar[name] = rest
        return answer

    async def see(self, target: str = "/", *fields: tuple[bytes, bytes], **how: Any) -> Response:
        """Send a request through the tunnel."""
        return await self.ask(f"/s/{self.slug}{target}", *fields, **how)

    async def state(self) -> Any:
        """Return the owner's state."""
        answer = await self.ask(f"/.wormkey/state?slug={self.slug}")
        assert answer.status == 200, answer.data
        return answer.json()

    async def act(self, what: str, body: object = None) -> Any:
        """Press a button of the bar."""
        csrf = (await self.state())["csrf"].encode()
        origin = b"http://localhost:%d" % self.daemon.gateway[1]
        answer = await self.ask(
            f"/.wormkey/{what}{'&' if '?' in what else '?'}slug={self.slug}",
            (b"Origin", origin),
            (b"Wormkey-Csrf", csrf),
            (b"Content-Type", b"application/json"),
            method="POST",
            content=json.dumps(body or {}).encode(),
        )
        assert answer.status == 200, answer.data
        return answer.json()


async def page_and_socket(connection: Connection) -> None:
    """Handle a connection as an app with a page and a WebSocket."""
    while (request := await connection.read_request()) is not None:
        if request.head.has(b"Upgrade"):
            await accept_websocket(connection, request)
            return
        await connection.send(response(b"page"))


async def rule(owner: Someone, good: Someone, bad: Someone) -> None:
    """Claim the session, set its rules, remove one of two viewers, pause."""
    assert (await good.see("/", BEARER)).status == 200
    assert (await bad.see("/", BEARER)).status == 200
    shown = {each["address"]: each["id"] for each in (await owner.state())["viewers"]}
    await owner.act(f"kick?id={shown[bad.address]}")
    await owner.act("policy", RULES)
    assert (await good.see("/?wormkey_password=open+sesame")).status == 303
    await owner.act("pause")


async def check(owner: Someone, good: Someone, bad: Someone) -> None:
    """Find it all in force, by HTTP and by WebSocket, before and after the pause ends."""
    socket = handshake_fields()
    for answer in (await good.see(), await good.see("/", *socket)):
        assert (answer.status, answer.error) == (503, b"paused")
    assert (await owner.see()).status == 200
    assert (await owner.act("resume"))["paused"] is False
    nameless = Someone(bad.daemon, bad.slug, bad.address)
    elsewhere = Someone(bad.daemon, bad.slug, "203.0.113.9", dict(bad.jar))
    shut_out = Someone(bad.daemon, bad.slug, "198.51.100.7")
    stranger = Someone(bad.daemon, bad.slug, "203.0.113.10")
    refusals = [
        *((who, "/", b"removed") for who in (bad, nameless, elsewhere)),
        (shut_out, "/", b"network_not_allowed"),
        (good, "/%61dmin/x", b"path_blocked"),
        (stranger, "/", b"too_many_viewers"),
    ]
    assert (await good.see()).status == 200  # by the cookie of the form: nothing is asked again
    assert (await Someone(good.daemon, good.slug, "203.0.113.11").see()).status == 401
    for who, target, code in refusals:
        for answer in (await who.see(target, BEARER), await who.see(target, BEARER, *socket)):
            assert answer.error == code, (who.address, target)
    assert (await good.see("/", method="PUT")).error == b"method_refused"
    assert (await good.see("/", method="POST", content=b"x" * 11)).error == b"content_too_large"
    state = await owner.state()
    assert state["policy"] | {"passwordProtected": True} == state["policy"]
    assert len(state["kickedViewerIds"]) >= 2


async def test_what_an_owner_decided_outlives_a_kill(tmp_path: Path) -> None:
    """His browser owns the session, the one removed stays out, the one let in stays in."""
    proxy = ("--trusted-proxy", "127.0.0.1")
    with trio.fail_after(40):
        async with trio.open_nursery() as nursery:
            origin = await start_origin(nursery, page_and_socket)
            async with running_daemon(tmp_path, *proxy) as daemon:
                session, client = await share(nursery, daemon, origin.port)
                people = [
                    Someone(daemon, session["slug"], address)
                    for address in ("192.0.2.1", "192.0.2.2", "192.0.2.3")
                ]
                link = urlsplit(session["ownerUrl"])
                assert (await people[0].ask(f"{link.path}?{link.query}")).status == 303
                await rule(*people)
                await daemon.process.end(signal.SIGKILL)
            addresses = addresses_of(daemon)
            async with running_daemon(tmp_path, *proxy, *addresses):
                await client.wait(Connected, 2)
                await check(*people)
                nursery.cancel_scope.cancel(reason="the test is over")
