"""Viewers' passwords: the right pair opens, a hash is paid once, and guessers do not queue."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.sessions import OWNER, Daemon, basic
from wormkey import passwords, policy
from wormkey.config import Settings
from wormkey.errors import AdmissionError

if TYPE_CHECKING:
    from pathlib import Path

    from wormkey.session import Session


@pytest.fixture
def daemon(tmp_path: Path) -> Daemon:
    """Give an empty daemon in token mode."""
    return Daemon(Settings(state_dir=tmp_path / "state", access="token"))


ADDRESS = "192.0.2.1"


async def fits(
    daemon: Daemon, session: Session, authorization: bytes, where: str = ADDRESS
) -> bool:
    """Show a user and a password."""
    return await daemon.registry.passwords.check_basic(session, authorization, where)


@pytest.mark.parametrize("password", [None, "chosen"])
async def test_viewers_need_user_and_password(daemon: Daemon, password: str | None) -> None:
    """Generated or chosen, only the right pair opens, the second time too."""
    made = await daemon.create(auth_mode="basic", username="worm", password=password)
    right = basic(f"worm:{made.password}")
    for _ in range(2):
        assert await fits(daemon, made.session, right)
        for wrong in (b"", b"Basic", basic("worm:"), basic("worm:no"), basic(":chosen")):
            assert not await fits(daemon, made.session, wrong)
    open_session = (await daemon.create()).session
    assert not await fits(daemon, open_session, right)


async def test_the_gates_password_is_another_one(daemon: Daemon) -> None:
    """Only the policy's opens the gate, only the session's own opens Basic."""
    made = await daemon.create(
        auth_mode="basic", username="worm", password="basic", gate_password="gate"
    )
    check = daemon.registry.passwords.check_gate
    assert await check(made.session, b"gate", ADDRESS)
    for wrong in (b"", b"basic", b"worm:basic", b"Gate"):
        assert not await check(made.session, wrong, ADDRESS)
    assert not await fits(daemon, made.session, basic("worm:gate"))
    open_session = (await daemon.create()).session
    assert not await check(open_session, b"gate", ADDRESS)


async def test_chosen_password_is_hashed_once_for_many_requests(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A browser repeats its credentials with every request; only the first costs a hash."""
    made = await daemon.create(auth_mode="basic", username="worm", password="chosen")
    hashed: list[bytes] = []

    def check_basic(_session: Session, authorization: bytes) -> bool:
        hashed.append(authorization)
        return authorization == basic("worm:chosen")

    monkeypatch.setattr(policy, "check_basic", check_basic)
    right = basic("worm:chosen")
    assert [await fits(daemon, made.session, right) for _ in range(3)] == [True] * 3
    assert len(hashed) == 1
    assert not await fits(daemon, made.session, basic("worm:guess"))
    assert len(hashed) == 2
    await daemon.registry.close(made.session, OWNER)
    await fits(daemon, made.session, right)
    assert len(hashed) == 3


async def test_wrong_passwords_are_counted_by_address_and_session(tmp_path: Path) -> None:
    """After so many the answer is 429 without a look; who was right before, and others, pass."""
    daemon = Daemon(Settings(state_dir=tmp_path / "state", max_password_tries=2))
    made = await daemon.create(auth_mode="basic", username="worm", password="chosen")
    other = await daemon.create(auth_mode="basic", username="worm", password="chosen")
    right, wrong = basic("worm:chosen"), basic("worm:guess")
    for _ in range(2):
        assert not await fits(daemon, made.session, wrong)
    for shown in (wrong, right):
        with pytest.raises(AdmissionError) as caught:
            await fits(daemon, made.session, shown)
        assert (caught.value.status, caught.value.fields[0][0]) == (429, b"Retry-After")
    assert await fits(daemon, other.session, right)
    assert await fits(daemon, made.session, right, "192.0.2.2")
    assert await fits(daemon, made.session, right)  # known to be right by now: not asked again


async def test_guessers_do_not_queue_without_bound(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the bound a check answers 429 with Retry-After at once."""
    made = await daemon.create(auth_mode="basic", username="worm", password="chosen")
    monkeypatch.setattr(passwords, "MAX_WAITING_HASHES", 0)
    with pytest.raises(AdmissionError) as caught:
        await fits(daemon, made.session, basic("worm:guess"))
    assert caught.value.status == 429
    assert caught.value.fields[0][0] == b"Retry-After"
