"""Which request goes where: by path, by host, by the routing cookie, to the gateway itself."""

from __future__ import annotations

import json

import pytest

from tests.support.messages import Request, compose
from tests.support.origin import Connection, each_request
from tests.support.world import World, open_world


async def _say_target(connection: Connection, request: Request) -> None:
    await connection.answer(request.target)


async def test_health_is_the_gateways_on_the_base_host_only() -> None:
    """GET /health says ok on the base host; on a tunnel's host it is the app's."""
    async with open_world(each_request(_say_target)) as world:
        assert (await world.exchange(b"/health", authority=world.base)).data.strip() == b"ok"
        assert world.origin.requests == []
        assert (await world.exchange(b"/health")).data == b"/health"
        assert (await world.exchange(b"/tunnel")).data == b"/tunnel"
        assert (await world.exchange(b"/s/other/x")).data == b"/s/other/x"


async def test_a_slug_without_a_slash_redirects_to_its_folder() -> None:
    """308 keeps the method; the query stays."""
    async with open_world(each_request(_say_target)) as world:
        target = b"/s/" + world.slug.encode()
        answer = await world.exchange(target + b"?a=%20b", authority=world.base, method=b"POST")
        assert answer.status == 308
        location = answer.head.get(b"Location") or b""
        assert location.removeprefix(b"http://" + world.base) == target + b"/?a=%20b"
        assert world.origin.requests == []


async def test_slugs_and_hosts_are_compared_without_case() -> None:
    """Hosts have no case (RFC 9110 section 4.2.3), and neither have slugs."""
    async with open_world(each_request(_say_target)) as world:
        assert (await world.exchange(b"/x", authority=world.authority.upper())).data == b"/x"


async def test_the_host_may_carry_another_port_or_none() -> None:
    """Behind a port forward the slug's host still finds its tunnel."""
    async with open_world(each_request(_say_target)) as world:
        for authority in (world.slug.encode() + b".localhost", world.authority):
            answer = await world.exchange(b"/x", authority=authority)
            assert answer.data == b"/x"
            assert world.origin.requests[-1].head.get(b"X-Forwarded-Host") == authority


async def _cookie(world: World) -> bytes:
    answer = await world.exchange(
        b"/s/" + world.slug.encode() + b"/page",
        authority=world.base,
        fields=((b"Accept", b"text/html"), (b"Sec-Fetch-Mode", b"navigate")),
    )
    (cookie,) = [c for c in answer.head.all(b"Set-Cookie") if c.startswith(b"wormkey_route=")]
    assert b"httponly" in cookie.lower()
    assert b"samesite=lax" in cookie.lower()
    return cookie.partition(b";")[0]


async def test_the_routing_cookie_finds_root_absolute_assets() -> None:
    """After a visit to the slug's path, ``/asset.js`` of the page reaches the same tunnel."""
    async with open_world(each_request(_say_target)) as world:
        fields = ((b"Cookie", b"a=1; " + await _cookie(world)),)
        answer = await world.exchange(b"/asset.js?v=1", authority=world.base, fields=fields)
        assert (answer.status, answer.data) == (200, b"/asset.js?v=1")
        assert world.origin.requests[-1].head.get(b"Cookie") == b"a=1"


async def test_reserved_paths_and_other_slugs_beat_the_routing_cookie() -> None:
    """The cookie is the last resort, never the first."""
    async with open_world(each_request(_say_target)) as world:
        fields = ((b"Cookie", await _cookie(world)),)
        health = await world.exchange(b"/health", authority=world.base, fields=fields)
        assert health.data.strip() == b"ok"
        other = await world.exchange(
            b"/s/no-such-99-aaaaaaaa/", authority=world.base, fields=fields
        )
        assert (other.status, other.error) == (404, b"unknown_session")


@pytest.mark.parametrize("form", [b"/?slug=SLUG", b"/x?a=1&slug=SLUG"])
async def test_the_apps_query_string_is_never_read(form: bytes) -> None:
    """``?slug=`` outside the reserved paths is the app's own parameter."""
    async with open_world(each_request(_say_target)) as world:
        target = form.replace(b"SLUG", world.slug.encode())
        answer = await world.exchange(target, authority=world.base)
        assert answer.status in (200, 404)
        assert world.origin.requests == []


@pytest.mark.parametrize(
    "authority",
    [
        b"evil.example",
        b"localhost.evil.example",
        b"evil.example:80",
        b"SLUG.evil.example",
        b"a.b.localhost",
        b"xlocalhost",
    ],
)
async def test_a_host_that_is_not_ours_is_misdirected(authority: bytes) -> None:
    """421: DNS rebinding meets a refusal, not somebody's app."""
    async with open_world() as world:
        authority = authority.replace(b"SLUG", world.slug.encode())
        answer = await world.exchange(authority=authority)
        assert (answer.status, answer.error) == (421, b"misdirected")
        assert world.origin.requests == []


@pytest.mark.parametrize("authority", [b"127.0.0.1", b"127.0.0.1:1", b"[::1]", b"192.0.2.7:80"])
async def test_ip_addresses_are_the_base_host(authority: bytes) -> None:
    """Whoever types an address gets the base host's answers."""
    async with open_world() as world:
        assert (await world.exchange(b"/health", authority=authority)).data.strip() == b"ok"


async def test_an_unknown_slug_is_a_404_of_the_gateway() -> None:
    """By path and by host alike, for people and for programs."""
    async with open_world() as world:
        by_host = await world.exchange(
            authority=b"no-such-99-aaaaaaaa." + world.base, fields=((b"Accept", b"text/html"),)
        )
        assert (by_host.status, by_host.error) == (404, b"unknown_session")
        assert b"<html" in by_host.data.lower()
        by_path = await world.exchange(
            b"/s/no-such-99-aaaaaaaa/",
            authority=world.base,
            fields=((b"Accept", b"application/json"),),
        )
        assert (by_path.status, by_path.error) == (404, b"unknown_session")
        assert json.loads(by_path.data)["code"] == "unknown_session"


async def test_a_closed_session_is_a_410_and_its_tunnel_ends() -> None:
    """DELETE /sessions/{id}: viewers are told that it is over, the client stops for good."""
    async with open_world() as world:
        session_id = world.session["sessionId"]
        status, told = await world.call("DELETE", f"/sessions/{session_id}", token=world.token)
        assert (status, told) == (200, {"ok": True})
        answer = await world.exchange()
        assert (answer.status, answer.error) == (410, b"session_closed")
        assert world.client is not None
        await world.client.ended.wait()
        assert getattr(world.client.error, "status", None) == 410


async def test_closing_a_session_cancels_its_streams() -> None:
    """An answer under way is cut, and the origin sees its connection close."""

    async def answer(connection: Connection, _request: Request) -> None:
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf!")
        await connection.wait_left()

    async with open_world(each_request(answer)) as world:
        viewer = await world.open_viewer()
        await viewer.request()
        await viewer.read_until(b"half!")
        await world.call("DELETE", f"/sessions/{world.session['sessionId']}", token=world.token)
        assert await viewer.read_rest() == b""
        await world.origin.wait_closed(1)


async def test_an_expired_session_is_a_410_and_its_streams_are_cut() -> None:
    """Expiry is enforced at the gateway, to the second, on what is under way too."""

    async def answer(connection: Connection, _request: Request) -> None:
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf!")
        await connection.wait_left()

    async with open_world(each_request(answer), session={"expiresIn": "1s"}) as world:
        viewer = await world.open_viewer()
        await viewer.request()
        await viewer.read_until(b"half!")
        assert await viewer.read_rest() == b""
        await world.origin.wait_closed(1)
        gone = await world.exchange()
        assert (gone.status, gone.error) == (410, b"session_expired")


async def test_gateway_pages_escape_what_the_viewer_sent() -> None:
    """Nothing of a request comes back as markup."""
    async with open_world() as world:
        answer = await world.exchange(
            b"/s/%3Cscript%3Ealert(1)/<script>",
            authority=world.base,
            fields=((b"Accept", b"text/html"),),
        )
        assert answer.status >= 400
        assert b"<script" not in answer.data


async def test_slugs_without_end_lead_nowhere_and_are_not_shown() -> None:
    """5,000 bytes in the path, in the cookie, or in a Host, which no name is (RFC 1035 §2.3.4)."""
    long = b"a" * 5000
    async with open_world(each_request(_say_target)) as world:
        cookie = ((b"Cookie", b"wormkey_route=" + long),)
        asked = (
            (404, b"/s/" + long + b"/", world.base, ()),
            (404, b"/s/" + long, world.base, ()),
            (404, b"/s/" + world.slug.encode() + long + b"/", world.base, ()),
            (400, b"/", long + b".localhost", ()),
            (400, b"/", world.slug.encode() + long + b".localhost", ()),
            (404, b"/x", world.base, cookie),
        )
        for status, target, authority, fields in asked:
            answer = await world.exchange(target, authority=authority, fields=fields)
            assert answer.status == status, target[:20]
            assert answer.head.get(b"Location") is None
            assert long[:100] not in answer.data
        assert world.origin.requests == []


async def test_head_of_a_gateway_page_has_no_content() -> None:
    """The strict viewer would take content for the next answer."""
    async with open_world() as world:
        viewer = await world.open_viewer(b"no-such-99-aaaaaaaa." + world.base)
        assert (await viewer.exchange(method=b"HEAD")).status == 404
        assert (await viewer.exchange(method=b"HEAD")).status == 404


async def test_the_wormkey_paths_never_reach_an_app() -> None:
    """``/.wormkey/`` is reserved on every host."""
    async with open_world(each_request(_say_target)) as world:
        for authority in (world.base, world.authority):
            answer = await world.exchange(b"/.wormkey/nothing-here", authority=authority)
            assert answer.status == 404
        assert world.origin.requests == []


async def test_an_old_request_without_host_reaches_the_base_host() -> None:
    """HTTP/1.0 has no Host; /health must work for the plainest probe."""
    async with open_world() as world:
        viewer = await world.open_viewer()
        await viewer.send(compose(b"GET /health HTTP/1.0", ()))
        assert (await viewer.read_response()).data.strip() == b"ok"
