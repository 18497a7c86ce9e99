"""``wormkeyd token``: the access tokens that create sessions, while the daemon runs or not."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click
from attrs import evolve

from wormkey.command import (
    EXIT_UNEXPECTED,
    ask_running,
    fail,
    moment,
    settings_of,
    with_options,
    with_store,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from wormkey.access import Access
    from wormkey.config import Settings
    from wormkey.store import Store

T = TypeVar("T")


@click.group(no_args_is_help=False)
def token() -> None:
    """Manage the access tokens that create sessions, while the daemon runs or not."""


@token.command("add")
@click.argument("name")
@with_options(hidden=True)
@click.pass_context
def token_add(context: click.Context, /, name: str, **flags: Any) -> int:  # noqa: ANN401
    """Create an access token and print it, this once."""
    from wormkey.statefolder import STORE_FILE  # noqa: PLC0415 - as in daemon.py

    settings = settings_of(context, flags)
    new = not (settings.state_dir / STORE_FILE).exists()
    # The running daemon first: its audit log has to tell of it, and only it knows which that is.
    done = ask_running(settings, "POST", "/tokens/add", {"name": name})
    if done is None:
        text = _with_access(settings, lambda access: access.add(name), make=True)
    else:
        text = str(done["token"])
    click.echo(text)
    if new:
        click.echo(
            f"wormkeyd: warning: {settings.state_dir} held no store and has a new one; a daemon "
            "with another --state-dir does not know this token",
            err=True,
        )
    hint = "wormkey login CONTROL_PLANE_URL --token TOKEN"
    click.echo(f"keep it, it is not shown again; on the client's machine: {hint}", err=True)
    return 0


@token.command("list")
@with_options(hidden=True)
@click.pass_context
def token_list(context: click.Context, /, **flags: Any) -> int:  # noqa: ANN401
    """Show the names of the access tokens, when they were made and last used (UTC)."""
    tokens = with_store(settings_of(context, flags), lambda store: store.list_access_tokens())
    width = max([len("NAME"), *(len(known.name) for known in tokens)])
    click.echo(f"{'NAME':<{width}}  {'CREATED':<20}  LAST USED")
    for known in tokens:
        used = moment(known.last_used_at) if known.last_used_at else "never"
        click.echo(f"{known.name:<{width}}  {moment(known.created_at)}  {used}")
    return 0


@token.command("revoke")
@click.argument("name")
@click.option("--close", is_flag=True, help="End the sessions that it created, too, at once.")
@with_options(hidden=True)
@click.pass_context
def token_revoke(context: click.Context, /, name: str, *, close: bool, **flags: Any) -> int:  # noqa: ANN401
    """End an access token; sessions that it created live on unless --close says otherwise."""
    settings = settings_of(context, flags)
    # The running daemon first: it holds the sessions' tunnels, and would not see the store change.
    body = {"name": name, "close": close}
    done = ask_running(settings, "POST", "/tokens/revoke", body)
    if done is None:
        done = _with_access(settings, lambda access: _revoke(access, name, close=close))
    revoked, closed = bool(done.get("revoked")), int(done.get("closed", 0))
    if not revoked and not closed:
        return fail(f"there is no access token named {name!r}", EXIT_UNEXPECTED)
    what = f"revoked {name}" if revoked else f"{name} was revoked before"
    sessions = "1 session" if closed == 1 else f"{closed} sessions"
    click.echo(f"{what}, closed {sessions}" if close else what)
    return 0


async def _revoke(access: Access, name: str, *, close: bool) -> dict[str, int]:
    """Do in the store what the running daemon would, where none runs.

    Cancellation: between the token and its sessions.
    """
    from wormkey.access import principal_of  # noqa: PLC0415 - as in daemon.py
    from wormkey.audit import OPERATOR, AuditEvent  # noqa: PLC0415

    closed: Sequence[str] = ()
    revoked = await access.revoke(name)
    if close:
        record = access.trail.record(AuditEvent.SESSION_CLOSED, OPERATOR)
        store = access.store
        closed = await store.close_sessions_of(principal_of(name), record.at, audit=record)
        for session_id in closed:
            access.trail.publish(evolve(record, session_id=session_id))
    return {"revoked": revoked, "closed": len(closed)}


def _with_access(
    settings: Settings, ask: Callable[[Access], Awaitable[T]], *, make: bool = False
) -> T:
    """Await what ``ask`` does to the access tokens; the audit log, if there is one, tells of it."""
    from wormkey.access import Access  # noqa: PLC0415 - as in daemon.py
    from wormkey.auditlog import AuditLog  # noqa: PLC0415
    from wormkey.trail import Trail  # noqa: PLC0415

    def now() -> datetime:
        return datetime.now(UTC)

    async def with_trail(store: Store) -> T:
        if settings.audit_log is None:
            return await ask(Access(store, now, settings))
        audit_log = AuditLog(settings.audit_log)
        answer = await ask(Access(store, now, settings, Trail(now, audit_log.add)))
        await audit_log.flush()
        audit_log.close()
        return answer

    return with_store(settings, with_trail, make=make)
