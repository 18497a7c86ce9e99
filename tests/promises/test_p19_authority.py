"""P19: nothing that belongs to a session or its owner is done without a right token."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from tests.support.owner import owner_of
from tests.support.world import World, open_world
from wormkey.openapi import CALLS, Call

if TYPE_CHECKING:
    from tests.support.promise import Promise

BODIES: dict[str, Any] = {
    "changePolicy": {"public": False, "maxConcurrentViewers": 1},
    "kickViewer": {"viewerId": "somebody"},
}
# Every path of the owner's desk that changes something; the daemon's own table is compared.
DESK = ("policy", "kick", "rotate-password", "pause", "resume", "close", "owner-link")
GATE = "gate"  # takes a password, which is its right


def guarded() -> list[Call]:
    """The calls that take a token of the session, from the API's own table."""
    return [call for call in CALLS if call.who in ("session or owner token", "owner token")]


async def make(world: World) -> dict[str, Any]:
    """One more session."""
    status, made = await world.call("POST", "/sessions", body={"port": world.origin.port})
    assert status == 201
    session: dict[str, Any] = made
    return session


def owner_token(session: dict[str, Any]) -> str:
    """The token in its owner's link."""
    token: str = session["ownerUrl"].partition("token=")[2]
    return token


async def state_of(world: World, session: dict[str, Any]) -> tuple[int, Any]:
    """The session as its owner reads it, without what every request moves."""
    token = owner_token(session)
    status, told = await world.call("GET", f"/sessions/{session['sessionId']}", token=token)
    return status, {key: told[key] for key in told if key not in ("usage", "viewers")}


async def refuse(world: World, call: Call, session: dict[str, Any], token: str | None) -> int:
    """Make a call; its status."""
    path = call.path.format(session_id=session["sessionId"], slug=session["slug"])
    body = BODIES.get(call.name)
    return (await world.call(call.method, path, token=token, body=body))[0]


async def test_the_api_asks_for_the_right_token(promise: Promise) -> None:
    """None, an empty, a made-up, another session's, the other kind's, a closed session's."""
    tried = refused = 0
    async with open_world(limit_s=120, max_auth_failures=100_000) as world:
        session, other, closed = world.session, await make(world), await make(world)
        path = f"/sessions/{closed['sessionId']}"
        assert (await world.call("DELETE", path, token=owner_token(closed)))[0] == 200
        before = await state_of(world, session)
        assert before[0] == 200
        wrong = (
            *(None, "", "x", secrets.token_urlsafe(32), f"{session['slug']}.", session["slug"]),
            *(owner_token(other), other["sessionToken"]),
            *(owner_token(closed), closed["sessionToken"]),
            *(owner_token(session)[:-1], session["sessionToken"][:-1], "null"),
        )
        for call in guarded():
            by_kind = (session["sessionToken"],) if call.who == "owner token" else ()
            for token in (*wrong, *by_kind):
                tried += 1
                refused += await refuse(world, call, session, token) == 401
                assert await state_of(world, session) == before, (call.name, token)
            tried += 1
            refused += await refuse(world, call, closed, owner_token(session)) == 401
        assert len(guarded()) >= 6
    promise.exactly(f"of {tried} calls without a right token, refused", refused, tried)


async def test_the_desk_asks_for_the_owners_browser(promise: Promise) -> None:
    """A stranger's browser, one without the csrf word, one of another session, a page elsewhere."""
    tried = refused = 0
    async with open_world(limit_s=120, max_auth_failures=100_000) as world:
        paths = world.facts.gateway._desk._paths
        writing = {name.decode() for name, path in paths.items() if b"POST" in path.methods}
        assert writing == {*DESK, GATE}  # a new act of the desk needs a line here
        owner = await owner_of(world)
        before = await state_of(world, world.session)
        for what in DESK:
            target = f"/.wormkey/{what}?slug={world.slug}".encode()
            right = {b"Wormkey-Csrf": (await owner.read("state"))[1]["csrf"].encode()}
            for fields in ((), ((b"Wormkey-Csrf", right[b"Wormkey-Csrf"]),)):
                answer = await world.exchange(
                    target,
                    authority=world.base,
                    method=b"POST",
                    fields=((b"Origin", b"http://" + world.base), *fields),
                )
                tried += 1
                refused += answer.status in (401, 403)
            for change in ({b"Wormkey-Csrf": None}, {b"Origin": b"http://evil.example"}):
                answer = await owner.act(what, **{k.decode(): v for k, v in change.items()})
                tried += 1
                refused += answer.status in (401, 403)
            assert await state_of(world, world.session) == before, what
    promise.exactly(f"of {tried} acts at the desk without a right, refused", refused, tried)
