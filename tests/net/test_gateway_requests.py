"""What an origin gets of a request: all the viewer said, and the intermediary's own fields."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
import trio

from tests.support.messages import Request, compose
from tests.support.origin import Connection, each_request, saying
from tests.support.world import World, open_world


@pytest.mark.parametrize(
    "target",
    [
        b"/",
        b"/?",
        b"//double//slash/",
        b"/a/../b/./c",
        b"/%2e%2e/%2F%3F%23%00%ff?q=%20+&slug=other&x=%zz",
        b"/;p=1/@user:pw/*!$&'(),=~?a[]=1&a[]=2&empty&=&?",
        b"/" + b"x" * 8000,
    ],
)
async def test_request_targets_pass_untouched(target: bytes) -> None:
    """Path, percent-encoding and query string reach the origin octet by octet."""
    async with open_world() as world:
        assert (await world.exchange(target)).status == 200
        assert world.origin.requests[0].target == target


@pytest.mark.parametrize("target", [b"/x%2Fy?q=1", b"/", b"/?a", b"//x"])
async def test_by_path_the_origin_gets_what_follows_the_slug(target: bytes) -> None:
    """``/s/<slug>/x`` is ``/x`` to the origin, with X-Forwarded-Prefix."""
    async with open_world() as world:
        prefix = b"/s/" + world.slug.encode()
        answer = await world.exchange(prefix + target, authority=world.base)
        assert answer.status == 200
        request = world.origin.requests[0]
        assert request.target == target
        assert request.head.get(b"X-Forwarded-Prefix") == prefix


@pytest.mark.parametrize(
    "method", [b"GET", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"PROPFIND", b"M-SEARCH"]
)
async def test_every_method_reaches_the_origin(method: bytes) -> None:
    """Methods, registered or not, pass with their content."""
    async with open_world() as world:
        answer = await world.exchange(b"/m", method=method, content=b"content")
        assert answer.status == 200
        request = world.origin.requests[0]
        assert (request.method, request.content.data) == (method, b"content")


async def test_absolute_form_is_routed_by_its_authority_and_forwarded_in_origin_form() -> None:
    """RFC 9112 section 3.2.2: the target's authority beats Host."""
    async with open_world() as world:
        target = b"http://" + world.authority + b"/x?y"
        assert (await world.exchange(target, authority=world.base)).status == 200
        assert world.origin.requests[0].target == b"/x?y"


async def test_fields_keep_order_repeats_and_values() -> None:
    """End-to-end fields arrive in the order sent, repeated ones apart, odd octets included."""
    sent = (
        (b"X-One", b"1"),
        (b"Accept", b"text/html"),
        (b"X-Repeat", b"a"),
        (b"X-Between", b"\xc3\xa9\xff"),
        (b"X-Repeat", b"b"),
        (b"X-Empty", b""),
        (b"Cookie", b"a=1; b=2"),
        (b"X-Repeat", b"a"),
    )
    async with open_world() as world:
        await world.exchange(fields=sent)
        head = world.origin.requests[0].head
        names = {name.lower() for name, _ in sent}
        got = [(name.lower(), value) for name, value in head.fields if name.lower() in names]
        assert got == [(name.lower(), value) for name, value in sent]


async def test_nothing_is_invented_for_a_request() -> None:
    """No User-Agent, Accept, Accept-Encoding or content framing appears that nobody sent."""
    async with open_world() as world:
        await world.exchange()
        expected = {b"host", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto"}
        names = world.origin.requests[0].head.names
        assert set(names) - {b"connection"} == expected
        assert len(names) == len(set(names))


async def test_hop_by_hop_fields_and_those_that_connection_names_stay_behind() -> None:
    """RFC 9110 section 7.6.1, toward the origin."""
    fields = (
        (b"Connection", b"keep-alive, X-Secret-Hop, close"),
        (b"X-Secret-Hop", b"1"),
        (b"Keep-Alive", b"timeout=5"),
        (b"Proxy-Connection", b"keep-alive"),
        (b"Proxy-Authorization", b"Basic eDp5"),
        (b"TE", b"gzip"),
        (b"X-Kept", b"yes"),
    )
    async with open_world() as world:
        await world.exchange(fields=fields)
        head = world.origin.requests[0].head
        assert head.get(b"X-Kept") == b"yes"
        for name in (b"X-Secret-Hop", b"Keep-Alive", b"Proxy-Connection", b"Proxy-Authorization"):
            assert not head.has(name), name
        assert head.get(b"TE") is None
        assert b"x-secret-hop" not in (head.get(b"Connection") or b"").lower()


async def test_the_viewer_is_told_of_by_the_gateway_alone() -> None:
    """Forwarding fields are the gateway's, never a viewer's, underscore twins included."""
    lies = (
        (b"X-Forwarded-For", b"6.6.6.6"),
        (b"X-Forwarded-Host", b"evil.example"),
        (b"X-Forwarded-Proto", b"https"),
        (b"X-Forwarded-Prefix", b"/evil"),
        (b"X-Forwarded-Port", b"1"),
        (b"X_Forwarded_For", b"6.6.6.6"),
        (b"Forwarded", b"for=6.6.6.6"),
        (b"X-Real-IP", b"6.6.6.6"),
    )
    async with open_world() as world:
        await world.exchange(fields=lies)
        head = world.origin.requests[0].head
        assert head.get(b"X-Forwarded-For") == b"127.0.0.1"
        assert head.get(b"X-Forwarded-Host") == world.authority
        assert head.get(b"X-Forwarded-Proto") == b"http"
        assert b"6.6.6.6" not in head.raw
        assert b"evil" not in head.raw
        assert not head.has(b"X-Forwarded-Port")


async def test_a_trusted_proxy_is_believed_and_appended_to() -> None:
    """From a trusted address X-Forwarded-For grows and -Proto stays."""
    told = ((b"X-Forwarded-For", b"203.0.113.9"), (b"X-Forwarded-Proto", b"https"))
    trusted = (ip_network("127.0.0.0/8"),)
    async with open_world(trusted_proxies=trusted) as world:
        await world.exchange(fields=told)
        head = world.origin.requests[0].head
        assert head.get(b"X-Forwarded-For") == b"203.0.113.9, 127.0.0.1"
        assert head.get(b"X-Forwarded-Proto") == b"https"


async def test_a_trusted_proxy_names_the_host_that_the_viewer_used() -> None:
    """Where the proxy rewrites Host, X-Forwarded-Host finds the tunnel; a viewer's finds none."""
    for trusted in ((ip_network("127.0.0.0/8"),), ()):
        async with open_world(trusted_proxies=trusted) as world:
            told = ((b"X-Forwarded-Host", world.authority),)
            answer = await world.exchange(b"/x", authority=b"127.0.0.1", fields=told)
            assert answer.status == (200 if trusted else 404)
            heads = [request.head for request in world.origin.requests]
            hosts = [head.get(b"X-Forwarded-Host") for head in heads]
            assert hosts == ([world.authority] if trusted else [])


async def test_via_is_added_behind_what_was_there() -> None:
    """RFC 9110 section 7.6.3: a gateway adds itself to the list."""
    async with open_world() as world:
        await world.exchange(fields=((b"Via", b"1.0 fred"),))
        via = b", ".join(world.origin.requests[0].head.all(b"Via"))
        assert via.startswith(b"1.0 fred, 1.1 ")


@pytest.mark.parametrize(
    ("setting", "expected"),
    [(b"rewrite", None), (b"preserve", b"public"), (b"app.example:81", b"app.example:81")],
)
async def test_host_is_the_origins_own_unless_told_otherwise(
    setting: bytes, expected: bytes | None
) -> None:
    """``--host-header`` decides; Host comes once, and first."""
    async with open_world(client_settings={"host_header": setting}) as world:
        await world.exchange()
        head = world.origin.requests[0].head
        if expected is None:
            expected = world.origin_authority
        elif expected == b"public":
            expected = world.authority
        assert head.get(b"Host") == expected
        assert head.names[0] == b"host"


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"POST"])
async def test_the_public_origin_becomes_the_local_one_where_dev_servers_check_it(
    method: bytes,
) -> None:
    """Origin and Referer equal to the public origin are local on GET and HEAD, and stay on POST."""
    async with open_world() as world:
        public, local = b"http://" + world.authority, b"http://" + world.origin_authority
        fields = ((b"Origin", public), (b"Referer", public + b"/page?x=1"))
        await world.exchange(method=method, fields=fields)
        head = world.origin.requests[0].head
        seen = public if method == b"POST" else local
        assert head.get(b"Origin") == seen
        assert head.get(b"Referer") == seen + b"/page?x=1"
        assert head.get(b"X-Forwarded-Host") == world.authority


async def test_another_sites_origin_is_never_touched() -> None:
    """What is not the public origin stays what it is, the app must see it."""
    fields = ((b"Origin", b"https://evil.example"), (b"Referer", b"https://evil.example/"))
    async with open_world() as world:
        await world.exchange(fields=fields)
        head = world.origin.requests[0].head
        assert head.get(b"Origin") == b"https://evil.example"
        assert head.get(b"Referer") == b"https://evil.example/"


async def test_the_gateways_own_cookies_never_reach_an_origin() -> None:
    """Cookies of the gateway's names are cut out; the app's stay as they were."""
    cookie = b"a=1; wormkey_route=x; b=2; __Host-wormkey_owner=y; wormkey-z=3; c=w=ormkey"
    async with open_world() as world:
        await world.exchange(fields=((b"Cookie", cookie), (b"Cookie", b"wormkey_route=only")))
        assert world.origin.requests[0].head.all(b"Cookie") == [b"a=1; b=2; c=w=ormkey"]


async def test_a_request_without_content_has_no_framing_fields() -> None:
    """A GET stays without Content-Length and Transfer-Encoding; an empty POST keeps its 0."""
    async with open_world() as world:
        await world.exchange()
        await world.exchange(method=b"POST", content=b"")
        first, second = (request.head for request in world.origin.requests)
        assert not first.has(b"Content-Length")
        assert not first.has(b"Transfer-Encoding")
        assert second.get(b"Content-Length") == b"0"


async def test_content_of_unknown_length_arrives_whole_and_still_chunked() -> None:
    """Chunked uploads keep having no length; the bytes are the viewer's."""
    async with open_world() as world:
        viewer = await world.open_viewer()
        await viewer.request(method=b"POST", fields=((b"Transfer-Encoding", b"chunked"),))
        for size in (1, 70_000, 13):
            await viewer.send_chunk(bytes([size % 251]) * size)
        await viewer.send(b"0\r\n\r\n")
        assert (await viewer.read_response()).status == 200
        request = world.origin.requests[0]
        assert request.head.get(b"Transfer-Encoding") == b"chunked"
        assert request.content.data == b"\x01" + bytes([70_000 % 251]) * 70_000 + b"\r" * 13


async def test_coded_content_is_not_decoded() -> None:
    """Content-Encoding is between the viewer and the origin, both ways."""
    coded = b"\x1f\x8b\x08 not even gzip"
    coding = ((b"Content-Encoding", b"gzip"),)
    async with open_world(saying(coded, coding)) as world:
        answer = await world.exchange(method=b"POST", fields=coding, content=coded)
        assert answer.data == coded
        assert answer.head.get(b"Content-Encoding") == b"gzip"
        request = world.origin.requests[0]
        assert request.content.data == coded
        assert request.head.get(b"Content-Encoding") == b"gzip"


async def _trailers_of(world: World, fields: tuple[tuple[bytes, bytes], ...]) -> Request:
    viewer = await world.open_viewer()
    await viewer.request(method=b"POST", fields=(*fields, (b"Transfer-Encoding", b"chunked")))
    await viewer.send_chunk(b"content")
    await viewer.send(b"0\r\nX-Sum: 1\r\nX-Sum: 2\r\n\r\n")
    assert (await viewer.read_response()).status == 200
    return world.origin.requests[0]


async def test_a_requests_trailers_reach_the_origin() -> None:
    """The trailer section stays a trailer section, repeats and order kept."""
    async with open_world() as world:
        request = await _trailers_of(world, ((b"Trailer", b"X-Sum"),))
        assert request.content.trailers == ((b"X-Sum", b"1"), (b"X-Sum", b"2"))
        assert not request.head.has(b"X-Sum")


async def test_origins_see_one_request_for_one_request() -> None:
    """What a viewer hides in content never becomes a request of its own."""
    hidden = compose(b"GET /hidden HTTP/1.1", ((b"Host", b"localhost"),))

    async def answer(connection: Connection, _request: Request) -> None:
        await connection.answer(b"ok")

    async with open_world(each_request(answer)) as world:
        await world.exchange(method=b"POST", content=hidden)
        await world.exchange(b"/next")
        assert [request.target for request in world.origin.requests] == [b"/", b"/next"]


async def test_the_same_octets_from_two_addresses_are_of_two_viewers() -> None:
    """What is remembered of a head is never somebody else's: not his address, not his answer."""

    async def answer(connection: Connection, request: Request) -> None:
        await connection.answer(request.head.get(b"X-Forwarded-For") or b"")

    async with open_world(each_request(answer)) as world:
        octets = b"GET /x HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n" % world.authority
        for address in ("127.0.0.1", "127.0.0.2", "127.0.0.1", "127.0.0.3"):
            host, port = world.gateway
            received = b""
            async with await trio.open_tcp_stream(host, port, local_address=address) as stream:
                await stream.send_all(octets)
                async for data in stream:
                    received += data
            assert received.startswith(b"HTTP/1.1 200 ")
            assert received.endswith(b"\r\n\r\n" + address.encode())


async def test_what_a_connection_remembers_is_of_one_host_and_one_tunnel() -> None:
    """A viewer may name the tunnel in another way with each request; the app hears that way."""

    async def answer(connection: Connection, request: Request) -> None:
        told = [request.head.get(name) or b"-" for name in _TOLD]
        await connection.answer(b" ".join(told))

    async with open_world(each_request(answer)) as world:
        slug, port = world.slug.encode(), world.authority.partition(b":")[2]
        viewer = await world.open_viewer()
        for authority, target, prefix in (
            (world.authority, b"/x", b"-"),
            (slug + b".localhost", b"/x", b"-"),
            (b"127.0.0.1:" + port, b"/s/" + slug + b"/x", b"/s/" + slug),
            (world.authority, b"/x", b"-"),
        ):
            viewer.authority = authority
            received = await viewer.exchange(target)
            assert received.data == authority + b" " + prefix


_TOLD = (b"X-Forwarded-Host", b"X-Forwarded-Prefix")
