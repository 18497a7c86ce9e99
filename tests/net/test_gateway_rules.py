"""An owner's rules at the gateway: each denies, by HTTP and by WebSocket, and then lets go."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest
import trio
from wsproto.events import CloseConnection, TextMessage
from wsproto.frame_protocol import CloseReason

from tests.support.origin import Connection, Request, each_request, response, saying
from tests.support.websocket import (
    accept_websocket,
    echo_websocket,
    handshake_fields,
    open_websocket,
)
from tests.support.world import World, open_world
from wormkey.audit import Actor
from wormkey.passwords import Passwords
from wormkey.values import parse_network

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.support.messages import Response

PROXY = (parse_network("127.0.0.1/32"),)
HTML = (b"Accept", b"text/html")


async def change(world: World, **members: object) -> None:
    """Change the policy as the session's owner."""
    token = world.session["ownerUrl"].rpartition("=")[2]
    path = f"/sessions/by-slug/{world.slug}/policy"
    status, answer = await world.call("POST", path, token=token, body=members)
    assert status == 200, answer


async def kick(world: World, viewer_id: str) -> list[str]:
    """Remove a viewer as the session's owner."""
    token = world.session["ownerUrl"].rpartition("=")[2]
    path = f"/sessions/by-slug/{world.slug}/kick"
    status, answer = await world.call("POST", path, token=token, body={"viewerId": viewer_id})
    assert status == 200, answer
    return list(answer["kickedViewerIds"])


def viewers(world: World) -> list[Any]:
    """Return who is here."""
    entry = world.node.routes.find(world.slug)
    assert entry is not None
    return list(entry.crowd.here(trio.current_time()))


def cookies_of(answer: Response) -> tuple[tuple[bytes, bytes], ...]:
    """Return the Cookie field of a browser that keeps what it was given."""
    pairs = [value.partition(b";")[0] for value in answer.head.all(b"Set-Cookie")]
    return ((b"Cookie", b"; ".join(pairs)),) if pairs else ()


def at(address: str) -> tuple[tuple[bytes, bytes], ...]:
    """Return the field by which a trusted proxy names a viewer."""
    return ((b"X-Forwarded-For", address.encode()),)


async def upgrade(world: World, fields: Iterable[tuple[bytes, bytes]] = ()) -> Response:
    """Ask for a WebSocket; return the refusal."""
    return await world.exchange(fields=(*handshake_fields(), *fields))


# ── one request alone ───────────────────────────────────────────────────────────────────────


RULES: list[tuple[dict[str, Any], tuple[int, bytes]]] = [
    ({"public": False}, (403, b"locked")),
    ({"password": "open sesame"}, (401, b"password_required")),
    ({"deniedNetworks": ["127.0.0.0/8"]}, (403, b"network_not_allowed")),
    ({"allowedNetworks": ["192.0.2.0/24"]}, (403, b"network_not_allowed")),
    ({"allowedMethods": ["POST"]}, (405, b"method_refused")),
    ({"blockPaths": ["/"]}, (403, b"path_blocked")),
]


@pytest.mark.parametrize(("rule", "refusal"), RULES, ids=lambda value: str(value))
async def test_a_rule_counts_from_the_next_request_on(
    rule: dict[str, Any], refusal: tuple[int, bytes]
) -> None:
    """Nothing reaches the app, by HTTP or by WebSocket, until the owner takes the rule back."""
    async with open_world(echo_websocket) as world:
        await change(world, **rule)
        for answer in (await world.exchange(), await upgrade(world)):
            assert (answer.status, answer.error) == refusal
        assert world.origin.connections == []
        undone: dict[str, object] = {"public": True} if "public" in rule else {}
        await change(world, **(undone or dict.fromkeys(rule)))
        socket, _ = await open_websocket(await world.open_viewer())
        await socket.send_text("through")
        assert await socket.receive_message() == "through"


@pytest.mark.parametrize("rule", [rule for rule, _ in RULES], ids=str)
async def test_a_rule_ends_what_it_shuts_out_at_once(rule: dict[str, Any]) -> None:
    """An open WebSocket and an answer under way are cut, never ended as if whole."""

    async def slow(connection: Connection, _request: Request) -> None:
        await connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n")
        await trio.sleep_forever()

    async with open_world(each_request(slow)) as world:
        viewer = await world.open_viewer()
        await viewer.request()
        await viewer.read_final_head()
        assert await viewer.read_until(b"part\r\n")
        await change(world, **rule)
        assert await viewer.read_to_end() == b""  # and no last chunk
        entry = world.node.routes.find(world.slug)
        assert entry is not None
        assert entry.crowd.open_streams == 0


@pytest.mark.parametrize("rule", [rule for rule, _ in RULES], ids=str)
async def test_a_rule_ends_an_open_websocket_at_once(rule: dict[str, Any]) -> None:
    """With a close code that no app sends for this: 1008, a rule of the one who shows it."""
    async with open_world(echo_websocket) as world:
        socket, _ = await open_websocket(await world.open_viewer())
        await socket.send_text("hello")
        assert await socket.receive_message() == "hello"
        await change(world, **rule)
        ended = await socket.receive()
        assert isinstance(ended, CloseConnection)
        assert ended.code == CloseReason.POLICY_VIOLATION


async def test_a_lower_size_ends_an_upload_of_unknown_length() -> None:
    """What had no limit when it began has the owner's from his change on."""
    async with open_world() as world:
        viewer = await world.open_viewer()
        await viewer.request(method=b"POST", fields=((b"Transfer-Encoding", b"chunked"),))
        await viewer.send_chunk(b"x" * 6)
        await change(world, maxContentBytes=10)
        await viewer.send_chunk(b"x" * 6)
        answer = await viewer.read_response(b"POST")
        assert (answer.status, answer.error) == (413, b"content_too_large")


@pytest.mark.parametrize(
    "path", [b"/admin", b"/admin/x", b"/%61dmin", b"//admin", b"/a/../admin", b"/ADMIN?q=1"]
)
async def test_a_blocked_path_is_blocked_however_it_is_spelt(path: bytes) -> None:
    """By path and by host; /administrator is another path."""
    async with open_world(session={"policy": {"blockPaths": ["/admin"]}}) as world:
        by_path = b"/s/" + world.slug.encode() + path
        for answer in (
            await world.exchange(path),
            await world.exchange(by_path, authority=world.base),
        ):
            assert (answer.status, answer.error) == (403, b"path_blocked")
        assert (await world.exchange(b"/administrator")).status == 200


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_content_over_the_owners_limit_is_413(framing: str) -> None:
    """Said before it comes, or counted while it comes; the app gets no whole upload."""
    async with open_world(session={"policy": {"maxContentBytes": 10}}) as world:
        viewer = await world.open_viewer()
        if framing == "length":
            answer = await viewer.exchange(method=b"POST", content=b"x" * 11)
        else:
            chunked = ((b"Transfer-Encoding", b"chunked"),)
            await viewer.request(method=b"POST", fields=chunked)
            await viewer.send_chunk(b"x" * 6)
            await viewer.send_chunk(b"x" * 6)
            answer = await viewer.read_response(b"POST")
        assert (answer.status, answer.error) == (413, b"content_too_large")
        assert (await world.exchange(method=b"POST", content=b"x" * 10)).status == 200


# ── the password ────────────────────────────────────────────────────────────────────────────


async def test_scripts_show_the_password_and_the_app_never_sees_it() -> None:
    """As a Bearer token or in the query; wrong ones are 401."""
    async with open_world(session={"policy": {"password": "open sesame"}}) as world:
        bearer = ((b"Authorization", b"Bearer open sesame"),)
        assert (await world.exchange(b"/a", fields=bearer)).status == 200
        target = b"/b?x=1&wormkey_password=open+sesame"
        assert (await world.exchange(target)).status == 200
        for wrong in (
            await world.exchange(fields=((b"Authorization", b"Bearer no"),)),
            await world.exchange(b"/?wormkey_password=no"),
        ):
            assert (wrong.status, wrong.error) == (401, b"password_required")
            challenge = b'Bearer realm="%b", error="invalid_token"' % world.slug.encode()
            assert wrong.head.get(b"WWW-Authenticate") == challenge
        requests = [request for each in world.origin.connections for request in each.requests]
        assert [request.target for request in requests] == [b"/a", b"/b?x=1"]
        assert not any(request.head.get(b"Authorization") for request in requests)


async def test_a_browser_is_sent_on_and_remembered() -> None:
    """The password leaves the address bar; the cookie opens until the password changes."""
    async with open_world(session={"policy": {"password": "open sesame"}}) as world:
        answer = await world.exchange(b"/p?wormkey_password=open%20sesame&y=2", fields=(HTML,))
        assert (answer.status, answer.head.get(b"Location")) == (303, b"/p?y=2")
        assert answer.head.get(b"Referrer-Policy") == b"no-referrer"
        assert answer.head.get(b"Cache-Control") == b"no-store"
        jar = cookies_of(answer)
        assert (await world.exchange(fields=(HTML, *jar))).status == 200
        token = ((b"Authorization", b"Bearer the-apps-own"),)
        await world.exchange(b"/api", fields=(*jar, *token))
        request = world.origin.connections[-1].requests[-1]
        assert request.head.get(b"Authorization") == b"Bearer the-apps-own"
        assert b"wormkey" not in (request.head.get(b"Cookie") or b"")
        await change(world, password="another")
        assert (await world.exchange(fields=(HTML, *jar))).status == 401


async def test_by_path_a_browser_is_sent_to_the_path() -> None:
    """The slug stays in front."""
    async with open_world(session={"policy": {"password": "pw"}}) as world:
        target = b"/s/%b/x?wormkey_password=pw" % world.slug.encode()
        answer = await world.exchange(target, authority=world.base, fields=(HTML,))
        assert answer.head.get(b"Location") == b"/s/%b/x" % world.slug.encode()


@pytest.mark.parametrize("kind", ["form", "basic"])
async def test_a_password_that_changes_while_it_is_checked_opens_nothing(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hash takes a while; what it found right is not the session's password any more."""
    wish: dict[str, Any] = {"authMode": "basic", "username": "ann", "password": "old"}
    if kind == "form":
        wish = {"policy": {"password": "old"}}
    async with open_world(session=wish) as world:
        entry = world.node.routes.find(world.slug)
        assert entry is not None
        name = "check_gate" if kind == "form" else "check_basic"
        check = getattr(Passwords, name)

        async def changed_meanwhile(self: Passwords, *shown: Any) -> bool:
            right: bool = await check(self, *shown)
            await world.node.changes.rotate_password(entry.session, Actor("owner"))
            return right

        monkeypatch.setattr(Passwords, name, changed_meanwhile)
        text = b"Bearer old" if kind == "form" else b"Basic " + base64.b64encode(b"ann:old")
        assert (await world.exchange(fields=((b"Authorization", text),))).status == 401
        assert entry.crowd.open_streams == 0


async def test_guessed_passwords_end_in_429() -> None:
    """For that address and session; the right one is not looked at any more either."""
    async with open_world(
        session={"policy": {"password": "pw"}}, max_password_tries=2, trusted_proxies=PROXY
    ) as world:
        guess = (b"Authorization", b"Bearer guess")
        right = (b"Authorization", b"Bearer pw")
        for _ in range(2):
            assert (await world.exchange(fields=(guess, *at("192.0.2.1")))).status == 401
        refused = await world.exchange(fields=(right, *at("192.0.2.1")))
        assert (refused.status, refused.error) == (429, b"too_many_requests")
        assert refused.head.get(b"Retry-After")
        assert (await world.exchange(fields=(right, *at("192.0.2.2")))).status == 200


# ── many ────────────────────────────────────────────────────────────────────────────────────


async def test_of_two_hundred_visitors_twenty_are_let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """The 21st is refused, the 20 stay; a place frees by a kick, and when somebody has left."""

    async def page(connection: Connection, request: Request) -> None:
        await connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        if request.target == b"/stay":
            await trio.sleep_forever()
        await connection.send(b"0\r\n\r\n")

    async with open_world(each_request(page), trusted_proxies=PROXY) as world:
        jars, refused = [], 0
        for number in range(200):
            first = await world.exchange(fields=at(f"192.0.2.{number}"))
            if first.status == 200:
                jars.append(cookies_of(first))
                continue
            assert (first.status, first.error) == (429, b"too_many_viewers")
            assert first.head.get(b"Retry-After")
            refused += 1
        assert (len(jars), refused) == (20, 180)
        assert [(await world.exchange(fields=jar)).status for jar in jars] == [200] * 20
        assert len(viewers(world)) == 20
        await kick(world, viewers(world)[0].viewer_id)
        late = [await world.exchange(fields=at(f"198.51.100.{number}")) for number in range(2)]
        assert [each.status for each in late] == [200, 429]
        staying = await world.open_viewer()
        await staying.request(b"/stay", fields=jars[19])
        await staying.read_final_head()
        monkeypatch.setattr("wormkey.viewers.SEEN_S", 1e-9)  # all others left a minute ago
        assert (await world.exchange(fields=at("198.51.100.1"))).status == 200
        assert [each.open_streams for each in viewers(world)] == [1]


async def test_cookieless_requests_of_one_address_are_one_viewer() -> None:
    """Two addresses are two; whoever brings the cookie back is the one he was."""
    async with open_world(trusted_proxies=PROXY) as world:
        first = await world.exchange(fields=at("192.0.2.1"))
        await world.exchange(fields=at("192.0.2.1"))
        assert len(viewers(world)) == 1
        await world.exchange(fields=(*cookies_of(first), *at("192.0.2.1")))
        assert len(viewers(world)) == 1
        await world.exchange(fields=at("192.0.2.2"))
        assert len(viewers(world)) == 2


async def test_an_answer_that_shared_caches_keep_gives_no_cookie() -> None:
    """Or a cache would make all its users one viewer."""
    fields = ((b"Cache-Control", b"public, max-age=60"),)
    async with open_world(saying(fields=fields)) as world:
        assert (await world.exchange()).head.all(b"Set-Cookie") == []


async def page_and_socket(connection: Connection) -> None:
    """Handle a connection as an app with a page and a WebSocket."""
    request = await connection.read_request()
    if request is None:
        return
    if not request.head.has(b"Upgrade"):
        await connection.send(response(b"page"))
        return
    socket = await accept_websocket(connection, request)
    while isinstance(event := await socket.receive(), TextMessage):
        await socket.send_text(event.data)


async def test_a_kick_cuts_and_holds() -> None:
    """His WebSocket ends; he is refused with his cookie, and without it from his address."""
    async with open_world(page_and_socket, trusted_proxies=PROXY) as world:
        jar = cookies_of(await world.exchange(fields=at("192.0.2.1")))
        viewer = await world.open_viewer()
        socket, _ = await open_websocket(viewer, fields=(*jar, *at("192.0.2.1")))
        await socket.send_text("hello")
        assert await socket.receive_message() == "hello"
        (known,) = viewers(world)
        assert known.viewer_id in await kick(world, known.viewer_id)
        assert isinstance(await socket.receive(), CloseConnection)
        for fields in ((*jar, *at("192.0.2.1")), at("192.0.2.1"), (*jar, *at("192.0.2.9"))):
            answer = await world.exchange(fields=fields)
            assert (answer.status, answer.error) == (403, b"removed")
        assert (await world.exchange(fields=at("192.0.2.2"))).status == 200


@pytest.mark.parametrize("rule", ["viewerRate", "tunnelRate"])
async def test_requests_over_a_rate_are_429(rule: str) -> None:
    """A burst of five seconds' worth passes."""
    async with open_world(session={"policy": {rule: 1}}) as world:
        statuses = [(await world.exchange()).status for _ in range(6)]
        assert statuses == [200] * 5 + [429]


async def test_streams_over_the_limit_are_429() -> None:
    """Of one viewer; the end of one makes room."""
    gates = [trio.Event(), trio.Event()]

    async def gated(connection: Connection, request: Request) -> None:
        if request.target != b"/":
            await gates[int(request.target[1:])].wait()
        await connection.send(response(b"ok"))

    async with open_world(
        each_request(gated), session={"policy": {"maxStreamsPerViewer": 2}}
    ) as world:
        held = [await world.open_viewer(), await world.open_viewer()]
        for number, viewer in enumerate(held):
            await viewer.request(b"/%d" % number)
        while sum(each.open_streams for each in viewers(world)) < 2:  # noqa: ASYNC110 - nothing tells
            await trio.lowlevel.checkpoint()
        answer = await world.exchange()
        assert (answer.status, answer.error) == (429, b"too_many_streams")
        gates[0].set()
        assert (await held[0].read_response()).status == 200
        while sum(each.open_streams for each in viewers(world)) > 1:  # noqa: ASYNC110 - nothing tells
            await trio.lowlevel.checkpoint()
        assert (await world.exchange()).status == 200


async def test_rules_of_the_creation_count_from_the_first_request() -> None:
    """And are stored with the session."""
    async with open_world(session={"policy": {"public": False}}) as world:
        assert (await world.exchange()).error == b"locked"
        sessions = await world.node.registry.store.load_sessions()
        assert not sessions[0].policy.public
