"""The owner's bar in his pages: his alone, while they stream, whatever their coding is."""

from __future__ import annotations

import base64
import gzip
import hashlib
from typing import TYPE_CHECKING

import pytest
import trio

from tests.support.messages import compose
from tests.support.origin import Connection, Request, each_request, response, saying
from tests.support.world import World, open_world
from wormkey import owners
from wormkey.audit import Actor
from wormkey.wishes import PolicyChange

if TYPE_CHECKING:
    from tests.support.messages import Response

PAGE = b"<!doctype html><html><head><title>t</title></head><body>hello</body></html>"
TYPE = (b"Content-Type", b"text/html; charset=utf-8")
ASKING = ((b"Accept", b"text/html,*/*;q=0.8"), (b"Accept-Encoding", b"gzip, br"))
BROWSER = owners.new_browser(b"b" * owners.BROWSER_ID_BYTES)


def cookie(world: World, how: str) -> tuple[bytes, bytes]:
    """Return what the owner's browser sends: his cookie on the base host, or his pass."""
    entry = world.node.routes.find(world.slug)
    assert entry is not None
    make = owners.owner_cookie if how == "path" else owners.pass_cookie
    value = make(world.node.key, entry.session, BROWSER, b"http", 60)
    return b"Cookie", value.partition(b";")[0]


async def look(world: World, how: str, *, owner: bool = True) -> Response:
    """Fetch the page by path or by host, as a browser's tab does."""
    fields = [*ASKING, *([cookie(world, how)] if owner else [])]
    if how == "path":
        target = b"/s/%b/" % world.slug.encode()
        return await world.exchange(target, authority=world.base, fields=fields)
    return await world.exchange(fields=fields)


def with_bar(answer: Response, world: World) -> bytes:
    """Return the page without the bar's tag, which must be there once, with the right address."""
    before, script, rest = answer.data.partition(b"<script")
    assert script, answer.data
    tag, end, after = rest.partition(b"</script>")
    assert end
    assert b"<script" not in after
    assert b"//%b/.wormkey/overlay.js?slug=%b" % (world.base, world.slug.encode()) in tag
    return before + after


@pytest.mark.parametrize("how", ["path", "host"])
async def test_the_owners_page_has_the_bar_and_nobody_elses(how: str) -> None:
    """One tag, no stale length, no shared copy, a weak ETag; a viewer's page is the app's own."""
    fields = (TYPE, (b"ETag", b'"x"'), (b"Cache-Control", b"max-age=60"))
    async with open_world(saying(PAGE, fields)) as world:
        mine = await look(world, how)
        assert with_bar(mine, world) == PAGE
        assert mine.head.get(b"ETag") == b'W/"x"'
        assert b"private" in (mine.head.get(b"Cache-Control") or b"")
        theirs = await look(world, how, owner=False)
        assert theirs.data == PAGE
        assert theirs.head.get(b"ETag") == b'"x"'


@pytest.mark.parametrize("how", ["path", "host"])
async def test_the_other_places_cookie_brings_no_bar(how: str) -> None:
    """The owner's cookie counts on the base host alone, the pass on the tunnel's."""
    async with open_world(saying(PAGE, (TYPE,))) as world:
        wrong = cookie(world, "host" if how == "path" else "path")
        target = b"/s/%b/" % world.slug.encode() if how == "path" else b"/"
        authority = world.base if how == "path" else None
        answer = await world.exchange(target, authority=authority, fields=[*ASKING, wrong])
        assert answer.data == PAGE


async def test_a_page_that_loads_no_script_without_its_digest_has_the_bar() -> None:
    """The tag's digest is that of the script as it is served, which any origin may compare."""
    fields = (TYPE, (b"Integrity-Policy", b"blocked-destinations=(script)"))
    async with open_world(saying(PAGE, fields)) as world:
        page = (await look(world, "host")).data
        script = await world.exchange(b"/.wormkey/overlay.js", authority=world.base)
        digest = base64.b64encode(hashlib.sha256(script.data).digest())
        assert b' integrity="sha256-%b" crossorigin="anonymous"' % digest in page
        assert script.head.get(b"Access-Control-Allow-Origin") == b"*"


async def test_a_compressed_page_has_the_bar_too() -> None:
    """It goes out plain; what is no page stays as it is."""
    packed = gzip.compress(PAGE)

    async def answer(connection: Connection, request: Request) -> None:
        kind = TYPE if request.target == b"/" else (b"Content-Type", b"application/json")
        await connection.send(response(packed, fields=(kind, (b"Content-Encoding", b"gzip"))))

    async with open_world(each_request(answer)) as world:
        mine = await look(world, "host")
        assert mine.head.get(b"Content-Encoding") is None
        assert with_bar(mine, world) == PAGE
        data = await world.exchange(b"/data", fields=[*ASKING, cookie(world, "host")])
        assert data.data == packed


async def test_a_page_that_is_cut_stays_cut() -> None:
    """Half a gzip stream: the viewer sees no last chunk."""
    packed = gzip.compress(PAGE)
    fields = (TYPE, (b"Content-Encoding", b"gzip"))

    async def cut(connection: Connection, _request: Request) -> None:
        chunked = (*fields, (b"Transfer-Encoding", b"chunked"))
        await connection.send(compose(b"HTTP/1.1 200 OK", chunked))
        await connection.send_chunk(packed[:-9])
        await begun.wait()
        await connection.send(b"0\r\n\r\n")

    begun = trio.Event()
    async with open_world(each_request(cut)) as world:
        viewer = await world.open_viewer()
        await viewer.request(fields=[*ASKING, cookie(world, "host")])
        await viewer.read_head()
        begun.set()
        assert b"\r\n0\r\n" not in await viewer.read_to_end()


async def test_a_streamed_page_streams_with_the_bar() -> None:
    """What came reaches the owner before the rest does."""
    more = trio.Event()

    async def slow(connection: Connection, _request: Request) -> None:
        chunked = (TYPE, (b"Transfer-Encoding", b"chunked"))
        await connection.send(compose(b"HTTP/1.1 200 OK", chunked))
        await connection.send_chunk(PAGE[:40])
        await more.wait()
        await connection.send_chunk(PAGE[40:])
        await connection.send(b"0\r\n\r\n")

    async with open_world(each_request(slow)) as world:
        viewer = await world.open_viewer()
        await viewer.request(fields=[*ASKING, cookie(world, "host")])
        await viewer.read_head()
        await viewer.read_until(b"</script>")
        more.set()
        assert (await viewer.read_until(b"0\r\n\r\n")).count(b"<script") == 0


async def test_the_owner_is_let_past_his_own_rules() -> None:
    """Each alone, for viewers are not: lock, password, login, network, full house, pause."""
    rules = {"authMode": "basic", "policy": {"maxConcurrentViewers": 1}}
    async with open_world(session=rules) as world:
        changes, by = world.node.changes, Actor("owner")
        entry = world.node.routes.find(world.slug)
        assert entry is not None
        login = f"{world.session['username']}:{world.session['password']}".encode()
        basic = (b"Authorization", b"Basic " + base64.b64encode(login))
        taken = (await world.exchange(fields=[basic])).head.all(b"Set-Cookie")[-1]
        inside = (b"Cookie", taken.partition(b";")[0])
        await world.exchange(fields=[basic, inside])  # one viewer is here: the house is full

        async def check(code: bytes, *fields: tuple[bytes, bytes]) -> None:
            assert (await world.exchange(fields=fields)).error == code
            for how in ("path", "host"):
                assert (await look(world, how)).status == 200

        await check(b"credentials_required")
        await check(b"too_many_viewers", basic)
        await changes.pause(entry.session, by, paused=True)
        await check(b"paused", basic, inside)
        await changes.pause(entry.session, by, paused=False)
        for wish, code in (
            ({"password": "pw"}, b"password_required"),
            ({"deniedNetworks": ["127.0.0.0/8"]}, b"network_not_allowed"),
            ({"public": False}, b"locked"),
        ):
            await changes.change_policy(entry.session, PolicyChange.from_json(wish), by)
            await check(code, basic, inside)
