"""The store: one suite for every backend, and the private files beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from attrs import evolve

from tests.support.stored import HOUR, NOW, session, trace, usage
from wormkey.rules import Policy
from wormkey.store import Batch, SlugTakenError, Store, TokenNameTakenError, write_private
from wormkey.store.memory import MemoryStore
from wormkey.store.sqlite import open_sqlite
from wormkey.usage import Usage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """Give each backend, empty."""
    made: Store = MemoryStore()
    if request.param == "sqlite":
        made = await open_sqlite(tmp_path / "state" / "store.sqlite3")
    yield made
    await made.aclose()


# ── what every backend does ─────────────────────────────────────────────────────────────────


async def test_sessions_come_back_whole(store: Store) -> None:
    """Every member survives the way in and out, to the microsecond."""
    sessions = [session(1), session(2, closed_at=NOW, username=None, password_hash=None)]
    for each in sessions:
        await store.put_session(each)
    assert sorted(await store.load_sessions(), key=lambda each: each.slug) == sessions


async def test_put_replaces_the_session_of_its_id(store: Store) -> None:
    """A changed session is stored in place."""
    await store.put_session(session(1))
    changed = evolve(
        session(1),
        policy=Policy(),
        password_hash="sha256$y",
        owner_token_digest=b"o",
        kicked=("v",),
    )
    await store.put_session(changed)
    assert list(await store.load_sessions()) == [changed]


async def test_put_never_reopens_a_session(store: Store) -> None:
    """A change that was on its way while the session closed does not bring it back."""
    await store.put_session(session(1))
    await store.close_session("id-1", NOW)
    await store.put_session(session(1, policy=Policy()))
    assert list(await store.load_sessions()) == [session(1, policy=Policy(), closed_at=NOW)]


async def test_slug_has_one_holder(store: Store) -> None:
    """A second session of the same slug is refused and nothing changes."""
    await store.put_session(session(1))
    with pytest.raises(SlugTakenError):
        await store.put_session(session(2, slug="slug-1"))
    assert list(await store.load_sessions()) == [session(1)]


async def test_slug_is_handed_over_in_one_step(store: Store) -> None:
    """A session takes the slug of the one it replaces, which is gone."""
    await store.put_session(session(1, closed_at=NOW))
    successor = session(2, slug="slug-1")
    await store.put_session(successor, replacing="id-1")
    assert list(await store.load_sessions()) == [successor]


async def test_only_the_first_successor_gets_the_slug(store: Store) -> None:
    """Two who saw the same ended session do not both replace it."""
    await store.put_session(session(1, closed_at=NOW))
    await store.put_session(session(2, slug="slug-1"), replacing="id-1")
    with pytest.raises(SlugTakenError):
        await store.put_session(session(3, slug="slug-1"), replacing="id-1")
    assert [each.session_id for each in await store.load_sessions()] == ["id-2"]


async def test_first_closing_counts(store: Store) -> None:
    """Closing again, or closing what is not there, changes nothing."""
    await store.put_session(session(1))
    await store.close_session("id-1", NOW)
    await store.close_session("id-1", NOW + HOUR)
    await store.close_session("nobody", NOW)
    assert [each.closed_at for each in await store.load_sessions()] == [NOW]


async def test_ended_sessions_are_deleted_by_their_true_end(store: Store) -> None:
    """Closed or expired before the line: gone, and the slug is free; others stay."""
    await store.put_session(session(1, closed_at=NOW))
    await store.put_session(session(2, expires_at=NOW + 1 * HOUR))
    await store.put_session(session(3, expires_at=NOW + 9 * HOUR, closed_at=NOW + 3 * HOUR))
    await store.put_session(session(4, expires_at=NOW + 9 * HOUR))
    assert await store.delete_ended(NOW) == 0
    assert await store.delete_ended(NOW + 2 * HOUR) == 2
    assert sorted(each.session_id for each in await store.load_sessions()) == ["id-3", "id-4"]
    await store.put_session(session(5, slug="slug-1"))


async def test_access_tokens_live_until_revoked(store: Store) -> None:
    """Tokens are found by digest, listed without it, and gone once revoked."""
    await store.add_access_token("laptop", b"L" * 32, NOW + HOUR)
    await store.add_access_token("ci", b"C" * 32, NOW)
    await store.write_behind(Batch(token_uses={b"L" * 32: NOW + 2 * HOUR}))
    assert [(each.name, each.last_used_at) for each in await store.list_access_tokens()] == [
        ("ci", None),
        ("laptop", NOW + 2 * HOUR),
    ]
    assert await store.find_access_token(b"L" * 32) == "laptop"
    assert await store.find_access_token(b"?" * 32) is None
    assert await store.find_access_token(b"") is None
    assert await store.revoke_access_token("laptop")
    assert not await store.revoke_access_token("laptop")
    assert await store.find_access_token(b"L" * 32) is None


async def test_token_names_are_unique(store: Store) -> None:
    """A name in use is refused; the token that has it stays."""
    await store.add_access_token("laptop", b"L" * 32, NOW)
    with pytest.raises(TokenNameTakenError):
        await store.add_access_token("laptop", b"M" * 32, NOW)
    assert await store.find_access_token(b"M" * 32) is None
    assert await store.find_access_token(b"L" * 32) == "laptop"


async def test_store_closes_twice(store: Store) -> None:
    """Closing is idempotent."""
    await store.aclose()
    await store.aclose()


# ── the audit trail ─────────────────────────────────────────────────────────────────────────


async def test_traces_come_back_whole_and_newest_first(store: Store) -> None:
    """Every member survives; a limit keeps the newest."""
    bare = trace(2, address=None, session_id=None, slug=None, detail={})
    await store.write_behind(Batch(audit=[trace(1), bare]))
    await store.write_behind(Batch(audit=[trace(3)]))
    assert list(await store.read_audit(10)) == [trace(3), bare, trace(1)]
    assert list(await store.read_audit(2)) == [trace(3), bare]


async def test_what_is_done_leaves_its_trace(store: Store) -> None:
    """Each change of sessions and tokens takes its trace with it."""
    await store.put_session(session(1), audit=trace(1))
    await store.close_session("id-1", NOW, audit=trace(2))
    await store.add_access_token("laptop", b"L" * 32, NOW, audit=trace(3))
    await store.revoke_access_token("laptop", audit=trace(4))
    assert list(await store.read_audit(10)) == [trace(number) for number in (4, 3, 2, 1)]


async def test_what_is_not_done_leaves_none(store: Store) -> None:
    """A refusal, or a change of nothing, cannot be read as having happened."""
    await store.put_session(session(1))
    with pytest.raises(SlugTakenError):
        await store.put_session(session(2, slug="slug-1"), audit=trace(1))
    await store.close_session("id-1", NOW)
    await store.close_session("id-1", NOW, audit=trace(2))
    await store.close_session("nobody", NOW, audit=trace(2))
    await store.add_access_token("laptop", b"L" * 32, NOW)
    with pytest.raises(TokenNameTakenError):
        await store.add_access_token("laptop", b"M" * 32, NOW, audit=trace(3))
    assert not await store.revoke_access_token("nobody", audit=trace(4))
    assert list(await store.read_audit(10)) == []


async def test_trail_is_trimmed_to_the_newest(store: Store) -> None:
    """The oldest go; trimming to more than there is does nothing."""
    await store.write_behind(Batch(audit=[trace(number) for number in range(5)]))
    await store.trim_audit(5)
    assert len(await store.read_audit(10)) == 5
    await store.trim_audit(2)
    assert list(await store.read_audit(10)) == [trace(4), trace(3)]
    await store.trim_audit(0)
    assert list(await store.read_audit(10)) == []


async def test_sessions_of_a_principal_are_closed_together(store: Store) -> None:
    """Its live sessions close, each with a trace of its own; others' and ended ones stay."""
    await store.put_session(session(1))
    await store.put_session(session(2))
    await store.put_session(session(3, created_by="token:other"))
    await store.put_session(session(4, closed_at=NOW - HOUR))
    await store.put_session(session(5, expires_at=NOW))
    closed = await store.close_sessions_of("token:laptop", NOW, audit=trace(9))
    assert sorted(closed) == ["id-1", "id-2"]
    ends = {each.session_id: each.closed_at for each in await store.load_sessions()}
    assert ends == {"id-1": NOW, "id-2": NOW, "id-3": None, "id-4": NOW - HOUR, "id-5": None}
    left = {evolve(trace(9), session_id=f"id-{n}", slug=f"slug-{n}").line() for n in (1, 2)}
    assert {record.line() for record in await store.read_audit(10)} == left
    assert list(await store.close_sessions_of("token:laptop", NOW)) == []


# ── what is written behind ──────────────────────────────────────────────────────────────────


async def test_usage_is_replaced_and_goes_with_its_session(store: Store) -> None:
    """The newest sums count, changes of the session keep them, its deletion takes them along."""
    await store.put_session(session(1))
    await store.put_session(session(2))
    await store.write_behind(Batch(usage={"id-1": usage(1), "nobody": usage(9)}))
    await store.write_behind(Batch(usage={"id-1": usage(2)}))
    await store.put_session(session(1, policy=Policy()))
    assert await store.load_usage() == {"id-1": usage(2), "id-2": Usage()}
    await store.put_session(session(1, closed_at=NOW))
    await store.put_session(session(3, slug="slug-1"), replacing="id-1")
    assert await store.load_usage() == {"id-2": Usage(), "id-3": Usage()}
    await store.delete_ended(NOW + 2 * HOUR)
    assert await store.load_usage() == {}


async def test_token_uses_are_written_behind(store: Store) -> None:
    """The last use comes with the batch; a token revoked meanwhile is passed over."""
    await store.add_access_token("laptop", b"L" * 32, NOW)
    await store.write_behind(Batch(token_uses={b"L" * 32: NOW + HOUR, b"?" * 32: NOW}))
    assert [each.last_used_at for each in await store.list_access_tokens()] == [NOW + HOUR]


# ── private files ───────────────────────────────────────────────────────────────────────────


def test_private_file_is_replaced_whole(tmp_path: Path) -> None:
    """The file is 0600 whatever it was before, and nothing else is left in the folder."""
    path = tmp_path / "new" / "token"
    write_private(path, "one\n")
    path.chmod(0o644)
    write_private(path, "two\n")
    assert path.read_text() == "two\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert list(path.parent.iterdir()) == [path]


def test_failed_private_write_leaves_the_old_file(tmp_path: Path) -> None:
    """A target that cannot be replaced leaves no temporary file behind."""
    path = tmp_path / "token"
    path.mkdir()
    with pytest.raises(OSError, match="token"):
        write_private(path, "x")
    assert list(tmp_path.iterdir()) == [path]
