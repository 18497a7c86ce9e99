"""The owner's desk at the gateway: what each path under /.wormkey/ answers, and what it does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.owner import ACTIONS, Browser, owner_of
from tests.support.sessions import basic
from tests.support.websocket import echo_websocket, handshake_fields, open_websocket
from tests.support.world import World, open_world
from wormkey.errors import StoreError
from wormkey.store.memory import MemoryStore

if TYPE_CHECKING:
    from tests.support.messages import Response

PATHS = [
    *((path, "GET, HEAD") for path in ("owner", "pass", "me", "urls", "state", "events")),
    *((path, "GET, HEAD") for path in ("overlay.js", "bar", "bar.js", "bar.css")),
    *((path.partition("?")[0], "POST") for path in (*ACTIONS, "gate")),
]


@pytest.mark.parametrize(("path", "allow"), PATHS)
async def test_a_path_takes_its_methods_only(path: str, allow: str) -> None:
    """405 names them; a longer path is another path."""
    async with open_world(client=False) as world:
        for method in (b"GET", b"POST", b"PUT", b"DELETE", b"OPTIONS"):
            if method.decode() not in allow:
                target = f"/.wormkey/{path}?slug={world.slug}".encode()
                answer = await Browser(world).exchange(target, method=method)
                assert (answer.status, answer.head.get(b"Allow")) == (405, allow.encode())
                assert answer.head.get(b"Cache-Control") == b"no-store"
        answer = await Browser(world).exchange(f"/.wormkey/{path}/x".encode())
        assert (answer.status, answer.error) == (404, b"not_found")


async def test_the_state_tells_what_the_bar_shows() -> None:
    """Viewers, requests, the link and its QR code; nothing of it is kept or framed."""
    async with open_world() as world:
        owner = await owner_of(world)
        firefox = (b"User-Agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Firefox/128.0")
        await world.exchange(b"/a?secret=1", fields=(firefox,))
        answer = await owner.exchange(f"/.wormkey/state?slug={world.slug}".encode())
        assert answer.head.get(b"Cache-Control") == b"no-store"
        assert answer.head.get(b"X-Frame-Options") == b"DENY"
        assert answer.head.get(b"X-Content-Type-Options") == b"nosniff"
        assert answer.head.get(b"Content-Type") == b"application/json"
        state = answer.json()
        (viewer,) = state["viewers"]
        assert viewer["name"] == "Firefox on Linux, no. 1"
        assert (viewer["requests"], viewer["streams"]) == (1, 0)
        assert viewer["firstSeen"].endswith("Z")
        (request,) = state["requests"]
        assert (request["method"], request["path"], request["status"]) == ("GET", "/a", 200)
        assert request["viewer"] == viewer["id"]
        assert state["publicUrl"] == world.session["publicUrl"]
        assert state["expiresAt"] == world.session["expiresAt"]
        assert (state["connected"], state["paused"], state["owner"]) == (True, False, True)
        assert (state["activeViewers"], state["activeStreams"]) == (1, 0)
        assert len(state["qr"]) == len(state["qr"][0]) >= 21
        assert (await owner.read("urls"))[1] == {"publicUrl": world.session["publicUrl"]}


async def test_the_owner_changes_the_rules_and_sees_past_them() -> None:
    """By path by his cookie, by host by his pass; others meet the rule, by WebSocket too."""
    async with open_world(echo_websocket, routing="host") as world:
        owner = Browser(world)
        await owner.open(((await owner.claim()).head.get(b"Location") or b"").decode())
        rules: list[tuple[str, Any]] = [
            ("policy", {"public": False}),
            ("policy", {"public": True, "password": "open sesame"}),
            ("policy", {"password": None, "deniedNetworks": ["127.0.0.0/8"]}),
            ("pause", {}),
        ]
        by_path = b"/s/%b/" % world.slug.encode()
        for action, body in rules:
            answer = await owner.act(action, body)
            assert answer.status == 200, answer.data
            assert (await world.exchange()).error is not None
            assert (await world.exchange(by_path, authority=world.base)).error is not None
            assert (await world.exchange(fields=handshake_fields())).error is not None
            for target, authority in ((b"/", world.authority), (by_path, world.base)):
                viewer = await world.open_viewer(authority)
                socket, _ = await open_websocket(viewer, target, fields=owner.cookie(authority))
                await socket.send_text("through")
                assert await socket.receive_message() == "through"
        assert (await owner.act("resume")).json() == {"ok": True, "paused": False}


async def test_the_app_never_sees_the_owners_cookies() -> None:
    """Neither the base host's nor the pass."""
    async with open_world(routing="host") as world:
        owner = Browser(world)
        location = (await owner.claim()).head.get(b"Location") or b""
        await owner.open(location.decode())
        for target, authority in ((b"/", world.authority), (b"/s/%b/" % world.slug.encode(), None)):
            assert (await owner.exchange(target, authority)).status == 200
        requests = [request for each in world.origin.connections for request in each.requests]
        assert len(requests) == 2
        assert all(b"wormkey" not in (each.head.get(b"Cookie") or b"") for each in requests)


async def test_a_kick_ends_a_visit() -> None:
    """By the id that the state shows; the id must be one."""
    async with open_world() as world:
        owner = await owner_of(world)
        visitor = Browser(world)
        await visitor.exchange(b"/", world.authority)
        (viewer,) = (await owner.state())["viewers"]
        answer = await owner.act(f"kick?id={viewer['id']}")
        assert viewer["id"] in answer.json()["kickedViewerIds"]
        refused = await visitor.exchange(b"/", world.authority)
        assert (refused.status, refused.error) == (403, b"removed")
        for wrong in ("", "kick?id=", "kick?id=a%20b", "kick?id=a&id=b"):
            assert (await owner.act(wrong or "kick")).status == 400


@pytest.mark.parametrize("kind", ["form", "basic", "none"])
async def test_a_rotated_password_is_shown_once_and_ends_the_old_one(kind: str) -> None:
    """Open streams too; a page without one gets one."""
    sessions: dict[str, dict[str, Any]] = {
        "form": {"policy": {"password": "old"}},
        "basic": {"authMode": "basic", "password": "old"},
        "none": {},
    }

    def shows(password: str) -> tuple[tuple[bytes, bytes], ...]:
        value = basic(f"worm:{password}") if kind == "basic" else b"Bearer " + password.encode()
        return ((b"Authorization", value),)

    async with open_world(echo_websocket, session=sessions[kind]) as world:
        owner = await owner_of(world)
        viewer = await world.open_viewer()
        fields = () if kind == "none" else shows("old")
        await open_websocket(viewer, fields=fields)
        answer = (await owner.act("rotate-password")).json()
        assert set(answer) == ({"ok", "password"} | ({"username"} if kind == "basic" else set()))
        assert (await viewer.read_to_end())[:4] == b"\x88\x27\x03\xf0"  # a close frame, 1008
        assert (await world.exchange(fields=(*handshake_fields(), *shows("old")))).status == 401
        await open_websocket(await world.open_viewer(), fields=shows(answer["password"]))
        assert answer["password"] not in str(await owner.state())


async def test_what_an_owner_did_survives_a_restart_and_leaves_a_trace() -> None:
    """Claim, link, rotation: durable before the answer, in the audit trail, without a secret."""
    async with open_world() as world:
        owner = await owner_of(world)
        link = (await owner.act("owner-link")).json()["ownerUrl"]
        await owner.act("rotate-password")
        await Browser(world).claim(link)
        entry = world.node.routes.find(world.slug)
        assert entry is not None
        stored = await world.node.registry.store.load_sessions()
        assert [each for each in stored if each.slug == world.slug] == [entry.session]
        events = [record.event for record in await world.node.registry.store.read_audit(100)]
        for name in ("session.claimed", "link.made", "password.rotated"):
            assert name in events
        assert events.count("session.claimed") == 2  # type: ignore[comparison-overlap]


async def test_a_store_that_fails_is_503_and_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The sentence names no file."""
    async with open_world() as world:
        owner = await owner_of(world)

        async def fail(*_args: object, **_how: object) -> None:
            raise StoreError("/var/lib/secret: disk full")

        monkeypatch.setattr(MemoryStore, "put_session", fail)
        answer = await owner.act("pause")
        assert (answer.status, answer.json()["code"]) == (503, "store_failed")
        assert b"/var" not in answer.data
        assert not (await owner.state())["paused"]


# ── the bar's files ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("file", ["overlay.js", "bar", "bar.js", "bar.css"])
async def test_a_file_is_served_to_anyone_and_known_again(file: str) -> None:
    """With a strong tag: 304 to who has it."""
    async with open_world(client=False) as world:
        target = f"/.wormkey/{file}?slug={world.slug}".encode()
        answer = await world.exchange(target, authority=world.base)
        assert answer.status == 200
        assert answer.head.get(b"X-Content-Type-Options") == b"nosniff"
        etag = answer.head.get(b"ETag") or b""
        assert etag[:1] == b'"'
        for known in (etag, b'"other", W/' + etag, b"*"):
            again = await world.exchange(
                target, authority=world.base, fields=((b"If-None-Match", known),)
            )
            assert (again.status, again.data) == (304, b"")
            assert again.head.get(b"Content-Type") is None


@pytest.mark.parametrize("routing", ["path", "host"])
async def test_only_its_own_tunnels_page_frames_the_bar(routing: str) -> None:
    """By host no page of the base host does, by path they share its origin."""
    async with open_world(client=False, routing=routing) as world:
        target = f"/.wormkey/bar?slug={world.slug}".encode()
        answer = await world.exchange(target, authority=world.base)
        policy = answer.head.get(b"Content-Security-Policy") or b""
        ancestors = policy.partition(b"frame-ancestors ")[2].split(b" ")
        own = b"http://" + world.authority
        assert ancestors == ([own] if routing == "host" else [b"'self'", own])
        assert not answer.head.has(b"X-Frame-Options")
        assert (await world.exchange(target)).status == 403


# ── the form ────────────────────────────────────────────────────────────────────────────────


async def send_form(
    world: World, content: bytes, *, by_path: bool = False, **fields: bytes
) -> Response:
    """Send the form's content."""
    sent = {b"Content-Type": b"application/x-www-form-urlencoded"}
    sent |= {name.replace("_", "-").encode(): value for name, value in fields.items()}
    target = f"/.wormkey/gate?slug={world.slug}" if by_path else "/.wormkey/gate"
    authority = world.base if by_path else world.authority
    return await world.exchange(
        target.encode(), authority=authority, method=b"POST", fields=sent.items(), content=content
    )


@pytest.mark.parametrize("by_path", [False, True])
async def test_the_form_opens_the_page(by_path: bool) -> None:
    """A cookie and the way back; the app is told of neither."""
    async with open_world(session={"policy": {"password": "open sesame"}}) as world:
        root = b"/s/%b/" % world.slug.encode() if by_path else b"/"
        authority = world.base if by_path else world.authority
        content = b"password=open+sesame&target=" + root + b"a%3Fb%3Dc"
        answer = await send_form(world, content, by_path=by_path)
        assert (answer.status, answer.head.get(b"Location")) == (303, root + b"a?b=c")
        (cookie,) = answer.head.all(b"Set-Cookie")
        assert b"HttpOnly" in cookie
        fields = ((b"Cookie", cookie.partition(b";")[0]),)
        assert (await world.exchange(root, authority=authority, fields=fields)).status == 200
        assert (await world.exchange(root, authority=authority)).status == 401


@pytest.mark.parametrize("by_path", [False, True])
async def test_the_page_of_the_form_leads_back(by_path: bool) -> None:
    """Where a password is wanted, the form is the page; a wrong one shows it again, with 401."""
    async with open_world(session={"policy": {"password": "pw"}}) as world:
        root = b"/s/%b/" % world.slug.encode() if by_path else b"/"
        authority = world.base if by_path else world.authority
        target = b'name="target" value="%ba?b=c"' % root
        first = await world.exchange(root + b"a?b=c", authority=authority)
        content = b"password=no&target=" + root + b"a%3Fb%3Dc"
        for answer in (first, await send_form(world, content, by_path=by_path)):
            assert (answer.status, answer.error) == (401, b"password_required")
            assert target in answer.data
            assert (b'action="/.wormkey/gate?slug=' in answer.data) == by_path
            assert b"form-action 'self'" in (answer.head.get(b"Content-Security-Policy") or b"")
        accept = ((b"Accept", b"application/json"),)
        assert (await world.exchange(fields=accept)).json()["code"] == "password_required"


async def test_the_form_refuses_what_is_wrong() -> None:
    """A wrong password, too many; another page; another form; too much of it."""
    async with open_world(session={"policy": {"password": "pw"}}, max_password_tries=2) as world:
        evil = await send_form(world, b"password=pw&target=/", Origin=b"http://" + world.base)
        assert (evil.status, evil.head.all(b"Set-Cookie")) == (403, [])
        assert (await send_form(world, b"password=pw", Content_Type=b"text/plain")).status == 415
        assert (await send_form(world, b"password=" + b"x" * 5000)).status == 413
        assert (await send_form(world, b"target=/")).status == 401
        for content, status in (
            (b"password=no", 401),
            (b"password=no", 401),
            (b"password=pw", 429),
        ):
            answer = await send_form(world, content)
            assert answer.status == status
            assert answer.head.all(b"Set-Cookie") == []


async def test_the_form_leads_nowhere_else() -> None:
    """No open redirect, with the password or where none is asked for."""
    async with open_world(session={"policy": {"password": "pw"}}) as world:
        right = await send_form(world, b"password=pw&target=//evil.example/")
        assert (right.status, right.head.get(b"Location")) == (303, b"/")
        owner = await owner_of(world)
        await owner.act("policy", {"password": None})
        open_ = await send_form(world, b"target=https://evil.example/")
        assert (open_.status, open_.head.get(b"Location")) == (303, b"/")
        assert open_.head.all(b"Set-Cookie") == []
        await owner.act("policy", {"deniedNetworks": ["127.0.0.0/8"]})
        assert (await send_form(world, b"password=pw")).error == b"network_not_allowed"
