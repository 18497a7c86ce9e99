"""Routes: who serves a slug, who waits for it, and how long an end is remembered."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import trio
import trio.testing
from attrs import evolve

from tests.support.sessions import FakeUpstream
from wormkey.routes.local import LocalRoutes
from wormkey.session import Session

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def session(slug: str = "demo", number: int = 1) -> Session:
    """Return a live session."""
    return Session(
        session_id=f"{slug}-{number}",
        slug=slug,
        created_at=NOW,
        expires_at=NOW + timedelta(hours=1),
        session_token_digest=b"",
        owner_token_digest=b"",
    )


def test_added_sessions_are_found_by_slug_and_id() -> None:
    """Both keys lead to the same entry, other keys to none."""
    routes = LocalRoutes()
    entry = routes.add(session())
    assert routes.find("demo") is entry
    assert routes.find_id("demo-1") is entry
    assert routes.find("other") is None
    assert routes.find_id("demo") is None
    assert len(routes) == 1
    assert list(routes.entries()) == [entry]


def test_live_slug_is_not_given_twice() -> None:
    """Adding a second live session of a slug is a bug that does no harm."""
    routes = LocalRoutes()
    entry = routes.add(session())
    with pytest.raises(ValueError, match="demo"):
        routes.add(session(number=2))
    assert routes.find("demo") is entry


def test_newer_tunnel_replaces_the_older() -> None:
    """The old one is returned to be closed, and its later detaching changes nothing."""
    routes = LocalRoutes()
    entry = routes.add(session())
    old, new = FakeUpstream(), FakeUpstream()
    assert routes.attach("demo", old) is None
    assert routes.attach("demo", new) is old
    assert not routes.detach("demo", old)
    assert entry.upstream is new
    assert routes.detach("demo", new)
    assert entry.upstream is None
    assert not routes.detach("other", new)


def test_unknown_or_ended_slug_takes_no_tunnel() -> None:
    """A tunnel that comes late finds no place."""
    routes = LocalRoutes()
    routes.add_ended(session())
    for slug in ("demo", "other"):
        with pytest.raises(KeyError):
            routes.attach(slug, FakeUpstream())


def test_an_entry_counts_its_tunnels() -> None:
    """A second one is a client that came back, or one that took over."""
    routes = LocalRoutes()
    entry = routes.add(session())
    assert entry.tunnels == 0
    tunnel = FakeUpstream()
    routes.attach("demo", tunnel)
    routes.detach("demo", tunnel)
    assert entry.tunnels == 1
    routes.attach("demo", FakeUpstream())
    assert entry.tunnels == 2


def test_pause_is_the_tunnels() -> None:
    """An entry is paused exactly while its present tunnel says so."""
    routes = LocalRoutes()
    entry = routes.add(session())
    assert not entry.paused
    routes.attach("demo", FakeUpstream(paused=True))
    assert entry.paused
    routes.attach("demo", FakeUpstream())
    assert not entry.paused


async def test_present_tunnel_is_returned_at_once() -> None:
    """No wait where none is needed."""
    routes = LocalRoutes()
    entry = routes.add(session())
    tunnel = FakeUpstream()
    routes.attach("demo", tunnel)
    assert await entry.wait_upstream(0) is tunnel


async def test_waiters_get_the_tunnel_that_comes(autojump_clock: trio.testing.MockClock) -> None:
    """All who wait are woken together, and counted while they wait."""
    routes = LocalRoutes()
    entry = routes.add(session())
    tunnel = FakeUpstream()
    got: list[object] = []

    async def wait() -> None:
        got.append(await entry.wait_upstream(15))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        assert entry.waiting == 3
        await trio.sleep(14)
        routes.attach("demo", tunnel)
    assert got == [tunnel] * 3
    assert entry.waiting == 0
    assert trio.current_time() < 15


async def test_wait_ends_in_time(autojump_clock: trio.testing.MockClock) -> None:
    """Nobody comes: None after the time given; at once for zero."""
    entry = LocalRoutes().add(session())
    start = trio.current_time()
    assert await entry.wait_upstream(0) is None
    assert trio.current_time() == start
    assert await entry.wait_upstream(15) is None
    assert trio.current_time() == start + 15
    assert entry.waiting == 0


async def test_waiter_goes_on_when_the_tunnel_is_gone_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A tunnel that came and went within a moment is not handed out."""
    routes = LocalRoutes()
    entry = routes.add(session())
    brief, lasting = FakeUpstream(), FakeUpstream()
    got: list[object] = []

    async def wait() -> None:
        got.append(await entry.wait_upstream(15))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        routes.attach("demo", brief)
        routes.detach("demo", brief)
        await trio.testing.wait_all_tasks_blocked()
        assert got == []
        routes.attach("demo", lasting)
    assert got == [lasting]


async def test_end_wakes_waiters_with_nothing(autojump_clock: trio.testing.MockClock) -> None:
    """A session that ends lets its waiters go at once."""
    routes = LocalRoutes()
    entry = routes.add(session())
    got: list[object] = []

    async def wait() -> None:
        got.append(await entry.wait_upstream(15))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        routes.end(entry.session)
    assert got == [None]
    assert trio.current_time() < 15


async def test_cancelled_waiter_is_not_counted() -> None:
    """A viewer who leaves gives his place back."""
    entry = LocalRoutes().add(session())
    with trio.CancelScope() as scope:
        scope.cancel()
        await entry.wait_upstream(15)
    assert entry.waiting == 0


def test_ended_session_leaves_a_tombstone() -> None:
    """The entry stays to be found, ended and without tunnel, which is returned once."""
    routes = LocalRoutes()
    entry = routes.add(session())
    tunnel = FakeUpstream()
    routes.attach("demo", tunnel)
    closed = evolve(entry.session, closed_at=NOW)
    assert routes.end(closed) is tunnel
    assert routes.end(closed) is None
    assert routes.find("demo") is entry
    assert (entry.ended, entry.upstream, entry.session) == (True, None, closed)
    assert len(routes) == 0
    assert list(routes.entries()) == []
    assert list(routes.ended_entries()) == [entry]


def test_ended_slug_can_be_added_again() -> None:
    """The new session is found, the old one's id is not."""
    routes = LocalRoutes()
    routes.add_ended(session())
    entry = routes.add(session(number=2))
    assert routes.find("demo") is entry
    assert routes.find_id("demo-1") is None
    assert list(routes.ended_entries()) == []


def test_tombstones_are_bounded() -> None:
    """Beyond the bound the oldest end is forgotten; live sessions never are."""
    routes = LocalRoutes(max_ended=2)
    live = routes.add(session("live"))
    for slug in ("one", "two", "three"):
        routes.add_ended(session(slug))
    assert routes.find("one") is None
    assert routes.find_id("one-1") is None
    assert routes.find("two") is not None
    assert routes.find("live") is live


def test_removed_slug_is_unknown() -> None:
    """Removing forgets both keys; an unknown slug is no error."""
    routes = LocalRoutes()
    routes.add(session())
    routes.remove("demo")
    routes.remove("demo")
    assert routes.find("demo") is None
    assert routes.find_id("demo-1") is None
    assert routes.end(session()) is None
