"""The owner's link at the gateway: who becomes the owner, how often, and what leaks on the way."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
import trio

from tests.support.owner import Browser, owner_of
from tests.support.world import World, open_world
from wormkey import owners
from wormkey.claims import own_target

if TYPE_CHECKING:
    from tests.support.messages import Response

BY_HOST = {"routing": "host"}


def claimed(world: World) -> bytes | None:
    """Return what the session knows of its owner's browser."""
    entry = world.node.routes.find(world.slug)
    assert entry is not None
    return entry.session.claimed_by


async def new_link(owner: Browser) -> str:
    """Return a further link."""
    answer = await owner.act("owner-link")
    assert answer.status == 200, answer.data
    return str(answer.json()["ownerUrl"])


async def test_by_path_the_first_browser_is_the_owners() -> None:
    """The token leaves the address with the redirect, and no cookie is a script's."""
    async with open_world() as world:
        browser = Browser(world)
        assert (await browser.read("me"))[1] == {"owner": False}
        answer = await browser.claim()
        assert (answer.status, answer.head.get(b"Location")) == (
            303,
            b"/s/%b/" % world.slug.encode(),
        )
        assert answer.head.get(b"Referrer-Policy") == b"no-referrer"
        assert answer.head.get(b"Cache-Control") == b"no-store"
        (cookie,) = answer.head.all(b"Set-Cookie")
        assert cookie.startswith(b"wormkey_owner_%b=" % world.slug.encode())
        assert b"; HttpOnly; SameSite=Lax" in cookie
        assert b"Domain" not in cookie
        assert (await browser.read("me"))[1] == {"owner": True}


async def test_by_host_a_second_cookie_shows_the_page_and_does_nothing() -> None:
    """The base host's cookie stays there; the tunnel's own host gets a pass."""
    async with open_world(**BY_HOST) as world:
        browser = Browser(world)
        answer = await browser.claim()
        location = (answer.head.get(b"Location") or b"").decode()
        assert urlsplit(location).netloc.encode() == world.authority
        assert urlsplit(location).path == "/.wormkey/pass"
        passed = await browser.open(location)
        assert (passed.status, passed.head.get(b"Location")) == (303, b"/")
        assert set(browser.jar) == {world.base, world.authority}
        assert set(browser.jar[world.authority]) == {b"wormkey_pass"}
        me = await browser.exchange(b"/.wormkey/me", world.authority)
        assert me.json() == {"owner": True}
        for path in (b"state", b"events", b"urls", b"bar"):
            assert (await browser.exchange(b"/.wormkey/" + path, world.authority)).status == 403
        pass_at_base = Browser(world, {world.base: browser.jar[world.authority]})
        assert (await pass_at_base.read("state"))[0] == 403


async def test_on_the_tunnels_host_the_link_leads_to_the_base_host() -> None:
    """Nothing is claimed before."""
    async with open_world(**BY_HOST) as world:
        token = world.session["ownerUrl"].rpartition("=")[2].encode()
        answer = await Browser(world).exchange(b"/.wormkey/owner?token=" + token, world.authority)
        assert answer.status == 303
        assert answer.head.get(b"Location") == world.session["ownerUrl"].encode()
        assert answer.head.get(b"Referrer-Policy") == b"no-referrer"
        assert claimed(world) is None


async def test_a_claimed_link_serves_the_browser_that_claimed_it() -> None:
    """Another one is told to ask for a new link, and gets no cookie."""
    async with open_world() as world:
        owner = await owner_of(world)
        before = claimed(world)
        assert (await owner.claim()).status == 303
        other = await Browser(world).claim()
        assert (other.status, other.error) == (403, b"already_claimed")
        assert other.head.all(b"Set-Cookie") == []
        assert claimed(world) == before


async def test_two_browsers_at_once_make_one_owner() -> None:
    """The second is refused, however close they come."""
    async with open_world() as world:
        answers: list[Response] = []

        async def claim() -> None:
            answers.append(await Browser(world).claim())

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(claim)
        assert sorted(answer.status for answer in answers) == [303, 403, 403, 403, 403]


async def test_a_new_link_makes_one_more_owner_once() -> None:
    """It is spent at its use, and a newer one ends an older one."""
    async with open_world() as world:
        owner = await owner_of(world)
        old, new = await new_link(owner), await new_link(owner)
        assert (await Browser(world).claim(old)).status == 401
        other = Browser(world)
        assert (await other.claim(new)).status == 303
        assert (await other.read("me"))[1] == {"owner": True}
        assert (await Browser(world).claim(new)).status == 401
        assert (await owner.read("me"))[1] == {"owner": True}


async def test_a_link_that_somebody_else_opened_first_is_made_anew_by_its_token() -> None:
    """The control plane's call needs no browser; the new link serves once."""
    async with open_world() as world:
        assert (await Browser(world).claim()).status == 303
        owner = Browser(world)
        assert (await owner.claim()).error == b"already_claimed"
        token = world.session["ownerUrl"].rpartition("=")[2]
        path = f"/sessions/by-slug/{world.slug}/owner-link"
        status, made = await world.call("POST", path, token=token)
        assert status == 200
        assert (await owner.claim(made["ownerUrl"])).status == 303
        assert (await owner.read("me"))[1] == {"owner": True}
        assert (await Browser(world).claim(made["ownerUrl"])).status == 401


@pytest.mark.parametrize(
    "field",
    [
        (b"Sec-Purpose", b"prefetch"),
        (b"Sec-Purpose", b"prefetch;prerender"),
        (b"Purpose", b"prefetch"),
        (b"X-Moz", b"prefetch"),
        None,
    ],
)
async def test_who_only_looks_ahead_claims_nothing(field: tuple[bytes, bytes] | None) -> None:
    """Prefetches and HEAD; the person who opens the link afterwards is the owner."""
    async with open_world() as world:
        target = world.session["ownerUrl"].removeprefix(str(world.node.public)).encode()
        fields, method = ((field,), b"GET") if field else ((), b"HEAD")
        answer = await Browser(world).exchange(target, method=method, fields=fields)
        assert answer.status == (403 if field else 204)
        assert answer.head.all(b"Set-Cookie") == []
        assert claimed(world) is None
        await owner_of(world)


@pytest.mark.parametrize("token", ["", "wrong", "session", "other"])
async def test_no_other_token_claims(token: str) -> None:
    """None, a wrong one, the tunnel's, another session's: 401, nothing changed."""
    async with open_world() as world:
        _, other = await world.call("POST", "/sessions", body={"port": 1})
        tokens = {
            "session": world.token.partition(".")[2],
            "other": other["ownerUrl"].rpartition("=")[2],
        }
        target = f"/.wormkey/owner?slug={world.slug}&token={tokens.get(token, token)}"
        answer = await Browser(world).exchange(target.encode())
        assert (answer.status, answer.error) == (401, b"unauthorized")
        assert answer.head.all(b"Set-Cookie") == []
        assert claimed(world) is None
        assert world.node.metrics.failed_authentications["owner"] == bool(token)


async def test_guessed_tokens_end_in_429() -> None:
    """For that address; the right link still works."""
    async with open_world(max_auth_failures=2) as world:
        target = f"/.wormkey/owner?slug={world.slug}&token=guess".encode()
        statuses = [(await Browser(world).exchange(target)).status for _ in range(3)]
        assert statuses == [401, 401, 429]
        await owner_of(world)


async def test_an_unknown_or_ended_session_is_not_claimed() -> None:
    """404 counts as a guess, 410 says how it ended; 400 where none is named."""
    async with open_world(max_misses=2) as world:
        for _ in range(2):
            answer = await Browser(world).exchange(b"/.wormkey/owner?slug=nobody&token=x")
            assert (answer.status, answer.error) == (404, b"unknown_session")
        answer = await Browser(world).exchange(b"/.wormkey/me?slug=nobody")
        assert answer.status == 429
        assert (await Browser(world).exchange(b"/.wormkey/owner?token=x")).status == 400
        owner = await owner_of(world)
        assert (await owner.act("close")).status == 200
        assert (await owner.claim()).status == 410
        assert (await owner.read("state"))[0] == 410


async def test_a_pass_code_is_the_sessions_own_and_short_lived() -> None:
    """Another session's, one that was changed, and one that is too old open nothing."""
    async with open_world(**BY_HOST) as world:
        _, other = await world.call("POST", "/sessions", body={"port": 1})
        entry, foreign = world.node.routes.find(world.slug), world.node.routes.find(other["slug"])
        assert entry is not None
        assert foreign is not None
        now_s = world.node.now().timestamp()
        make = partial(owners.pass_code, world.node.key)
        right = make(entry.session, b"b", now_s)
        old = make(entry.session, b"b", now_s - owners.PASS_CODE_S - 1)
        browser = Browser(world)
        for code in (b"", b"x", right + b"x", old, make(foreign.session, b"b", now_s)):
            target = b"/.wormkey/pass?code=" + code
            answer = await browser.exchange(target, world.authority)
            assert (answer.status, answer.head.all(b"Set-Cookie")) == (403, [])
        target = b"/.wormkey/pass?code=" + right
        assert (await browser.exchange(target)).status == 404  # not on the base host
        assert (await browser.exchange(target, world.authority)).status == 303


async def test_no_log_and_no_answer_holds_a_token(caplog: pytest.LogCaptureFixture) -> None:
    """Neither the owner token nor a new link's nor a password, the access log included."""
    caplog.set_level(logging.DEBUG)
    async with open_world(access_log=True) as world:
        owner = await owner_of(world)
        link = await new_link(owner)
        password = (await owner.act("rotate-password")).json()["password"]
        await Browser(world).claim(link)
        target = b"/.wormkey/state?slug=" + world.slug.encode()
        later = [await owner.exchange(target), await Browser(world).claim(link)]
        secrets = [url.rpartition("=")[2] for url in (world.session["ownerUrl"], link)]
        cookies = [value.decode() for value in owner.jar[world.base].values()]
        assert any(record.name == "wormkey.access" for record in caplog.records)
        logged = "\n".join(str(vars(record)) for record in caplog.records)
        for secret in (*secrets, *cookies, password, world.token.partition(".")[2]):
            assert secret not in logged
            for answer in later:
                assert secret.encode() not in answer.data
                assert secret not in str(answer.head)


# ── where a form may lead ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "text", ["/", "/a/b?c=d&e=/..", "/a;b/c,d", "/a%20b", "/s/other/", "/.well-known/x", "/a."]
)
def test_a_path_of_the_tunnels_host_is_kept(text: str) -> None:
    """Octet for octet."""
    assert own_target(text) == text.encode()


@pytest.mark.parametrize(
    "text",
    [
        *("", "a", "//evil.example/", "/\\evil.example/", "https://evil.example/", "/a\\b"),
        *("/a\r\nSet-Cookie: x", "/a b", "/\u00e9", "/\t/evil.example", "/.//evil.example"),
        *("/.wormkey/owner?token=x", "/..//evil.example", "/%2e%2E//evil.example"),
    ],
)
def test_what_could_lead_elsewhere_is_not_taken(text: str) -> None:
    """The tunnel's root instead."""
    assert own_target(text) == b"/"
    assert own_target(text, "cool-fox") == b"/s/cool-fox/"


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("/s/cool-fox/a?b", b"/s/cool-fox/a?b"),
        ("/s/Cool-Fox/a", b"/s/Cool-Fox/a"),
        ("/s/other/a", b"/s/cool-fox/"),
        ("/s/cool-foxes/", b"/s/cool-fox/"),
        ("/s/cool-fox/../other/", b"/s/cool-fox/"),
        ("/s/cool-fox/.%2e/other/", b"/s/cool-fox/"),
        ("/asset.js", b"/s/cool-fox/"),
    ],
)
def test_by_path_only_this_tunnels_paths_are_taken(text: str, target: bytes) -> None:
    """No other tunnel's, however the dots are spelt."""
    assert own_target(text, "cool-fox") == target
