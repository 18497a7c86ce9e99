"""The admin socket of a running daemon: who reaches it, what it does, and what nobody else can."""

from __future__ import annotations

import stat
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.world import Connected, World, open_world
from wormkey.adminclient import ask_daemon
from wormkey.errors import StoreError
from wormkey.session import digest_of
from wormkey.statefolder import ADMIN_SOCKET
from wormkey.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@asynccontextmanager
async def daemon(**more: Any) -> AsyncIterator[tuple[World, Path]]:
    """Give a world whose daemon has a state folder, and that folder."""
    async with open_world(store="sqlite", **more) as world:
        yield world, world.node.settings.state_dir


async def add_token(world: World, name: str, *sessions: str) -> None:
    """Make an access token, and say that it created these sessions."""
    node = world.node
    await node.access.store.add_access_token(name, digest_of(name.encode()), node.now())
    for slug in sessions:
        _, made = await world.call("POST", "/sessions", body={"port": 1, "name": slug})
        entry = node.routes.find_id(made["sessionId"])
        assert entry is not None
        _give(entry, f"token:{name}")


def _give(entry: Any, principal: str) -> None:
    """Make a session somebody's: in open mode it is the address's."""
    from attrs import evolve  # noqa: PLC0415

    entry.session = evolve(entry.session, created_by=principal)


async def revoke(state_dir: Path, name: object, **more: object) -> tuple[int, Any]:
    """Ask the daemon to revoke a token."""
    answer = await ask_daemon(state_dir, "POST", "/tokens/revoke", {"name": name, **more})
    assert answer is not None
    return answer.status, answer.json


async def test_the_socket_is_the_users_alone_and_tells_how_the_daemon_is() -> None:
    """Mode 0600; the facts are those of the process."""
    async with daemon() as (world, state_dir):
        assert stat.S_IMODE((state_dir / ADMIN_SOCKET).stat().st_mode) == 0o600
        answer = await ask_daemon(state_dir, "GET", "/status")
        assert answer is not None
        assert answer.status == 200
        assert isinstance(answer.json, dict)
        assert answer.json["sessions"] == {"live": 1, "ended": 0}
        assert answer.json["gateway_url"] == world.facts.gateway_url
        assert answer.json["store"]["path"] == str(state_dir / "wormkeyd.sqlite3")


async def test_nothing_of_it_is_reached_by_tcp() -> None:
    """The control plane and the gateway know no such paths."""
    async with daemon() as (world, _):
        assert (await world.call("GET", "/status"))[0] == 404
        body = {"name": "a", "close": True}
        for path in ("/tokens/add", "/tokens/revoke"):
            assert (await world.call("POST", path, body=body))[0] == 404
        assert (await world.exchange(b"/status", authority=world.base)).status == 404


async def test_nothing_of_the_api_is_served_there() -> None:
    """Another app: what the control plane checks cannot be got around here."""
    async with daemon() as (_, state_dir):
        answer = await ask_daemon(state_dir, "POST", "/sessions", {"port": 1})
        assert answer is not None
        assert (answer.status, answer.code) == (404, "not_found")


async def test_a_daemon_without_a_state_folder_has_no_socket() -> None:
    """--store memory leaves nothing behind."""
    async with open_world(client=False) as world:
        assert not (world.node.settings.state_dir / ADMIN_SOCKET).exists()


async def test_a_token_is_made_once_and_traced() -> None:
    """Its text is told this once and works; a name that is in use or odd is refused."""
    async with daemon(client=False) as (world, state_dir):
        answer = await ask_daemon(state_dir, "POST", "/tokens/add", {"name": "laptop"})
        assert answer is not None
        assert answer.status == 200
        assert await world.node.access.check(answer.text("token").encode()) == "laptop"
        (trace, *_) = await world.node.access.store.read_audit(1)
        assert (trace.event.value, trace.actor) == ("token.created", "operator")
        for name in ("laptop", "a b", 7, None):
            answer = await ask_daemon(state_dir, "POST", "/tokens/add", {"name": name})
            assert answer is not None
            assert (answer.status, answer.code) == (400, "bad_request")
        assert len(await world.node.access.store.list_access_tokens()) == 1


async def test_revoking_with_close_ends_the_tunnels_of_that_token_at_once() -> None:
    """The client is told SESSION_CLOSED, viewers get 410; sessions of others live on."""
    async with daemon() as (world, state_dir):
        await add_token(world, "laptop", "theirs")
        own = world.node.routes.find(world.slug)
        assert own is not None
        _give(own, "token:laptop")
        _, other = await world.call("POST", "/sessions", body={"port": 1, "name": "other"})
        assert world.client is not None
        await world.client.wait(Connected)
        assert await revoke(state_dir, "laptop", close=True) == (
            200,
            {"revoked": True, "closed": 2},
        )
        await world.client.ended.wait()
        answer = await world.exchange()
        assert (answer.status, answer.error) == (410, b"session_closed")
        assert world.node.routes.find(other["slug"]).ended is False  # type: ignore[union-attr]
        stored = await world.node.access.store.load_sessions()
        assert {each.slug for each in stored if each.closed_at} == {world.slug, "theirs"}
        assert await world.node.access.check(b"laptop") is None


async def test_revoking_without_close_leaves_the_sessions() -> None:
    """The token creates nothing more; what it made runs to its own end."""
    async with daemon() as (world, state_dir):
        await add_token(world, "laptop", "theirs")
        assert await revoke(state_dir, "laptop") == (200, {"revoked": True, "closed": 0})
        assert world.node.routes.find("theirs").ended is False  # type: ignore[union-attr]
        assert await revoke(state_dir, "laptop") == (200, {"revoked": False, "closed": 0})


@pytest.mark.parametrize(("name", "close"), [(None, True), (7, False), ("a", "yes"), ("a", 1)])
async def test_a_wish_of_wrong_types_is_400(name: object, close: object) -> None:
    """Nothing is revoked by a slip."""
    async with daemon(client=False) as (_, state_dir):
        status, error = await revoke(state_dir, name, close=close)
        assert (status, error["code"]) == (400, "bad_request")


async def test_a_store_that_fails_is_503(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command says so and the daemon serves on."""

    async def fail(*_args: object, **_kwargs: object) -> None:
        raise StoreError("/secret/path: the disk is full")

    async with daemon() as (world, state_dir):
        monkeypatch.setattr(SqliteStore, "revoke_access_token", fail)
        status, error = await revoke(state_dir, "laptop")
        assert (status, error["code"]) == (503, "store_failed")
        assert (await world.exchange()).data == b"hello"
