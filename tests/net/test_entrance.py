"""The rates at the gateway: names that nobody has, and wrong tokens at /tunnel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from attrs import asdict

from tests.support.websocket import handshake_fields
from tests.support.world import World, open_world
from wormkey import viewers
from wormkey.entrance import Caller, admit_viewer
from wormkey.fields import by_name
from wormkey.frames import RequestHead
from wormkey.routing import ToTunnel, route_cookie_name
from wormkey.values import parse_network

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.messages import Response
    from wormkey.signing import SigningKey

PROXY = (parse_network("127.0.0.1/32"),)


def coming_from(address: str) -> tuple[tuple[bytes, bytes], ...]:
    """Return the field by which a trusted proxy names a viewer."""
    return ((b"X-Forwarded-For", address.encode()),)


async def ask(world: World, how: str, slug: str, address: str = "192.0.2.1") -> Response:
    """Ask for a slug by path or by host as a viewer at ``address``."""
    fields = coming_from(address)
    if how == "path":
        target = b"/s/" + slug.encode() + b"/"
        return await world.exchange(target, authority=world.base, fields=fields)
    return await world.exchange(authority=slug.encode() + b"." + world.base, fields=fields)


async def open_tunnel(world: World, token: str, address: str = "192.0.2.1") -> Response:
    """Ask for a tunnel with a token that opens none; return the refusal."""
    bearer = ((b"Authorization", b"Bearer " + token.encode()),)
    fields = (*handshake_fields(), *bearer, *coming_from(address))
    return await world.exchange(b"/tunnel", authority=world.base, fields=fields)


@pytest.mark.parametrize("how", ["path", "host"])
async def test_names_that_nobody_has_end_in_429(how: str) -> None:
    """It says when to come again; names that exist are served, and others may still ask."""
    async with open_world(max_misses=2, trusted_proxies=PROXY) as world:
        for number in range(2):
            missed = await ask(world, how, f"nobody-{number}")
            assert (missed.status, missed.error) == (404, b"unknown_session")
        refused = await ask(world, how, "nobody-2")
        assert (refused.status, refused.error) == (429, b"too_many_requests")
        assert 1 <= int(refused.head.get(b"Retry-After") or b"0") <= 60
        assert (await ask(world, how, world.slug)).status == 200
        assert (await ask(world, how, "nobody-3", "192.0.2.2")).status == 404


async def test_a_connection_remembers_who_asks_and_none_of_his_cookies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same request is recognised without an HMAC, another is not; no cookie stays in memory."""
    read: list[tuple[bytes, ...]] = []
    real = viewers.read

    def count(key: SigningKey, values: Sequence[bytes]) -> bytes | None:
        read.append(tuple(values))
        return real(key, values)

    async with open_world() as world:
        first = await world.exchange()
        (given,) = [each for each in first.head.all(b"Set-Cookie") if b"wormkey_viewer" in each]
        monkeypatch.setattr(viewers, "read", count)
        caller = Caller("192.0.2.1", trusted=False)
        route = ToTunnel(
            slug=world.slug, target=b"/", prefix=b"", by="host", authority=world.authority
        )
        ids = set()
        for own in (given.partition(b";")[0],) * 3 + (b"other=canary",) * 2:
            fields = ((b"Host", world.authority), (b"Cookie", own))
            head = RequestHead(b"GET", b"/", fields)
            admitted = await admit_viewer(world.node, head, by_name(fields), route, caller, b"http")
            ids.add(admitted.viewer.viewer_id)
            assert own not in repr(asdict(caller.acquaintance)).encode()
        minted = 1  # what is given to a browser is read once, for its id
        assert len(read) == 2 + minted
        assert len(ids) == 2


async def test_an_address_that_a_stranger_names_frees_nobody() -> None:
    """Without a trusted proxy the connection's own address is counted."""
    async with open_world(client=False, max_misses=1) as world:
        assert (await ask(world, "path", "nobody", "192.0.2.1")).status == 404
        assert (await ask(world, "path", "nobody", "192.0.2.2")).status == 429


async def test_a_cookie_of_a_session_long_gone_is_no_guess() -> None:
    """A browser sends it with every request to the base host, for a year if nobody stops it."""
    async with open_world(client=False, max_misses=1) as world:
        name = route_cookie_name(world.node.public)
        cookie = ((b"Cookie", name + b"=nobody-has-this"),)
        for _ in range(3):
            answer = await world.exchange(b"/main.js", authority=world.base, fields=cookie)
            assert (answer.status, answer.error) == (404, b"not_found")
        assert len(world.node.throttles.misses) == 0


async def test_one_rate_counts_misses_at_both_listeners() -> None:
    """Who guesses at the control plane has not a second try at the gateway."""
    async with open_world(client=False, max_misses=1) as world:
        assert (await world.call("GET", "/sessions/by-slug/nobody"))[0] == 404
        assert (await ask(world, "path", "nobody")).status == 429


async def test_wrong_tokens_of_a_tunnel_end_in_429() -> None:
    """By the address; one without a token guesses nothing and stays 401."""
    async with open_world(client=False, max_auth_failures=2, trusted_proxies=PROXY) as world:
        for token in ("guess", f"{world.slug}.guess"):
            refused = await open_tunnel(world, token)
            assert (refused.status, refused.error) == (401, b"unauthorized")
        refused = await open_tunnel(world, "guess")
        assert (refused.status, refused.error) == (429, b"too_many_requests")
        assert 1 <= int(refused.head.get(b"Retry-After") or b"0") <= 60
        assert (await open_tunnel(world, "guess", "192.0.2.2")).status == 401
        without = (*handshake_fields(), *coming_from("192.0.2.1"))
        answer = await world.exchange(b"/tunnel", authority=world.base, fields=without)
        assert answer.status == 401


async def test_the_right_token_opens_its_tunnel_at_any_rate() -> None:
    """A colleague behind the same address cannot lock anybody out."""
    async with open_world(client=False, max_auth_failures=1) as world:
        for status in (401, 429, 429):
            assert (await open_tunnel(world, "guess")).status == status
        await world.restart_client()
        assert (await world.exchange()).status == 200


async def test_a_closed_sessions_own_token_is_no_guess() -> None:
    """Its client comes back to be told 410, and that must not turn into a 429."""
    async with open_world(client=False, max_auth_failures=1) as world:
        await world.call("DELETE", f"/sessions/{world.session['sessionId']}", token=world.token)
        for _ in range(3):
            assert (await open_tunnel(world, world.token)).status == 410
        assert len(world.node.throttles.failures) == 0


async def test_a_connection_s_cookieless_requests_are_one_browser_s() -> None:
    """It gets the same cookie again; who shows another name, or a cookie, is looked at anew."""
    async with open_world() as world:
        viewer = await world.open_viewer()
        first, again = [await viewer.exchange() for _ in range(2)]
        (cookie,) = first.head.all(b"Set-Cookie")
        assert again.head.all(b"Set-Cookie") == [cookie]
        other = await viewer.exchange(fields=[(b"User-Agent", b"another/1.0")])
        assert other.head.all(b"Set-Cookie") not in ([], [cookie])
        brought = [(b"Cookie", cookie.partition(b";")[0])]
        assert (await viewer.exchange(fields=brought)).head.all(b"Set-Cookie") == []
        stranger = await world.exchange()
        assert stranger.head.all(b"Set-Cookie") not in ([], [cookie])


async def test_a_proxy_s_connection_is_many_browsers() -> None:
    """Each cookieless request that comes over it gets a cookie of its own."""
    async with open_world(trusted_proxies=PROXY) as world:
        viewer = await world.open_viewer()
        answers = [await viewer.exchange(fields=coming_from("192.0.2.1")) for _ in range(2)]
        one, other = (answer.head.all(b"Set-Cookie") for answer in answers)
        assert len(one) == len(other) == 1
        assert one != other
