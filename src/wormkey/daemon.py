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
from typing import TYPE_CHECKING, Any, Final

import click

from wormkey import __version__
from wormkey.advice import warnings_of
from wormkey.command import (
    EXIT_UNEXPECTED,
    EXIT_USAGE,
    fail,
    loader_of,
    settings_of,
    with_options,
)
from wormkey.config import FdAddress, TcpAddress, UnixAddress
from wormkey.errors import ConfigError, StoreError
from wormkey.inheritance import Inheritance

if TYPE_CHECKING:
    from collections.abc import Sequence

    import trio

    from wormkey.config import Address

log = logging.getLogger(__name__)

_HEALTH_TIMEOUT_S: Final = 3.0  # Docker's and systemd's checks come every 10 s or less often
_HEALTH_REQUEST: Final = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
_ELSEWHERE: Final = ("audit", "backup", "install", "status", "token", "uninstall")
_STATUS_LINE_BYTES: Final = len(b"HTTP/1.1 200")
_WILDCARDS: Final = frozenset({None, "::", "0.0.0.0"})  # noqa: S104 - compared, never bound


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program and exit: 0 done, 1 unexpected or in the way, 2 usage or configuration."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the program with these arguments (default: the process's) and return its exit code."""
    try:
        code = _wormkeyd.main(arguments, prog_name="wormkeyd", standalone_mode=False)
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "wormkeyd"
        return fail(f"{error.format_message()} See {path} --help.", EXIT_USAGE)
    except ConfigError as error:
        return fail(str(error), EXIT_USAGE)
    except (StoreError, click.ClickException) as error:
        return fail(str(error), EXIT_UNEXPECTED)
    except BrokenPipeError:  # `wormkeyd token list | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_UNEXPECTED
    except OSError as error:
        return fail(_reason(error), EXIT_UNEXPECTED)
    except (KeyboardInterrupt, click.Abort):
        return 128 + signal.SIGINT
    return code if isinstance(code, int) else 0


def _reason(error: OSError) -> str:
    reason = error.strerror or str(error) or errno.errorcode.get(error.errno or 0, "")
    return f"{error.filename}: {reason}" if error.filename else reason


class _Commands(click.Group):
    """Reads the files of the other commands when one is asked for: who serves needs none of them.

    They are a megabyte, and a tenth of the time until the daemon is ready.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted({*super().list_commands(ctx), *_ELSEWHERE})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command by its name; None where there is no such."""
        if cmd_name in _ELSEWHERE:
            _read_others()
        return super().get_command(ctx, cmd_name)


def _read_others() -> None:
    from wormkey import audits, backup, install, status, tokens

    others = (audits.audit, backup.backup, status.status, tokens.token)
    for command in (*others, install.install, install.uninstall):
        _wormkeyd.add_command(command)


@click.group(
    cls=_Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Every option is also a key of the --config file: --head-timeout 10s is "
    'head_timeout = "10s". A flag beats the environment, the environment beats the file.',
)
@with_options(hidden=False)
@click.version_option(__version__, prog_name="wormkeyd", message="%(prog)s %(version)s")
@click.pass_context
def _wormkeyd(context: click.Context, /, **flags: Any) -> int:  # noqa: ANN401 - texts of the table
    """Serve the control plane and the gateway, in the foreground, until SIGTERM."""
    if context.invoked_subcommand is not None:
        return 0
    inheritance = Inheritance.take(os.environ, os.getpid())
    load = loader_of(context, flags)
    settings = load()
    import trio

    from wormkey import nursery
    from wormkey.logs import set_up_logging

    set_up_logging(settings.log_format, settings.log_level, sys.stderr)
    for warning in warnings_of(settings):
        log.warning("configuration", extra={"warning": warning})
    try:
        trio.run(nursery.serve, settings, load, inheritance)
    except (ConfigError, StoreError, OSError):
        raise
    except Exception:
        log.exception("unexpected error")
        return EXIT_UNEXPECTED
    return 0


@_wormkeyd.command()
@with_options(hidden=True)
@click.pass_context
def check(context: click.Context, /, **flags: Any) -> int:  # noqa: ANN401
    """Validate the configuration: exit 0, or 2 with the reason. Takes every option of wormkeyd."""
    for warning in warnings_of(settings_of(context, flags)):
        click.echo(f"wormkeyd: warning: {warning}", err=True)
    click.echo("the configuration is valid")
    return 0


@_wormkeyd.command()
@with_options(hidden=True)
@click.pass_context
def healthcheck(context: click.Context, /, **flags: Any) -> int:  # noqa: ANN401
    """Ask both listeners of the running daemon for /health: exit 0, or 1 with the reason."""
    settings = settings_of(context, flags)
    import trio

    for name, address in (("control plane", settings.control), ("gateway", settings.gateway)):
        trouble = trio.run(_ask_health, address)
        if trouble:
            return fail(f"the {name} at {address} {trouble}", EXIT_UNEXPECTED)
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
