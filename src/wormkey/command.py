"""What the daemon's commands share: the option table on a click command, exit codes, failures.

Owns how the texts that click collected become Settings. What a command does stands in daemon.py
and the files that it names.
"""
# ruff: noqa: PLC0415 - trio and what stands on it take most of a second to import on a small
# machine; --help, --version, check and every usage error answer without them.

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from wormkey.config import OPTIONS, Option, Settings
from wormkey.errors import ConfigError, StoreError
from wormkey.sources import load_settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from wormkey.store import Store

EXIT_UNEXPECTED: Final = 1
EXIT_USAGE: Final = 2
_IN_SUBCOMMANDS: Final = frozenset({"config_file", "state_dir"})  # shown in their help, too

F = TypeVar("F", bound="Callable[..., Any]")
T = TypeVar("T")


def fail(sentence: str, code: int) -> int:
    """Say on stderr, in one line, what went wrong; return the exit code."""
    print("wormkeyd: " + " ".join(sentence.split()), file=sys.stderr)
    return code


def with_options(*, hidden: bool) -> Callable[[F], F]:
    """Return a decorator that adds the option table; ``hidden`` ones work and are not listed."""

    def decorate(command: F) -> F:
        for option in reversed(OPTIONS):
            off = f"/--no-{option.flag.removeprefix('--')}" if option.switch else ""
            command = click.option(
                option.flag + off,
                option.field,
                multiple=option.repeatable,
                metavar=option.metavar or None,
                default=None,
                help=_help(option),
                hidden=hidden and option.field not in _IN_SUBCOMMANDS,
            )(command)
        return command

    return decorate


def _help(option: Option) -> str:
    again = "; may be repeated" if option.repeatable else ""
    variables = ", else ".join(option.variables)
    return f"{option.help}{again}  [{variables}; default: {option.default}]"


def settings_of(context: click.Context, flags: dict[str, Any]) -> Settings:
    """Return the settings of a command; its own flags beat those before its name.

    Raises:
        ConfigError: a value that cannot be used.
    """
    return loader_of(context, flags)()


def loader_of(context: click.Context, flags: dict[str, Any]) -> Callable[[], Settings]:
    """Return what reads the settings of a command: at every call the file as it is then."""
    written = texts_of(context, flags)
    terminal = sys.stderr is not None and sys.stderr.isatty()
    return lambda: load_settings(written, os.environ, pid=os.getpid(), terminal=terminal)


def texts_of(context: click.Context, flags: dict[str, Any]) -> dict[str, Any]:
    """Return the texts of a command's flags by Settings attribute, its own before the group's."""
    return _texts(context.find_root().params) | _texts(flags)


def _texts(flags: dict[str, Any]) -> dict[str, Any]:
    """Return the flags that were given, a switch as the word that stands for it elsewhere."""
    return {
        field: str(value).lower() if isinstance(value, bool) else value
        for field, value in flags.items()
        if value or value is False
    }


def moment(time: datetime) -> str:
    """Spell a time for a table: RFC 3339, UTC, whole seconds."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def with_store(
    settings: Settings, ask: Callable[[Store], Awaitable[T]], *, make: bool = False
) -> T:
    """Open the store, await what ``ask`` returns, close the store, return the answer.

    ``make`` makes one where there is none. Who only looks has named another folder than the
    daemon's then, and an empty answer would hide that.

    Raises:
        ConfigError: the settings keep nothing outside the running daemon.
        StoreError: the store cannot be opened or read, or there is none.
    """
    if settings.store == "memory":
        raise ConfigError("--store memory keeps nothing outside the running daemon")
    import trio

    from wormkey import nursery
    from wormkey.statefolder import STORE_FILE

    path = settings.state_dir / STORE_FILE
    if not (make or path.is_file()):
        raise StoreError(f"{path} does not exist; name the daemon's folder with --state-dir")

    async def run() -> T:
        async with nursery.open_store(settings) as store:
            return await ask(store)

    return trio.run(run)


def ask_running(
    settings: Settings, method: str, path: str, body: object = None
) -> dict[str, Any] | None:
    """Return what the running daemon of the state folder answers; None if none runs.

    Raises:
        ConfigError: the settings leave no way to it, or it cannot take what was asked.
        StoreError: it could not do it.
        OSError: it may not be asked, or does not answer as it should.
    """
    if settings.store == "memory":
        raise ConfigError("--store memory keeps no state folder, where a daemon could be asked")
    import trio

    from wormkey.adminclient import ask_daemon

    answer = trio.run(ask_daemon, settings.state_dir, method, path, body)
    if answer is None:
        return None
    if answer.status == 400:
        raise ConfigError(answer.error or "the daemon refused it")
    if not answer.ok or not isinstance(answer.json, dict):
        raise StoreError(answer.error or f"the daemon answered {answer.status}")
    return answer.json
