"""``wormkeyd`` on the command line: options, exit codes, and one clear line when it cannot go on.

Every option comes from config.OPTIONS; click only collects texts, so that a bad value is refused
in one place and in one form whether a flag, a variable or a file said it. What the daemon does
begins in nursery.py.
"""
# ruff: noqa: PLC0415 - trio and what stands on it take most of a second to import on a small
# machine; --help, --version, check and every usage error answer without them.

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from wormkey import __version__
from wormkey.config import OPTIONS, FdAddress, Option, Settings, TcpAddress, UnixAddress
from wormkey.errors import ConfigError, StoreError
from wormkey.sources import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import trio

    from wormkey.config import Address
    from wormkey.registry import Registry

log = logging.getLogger(__name__)

EXIT_UNEXPECTED: Final = 1
EXIT_USAGE: Final = 2
_HEALTH_TIMEOUT_S: Final = 3.0  # Docker's and systemd's checks come every 10 s or less often
_HEALTH_REQUEST: Final = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
_STATUS_LINE_BYTES: Final = len(b"HTTP/1.1 200")
_WILDCARDS: Final = frozenset({None, "::", "0.0.0.0"})  # noqa: S104 - compared, never bound
_IN_SUBCOMMANDS: Final = frozenset({"config_file", "state_dir"})  # shown in their help, too

F = TypeVar("F", bound="Callable[..., Any]")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program and exit: 0 done, 1 unexpected or in the way, 2 usage or configuration."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the program with these arguments (default: the process's) and return its exit code."""
    try:
        code = _wormkeyd.main(arguments, prog_name="wormkeyd", standalone_mode=False)
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "wormkeyd"
        return _fail(f"{error.format_message()} See {path} --help.", EXIT_USAGE)
    except ConfigError as error:
        return _fail(str(error), EXIT_USAGE)
    except (StoreError, click.ClickException) as error:
        return _fail(str(error), EXIT_UNEXPECTED)
    except BrokenPipeError:  # `wormkeyd token list | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_UNEXPECTED
    except OSError as error:
        return _fail(_reason(error), EXIT_UNEXPECTED)
    except (KeyboardInterrupt, click.Abort):
        return 128 + signal.SIGINT
    return code if isinstance(code, int) else 0


def _fail(sentence: str, code: int) -> int:
    print("wormkeyd: " + " ".join(sentence.split()), file=sys.stderr)
    return code


def _reason(error: OSError) -> str:
    reason = error.strerror or str(error) or errno.errorcode.get(error.errno or 0, "")
    return f"{error.filename}: {reason}" if error.filename else reason


def _with_options(*, hidden: bool) -> Callable[[F], F]:
    """Return a decorator that adds the option table; ``hidden`` ones work and are not listed."""

    def decorate(command: F) -> F:
        for option in reversed(OPTIONS):
            command = click.option(
                option.flag,
                option.field,
                multiple=option.repeatable,
                metavar=option.metavar,
                help=_help(option),
                hidden=hidden and option.field not in _IN_SUBCOMMANDS,
            )(command)
        return command

    return decorate


def _help(option: Option) -> str:
    again = "; may be repeated" if option.repeatable else ""
    variables = ", else ".join(option.variables)
    return f"{option.help}{again}  [{variables}; default: {option.default}]"


def _settings(context: click.Context, flags: dict[str, Any]) -> Settings:
    """Return the settings of a command; its own flags beat those before its name."""
    given = {field: texts for field, texts in flags.items() if texts}
    before = context.find_root().params
    terminal = sys.stderr is not None and sys.stderr.isatty()
    return load_settings({**before, **given}, os.environ, pid=os.getpid(), terminal=terminal)


@click.group(
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Every option is also a key of the --config file: --head-timeout 10s is "
    'head_timeout = "10s". A flag beats the environment, the environment beats the file.',
)
@_with_options(hidden=False)
@click.version_option(__version__, prog_name="wormkeyd", message="%(prog)s %(version)s")
@click.pass_context
def _wormkeyd(context: click.Context, /, **flags: Any) -> int:  # noqa: ANN401 - texts of the table
    """Serve the control plane and the gateway, in the foreground, until SIGTERM."""
    if context.invoked_subcommand is not None:
        return 0
    settings = _settings(context, flags)
    import trio

    from wormkey import nursery
    from wormkey.logs import set_up_logging

    set_up_logging(settings.log_format, settings.log_level, sys.stderr)
    for warning in _warnings(settings):
        log.warning("configuration", extra={"warning": warning})
    try:
        trio.run(nursery.serve, settings)
    except (ConfigError, StoreError, OSError):
        raise
    except Exception:
        log.exception("unexpected error")
        return EXIT_UNEXPECTED
    return 0


@_wormkeyd.command()
@_with_options(hidden=True)
@click.pass_context
def check(context: click.Context, /, **flags: Any) -> int:  # noqa: ANN401
    """Validate the configuration: exit 0, or 2 with the reason. Takes every option of wormkeyd."""
    for warning in _warnings(_settings(context, flags)):
        click.echo(f"wormkeyd: warning: {warning}", err=True)
    click.echo("the configuration is valid")
    return 0


def _warnings(settings: Settings) -> list[str]:
    """Return what is allowed and probably not meant."""
    found = []
    public = [
        f"--{name} {address}"
        for name, address in (("control", settings.control), ("gateway", settings.gateway))
        if not address.loopback
    ]
    if settings.access == "open" and public:
        where = " and ".join(public)
        found.append(f"with --access open, everyone who reaches {where} can create sessions")
    return found


@_wormkeyd.command()
@_with_options(hidden=True)
@click.pass_context
def healthcheck(context: click.Context, /, **flags: Any) -> int:  # noqa: ANN401
    """Ask both listeners of the running daemon for /health: exit 0, or 1 with the reason."""
    settings = _settings(context, flags)
    import trio

    for name, address in (("control plane", settings.control), ("gateway", settings.gateway)):
        trouble = trio.run(_ask_health, address)
        if trouble:
            return _fail(f"the {name} at {address} {trouble}", EXIT_UNEXPECTED)
    click.echo("healthy")
    return 0


async def _ask_health(address: Address) -> str:
    """Return what is wrong with the listener at ``address``, nothing if it is healthy.

    Cancellation: the connection is closed.
    """
    import trio

    answer = b""
    try:
        with trio.fail_after(_HEALTH_TIMEOUT_S):
            async with await _connect(address) as stream:
                await stream.send_all(_HEALTH_REQUEST)
                while len(answer) < _STATUS_LINE_BYTES:
                    data = await stream.receive_some(_STATUS_LINE_BYTES - len(answer))
                    if not data:
                        break
                    answer += data
    except trio.TooSlowError:
        return f"did not answer within {_HEALTH_TIMEOUT_S:g} s"
    except (OSError, trio.BrokenResourceError) as error:
        return f"does not accept connections: {error}"
    status = answer[-3:].decode("ascii", "replace")
    return "" if status == "200" else f"answers /health with {status or 'nothing'}"


async def _connect(address: Address) -> trio.SocketStream:
    import trio

    match address:
        case UnixAddress(path):
            return await trio.open_unix_socket(path)
        case TcpAddress(host, port) if port != 0:
            # The wildcard accepts on loopback too, whatever families it has.
            return await trio.open_tcp_stream(
                "localhost" if host is None or host in _WILDCARDS else host, port
            )
        case TcpAddress() | FdAddress():
            raise ConfigError(f"healthcheck cannot know where {address} listens; name its address")


@_wormkeyd.group(no_args_is_help=False)
def token() -> None:
    """Manage the access tokens that create sessions, while the daemon runs or not."""


@token.command("add")
@click.argument("name")
@_with_options(hidden=True)
@click.pass_context
def token_add(context: click.Context, /, name: str, **flags: Any) -> int:  # noqa: ANN401
    """Create an access token and print it, this once."""
    settings = _settings(context, flags)
    text = _with_registry(settings, lambda registry: registry.add_access_token(name))
    click.echo(text)
    hint = "wormkey login CONTROL_PLANE_URL --token TOKEN"
    click.echo(f"keep it, it is not shown again; on the client's machine: {hint}", err=True)
    return 0


@token.command("list")
@_with_options(hidden=True)
@click.pass_context
def token_list(context: click.Context, /, **flags: Any) -> int:  # noqa: ANN401
    """Show the names of the access tokens, when they were made and last used (UTC)."""
    settings = _settings(context, flags)
    tokens = _with_registry(settings, lambda registry: registry.store.list_access_tokens())
    width = max([len("NAME"), *(len(known.name) for known in tokens)])
    click.echo(f"{'NAME':<{width}}  {'CREATED':<20}  LAST USED")
    for known in tokens:
        used = _moment(known.last_used_at) if known.last_used_at else "never"
        click.echo(f"{known.name:<{width}}  {_moment(known.created_at)}  {used}")
    return 0


@token.command("revoke")
@click.argument("name")
@_with_options(hidden=True)
@click.pass_context
def token_revoke(context: click.Context, /, name: str, **flags: Any) -> int:  # noqa: ANN401
    """End an access token; sessions that it created live on."""
    settings = _settings(context, flags)
    if not _with_registry(settings, lambda registry: registry.store.revoke_access_token(name)):
        return _fail(f"there is no access token named {name!r}", EXIT_UNEXPECTED)
    click.echo(f"revoked {name}")
    return 0


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _with_registry(settings: Settings, ask: Callable[[Registry], Any]) -> Any:  # noqa: ANN401
    """Open the store, await what ``ask`` returns, close the store, return the answer."""
    if settings.store == "memory":
        raise ConfigError("--store memory keeps no access tokens outside the running daemon")
    import trio

    from wormkey import nursery
    from wormkey.registry import Registry
    from wormkey.routes.local import LocalRoutes

    async def with_store() -> Any:  # noqa: ANN401
        async with nursery.open_store(settings) as store:
            registry = Registry(store, LocalRoutes(), lambda: datetime.now(UTC), settings)
            return await ask(registry)

    return trio.run(with_store)
