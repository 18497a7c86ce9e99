"""Tunnels in one browser, at the gateway: two tabs, and pages that would be somebody else."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import define

from tests.support.origin import saying, start_origin
from tests.support.owner import Browser
from tests.support.world import Connected, World, open_world

NAVIGATE = (b"Sec-Fetch-Mode", b"navigate")
WIDE = (
    (b"Clear-Site-Data", b'"*"'),
    (b"Service-Worker-Allowed", b"/"),
    (b"Set-Cookie", b"a=b; Domain=localhost"),
    (b"Set-Cookie", b"wormkey_owner_x=stolen"),
)


@define
class Tab:
    """One tunnel as a tab of a browser shows it, by path."""

    browser: Browser
    slug: str

    @property
    def root(self) -> bytes:
        """Where the tunnel is."""
        return b"/s/%b/" % self.slug.encode()

    async def fetch(self, target: bytes, *fields: tuple[bytes, bytes], page: bytes = b"") -> bytes:
        """Ask for a target as this tab's page does; return which app answered."""
        referer = b"http://" + self.browser.world.base + (page or self.root)
        answer = await self.browser.exchange(target, fields=((b"Referer", referer), *fields))
        return answer.data


async def two_tabs(world: World) -> tuple[Tab, Tab]:
    """Open two tunnels in one browser."""
    browser = Browser(world)
    second = await start_origin(world.nursery, saying(b"second"))
    _, made = await world.call("POST", "/sessions", body={"port": second.port})
    client = await world.start_client(str(second.port), token=made["sessionToken"])
    await client.wait(Connected)
    tabs = (Tab(browser, world.slug), Tab(browser, made["slug"]))
    for tab in tabs:
        await browser.exchange(tab.root, fields=(NAVIGATE,))
    return tabs


async def test_two_tabs_keep_their_own_assets() -> None:
    """Though the second one visited last; a page that polls does not take over."""
    async with open_world(saying(b"first")) as world:
        first, second = await two_tabs(world)
        cors, no_cors = (b"Sec-Fetch-Mode", b"cors"), (b"Sec-Fetch-Mode", b"no-cors")
        for _ in range(2):
            assert await first.fetch(b"/asset.js", no_cors) == b"first"
            assert await second.fetch(b"/asset.js", no_cors) == b"second"
            assert await first.fetch(first.root + b"poll", cors) == b"first"
        assert await second.fetch(b"/nested.js", no_cors, page=b"/asset.js") == b"second"


async def test_a_link_of_a_page_stays_with_its_tunnel() -> None:
    """A root-absolute one is a visit: what the page that it leads to asks for goes there, too."""
    async with open_world(saying(b"first")) as world:
        first, second = await two_tabs(world)
        assert await first.fetch(b"/about", NAVIGATE) == b"first"
        no_cors = (b"Sec-Fetch-Mode", b"no-cors")
        assert await first.fetch(b"/about.js", no_cors, page=b"/about") == b"first"
        assert await second.fetch(b"/asset.js", no_cors) == b"second"


async def test_no_worker_by_path_rules_over_other_tunnels() -> None:
    """From /sw.js it would rule over the whole base host; under its own path, and by host, not."""
    async with open_world(saying(b"worker")) as world:
        browser = Browser(world)
        root = b"/s/%b/" % world.slug.encode()
        await browser.exchange(root, fields=(NAVIGATE,))
        worker = (b"Service-Worker", b"script")
        referer = (b"Referer", b"http://" + world.base + root)
        for fields in ((worker,), (worker, referer)):
            answer = await browser.exchange(b"/sw.js", fields=fields)
            assert (answer.status, answer.error) == (404, b"not_found")
        assert (await browser.exchange(b"/sw.js", fields=(referer,))).data == b"worker"
        assert (await browser.exchange(root + b"sw.js", fields=(worker,))).data == b"worker"
        assert (await world.exchange(b"/sw.js", fields=(worker,))).data == b"worker"


@pytest.mark.parametrize("routing", ["path", "host"])
async def test_no_page_by_path_speaks_for_the_base_host(routing: str) -> None:
    """Nor does it get its origin where tunnels have hosts of their own."""
    async with open_world(saying(b"x", fields=WIDE), routing=routing) as world:
        by_path = await world.exchange(b"/s/%b/" % world.slug.encode(), authority=world.base)
        assert not by_path.head.has(b"Clear-Site-Data")
        assert not by_path.head.has(b"Service-Worker-Allowed")
        assert b"a=b" in by_path.head.all(b"Set-Cookie")
        assert all(b"stolen" not in value for value in by_path.head.all(b"Set-Cookie"))
        policies = by_path.head.all(b"Content-Security-Policy")
        assert any(policy.startswith(b"sandbox ") for policy in policies) == (routing == "host")
        by_host = await world.exchange()
        assert by_host.head.get(b"Clear-Site-Data") == b'"*"'
        assert not by_host.head.has(b"Content-Security-Policy")
        cookies = by_host.head.all(b"Set-Cookie")
        assert not any(b"Domain" in value or b"stolen" in value for value in cookies)


ATTACKS: list[tuple[str, dict[bytes, bytes]]] = [
    ("fetch", {b"Sec-Fetch-Site": b"same-site", b"Sec-Fetch-Mode": b"cors"}),
    ("form", {b"Sec-Fetch-Site": b"same-site", b"Sec-Fetch-Mode": b"navigate"}),
    ("sandboxed", {b"Origin": b"null", b"Sec-Fetch-Site": b"cross-site"}),
    ("old browser", {}),
]


@pytest.mark.parametrize(("name", "fields"), ATTACKS)
@pytest.mark.parametrize(
    "path", ["policy", "kick?id=abc", "rotate-password", "pause", "resume", "close", "owner-link"]
)
async def test_a_hostile_page_presses_no_button(
    name: str, fields: dict[bytes, bytes], path: str
) -> None:
    """With the owner's cookie, which a browser sends within the site: nothing is done."""
    del name
    async with open_world(routing="host", client=False) as world:
        owner = Browser(world)
        await owner.claim()
        entry = world.node.routes.find(world.slug)
        assert entry is not None
        before = entry.session
        own: dict[bytes, Any] = {b"Origin": b"http://" + world.authority} | fields
        action, _, query = path.partition("?")
        target = f"/.wormkey/{action}?slug={world.slug}&{query}".encode()
        for kind in (b"text/plain", b"application/json", b"application/x-www-form-urlencoded"):
            sent = (*own.items(), (b"Content-Type", kind))
            answer = await owner.exchange(target, method=b"POST", fields=sent, content=b"{}")
            assert (answer.status, answer.error) == (403, b"forbidden")
        assert entry.session == before
        assert not entry.ended
