"""The registry's locks: session and owner tokens, viewers' credentials."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.sessions import Daemon, refusal
from wormkey.config import Settings
from wormkey.session import SessionState

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
