"""Access tokens: made, shown once, checked by their whole text, revoked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.sessions import START, Daemon
from wormkey.access import LOCAL_TOKEN_FILE, TAKEN_TOKEN_FILE, new_token
from wormkey.config import Settings
from wormkey.errors import ConfigError, StoreError
from wormkey.store.memory import MemoryStore

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def daemon(tmp_path: Path) -> Daemon:
    """Give an empty daemon in token mode."""
    return Daemon(Settings(state_dir=tmp_path / "state", access="token"))


async def test_access_token_is_checked_by_its_whole_text(daemon: Daemon) -> None:
    """Right until revoked; missing, empty, cut and unknown ones are refused."""
    token = (await daemon.access.add("laptop")).encode()
    daemon.clock.pass_s(5)
    assert await daemon.access.check(token) == "laptop"
    await daemon.journal.flush()
    (known,) = await daemon.store.list_access_tokens()
    assert (known.created_at, known.last_used_at) == (START, daemon.clock())
    for wrong in (None, b"", token[:-1], token + b"x", b"laptop", b"null"):
        assert await daemon.access.check(wrong) is None
    await daemon.store.revoke_access_token("laptop")
    assert await daemon.access.check(token) is None


async def test_check_waits_for_no_write(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk does not lock the operator out."""
    token = (await daemon.access.add("laptop")).encode()

    async def fail(*_args: object) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(MemoryStore, "write_behind", fail)
    assert await daemon.access.check(token) == "laptop"
    await daemon.journal.flush()
    assert await daemon.access.check(token) == "laptop"


@pytest.mark.parametrize("name", ["", "-a", "a b", "a\n", "x" * 65, "ä"])
async def test_odd_token_names_are_refused(daemon: Daemon, name: str) -> None:
    """Names go into lists and logs: plain characters only."""
    with pytest.raises(ConfigError, match="token name"):
        await daemon.access.add(name)


async def test_token_names_are_not_reused(daemon: Daemon) -> None:
    """One clear sentence, and the first token still works."""
    token = (await daemon.access.add("laptop")).encode()
    with pytest.raises(ConfigError, match="laptop"):
        await daemon.access.add("laptop")
    assert await daemon.access.check(token) == "laptop"


async def test_first_start_in_token_mode_makes_one_token(daemon: Daemon) -> None:
    """It works, lies in a private file for the same user, and is made once."""
    token = await daemon.access.ensure_first()
    assert token is not None
    assert await daemon.access.check(token.encode()) == "first"
    path = daemon.settings.state_dir / LOCAL_TOKEN_FILE
    assert path.read_text().strip() == token
    assert path.stat().st_mode & 0o777 == 0o600
    assert await daemon.access.ensure_first() is None


async def test_open_mode_makes_no_token(tmp_path: Path) -> None:
    """Nothing to do, nothing written."""
    daemon = Daemon(Settings(state_dir=tmp_path / "state", access="open"))
    assert await daemon.access.ensure_first() is None
    assert not (tmp_path / "state").exists()


async def test_first_token_that_cannot_be_written_is_not_kept(tmp_path: Path) -> None:
    """The next start makes it anew; the sentence names the file."""
    (tmp_path / "state").write_text("")
    daemon = Daemon(Settings(state_dir=tmp_path / "state", access="token"))
    with pytest.raises(StoreError, match=LOCAL_TOKEN_FILE):
        await daemon.access.ensure_first()
    assert await daemon.store.list_access_tokens() == []


async def test_a_token_that_is_passed_is_taken_in_the_place_of_a_made_up_one(
    daemon: Daemon,
) -> None:
    """It counts, nothing is printed for it, and its text is written nowhere."""
    given = new_token()
    await daemon.access.take_first(given)
    assert await daemon.access.ensure_first() is None
    assert await daemon.access.check(given.encode()) == "first"
    folder = daemon.settings.state_dir
    assert given not in "".join(path.read_text() for path in folder.iterdir())
    await daemon.access.take_first(given)
    assert len(await daemon.store.list_access_tokens()) == 1


async def test_a_passed_token_does_not_come_back_once_it_is_revoked(daemon: Daemon) -> None:
    """Revoked is revoked, though the manager passes it at each start; a new one is made up."""
    given = new_token()
    await daemon.access.take_first(given)
    await daemon.store.revoke_access_token("first")
    await daemon.access.take_first(given)
    assert await daemon.access.ensure_first() not in (None, given)
    assert await daemon.access.check(given.encode()) is None


async def test_a_crash_after_a_passed_token_was_stored_does_not_let_it_come_back(
    daemon: Daemon,
) -> None:
    """The note that was not written is written by the next start."""
    given = new_token()
    await daemon.access.take_first(given)
    (daemon.settings.state_dir / TAKEN_TOKEN_FILE).unlink()
    await daemon.access.take_first(given)
    await daemon.store.revoke_access_token("first")
    await daemon.access.take_first(given)
    assert await daemon.access.check(given.encode()) is None


async def test_a_passed_token_adds_nothing_where_tokens_are(daemon: Daemon) -> None:
    """A daemon whose operator made tokens is not opened to another one."""
    await daemon.access.add("laptop")
    given = new_token()
    await daemon.access.take_first(given)
    assert await daemon.access.check(given.encode()) is None


async def test_a_passed_token_counts_at_each_start_of_a_store_in_memory(tmp_path: Path) -> None:
    """Which has forgotten it, and whether it was revoked."""
    settings = Settings(state_dir=tmp_path / "state", access="token", store="memory")
    given = new_token()
    for _ in range(2):
        daemon = Daemon(settings)
        await daemon.access.take_first(given)
        assert await daemon.access.check(given.encode()) == "first"


async def test_open_mode_takes_no_token(tmp_path: Path) -> None:
    """Everybody may create sessions; nothing is written."""
    daemon = Daemon(Settings(state_dir=tmp_path / "state", access="open"))
    await daemon.access.take_first(new_token())
    assert not await daemon.store.list_access_tokens()
    assert not (tmp_path / "state").exists()


async def test_a_revoked_first_token_leaves_no_copy(daemon: Daemon) -> None:
    """A client of the same machine would be refused with it; another token's end keeps it."""
    assert await daemon.access.ensure_first() is not None
    await daemon.access.add("other")
    path = daemon.settings.state_dir / LOCAL_TOKEN_FILE
    await daemon.access.revoke("other")
    assert path.exists()
    await daemon.access.revoke("first")
    assert not path.exists()
