"""The registry: sessions made, ended, swept and loaded again."""

from __future__ import annotations

import base64
import logging
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import trio

from tests.support.sessions import HOUR_S, OWNER, START, Daemon, refusal
from wormkey import registry
from wormkey.config import Settings
from wormkey.errors import AdmissionError, ErrorCode, StoreError
from wormkey.session import ENDED_GRACE_S, is_slug
from wormkey.store.memory import MemoryStore

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def daemon(tmp_path: Path) -> Daemon:
    """Give an empty daemon in token mode."""
    return Daemon(Settings(state_dir=tmp_path / "state", access="token"))


# ── making ──────────────────────────────────────────────────────────────────────────────────


async def test_created_session_is_found_and_opens(daemon: Daemon) -> None:
    """The tokens of the answer work, and each only in its place."""
    made = await daemon.create()
    session = made.session
    assert is_slug(session.slug)
    assert daemon.routes.find(session.slug) is not None
    assert daemon.registry.authenticate_tunnel(made.session_token.encode()) == session
    assert daemon.registry.authorize(session.session_id, made.session_token.encode()) == (
        session,
        "client",
    )
    assert daemon.registry.authorize(session.session_id, made.owner_token.encode()) == (
        session,
        "owner",
    )
    assert daemon.registry.authorize_owner(session.slug, made.owner_token.encode()) == session
    assert refusal(daemon.registry.authorize_owner, session.slug, made.session_token.encode()) == (
        401,
        "unauthorized",
    )
    assert session.expires_at == START + timedelta(seconds=HOUR_S)


async def test_secrets_are_long_and_never_repeated(daemon: Daemon) -> None:
    """192 bits or more each, all different, none shown by repr or kept as text."""
    made = [await daemon.create(auth_mode="basic", username="worm") for _ in range(5)]
    secrets = [each.session_token.partition(".")[2] for each in made]
    secrets += [each.owner_token for each in made]
    assert len(set(secrets)) == len(secrets)
    assert all(len(base64.urlsafe_b64decode(secret + "==")) >= 24 for secret in secrets)
    passwords = {each.password or "" for each in made}
    assert len(passwords) == len(made)
    assert all(len(base64.urlsafe_b64decode(password)) >= 16 for password in passwords)
    shown = repr(made) + repr(daemon.store) + repr(await daemon.store.load_sessions())
    assert not any(secret in shown for secret in [*secrets, *passwords])


async def test_nothing_secret_is_logged(daemon: Daemon, caplog: pytest.LogCaptureFixture) -> None:
    """The records of a whole life hold no token and no password."""
    caplog.set_level(logging.DEBUG)
    made = await daemon.create(auth_mode="basic", username="worm", password="canary-password")
    access = await daemon.access.add("laptop")
    await daemon.access.check(access.encode())
    await daemon.registry.close(made.session, OWNER)
    text = "".join(f"{record.getMessage()} {vars(record)}" for record in caplog.records)
    assert made.session.slug in text
    session_secret = made.session_token.partition(".")[2]
    for secret in (session_secret, made.owner_token, access, "canary-password"):
        assert secret not in text


async def test_taken_name_is_refused_to_everyone(daemon: Daemon) -> None:
    """A live name is taken, for its own principal too; the session is untouched."""
    made = await daemon.create(name="demo")
    for principal in ("token:a", "token:b"):
        with pytest.raises(AdmissionError) as caught:
            await daemon.create(principal, name="demo")
        assert (caught.value.status, caught.value.code) == (409, "name_taken")
    assert daemon.registry.authenticate_tunnel(made.session_token.encode()) == made.session


async def test_two_at_once_do_not_share_a_name(daemon: Daemon) -> None:
    """The store decides a race; exactly one wins."""
    results: list[object] = []

    async def make() -> None:
        try:
            results.append((await daemon.create(name="demo")).session.slug)
        except AdmissionError as error:
            results.append(error.status)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(make)
        nursery.start_soon(make)
    assert sorted(map(str, results)) == ["409", "demo"]


@pytest.mark.parametrize("how", ["closed", "expired"])
async def test_ended_name_goes_back_to_its_owner_only(daemon: Daemon, how: str) -> None:
    """Within the grace a stranger gets 409; the same principal gets the name, with new secrets."""
    old = await daemon.create(name="demo")
    if how == "closed":
        await daemon.registry.close(old.session, OWNER)
    else:
        daemon.clock.pass_s(HOUR_S)
    with pytest.raises(AdmissionError) as caught:
        await daemon.create("token:b", name="demo")
    assert caught.value.status == 409
    new = await daemon.create("token:a", name="demo")
    assert daemon.registry.authenticate_tunnel(new.session_token.encode()) == new.session
    assert refusal(daemon.registry.authenticate_tunnel, old.session_token.encode())[0] == 401
    again = await daemon.restart()
    assert again.registry.authenticate_tunnel(new.session_token.encode()) == new.session


async def test_name_is_free_after_the_grace(daemon: Daemon) -> None:
    """A stranger may have it once it is swept."""
    await daemon.create(name="demo")
    daemon.clock.pass_s(HOUR_S + ENDED_GRACE_S)
    await daemon.registry.sweep(daemon.clock.pass_s(1))
    await daemon.create("token:b", name="demo")


async def test_collision_of_made_slugs_draws_again(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slug that is in use is never handed out twice."""
    slugs = iter(["same-slug", "same-slug", "other-slug"])
    monkeypatch.setattr(registry, "make_slug", lambda _random: next(slugs))
    assert (await daemon.create()).session.slug == "same-slug"
    assert (await daemon.create()).session.slug == "other-slug"


# ── ending ──────────────────────────────────────────────────────────────────────────────────


async def test_close_ends_the_tunnel_and_the_tokens(daemon: Daemon) -> None:
    """The tunnel learns SESSION_CLOSED; the right token then gets 410, a wrong one 401."""
    made = await daemon.create()
    upstream = daemon.attach(made.session)
    await daemon.registry.close(made.session, OWNER)
    assert upstream.closed is ErrorCode.SESSION_CLOSED
    token = made.session_token.encode()
    assert refusal(daemon.registry.authenticate_tunnel, token) == (410, "session_closed")
    assert refusal(daemon.registry.authenticate_tunnel, token + b"x")[0] == 401
    entry = daemon.routes.find(made.session.slug)
    assert entry is not None
    assert entry.ended
    await daemon.registry.close(made.session, OWNER)  # idempotent


async def test_expiry_ends_what_is_over_and_nothing_else(daemon: Daemon) -> None:
    """At its instant a session's tunnel closes; the others go on."""
    short, long = await daemon.create(), await daemon.create(expires_in_s=2 * HOUR_S)
    ending, staying = daemon.attach(short.session), daemon.attach(long.session)
    assert daemon.registry.expire(daemon.clock.pass_s(HOUR_S - 1)) == 0
    assert daemon.registry.expire(daemon.clock.pass_s(1)) == 1
    assert (ending.closed, staying.closed) == (ErrorCode.SESSION_CLOSED, None)
    assert refusal(daemon.registry.authenticate_tunnel, short.session_token.encode()) == (
        410,
        "session_expired",
    )


async def test_expired_session_is_refused_before_any_sweep(daemon: Daemon) -> None:
    """Tokens are checked against the clock, not against the last sweep."""
    made = await daemon.create()
    upstream = daemon.attach(made.session)
    daemon.clock.pass_s(HOUR_S)
    assert refusal(daemon.registry.authenticate_tunnel, made.session_token.encode())[0] == 410
    assert upstream.closed is ErrorCode.SESSION_CLOSED


async def test_sweep_forgets_after_the_grace(daemon: Daemon) -> None:
    """An ended session answers for a day, then neither memory nor store holds it."""
    made = await daemon.create()
    await daemon.registry.sweep(daemon.clock.pass_s(HOUR_S + ENDED_GRACE_S - 1))
    assert daemon.routes.find(made.session.slug) is not None
    await daemon.registry.sweep(daemon.clock.pass_s(2))
    assert daemon.routes.find(made.session.slug) is None
    assert await daemon.store.load_sessions() == []
    assert refusal(daemon.registry.authenticate_tunnel, made.session_token.encode())[0] == 401


async def test_restart_keeps_every_session(daemon: Daemon) -> None:
    """Live sessions open as before, ended ones still answer 410, forgotten ones 401."""
    live, closed = await daemon.create(expires_in_s=99 * HOUR_S), await daemon.create()
    brief = await daemon.create()
    await daemon.registry.close(closed.session, OWNER)
    daemon.clock.pass_s(HOUR_S)
    again = await daemon.restart()
    check = again.registry.authenticate_tunnel
    assert check(live.session_token.encode()) == live.session
    assert refusal(check, closed.session_token.encode()) == (410, "session_closed")
    assert refusal(check, brief.session_token.encode()) == (410, "session_expired")
    daemon.clock.pass_s(ENDED_GRACE_S)
    later = await daemon.restart()
    assert refusal(later.registry.authenticate_tunnel, closed.session_token.encode())[0] == 401
    assert len(later.routes) == 1


async def test_an_ended_session_keeps_its_usage_over_a_restart(daemon: Daemon) -> None:
    """As long as its tokens read it."""
    made = await daemon.create()
    entry = daemon.routes.find(made.session.slug)
    assert entry is not None
    entry.meter.add(daemon.clock(), requests=2)
    await daemon.journal.flush()
    await daemon.registry.close(made.session, OWNER)
    again = (await daemon.restart()).routes.find(made.session.slug)
    assert again is not None
    assert (again.ended, again.meter.requests, again.meter.dirty) == (True, 2, False)


async def test_failed_store_leaves_the_session_alive(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A close that cannot be stored is not pretended; a session that cannot be is not told."""
    made = await daemon.create()

    async def fail(*_args: object, **_kwargs: object) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(MemoryStore, "close_session", fail)
    monkeypatch.setattr(MemoryStore, "put_session", fail)
    with pytest.raises(StoreError):
        await daemon.registry.close(made.session, OWNER)
    with pytest.raises(StoreError):
        await daemon.create(name="other")
    assert daemon.registry.authenticate_tunnel(made.session_token.encode()) == made.session
    assert daemon.routes.find("other") is None
