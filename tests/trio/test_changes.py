"""An owner's changes: policy, password, removed viewers, pause; each durable and traced."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import trio
from attrs import evolve

from tests.support.sessions import HOUR_S, OWNER, Daemon, refusal
from wormkey import changes
from wormkey.audit import OPERATOR, AuditEvent
from wormkey.config import Settings
from wormkey.errors import AdmissionError, ErrorCode, StoreError
from wormkey.policy import Facts, verify_password
from wormkey.store.memory import MemoryStore
from wormkey.viewers import ViewerIds
from wormkey.wishes import PolicyChange

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from pathlib import Path

    from wormkey.session import Session


@pytest.fixture
def daemon(tmp_path: Path) -> Daemon:
    """Give an empty daemon in token mode."""
    return Daemon(Settings(state_dir=tmp_path / "state", access="token"))


def current(daemon: Daemon, session: Session) -> Session:
    """Return the session as viewers find it."""
    entry = daemon.routes.find(session.slug)
    assert entry is not None
    return entry.session


async def change(daemon: Daemon, session: Session, **members: object) -> Session:
    """Change the session's policy as its owner."""
    wish = PolicyChange.from_json(members)
    return await daemon.changes.change_policy(session, wish, OWNER)


async def test_a_policy_change_is_seen_at_once_and_survives(daemon: Daemon) -> None:
    """The next viewer meets it, and so does one after a restart."""
    made = await daemon.create()
    changed = await change(daemon, made.session, public=False, blockPaths=["/admin"])
    assert (changed.policy.public, changed.policy.block_paths) == (False, ("/admin",))
    assert current(daemon, made.session) == changed
    assert current(await daemon.restart(), made.session) == changed


async def test_a_password_is_set_changed_and_taken_away(daemon: Daemon) -> None:
    """The old one opens nothing from the moment of the change; it is stored as a slow hash."""
    made = await daemon.create()
    first = await change(daemon, made.session, password="first")
    assert first.gate_hash is not None
    assert verify_password(b"first", first.gate_hash)
    second = await change(daemon, made.session, password="second")
    assert second.gate_hash is not None
    assert not verify_password(b"first", second.gate_hash)
    assert verify_password(b"second", second.gate_hash)
    kept = await change(daemon, made.session, public=True)
    assert kept.gate_hash == second.gate_hash
    bare = await change(daemon, made.session, password=None)
    assert bare.gate_hash is None
    assert "second" not in repr(await daemon.store.load_sessions())


def watched(daemon: Daemon, session: Session, name: str, **facts: Any) -> list[str]:
    """Open an exchange that was admitted for these facts; the list tells whether it was cut."""
    entry = daemon.routes.find(session.slug)
    assert entry is not None
    ended: list[str] = []
    viewer = entry.crowd.enter(session.policy, ViewerIds(name, "A"), 0.0, owner=False)
    entry.crowd.begin(viewer, Facts(**{"target": b"/"} | facts), lambda: ended.append(name))
    return ended


async def test_a_change_ends_what_it_shuts_out(daemon: Daemon) -> None:
    """Open pages and sockets too, at once; those that are still admitted go on."""
    made = await daemon.create()
    page = watched(daemon, made.session, "page")
    admin = watched(daemon, made.session, "admin", target=b"/admin/x")
    owner = watched(daemon, made.session, "owner", owner=True)
    await change(daemon, made.session, blockPaths=["/admin"])
    assert (page, admin, owner) == ([], ["admin"], [])
    await change(daemon, made.session, maxConcurrentViewers=1)
    assert page == []
    await change(daemon, made.session, public=False)
    assert (page, owner) == (["page"], [])


async def test_a_new_password_ends_what_the_old_one_opened(daemon: Daemon) -> None:
    """Whoever knew the old one shows the new one first; the owner need not."""
    made = await daemon.create()
    await change(daemon, made.session, password="old")
    page = watched(daemon, made.session, "page", knows_password=True)
    owner = watched(daemon, made.session, "owner", owner=True)
    await change(daemon, made.session, public=True)
    assert page == []
    await change(daemon, made.session, password="new")
    assert (page, owner) == (["page"], [])


async def test_a_kick_takes_the_cookie_and_the_address(daemon: Daemon) -> None:
    """What he has open ends, and he does not come back without his cookie."""
    made = await daemon.create()
    page = watched(daemon, made.session, "v1")
    kicked = await daemon.changes.kick(made.session, ["v1"], OWNER)
    assert page == ["v1"]
    assert kicked.kicked == ("v1", "A")
    for each in (daemon, await daemon.restart()):
        entry = each.routes.find(made.session.slug)
        assert entry is not None
        for ids in (ViewerIds("v1", "B"), ViewerIds(None, "A")):
            with pytest.raises(AdmissionError) as caught:
                entry.crowd.enter(kicked.policy, ids, 0.0, owner=False)
            assert caught.value.code == "removed"
        assert entry.crowd.enter(kicked.policy, ViewerIds("v2", "A"), 0.0, owner=False)


async def test_a_pause_survives_a_restart(daemon: Daemon) -> None:
    """Until the owner resumes."""
    made = await daemon.create()
    await daemon.changes.pause(made.session, OWNER, paused=True)
    again = await daemon.restart()
    for each in (daemon, again):
        entry = each.routes.find(made.session.slug)
        assert entry is not None
        assert entry.paused
    await again.changes.pause(made.session, OWNER, paused=False)
    assert not current(await again.restart(), made.session).paused


async def test_two_changes_at_once_lose_nothing(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each starts from what the other wrote, however slow the store is."""
    made = await daemon.create()
    put = MemoryStore.put_session

    async def slow(self: MemoryStore, session: Session, **how: Any) -> None:
        await trio.testing.wait_all_tasks_blocked()
        await put(self, session, **how)

    monkeypatch.setattr(MemoryStore, "put_session", slow)
    async with trio.open_nursery() as nursery:
        for members in ({"public": False}, {"blockPaths": ["/a"]}, {"maxConcurrentViewers": 7}):
            nursery.start_soon(lambda members=members: change(daemon, made.session, **members))
        nursery.start_soon(daemon.changes.kick, made.session, ["v1"], OWNER)
    result = current(daemon, made.session)
    assert not result.policy.public
    assert result.policy.block_paths == ("/a",)
    assert result.policy.max_concurrent_viewers == 7
    assert result.kicked == ("v1",)


async def test_a_session_that_closes_during_a_change_stays_closed(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The change does not bring it back, here or after a restart."""
    made = await daemon.create()
    put = MemoryStore.put_session

    async def closed_meanwhile(self: MemoryStore, session: Session, **how: Any) -> None:
        await daemon.registry.close(made.session, OWNER)
        await put(self, session, **how)

    monkeypatch.setattr(MemoryStore, "put_session", closed_meanwhile)
    await change(daemon, made.session, public=False)
    for each in (daemon, await daemon.restart()):
        entry = each.routes.find(made.session.slug)
        assert entry is not None
        assert entry.ended
        assert entry.session.closed_at is not None


async def test_a_kick_is_remembered_once_and_survives(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice is once; beyond the bound the one removed first is forgotten."""
    monkeypatch.setattr(changes, "MAX_KICKED", 2)
    made = await daemon.create()
    for viewer in ("a", "b", "a", "c"):
        await daemon.changes.kick(made.session, [viewer], OWNER)
    assert current(daemon, made.session).kicked == ("a", "c")
    assert current(await daemon.restart(), made.session).kicked == ("a", "c")


@pytest.mark.parametrize("ending", ["closed", "expired"])
async def test_a_session_that_is_over_takes_no_change(daemon: Daemon, ending: str) -> None:
    """410, and nothing is written."""
    made = await daemon.create()
    if ending == "closed":
        await daemon.registry.close(made.session, OWNER)
    else:
        daemon.clock.pass_s(HOUR_S)
    before = await daemon.store.load_sessions()
    calls: list[Awaitable[Session]] = [
        change(daemon, made.session, public=False),
        daemon.changes.kick(made.session, ["a"], OWNER),
    ]
    for call in calls:
        with pytest.raises(AdmissionError) as caught:
            await call
        assert (caught.value.status, caught.value.code) == (410, f"session_{ending}")
    assert await daemon.store.load_sessions() == before


async def test_a_store_that_fails_changes_nothing(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was not written is not in force."""
    made = await daemon.create()

    async def fail(*_args: object, **_how: object) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(MemoryStore, "put_session", fail)
    with pytest.raises(StoreError):
        await change(daemon, made.session, public=False)
    with pytest.raises(StoreError):
        await daemon.changes.kick(made.session, ["a"], OWNER)
    assert current(daemon, made.session) == made.session


async def test_a_principals_sessions_end_together_and_alone(daemon: Daemon) -> None:
    """Those of the revoked token close with their tunnels; others live on."""
    mine = [await daemon.create("token:a") for _ in range(3)]
    other = await daemon.create("token:b")
    upstream = daemon.attach(mine[0].session)
    assert await daemon.registry.close_created_by("token:a", OPERATOR) == 3
    assert upstream.closed is ErrorCode.SESSION_CLOSED
    for made in mine:
        token = made.session_token.encode()
        assert refusal(daemon.registry.authenticate_tunnel, token) == (410, "session_closed")
    assert daemon.registry.authenticate_tunnel(other.session_token.encode()) == other.session


async def test_every_act_leaves_a_trace_without_secrets(daemon: Daemon) -> None:
    """Who, from where, which session, with which token's name; in the store with the act."""
    published: list[AuditEvent] = []
    daemon.registry.trail.publish = lambda record: published.append(record.event)
    behind: list[AuditEvent] = []
    daemon.registry.trail.behind = lambda record: behind.append(record.event)
    made = await daemon.create("token:laptop", auth_mode="basic", username="worm")
    brief = await daemon.create("token:laptop", expires_in_s=1)
    await change(daemon, made.session, password="open sesame")
    await daemon.changes.kick(made.session, ["v1"], OWNER)
    await daemon.registry.close(made.session, OWNER)
    daemon.registry.expire(daemon.clock.pass_s(2))
    access = await daemon.access.add("ci")
    assert await daemon.access.revoke("ci")
    assert not await daemon.access.revoke("ci")
    records = list(reversed(await daemon.store.read_audit(100)))
    assert [(record.event.value, record.actor, record.slug) for record in records] == [
        ("session.created", "token:laptop", made.session.slug),
        ("session.created", "token:laptop", brief.session.slug),
        ("policy.changed", "owner", made.session.slug),
        ("viewer.kicked", "owner", made.session.slug),
        ("session.closed", "owner", made.session.slug),
        ("token.created", "operator", None),
        ("token.revoked", "operator", None),
    ]
    assert records[2].address == OWNER.address
    assert records[3].detail["viewers"] == "v1"
    assert records[5].detail["token_name"] == "ci"
    assert published == [record.event for record in records]
    assert behind == [AuditEvent.SESSION_EXPIRED]
    text = json.dumps([record.as_json() for record in records])
    secrets = [made.session_token, made.owner_token, made.password, "open sesame", access]
    assert not any(secret and secret in text for secret in secrets)


async def test_what_another_process_changed_is_taken_up(daemon: Daemon) -> None:
    """A kick, new rules and a closing that only the store knows of are in force here as well."""
    made, ended = await daemon.create(), await daemon.create()
    entry = daemon.registry.live(made.session)
    viewer = entry.crowd.enter(
        entry.session.policy, ViewerIds(None, "address"), trio.current_time(), owner=False
    )
    cut: list[str] = []
    facts = Facts(target=b"/", method=b"GET", address="192.0.2.1")
    entry.crowd.begin(viewer, facts, lambda: cut.append("cut"))
    rules = evolve(made.session.policy, public=False)
    await daemon.store.put_session(evolve(made.session, policy=rules, kicked=("somebody",)))
    await daemon.store.close_session(ended.session.session_id, daemon.registry.now())
    await daemon.changes.refresh({made.session.session_id, ended.session.session_id, "unknown"})
    assert current(daemon, made.session).policy == rules
    assert cut == ["cut"]
    with pytest.raises(AdmissionError, match="ended your visit"):
        entry.crowd.enter(rules, ViewerIds(None, "somebody"), trio.current_time(), owner=False)
    with pytest.raises(AdmissionError) as caught:
        daemon.registry.live(ended.session)
    assert caught.value.status == 410
