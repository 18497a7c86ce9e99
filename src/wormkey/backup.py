"""``wormkeyd backup FILE``: a consistent copy of the store, while the daemon runs or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from wormkey.command import settings_of, with_options
from wormkey.errors import ConfigError


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--force", is_flag=True, help="replace FILE if it exists")
@with_options(hidden=True)
@click.pass_context
def backup(
    context: click.Context,
    /,
    file: Path,
    force: bool,
    **flags: Any,  # noqa: ANN401 - texts of the table
) -> int:
    """Copy the store to FILE (mode 0600), while the daemon runs or not."""
    from wormkey.statefolder import STORE_FILE  # noqa: PLC0415 - as in daemon.py
    from wormkey.store.backup import back_up  # noqa: PLC0415

    settings = settings_of(context, flags)
    if settings.store == "memory":
        raise ConfigError("--store memory keeps nothing that could be copied")
    size_bytes = back_up(settings.state_dir / STORE_FILE, file, force=force)
    click.echo(f"{file}: {size_bytes} bytes")
    return 0
