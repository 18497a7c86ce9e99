"""The control plane's calls on a real socket: what each answers, and to whom."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import trio

from tests.support.plane import BODY, EDGE, PUBLIC, Plane, open_plane
from tests.support.sessions import HOUR_S, FakeUpstream
from wormkey.audit import OPERATOR
from wormkey.errors import ErrorCode
from wormkey.store.memory import MemoryStore

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from wormkey.session import Session


async def test_state_calls(plane: Plane) -> None:
    """Alive, healthy, ready; 503 on ready and on creation once draining, health stays."""
    assert await plane.call("GET", "/") == (200, {"status": "control plane alive"})
    for target in ("/health", "/ready"):
        answer = await plane.answer("GET", target)
        assert (answer.status, answer.data) == (200, b"ok")
        assert (await plane.answer("HEAD", target)).data == b""
    plane.node.drain.start()
    assert (await plane.answer("GET", "/health")).status == 200
    assert (await plane.answer("GET", "/ready")).status == 503
    status, error = await plane.call("POST", "/sessions", body=BODY)
    assert (status, error["code"]) == (503, "draining")


async def test_ready_is_503_until_both_listeners_accept(plane: Plane) -> None:
    """A web server in front sends nobody here before the gateway takes him."""
    plane.node.started = trio.Event()
    status, error = await plane.call("GET", "/ready")
    assert (status, error["code"]) == (503, "starting")
    assert (await plane.answer("GET", "/health")).status == 200
    plane.node.started.set()
    assert (await plane.answer("GET", "/ready")).status == 200


async def test_create_answers_everything_a_client_needs(plane: Plane) -> None:
    """All members of the interface, with URLs that carry the right secrets."""
    made = await plane.create()
    slug = made["slug"]
    assert set(made) == {
        *("sessionId", "slug", "publicUrl", "ownerUrl", "overlayScriptUrl", "edgeUrl"),
        *("sessionToken", "expiresAt"),
    }
    assert made["publicUrl"] == f"{PUBLIC}/s/{slug}"
    assert made["overlayScriptUrl"] == f"{PUBLIC}/.wormkey/overlay.js?slug={slug}"
    assert made["edgeUrl"] == EDGE
    assert made["ownerUrl"].startswith(f"{PUBLIC}/.wormkey/owner?slug={slug}&token=")
    registry = plane.node.registry
    session = registry.authenticate_tunnel(made["sessionToken"].encode())
    owner_token = made["ownerUrl"].rpartition("=")[2]
    assert registry.authorize_owner(slug, owner_token.encode()) == session
    assert datetime.fromisoformat(made["expiresAt"]) == plane.daemon.clock() + timedelta(days=1)
    assert made["expiresAt"].endswith("Z")


async def test_basic_sessions_tell_their_credentials_once(plane: Plane) -> None:
    """Generated or chosen, they stand in the answer to the creation and nowhere else."""
    generated = await plane.create(authMode="basic")
    assert generated["username"] == "worm"
    assert len(generated["password"]) >= 22
    chosen = await plane.create(authMode="basic", username="ann", password="chosen-canary")
    assert (chosen["username"], chosen["password"]) == ("ann", "chosen-canary")
    for made in (generated, chosen):
        answer = await plane.answer(
            "GET", f"/sessions/{made['sessionId']}", token=made["sessionToken"]
        )
        assert answer.status == 200
        assert made["password"].encode() not in answer.data


async def test_session_is_read_by_its_tokens_only(plane: Plane) -> None:
    """Session and owner token read it, without any secret in the answer; no other does."""
    made, other = await plane.create(), await plane.create()
    target = f"/sessions/{made['sessionId']}"
    owner_token = made["ownerUrl"].rpartition("=")[2]
    for token in (made["sessionToken"], owner_token):
        status, shown = await plane.call("GET", target, token=token)
        assert (status, shown["slug"], shown["port"]) == (200, made["slug"], 5173)
        text = json.dumps(shown)
        assert owner_token not in text
        assert made["sessionToken"].partition(".")[2] not in text
    for token in (None, "x", other["sessionToken"]):
        for method in ("GET", "DELETE"):
            answer = await plane.answer(method, target, token=token)
            assert answer.status == 401
            assert answer.head.get(b"WWW-Authenticate") == b"Bearer"
    assert len(plane.daemon.routes) == 2


async def test_delete_closes_tunnel_and_session(plane: Plane) -> None:
    """The tunnel ends at once; a second call is fine; the session shows as closed."""
    made = await plane.create()
    tunnel = FakeUpstream()
    plane.daemon.routes.attach(made["slug"], tunnel)
    target = f"/sessions/{made['sessionId']}"
    for _ in range(2):
        assert await plane.call("DELETE", target, token=made["sessionToken"]) == (200, {"ok": True})
    assert tunnel.closed is ErrorCode.SESSION_CLOSED
    _, shown = await plane.call("GET", target, token=made["sessionToken"])
    assert shown["closed"] is True
    assert shown["closedAt"] is not None


async def test_by_slug_shows_nothing_but_the_public_part(plane: Plane) -> None:
    """Anyone may ask; exactly the members of the interface; available while a tunnel is there."""
    made = await plane.create()
    target = f"/sessions/by-slug/{made['slug']}"
    status, shown = await plane.call("GET", target)
    assert status == 200
    assert set(shown) == {
        *("sessionId", "slug", "publicUrl", "expiresAt", "createdAt", "authMode"),
        *("closed", "available"),
    }
    assert (shown["closed"], shown["available"]) == (False, False)
    plane.daemon.routes.attach(made["slug"], FakeUpstream())
    assert (await plane.call("GET", target))[1]["available"] is True
    plane.daemon.clock.pass_s(24 * HOUR_S)
    shown = (await plane.call("GET", target))[1]
    assert (shown["closed"], shown["available"]) == (True, False)
    assert (await plane.call("GET", "/sessions/by-slug/nobody"))[0] == 404


async def test_only_the_owner_closes_by_slug(plane: Plane) -> None:
    """The tunnel's own token is refused."""
    made = await plane.create()
    target = f"/sessions/by-slug/{made['slug']}/close"
    for token in (None, made["sessionToken"]):
        assert (await plane.call("POST", target, token=token))[0] == 401
    assert (await plane.call("GET", f"/sessions/by-slug/{made['slug']}"))[1]["closed"] is False
    owner_token = made["ownerUrl"].rpartition("=")[2]
    assert await plane.call("POST", target, token=owner_token) == (200, {"ok": True})
    assert (await plane.call("GET", f"/sessions/by-slug/{made['slug']}"))[1]["closed"] is True


async def test_taken_name_is_409(plane: Plane) -> None:
    """The name stays with the first."""
    assert (await plane.create(name="demo"))["slug"] == "demo"
    status, error = await plane.call("POST", "/sessions", body=BODY | {"name": "demo"})
    assert (status, error["code"]) == (409, "name_taken")


async def test_a_login_can_check_its_token(tmp_path: Path) -> None:
    """GET /access names the token that creates sessions; no other one is good for it."""
    async with open_plane(tmp_path, access="token") as plane:
        token = await plane.node.access.add("laptop")
        assert await plane.call("GET", "/access", token=token) == (
            200,
            {"ok": True, "name": "laptop"},
        )
        for wrong in (None, "", token[:-1]):
            answer = await plane.answer("GET", "/access", token=wrong)
            assert answer.status == 401


async def test_open_mode_lets_everybody_in(tmp_path: Path) -> None:
    """GET /access says so without a token."""
    async with open_plane(tmp_path, access="open") as plane:
        status, body = await plane.call("GET", "/access")
        assert (status, body["ok"]) == (200, True)


async def test_token_mode_needs_an_access_token(tmp_path: Path) -> None:
    """Missing, wrong, revoked and session tokens create nothing; a valid one does."""
    async with open_plane(tmp_path, access="token") as plane:
        token = await plane.node.access.add("laptop")
        status, made = await plane.call("POST", "/sessions", token=token, body=BODY)
        assert status == 201
        for wrong in (None, "", token[:-1], made["sessionToken"]):
            answer = await plane.answer("POST", "/sessions", token=wrong, content=b"{}")
            assert answer.status == 401
            assert answer.head.get(b"WWW-Authenticate") == b"Bearer"
        await plane.daemon.store.revoke_access_token("laptop")
        assert (await plane.call("POST", "/sessions", token=token, body=BODY))[0] == 401
        assert len(plane.daemon.routes) == 1


async def test_the_owner_changes_the_policy(plane: Plane) -> None:
    """The answer tells the policy in force; the client's token may not; nonsense answers 400."""
    made = await plane.create()
    target = f"/sessions/by-slug/{made['slug']}/policy"
    owner_token = made["ownerUrl"].rpartition("=")[2]
    wish = {"public": False, "blockPaths": ["/admin"], "maxConcurrentViewers": 5, "colour": 1}
    for wrong in (None, made["sessionToken"], owner_token[:-1]):
        assert (await plane.answer("POST", target, token=wrong, content=b"{}")).status == 401
    expected = {
        "public": False,
        "maxConcurrentViewers": 5,
        "blockPaths": ["/admin"],
        "passwordProtected": False,
    }
    answer = await plane.call("POST", target, token=owner_token, body=wish)
    assert answer == (200, {"ok": True, "policy": answer[1]["policy"] | expected})
    status, error = await plane.call("POST", target, token=owner_token, body={"public": 1})
    assert (status, error["code"]) == (400, "invalid_policy")
    secret = {"password": "open sesame"}
    status, changed = await plane.call("POST", target, token=owner_token, body=secret)
    expected["passwordProtected"] = True
    assert changed["policy"] == changed["policy"] | expected
    status, seen = await plane.call("GET", f"/sessions/{made['sessionId']}", token=owner_token)
    assert seen["policy"] == changed["policy"]
    assert "open sesame" not in json.dumps([changed, seen])


async def test_the_owner_removes_a_viewer(plane: Plane) -> None:
    """The answer lists everybody removed so far; the client's token may not."""
    made = await plane.create()
    target = f"/sessions/by-slug/{made['slug']}/kick"
    owner_token = made["ownerUrl"].rpartition("=")[2]
    assert (await plane.answer("POST", target, token=made["sessionToken"])).status == 401
    status, error = await plane.call("POST", target, token=owner_token, body={"viewerId": 7})
    assert (status, error["code"]) == (400, "invalid_viewer_id")
    for viewers in (["v1"], ["v1", "v2"]):
        body = {"viewerId": viewers[-1]}
        answer = await plane.call("POST", target, token=owner_token, body=body)
        assert answer == (200, {"ok": True, "kickedViewerIds": viewers})


async def test_the_owner_token_gets_another_link(plane: Plane) -> None:
    """It holds a code of its own, which is no token; the client's token gets none, nor the dead."""
    made = await plane.create()
    target = f"/sessions/by-slug/{made['slug']}/owner-link"
    owner_token = made["ownerUrl"].rpartition("=")[2]
    for wrong in (None, made["sessionToken"], owner_token[:-1]):
        assert (await plane.answer("POST", target, token=wrong)).status == 401
    status, told = await plane.call("POST", target, token=owner_token)
    assert (status, set(told)) == (200, {"ok", "ownerUrl"})
    link, _, code = told["ownerUrl"].rpartition("=")
    assert link == made["ownerUrl"].rpartition("=")[0]
    assert (await plane.answer("POST", target, token=code)).status == 401
    await plane.call("POST", target.replace("owner-link", "close"), token=owner_token)
    status, error = await plane.call("POST", target, token=owner_token)
    assert (status, error["code"]) == (410, "session_closed")


async def test_a_session_tells_what_it_has_carried(plane: Plane) -> None:
    """To who has one of its tokens, restarts and its end included; a slug alone tells nothing."""
    made = await plane.create()
    target = f"/sessions/{made['sessionId']}"
    _, shown = await plane.call("GET", target, token=made["sessionToken"])
    nothing = {"requests": 0, "receivedBytes": 0, "sentBytes": 0, "lastSeenAt": None}
    assert shown["usage"] == nothing
    entry = plane.daemon.routes.find(made["slug"])
    assert entry is not None
    entry.meter.add(plane.daemon.clock(), requests=2, received_bytes=3, sent_bytes=4)
    _, shown = await plane.call("GET", target, token=made["sessionToken"])
    seen = {
        *(("requests", 2), ("receivedBytes", 3), ("sentBytes", 4)),
        ("lastSeenAt", shown["createdAt"]),
    }
    assert set(shown["usage"].items()) == seen
    assert "usage" not in (await plane.call("GET", f"/sessions/by-slug/{made['slug']}"))[1]


async def test_a_token_that_is_revoked_during_a_creation_makes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who revokes it and closes its sessions has then closed them all."""
    put = MemoryStore.put_session
    async with open_plane(tmp_path, access="token") as plane:
        token = await plane.node.access.add("laptop")

        async def revoked_meanwhile(self: MemoryStore, session: Session, **how: Any) -> None:
            await plane.node.access.revoke("laptop")
            assert await plane.node.registry.close_created_by("token:laptop", OPERATOR) == 0
            await put(self, session, **how)

        monkeypatch.setattr(MemoryStore, "put_session", revoked_meanwhile)
        answer = await plane.answer(
            "POST", "/sessions", token=token, content=json.dumps(BODY).encode()
        )
        assert (answer.status, answer.json()["code"]) == (401, "access_token_required")
        assert len(plane.daemon.routes) == 0
        assert all(each.closed_at for each in await plane.daemon.store.load_sessions())
