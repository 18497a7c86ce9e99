"""``wormkeyd token``: the access tokens that create sessions, while the daemon runs or not."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from wormkey.command import EXIT_UNEXPECTED, fail, moment, settings_of, with_options, with_store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

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
    text = _with_access(settings_of(context, flags), lambda access: access.add(name))
    click.echo(text)
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
@with_options(hidden=True)
@click.pass_context
def token_revoke(context: click.Context, /, name: str, **flags: Any) -> int:  # noqa: ANN401
    """End an access token; sessions that it created live on."""
    if not _with_access(settings_of(context, flags), lambda access: access.revoke(name)):
        return fail(f"there is no access token named {name!r}", EXIT_UNEXPECTED)
    click.echo(f"revoked {name}")
    return 0


def _with_access(settings: Settings, ask: Callable[[Access], Awaitable[T]]) -> T:
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

    return with_store(settings, with_trail)
