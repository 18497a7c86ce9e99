"""The registry's locks: session and owner tokens, viewers' credentials."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.sessions import Daemon, basic, refusal
from wormkey import policy, registry
from wormkey.config import Settings
from wormkey.errors import AdmissionError
from wormkey.session import Session, SessionState

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def daemon(tmp_path: Path) -> Daemon:
    """Give an empty daemon in token mode."""
    return Daemon(Settings(state_dir=tmp_path / "state", access="token"))


# ── who may do what ─────────────────────────────────────────────────────────────────────────


async def test_no_other_token_opens_anything(daemon: Daemon) -> None:
    """Missing, empty, null, cut, mixed up, another session's: refused, and nothing changes."""
    mine, other = await daemon.create(), await daemon.create()
    mine_secret = mine.session_token.partition(".")[2]
    wrong = [
        None,
        b"",
        b"null",
        b".",
        b"undefined",
        mine_secret.encode(),
        mine.session_token[:-1].encode(),
        f"{other.session.slug}.{mine_secret}".encode(),
        f"{mine.session.slug}.".encode(),
        f"{mine.session.slug}.{mine.owner_token}".encode(),
        other.session_token.encode(),
        other.owner_token.encode(),
        mine.session.session_token_digest,
        mine.session.session_token_digest.hex().encode(),
    ]
    check = daemon.registry
    for token in wrong:
        assert refusal(check.authorize, mine.session.session_id, token)[0] == 401
        assert refusal(check.authorize_owner, mine.session.slug, token)[0] == 401
        if token != other.session_token.encode():
            assert refusal(check.authenticate_tunnel, token)[0] == 401
    assert mine.session.state(daemon.clock()) is SessionState.LIVE


def test_unknown_session_is_said_only_to_who_shows_a_token(daemon: Daemon) -> None:
    """Without a token there is no difference to see."""
    for call in (daemon.registry.authorize, daemon.registry.authorize_owner):
        assert refusal(call, "nobody", None)[0] == 401
        assert refusal(call, "nobody", b"x") == (404, "unknown_session")


@pytest.mark.parametrize("password", [None, "chosen"])
async def test_viewers_need_user_and_password(daemon: Daemon, password: str | None) -> None:
    """Generated or chosen, only the right pair opens, the second time too."""
    made = await daemon.create(auth_mode="basic", username="worm", password=password)
    right = basic(f"worm:{made.password}")
    check = daemon.registry.check_credentials
    for _ in range(2):
        assert await check(made.session, right)
        for wrong in (None, b"", b"Basic", basic("worm:"), basic("worm:no"), basic(":chosen")):
            assert not await check(made.session, wrong)
    open_session = (await daemon.create()).session
    assert not await check(open_session, right)


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
    check = daemon.registry.check_credentials
    assert [await check(made.session, basic("worm:chosen")) for _ in range(3)] == [True] * 3
    assert len(hashed) == 1
    assert not await check(made.session, basic("worm:guess"))
    assert len(hashed) == 2
    await daemon.registry.close(made.session)
    await check(made.session, basic("worm:chosen"))
    assert len(hashed) == 3


async def test_guessers_do_not_queue_without_bound(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the bound a check answers 429 with Retry-After at once."""
    made = await daemon.create(auth_mode="basic", username="worm", password="chosen")
    monkeypatch.setattr(registry, "MAX_WAITING_HASHES", 0)
    with pytest.raises(AdmissionError) as caught:
        await daemon.registry.check_credentials(made.session, basic("worm:guess"))
    assert caught.value.status == 429
    assert caught.value.fields[0][0] == b"Retry-After"
