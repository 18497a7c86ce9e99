"""``wormkeyd token``: the access tokens that create sessions, while the daemon runs or not."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from wormkey.command import EXIT_UNEXPECTED, fail, moment, settings_of, with_options, with_store

if TYPE_CHECKING:
    from wormkey.store import Store


@click.group(no_args_is_help=False)
def token() -> None:
    """Manage the access tokens that create sessions, while the daemon runs or not."""


@token.command("add")
@click.argument("name")
@with_options(hidden=True)
@click.pass_context
def token_add(context: click.Context, /, name: str, **flags: Any) -> int:  # noqa: ANN401
    """Create an access token and print it, this once."""
    from wormkey.access import Access  # noqa: PLC0415 - as in daemon.py

    settings = settings_of(context, flags)

    async def add(store: Store) -> str:
        return await Access(store, lambda: datetime.now(UTC), settings).add(name)

    click.echo(with_store(settings, add))
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
    from wormkey.access import Access  # noqa: PLC0415 - as in daemon.py

    settings = settings_of(context, flags)

    async def revoke(store: Store) -> bool:
        return await Access(store, lambda: datetime.now(UTC), settings).revoke(name)

    if not with_store(settings, revoke):
        return fail(f"there is no access token named {name!r}", EXIT_UNEXPECTED)
    click.echo(f"revoked {name}")
    return 0
