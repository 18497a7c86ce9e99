"""Who may act at the owner's desk: each action by everybody who is not the owner's own page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve

from tests.support.owner import ACTIONS, Browser, owner_of
from tests.support.websocket import handshake_fields
from tests.support.world import World, open_world
from wormkey.owners import csrf_token, owner_cookie

if TYPE_CHECKING:
    from wormkey.session import Session

READS = ("state", "urls", "events")


def session_of(world: World, slug: str | None = None) -> Session:
    """Return the session as viewers find it."""
    entry = world.node.routes.find(slug or world.slug)
    assert entry is not None
    return entry.session


async def stranger(world: World) -> Browser:
    """Return a browser that shows what another session's owner has."""
    _, other = await world.call("POST", "/sessions", body={"port": 1})
    browser = Browser(world)
    await browser.claim(other["ownerUrl"])
    (value,) = browser.jar[world.base].values()
    browser.jar[world.base][b"wormkey_owner_" + world.slug.encode()] = value
    return browser


async def nobody(world: World) -> Browser:
    """Return a browser without cookies."""
    return Browser(world)


async def forger(world: World) -> Browser:
    """Return a browser whose cookie's name of a browser was changed."""
    browser = await owner_of(world)
    jar = browser.jar[world.base]
    name = b"wormkey_owner_" + world.slug.encode()
    jar[name] = b"x" + jar[name][1:] if jar[name][:1] != b"x" else b"y" + jar[name][1:]
    return browser


async def visitor(world: World) -> Browser:
    """Return a browser that has the viewers' cookie and the owner's pass, on the base host."""
    browser = Browser(world)
    await browser.exchange(b"/s/%b/" % world.slug.encode())
    browser.jar[world.base][b"wormkey_pass"] = b"x.y"
    return browser


@pytest.mark.parametrize("who", [nobody, stranger, forger, visitor])
async def test_nobody_else_acts_or_reads(who: Any) -> None:
    """Without, with another session's, with a forged cookie: 403, and nothing is changed."""
    async with open_world() as world:
        browser = await who(world)
        before = session_of(world)
        right = csrf_token(world.node.key, before, b"x")
        for action in ACTIONS:
            answer = await browser.act(action, {"public": False}, Wormkey_Csrf=right)
            assert (answer.status, answer.json()["code"]) == (403, "forbidden")
        for path in READS:
            assert (await browser.read(path))[0] == 403
        assert session_of(world) == before


WRONG: list[dict[str, bytes | None]] = [
    {"Wormkey_Csrf": None},
    {"Wormkey_Csrf": b""},
    {"Wormkey_Csrf": b"AAAAAAAAAAAAAAAAAAAAAA"},
    {"Origin": None},
    {"Origin": b"null"},
    {"Origin": b""},
    {"Origin": b"https://evil.example"},
    {"Origin": None, "Sec_Fetch_Site": b"same-site"},
    {"Origin": None, "Sec_Fetch_Site": b"cross-site"},
    {"Origin": None, "Sec_Fetch_Site": b"none"},
    {"Sec_Fetch_Site": b"same-site"},
    {"Sec_Fetch_Site": b"cross-site"},
]


@pytest.mark.parametrize("wrong", WRONG, ids=str)
async def test_the_owners_cookie_alone_does_nothing(wrong: dict[str, bytes | None]) -> None:
    """Another page, or one that does not know the token, cannot use it."""
    async with open_world() as world:
        owner = await owner_of(world)
        before = session_of(world)
        for action in ACTIONS:
            answer = await owner.act(action, {"public": False}, **wrong)
            assert (answer.status, answer.json()["code"]) == (403, "forbidden")
        assert session_of(world) == before


async def test_the_page_of_the_tunnels_own_host_is_another_origin() -> None:
    """Its Origin is refused, also with the right token; on its own host nothing acts."""
    async with open_world(routing="host") as world:
        owner = await owner_of(world)
        csrf = (await owner.state())["csrf"].encode()
        origin = b"http://" + world.authority
        owner.jar[world.authority] = dict(owner.jar[world.base])
        before = session_of(world)
        for action in ACTIONS:
            assert (await owner.act(action, Origin=origin)).status == 403
            fields = ((b"Origin", origin), (b"Wormkey-Csrf", csrf))
            target = b"/.wormkey/" + action.encode()
            answer = await owner.exchange(
                target, world.authority, method=b"POST", fields=fields, content=b"{}"
            )
            assert (answer.status, answer.json()["code"]) == (403, "forbidden")
        assert session_of(world) == before


@pytest.mark.parametrize("site", [b"same-site", b"cross-site"])
@pytest.mark.parametrize("path", READS)
async def test_no_page_elsewhere_reads_the_state(site: bytes, path: str) -> None:
    """As a script, an image or a fetch, with the owner's cookie: 403, and no CORS field."""
    async with open_world() as world:
        owner = await owner_of(world)
        target = f"/.wormkey/{path}?slug={world.slug}".encode()
        for fields in (
            ((b"Sec-Fetch-Site", site),),
            ((b"Origin", b"http://" + world.authority),),
            ((b"Origin", b"null"), (b"Sec-Fetch-Site", b"same-origin")),
        ):
            answer = await owner.exchange(target, fields=fields)
            assert answer.status == 403
            assert not answer.head.has(b"Access-Control-Allow-Origin")


async def test_no_preflight_is_granted() -> None:
    """A page elsewhere may not even ask: 405, and no CORS field."""
    async with open_world() as world:
        owner = await owner_of(world)
        for action in ACTIONS:
            target = f"/.wormkey/{action}".encode()
            answer = await owner.exchange(
                target, method=b"OPTIONS", fields=((b"Origin", b"http://" + world.authority),)
            )
            assert (answer.status, answer.head.get(b"Allow")) == (405, b"POST")
            assert not answer.head.has(b"Access-Control-Allow-Origin")


async def test_without_an_origin_the_fetch_metadata_serve() -> None:
    """Some browsers leave Origin out of what they send to their own host."""
    async with open_world() as world:
        owner = await owner_of(world)
        answer = await owner.act("pause", Origin=None, Sec_Fetch_Site=b"same-origin")
        assert answer.json() == {"ok": True, "paused": True}


async def test_an_owners_cookie_ends_with_its_session() -> None:
    """The next session of the same name has another owner."""
    async with open_world(session={"name": "demo"}) as world:
        owner = await owner_of(world)
        assert (await owner.act("close")).status == 200
        for action in ACTIONS:
            assert (await owner.act(action)).status == 410
        await world.call("POST", "/sessions", body={"port": 1, "name": "demo"})
        assert (await owner.read("me"))[1] == {"owner": False}
        assert (await owner.act("pause")).status == 403


async def test_an_action_is_a_post_with_json() -> None:
    """No GET acts; a form cannot say what a policy is."""
    async with open_world() as world:
        owner = await owner_of(world)
        for action in ACTIONS:
            answer = await owner.exchange(f"/.wormkey/{action}".encode())
            assert answer.status == 405
        for kind in (b"text/plain", b"application/x-www-form-urlencoded", None):
            answer = await owner.act("policy", {"public": False}, Content_Type=kind)
            assert (answer.status, answer.json()["code"]) == (415, "unsupported_media_type")
        assert session_of(world).policy.public


async def test_a_websocket_of_the_desk_is_no_websocket() -> None:
    """The desk upgrades nothing."""
    async with open_world() as world:
        owner = await owner_of(world)
        target = f"/.wormkey/me?slug={world.slug}".encode()
        answer = await owner.exchange(target, fields=handshake_fields())
        assert (answer.status, answer.json()) == (200, {"owner": True})


async def test_by_https_the_cookies_are_the_hosts_own() -> None:
    """``__Host-`` and Secure, which no other host and no plain page can set."""
    async with open_world(public_url="https://tunnels.example", routing="host") as world:
        browser = Browser(world)
        target = world.session["ownerUrl"].removeprefix("https://tunnels.example").encode()
        base = b"tunnels.example"
        answer = await browser.exchange(target, base)
        (cookie,) = answer.head.all(b"Set-Cookie")
        assert cookie.startswith(b"__Host-wormkey_owner_")
        assert b"; Path=/;" in cookie
        assert cookie.endswith(b"; Secure")
        location = (answer.head.get(b"Location") or b"").decode()
        assert location.startswith(f"https://{world.slug}.tunnels.example/.wormkey/pass?")
        state = f"/.wormkey/state?slug={world.slug}".encode()
        assert (await browser.exchange(state, base)).status == 200
        plain = owner_cookie(world.node.key, session_of(world), b"x", b"http", 9)
        pair = ((b"Cookie", plain.partition(b";")[0]),)
        answer = await world.exchange(state, authority=base, fields=pair)
        assert answer.status == 403
        csrf = (await browser.exchange(state, base)).json()["csrf"].encode()
        for origin, status in ((b"http://tunnels.example", 403), (b"https://tunnels.example", 200)):
            fields = ((b"Origin", origin), (b"Wormkey-Csrf", csrf))
            target = f"/.wormkey/pause?slug={world.slug}".encode()
            answer = await browser.exchange(target, base, method=b"POST", fields=fields)
            assert answer.status == status


async def test_an_owners_cookie_ends_when_its_session_expires() -> None:
    """410 for all, the link included; nothing is done any more."""
    async with open_world() as world:
        owner = await owner_of(world)
        csrf = (await owner.state())["csrf"].encode()
        entry = world.node.routes.find(world.slug)
        assert entry is not None
        entry.session = evolve(entry.session, expires_at=world.node.now())
        for action in ACTIONS:
            answer = await owner.act(action, Wormkey_Csrf=csrf)
            assert (answer.status, answer.json()["code"]) == (410, "session_expired")
        assert (await owner.claim()).status == 410
        assert (await owner.read("me"))[0] == 410
