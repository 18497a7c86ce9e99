"""``wormkeyd audit``: the audit trail that the store keeps, while the daemon runs or not."""

from __future__ import annotations

from typing import Any

import click

from wormkey.command import settings_of, with_options, with_store


@click.command()
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    metavar="N",
    help="how many of the newest records to show",
)
@with_options(hidden=True)
@click.pass_context
def audit(context: click.Context, /, lines: int, **flags: Any) -> int:  # noqa: ANN401
    """Show who did what: one JSON object a line, the newest last."""
    settings = settings_of(context, flags)
    for record in reversed(with_store(settings, lambda store: store.read_audit(lines))):
        click.echo(record.line(), nl=False)
    return 0
