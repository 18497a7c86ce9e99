"""changes.py: whose a session is, and its password; durable, and told to nobody twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.sessions import HOUR_S, OWNER, Daemon, basic
from wormkey.config import Settings
from wormkey.errors import AdmissionError
from wormkey.policy import check_basic, verify_password
from wormkey.session import Session, matches_digest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def daemon(tmp_path: Path) -> Daemon:
    """A daemon without sessions."""
    return Daemon(Settings(state_dir=tmp_path))


def current(daemon: Daemon, session: Session) -> Session:
    """Return the session as viewers find it."""
    entry = daemon.routes.find(session.slug)
    assert entry is not None
    return entry.session


async def refused(daemon: Daemon, session: Session, token: bytes) -> str:
    """Return the code of the refusal of a browser without a cookie."""
    with pytest.raises(AdmissionError) as caught:
        await daemon.changes.claim(session, token, None, OWNER)
    return caught.value.code


async def test_a_claim_survives_a_restart(daemon: Daemon) -> None:
    """The first browser stays the owner's, and no other one takes its place."""
    made = await daemon.create()
    token = made.owner_token.encode()
    _, browser = await daemon.changes.claim(made.session, token, None, OWNER)
    for each in (daemon, await daemon.restart()):
        assert matches_digest(browser, current(each, made.session).claimed_by or b"")
        assert await refused(each, made.session, token) == "already_claimed"
        _, again = await each.changes.claim(made.session, token, browser, OWNER)
        assert again == browser


async def test_a_new_link_serves_once_also_after_a_restart(daemon: Daemon) -> None:
    """Its code is stored as a digest, and spent for good."""
    made = await daemon.create()
    _, first = await daemon.changes.claim(made.session, made.owner_token.encode(), None, OWNER)
    code = (await daemon.changes.new_link(made.session, OWNER)).encode()
    assert code.decode() not in repr(await daemon.store.load_sessions())
    again = await daemon.restart()
    _, second = await again.changes.claim(made.session, code, None, OWNER)
    assert second != first
    assert matches_digest(first, current(again, made.session).claimed_by or b"")
    for each in (again, await again.restart()):
        assert await refused(each, made.session, code) == "unauthorized"


@pytest.mark.parametrize("token", [b"", b"x", None])
async def test_no_other_token_claims(daemon: Daemon, token: bytes | None) -> None:
    """Nothing, something, or the tunnel's: nothing is written."""
    made = await daemon.create()
    shown = made.session_token.partition(".")[2].encode() if token is None else token
    before = await daemon.store.load_sessions()
    assert await refused(daemon, made.session, shown) == "unauthorized"
    assert await daemon.store.load_sessions() == before


async def test_a_session_that_is_over_is_not_claimed(daemon: Daemon) -> None:
    """410, by the right token, too."""
    made = await daemon.create()
    daemon.clock.pass_s(HOUR_S)
    assert await refused(daemon, made.session, made.owner_token.encode()) == "session_expired"


async def test_a_rotated_password_takes_the_place_of_the_one_in_use(daemon: Daemon) -> None:
    """The form's, or HTTP Basic's where there is no form; after a restart, too."""
    made = await daemon.create(auth_mode="basic", username="worm", password="old")
    _, new = await daemon.changes.rotate_password(made.session, OWNER)
    for each in (daemon, await daemon.restart()):
        session = current(each, made.session)
        assert check_basic(session, basic(f"worm:{new}"))
        assert not check_basic(session, basic("worm:old"))
        assert session.gate_hash is None
    form = await daemon.create(gate_password="old")
    rotated, new = await daemon.changes.rotate_password(form.session, OWNER)
    assert rotated.gate_hash is not None
    assert verify_password(new.encode(), rotated.gate_hash)
    assert not verify_password(b"old", rotated.gate_hash)
    assert new not in repr(await daemon.store.load_sessions())
