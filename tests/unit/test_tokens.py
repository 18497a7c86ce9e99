"""wormkeyd token revoke while no daemon runs: the store is all there is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import trio

from wormkey.daemon import run
from wormkey.session import Session, digest_of
from wormkey.statefolder import STORE_FILE
from wormkey.store.sqlite import open_sqlite

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

NOW = datetime.now(UTC)


def session(name: str, created_by: str, *, hours: int = 1) -> Session:
    """Return a session that ends in so many hours."""
    return Session(
        session_id=name,
        slug=name,
        created_at=NOW - timedelta(days=1),
        expires_at=NOW + timedelta(hours=hours),
        session_token_digest=digest_of(b"a"),
        owner_token_digest=digest_of(b"b"),
        created_by=created_by,
    )


async def put(path: Path, *sessions: Session) -> None:
    """Store the sessions."""
    store = await open_sqlite(path)
    for each in sessions:
        await store.put_session(each)
    await store.aclose()


async def closed_in(path: Path) -> list[str]:
    """The slugs of the sessions that were closed."""
    store = await open_sqlite(path)
    sessions = await store.load_sessions()
    await store.aclose()
    return sorted(each.slug for each in sessions if each.closed_at is not None)


def test_close_ends_the_live_sessions_of_that_token_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The next start finds them closed; others, and those over already, are left alone."""
    path, state = tmp_path / STORE_FILE, ("--state-dir", str(tmp_path))
    assert run(["token", "add", "laptop", *state]) == 0
    theirs = [session("one", "token:laptop"), session("two", "token:laptop")]
    others = [session("other", "token:laptop2"), session("old", "token:laptop", hours=-1)]
    trio.run(put, path, *theirs, *others)
    capsys.readouterr()
    assert run(["token", "revoke", "laptop", "--close", *state]) == 0
    assert capsys.readouterr().out == "revoked laptop, closed 2 sessions\n"
    assert trio.run(closed_in, path) == ["one", "two"]


def test_sessions_can_be_closed_after_their_token_was_revoked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who forgot --close the first time says it the second time; the third has nothing to do."""
    path, state = tmp_path / STORE_FILE, ("--state-dir", str(tmp_path))
    assert run(["token", "add", "laptop", *state]) == 0
    trio.run(put, path, session("one", "token:laptop"))
    assert run(["token", "revoke", "laptop", *state]) == 0
    assert trio.run(closed_in, path) == []
    capsys.readouterr()
    assert run(["token", "revoke", "laptop", "--close", *state]) == 0
    assert capsys.readouterr().out == "laptop was revoked before, closed 1 session\n"
    assert run(["token", "revoke", "laptop", "--close", *state]) == 1
