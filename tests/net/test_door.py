"""Who may create sessions and how often: each rate denies, says when to come again, and lets go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.plane import BODY, Plane, open_plane
from tests.support.viewer import open_viewer
from wormkey.values import parse_network

if TYPE_CHECKING:
    from pathlib import Path

PROXY = (parse_network("127.0.0.1/32"),)


def coming_from(address: str) -> tuple[tuple[bytes, bytes], ...]:
    """Return the field by which a trusted proxy names a peer."""
    return ((b"X-Forwarded-For", address.encode()),)


async def create(plane: Plane, token: str | None = None, address: str = "192.0.2.1") -> Any:
    """Ask for a session as somebody at ``address``; return the answer."""
    fields = ((b"Content-Type", b"application/json"), *coming_from(address))
    return await plane.answer(
        "POST", "/sessions", token=token, content=b'{"port": 1}', fields=fields
    )


async def test_an_address_creates_so_many_sessions_in_a_minute(tmp_path: Path) -> None:
    """The next one is 429 with Retry-After; another address still may, and none was made."""
    async with open_plane(
        tmp_path, access="open", trusted_proxies=PROXY, max_session_creations=3
    ) as plane:
        assert [(await create(plane)).status for _ in range(4)] == [201, 201, 201, 429]
        refused = await create(plane)
        assert 1 <= int(refused.head.get(b"Retry-After") or b"0") <= 60
        assert b'"code":"too_many_requests"' in refused.data
        assert (await create(plane, address="192.0.2.2")).status == 201
        assert len(plane.node.routes) == 4


async def test_who_owns_a_slash_64_is_one_address(tmp_path: Path) -> None:
    """Another IPv6 address of the same network does not help."""
    async with open_plane(
        tmp_path, access="open", trusted_proxies=PROXY, max_session_creations=1
    ) as plane:
        assert (await create(plane, address="2001:db8::1")).status == 201
        assert (await create(plane, address="2001:db8::2")).status == 429
        assert (await create(plane, address="2001:db8:0:1::1")).status == 201


async def test_nobody_believes_an_address_that_a_stranger_names(tmp_path: Path) -> None:
    """Without a trusted proxy the peer is who he is: X-Forwarded-For frees nobody."""
    async with open_plane(tmp_path, access="token", max_session_creations=1) as plane:
        token = await plane.node.access.add("laptop")
        assert (await create(plane, token, "192.0.2.1")).status == 201
        assert (await create(plane, token, "192.0.2.2")).status == 429


async def test_a_token_creates_so_many_sessions_in_a_minute(tmp_path: Path) -> None:
    """From wherever it is used; another token still may."""
    async with open_plane(
        tmp_path, access="token", trusted_proxies=PROXY, max_token_creations=2
    ) as plane:
        token, other = await plane.node.access.add("a"), await plane.node.access.add("b")
        statuses = [(await create(plane, token, f"192.0.2.{n}")).status for n in range(3)]
        assert statuses == [201, 201, 429]
        assert (await create(plane, other)).status == 201


async def test_a_token_has_so_many_live_sessions(tmp_path: Path) -> None:
    """One more is 429; a closed or expired one makes room."""
    async with open_plane(tmp_path, access="token", max_live_sessions=2) as plane:
        token = await plane.node.access.add("a")
        status, first = await plane.call("POST", "/sessions", token=token, body=BODY)
        assert status == 201
        short = BODY | {"expiresIn": "60s"}
        assert (await plane.call("POST", "/sessions", token=token, body=short))[0] == 201
        status, error = await plane.call("POST", "/sessions", token=token, body=BODY)
        assert (status, error["code"]) == (429, "too_many_requests")
        path = f"/sessions/{first['sessionId']}"
        assert (await plane.call("DELETE", path, token=first["sessionToken"]))[0] == 200
        assert (await plane.call("POST", "/sessions", token=token, body=BODY))[0] == 201
        plane.node.registry.expire(plane.daemon.clock.pass_s(61))
        assert (await plane.call("POST", "/sessions", token=token, body=BODY))[0] == 201


async def test_this_machine_is_free_in_open_mode(tmp_path: Path) -> None:
    """A developer's own daemon never tells him to slow down."""
    async with open_plane(
        tmp_path, access="open", max_session_creations=1, max_live_sessions=1
    ) as plane:
        assert [(await plane.call("POST", "/sessions", body=BODY))[0] for _ in range(5)] == [
            201
        ] * 5


@pytest.mark.parametrize("path", ["/access", "/sessions/{id}", "/sessions/by-slug/{slug}/close"])
async def test_wrong_tokens_are_counted_wherever_they_are_tried(path: str, tmp_path: Path) -> None:
    """After so many the answer is 429, for the right token too, until the address calms down."""
    async with open_plane(tmp_path, access="token", max_auth_failures=3) as plane:
        access = await plane.node.access.add("laptop")
        made = (await plane.call("POST", "/sessions", token=access, body=BODY))[1]
        target = path.format(id=made["sessionId"], slug=made["slug"])
        method = "POST" if target.endswith("close") else "GET"
        for _ in range(3):
            assert (await plane.answer(method, target)).status == 401  # no token is no guess
        for _ in range(3):
            assert (await plane.answer(method, target, token="guess")).status == 401
        refused = await plane.answer(method, target, token=access)
        assert refused.status == 429
        assert 1 <= int(refused.head.get(b"Retry-After") or b"0") <= 60


async def test_unknown_names_are_counted(tmp_path: Path) -> None:
    """Asking for names that nobody has ends in 429; names that exist are answered all the same."""
    async with open_plane(tmp_path, access="open", max_misses=3) as plane:
        made = await plane.create()
        targets = [f"/sessions/by-slug/nobody-{n}" for n in range(4)]
        statuses = [(await plane.answer("GET", target)).status for target in targets]
        assert statuses == [404, 404, 404, 429]
        assert (await plane.answer("GET", f"/sessions/by-slug/{made['slug']}")).status == 200


@pytest.mark.parametrize("path", ["/metrics", "/access"])
@pytest.mark.parametrize(
    ("host", "status"),
    [
        (b"localhost", 200),
        (b"127.0.0.1:3001", 200),
        (b"[::1]:3001", 200),
        (b"wormkeyd:3001", 200),
        (b"quiet-otter.localhost", 200),
        (b"evil.example", 403),
        (b"evil.example:3001", 403),
        (b"127.0.0.1.evil.example", 403),
        (b"localhost.evil.example.", 403),
        (b"user@localhost", 400),
    ],
)
async def test_dns_rebinding_opens_no_door(
    path: str, host: bytes, status: int, tmp_path: Path
) -> None:
    """In open mode a page whose name leads here asks as itself: its host is a stranger's."""
    async with open_plane(tmp_path, access="open") as plane:
        viewer = await open_viewer("127.0.0.1", plane.port, host)
        answer = await viewer.exchange(path.encode())
        await viewer.aclose()
        assert answer.status == status
        if status == 403:
            assert b'"code":"origin_not_allowed"' in answer.data


@pytest.mark.parametrize(
    "fields",
    [
        ((b"Origin", b"http://evil.example"), (b"Content-Type", b"application/json")),
        ((b"Origin", b"http://evil.example"),),
        ((b"Origin", b"null"),),
        ((b"Origin", b"http://localhost:5173"), (b"Sec-Fetch-Site", b"same-site")),
    ],
)
async def test_a_web_page_creates_no_session(
    fields: tuple[tuple[bytes, bytes], ...], tmp_path: Path
) -> None:
    """A form or a fetch across origins needs no permission to send, so it is refused here."""
    async with open_plane(tmp_path, access="open") as plane:
        answer = await plane.answer("POST", "/sessions", content=b'{"port": 1}', fields=fields)
        assert answer.status == 403
        assert len(plane.node.routes) == 0
