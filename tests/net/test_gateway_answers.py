"""What a viewer gets of an answer: everything the origin said, minus what is between hops."""

from __future__ import annotations

import pytest

from tests.support.messages import LAST_CHUNK, Request, chunk, compose, response
from tests.support.origin import Connection, answering, each_request, saying
from tests.support.world import World, open_world


async def test_repeated_fields_keep_their_order_and_stay_apart() -> None:
    """Set-Cookie above all: three fields are three fields."""
    fields = (
        (b"Set-Cookie", b"a=1; Path=/"),
        (b"X-Between", b"\xc3\xa9"),
        (b"Set-Cookie", b"b=2; HttpOnly"),
        (b"Vary", b"A"),
        (b"Vary", b"B"),
        (b"Set-Cookie", b"a=3"),
    )
    async with open_world(saying(fields=fields)) as world:
        answer = await world.exchange()
        wanted = {name for name, _ in fields}
        *theirs, viewer = (pair for pair in answer.fields if pair[0] in wanted)
        assert tuple(theirs) == fields
        assert viewer[1].startswith(b"wormkey_viewer=")


@pytest.mark.parametrize("status", [200, 201, 206, 302, 400, 404, 418, 500, 503, 599])
async def test_statuses_pass_with_their_content(status: int) -> None:
    """An origin's errors are the origin's: no page of the gateway replaces them."""
    raw = response(b"mine", status=b"%d Its Own Reason" % status)
    async with open_world(answering(raw)) as world:
        answer = await world.exchange()
        assert (answer.status, answer.data, answer.error) == (status, b"mine", None)


async def test_hop_by_hop_fields_and_those_that_connection_names_stay_behind() -> None:
    """RFC 9110 section 7.6.1, toward the viewer."""
    fields = (
        (b"Connection", b"keep-alive, X-Secret-Hop"),
        (b"X-Secret-Hop", b"1"),
        (b"Keep-Alive", b"timeout=5"),
        (b"Proxy-Authenticate", b"Basic"),
        (b"Proxy-Connection", b"keep-alive"),
        (b"Upgrade", b"h2c"),
        (b"X-Kept", b"yes"),
    )
    async with open_world(saying(fields=fields)) as world:
        head = (await world.exchange()).head
        assert head.get(b"X-Kept") == b"yes"
        for name in (b"X-Secret-Hop", b"Keep-Alive", b"Proxy-Authenticate", b"Proxy-Connection"):
            assert not head.has(name), name
        assert not head.has(b"Upgrade")


async def test_a_tunnel_cannot_set_the_gateways_cookies_or_speak_in_its_name() -> None:
    """Set-Cookie of the gateway's names and Wormkey-Error are dropped, the rest stays."""
    fields = (
        (b"Set-Cookie", b"wormkey_route=stolen"),
        (b"Set-Cookie", b"__Host-wormkey_owner=me"),
        (b"Set-Cookie", b"mine=1"),
        (b"Wormkey-Error", b"paused"),
    )
    async with open_world(saying(fields=fields)) as world:
        answer = await world.exchange()
        mine, viewer = answer.head.all(b"Set-Cookie")
        assert mine == b"mine=1"
        assert viewer.startswith(b"wormkey_viewer=")  # the gateway's own
        assert answer.error is None


async def test_head_answers_have_the_fields_and_no_content() -> None:
    """The length of what GET would send is kept; the connection goes on."""

    async def answer(connection: Connection, request: Request) -> None:
        raw = response(b"0123456789")
        await connection.send(raw[:-10] if request.method == b"HEAD" else raw)

    async with open_world(each_request(answer)) as world:
        viewer = await world.open_viewer()
        head = await viewer.exchange(method=b"HEAD")
        assert head.head.get(b"Content-Length") == b"10"
        assert (await viewer.exchange()).data == b"0123456789"


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nX-A: 1\r\nETag: x\r\nContent-Length: 10\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nX-A: 1\r\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_204_and_304_have_no_content_and_keep_the_connection(raw: bytes) -> None:
    """RFC 9110 sections 8.6, 15.3.5 and 15.4.5; the strict viewer would object."""
    async with open_world(answering(raw)) as world:
        viewer = await world.open_viewer()
        for _ in range(2):
            answer = await viewer.exchange()
            assert (answer.data, answer.head.get(b"X-A")) == (b"", b"1")


@pytest.mark.parametrize(
    "raw",
    [
        response(b"the content"),
        compose(
            b"HTTP/1.1 200 OK",
            ((b"Transfer-Encoding", b"chunked"),),
            chunk(b"the ") + chunk(b"content") + LAST_CHUNK,
        ),
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nthe content",
        b"HTTP/1.0 200 OK\r\n\r\nthe content",
        response(b""),
    ],
)
async def test_every_way_to_end_content_ends_it_properly_for_the_viewer(raw: bytes) -> None:
    """Length, chunks or close at the origin: complete content, and a second exchange works."""

    async def handler(connection: Connection) -> None:
        await connection.read_request()
        await connection.send(raw)

    async with open_world(handler) as world:
        viewer = await world.open_viewer()
        for _ in range(2):
            answer = await viewer.exchange()
            assert answer.content.end in ("length", "chunked", "none")
            assert answer.data == (b"the content" if b"the" in raw else b"")


async def test_known_lengths_stay_known() -> None:
    """A browser needs Content-Length for its progress bar: it is not turned into chunks."""
    async with open_world(saying(b"x" * 100_000)) as world:
        answer = await world.exchange()
        assert answer.head.get(b"Content-Length") == b"100000"
        assert answer.data == b"x" * 100_000


async def test_103_is_forwarded_before_the_answer() -> None:
    """Interim answers arrive, all of them and in order, before the final one is ready."""

    async def answer(connection: Connection, _request: Request) -> None:
        for link in (b"</a.css>", b"</b.js>"):
            await connection.send(
                compose(b"HTTP/1.1 103 Early Hints", ((b"Link", link), (b"Link", b"</c>")))
            )
        await connection.read_exactly(1)  # cannot come: only the viewer's leaving ends this

    async with open_world(each_request(answer)) as world:
        viewer = await world.open_viewer()
        await viewer.request()
        for link in (b"</a.css>", b"</b.js>"):
            head = await viewer.read_head()
            assert head.start[1] == b"103"
            assert head.all(b"Link") == [link, b"</c>"]


async def test_an_http_1_0_viewer_gets_no_interim_answer_no_chunks_and_a_close() -> None:
    """RFC 9110 section 15.2; the content of unknown length ends with the connection."""
    raw = compose(b"HTTP/1.1 103 Early Hints", ((b"Link", b"</a>"),)) + compose(
        b"HTTP/1.1 200 OK", ((b"Transfer-Encoding", b"chunked"),), chunk(b"content") + LAST_CHUNK
    )
    async with open_world(answering(raw)) as world:
        viewer = await world.open_viewer()
        await viewer.send(compose(b"GET / HTTP/1.0", ((b"Host", world.authority),)))
        answer = await viewer.read_response()
        assert answer.interim == []
        assert (answer.data, answer.content.end) == (b"content", "FIN")
        assert not answer.head.has(b"Transfer-Encoding")


async def test_an_answers_trailers_reach_the_viewer() -> None:
    """The trailer section stays behind the content, repeats and order kept."""
    raw = compose(
        b"HTTP/1.1 200 OK",
        ((b"Trailer", b"Grpc-Status"), (b"Transfer-Encoding", b"chunked")),
        chunk(b"content") + b"0\r\nGrpc-Status: 0\r\nX-Two: a\r\nX-Two: b\r\n\r\n",
    )
    async with open_world(answering(raw)) as world:
        answer = await world.exchange(fields=((b"TE", b"trailers"), (b"Connection", b"TE")))
        assert answer.content.trailers == (
            (b"Grpc-Status", b"0"),
            (b"X-Two", b"a"),
            (b"X-Two", b"b"),
        )
        assert answer.head.get(b"Trailer") == b"Grpc-Status"
        assert world.origin.requests[0].head.get(b"TE") == b"trailers"


async def test_a_date_is_added_where_the_origin_sent_none_and_kept_where_it_did() -> None:
    """RFC 9110 section 6.6.1."""
    async with open_world(saying(fields=((b"Date", b"Thu, 01 Jan 1970 00:00:00 GMT"),))) as world:
        answer = await world.exchange()
        assert answer.head.get(b"Date") == b"Thu, 01 Jan 1970 00:00:00 GMT"
    async with open_world() as world:
        assert (await world.exchange()).head.get(b"Date")


async def _located(world: World, name: bytes, value: bytes, *, by_path: bool) -> bytes:
    value = value.replace(b"PORT", b"%d" % world.origin.port)
    # A connection keeps the handler it began with, so each answer ends its own.
    world.origin.handler = saying(fields=((name, value), (b"Connection", b"close")))
    prefix = b"/s/" + world.slug.encode() if by_path else b""
    answer = await world.exchange(
        prefix + b"/", authority=world.base if by_path else world.authority
    )
    public = b"http://" + (world.base if by_path else world.authority) + prefix
    return (
        (answer.head.get(name) or b"").replace(public, b"PUBLIC").replace(prefix or b"\0", b"PRE")
    )


@pytest.mark.parametrize("by_path", [False, True])
async def test_locations_that_name_the_local_origin_stay_on_the_public_url(by_path: bool) -> None:
    """Location, Content-Location and Refresh, under every name the local origin goes by."""
    async with open_world() as world:
        for name in (b"Location", b"Content-Location"):
            for host in (b"localhost", b"127.0.0.1", b"[::1]"):
                value = b"http://" + host + b":PORT/next?a=b#c"
                got = await _located(world, name, value, by_path=by_path)
                assert got == b"PUBLIC/next?a=b#c", (name, value)
        refresh = b"5; url=http://localhost:PORT/next"
        assert await _located(world, b"Refresh", refresh, by_path=by_path) == b"5; url=PUBLIC/next"


@pytest.mark.parametrize(
    "value",
    [
        b"https://example.com/next",
        b"http://localhost:1/other-app",
        b"http://localhost.example:PORT/",
        b"//localhost:1/x",
        b"next?relative=1",
        b"?q",
    ],
)
async def test_locations_that_name_something_else_are_not_touched(value: bytes) -> None:
    """Another port is another app; a relative reference needs no help."""
    async with open_world() as world:
        expected = value.replace(b"PORT", b"%d" % world.origin.port)
        assert await _located(world, b"Location", value, by_path=False) == expected


async def test_a_root_absolute_location_keeps_the_prefix_by_path() -> None:
    """``/next`` of the app is ``/s/<slug>/next`` of the public URL."""
    async with open_world() as world:
        assert await _located(world, b"Location", b"/next?x", by_path=True) == b"PRE/next?x"
        assert await _located(world, b"Location", b"/next?x", by_path=False) == b"/next?x"


async def test_a_cookies_domain_that_names_the_local_origin_is_removed() -> None:
    """A browser would refuse it on the public host; other domains stay."""
    fields = (
        (b"Set-Cookie", b"a=1; Domain=localhost; Path=/"),
        (b"Set-Cookie", b"b=2; Domain=example.com"),
    )
    async with open_world(saying(fields=fields)) as world:
        first, second, _ = (await world.exchange()).head.all(b"Set-Cookie")
        assert (first, second) == (b"a=1; Path=/", b"b=2; Domain=example.com")
