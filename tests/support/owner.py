"""An owner's browser at the gateway: it claims, keeps its cookies, and acts as the bar does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from attrs import define, field

from tests.support.world import World

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.support.messages import Response

ACTIONS = (
    "policy",
    "kick?id=abcdefgh",
    "rotate-password",
    "pause",
    "resume",
    "close",
    "owner-link",
)


@define(eq=False)
class Browser:
    """A browser that keeps its cookies by host, as RFC 6265 has it for cookies without Domain."""

    world: World
    jar: dict[bytes, dict[bytes, bytes]] = field(factory=dict)

    def cookie(self, authority: bytes) -> tuple[tuple[bytes, bytes], ...]:
        """Return the Cookie field for a host."""
        pairs = self.jar.get(authority, {}).items()
        text = b"; ".join(name + b"=" + value for name, value in pairs)
        return ((b"Cookie", text),) if text else ()

    async def exchange(
        self,
        target: bytes,
        authority: bytes | None = None,
        *,
        method: bytes = b"GET",
        fields: Iterable[tuple[bytes, bytes]] = (),
        content: bytes | None = None,
    ) -> Response:
        """Send a request to the base host, unless told; keep the cookies of the answer."""
        authority = authority or self.world.base
        answer = await self.world.exchange(
            target,
            authority=authority,
            method=method,
            fields=(*self.cookie(authority), *fields),
            content=content,
        )
        for value in answer.head.all(b"Set-Cookie"):
            name, _, rest = value.partition(b";")[0].partition(b"=")
            self.jar.setdefault(authority, {})[name] = rest
        return answer

    async def open(self, url: str) -> Response:
        """Send the request of a URL."""
        parts = urlsplit(url)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        return await self.exchange(target.encode(), parts.netloc.encode())

    async def claim(self, url: str | None = None) -> Response:
        """Open the owner's link."""
        return await self.open(url or self.world.session["ownerUrl"])

    async def read(self, what: str, slug: str | None = None) -> tuple[int, Any]:
        """Read JSON from the desk; return the status and the document."""
        path = f"/.wormkey/{what}?slug={slug or self.world.slug}"
        answer = await self.exchange(path.encode())
        return answer.status, json.loads(answer.data)

    async def state(self) -> Any:
        """Return the state."""
        status, document = await self.read("state")
        assert status == 200, document
        return document

    async def act(self, what: str, body: object = None, **change: bytes | None) -> Response:
        """Ask for an action as the bar does; ``change`` replaces or, with None, drops a field."""
        csrf = (await self.read("state"))[1].get("csrf", "")
        fields: dict[bytes, bytes | None] = {
            b"Origin": b"http://" + self.world.base,
            b"Wormkey-Csrf": csrf.encode(),
            b"Content-Type": b"application/json",
        }
        fields |= {name.replace("_", "-").encode(): value for name, value in change.items()}
        sent = [(name, value) for name, value in fields.items() if value is not None]
        path, _, query = what.partition("?")
        target = f"/.wormkey/{path}?slug={self.world.slug}" + (f"&{query}" if query else "")
        content = json.dumps(body if body is not None else {}).encode()
        return await self.exchange(target.encode(), method=b"POST", fields=sent, content=content)


async def owner_of(world: World) -> Browser:
    """Return a browser that has claimed the session."""
    browser = Browser(world)
    answer = await browser.claim()
    assert answer.status == 303, answer.data
    return browser
