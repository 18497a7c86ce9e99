"""``wormkey`` on the command line: verbs, options, exit codes, and one clear line for an error.

What the options may hold stands in options.py; what the verbs do in expose.py and verbs.py. Each
option is also a variable, WORMKEY_<OPTION>, and a key of config.toml.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import traceback
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import click
import trio
from click.core import ParameterSource

from wormkey import __version__, explain, verbs
from wormkey import options as o
from wormkey.errors import ConfigError
from wormkey.exits import ExitCode, Failure
from wormkey.expose import ExposeOptions
from wormkey.expose import expose as run_expose
from wormkey.lease import BasicAuth, SessionWish
from wormkey.local import LocalFileError, LocalFiles, parse_token
from wormkey.target import parse_target
from wormkey.terminal import Console, is_interactive
from wormkey.terms import policy_of, term_options
from wormkey.values import goes_in_the_clear

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wormkey.target import Target

_ALIASES: Final = {"http": "expose"}
_OWN: Final = ("--help", "-h", "--version")  # flags of the program itself
_SETTINGS: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program and exit with a code of exits.ExitCode, or 128 plus a signal's number."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the program with these arguments (default: the process's) and return its exit code."""
    try:
        code = _wormkey.main(arguments, prog_name="wormkey", standalone_mode=False)
    except click.UsageError as error:
        return _fail(_sentence_of(error), ExitCode.USAGE)
    except ConfigError as error:
        return _fail(str(error), ExitCode.USAGE)
    except Failure as error:
        return _fail(str(error), error.exit_code)
    except (LocalFileError, click.ClickException) as error:
        return _fail(str(error), ExitCode.UNEXPECTED)
    except BrokenPipeError:  # `wormkey list | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.UNEXPECTED
    except (KeyboardInterrupt, click.Abort):
        return 128 + signal.SIGINT
    except Exception as error:  # noqa: BLE001 - a bug: one line for users, the rest on request
        if os.environ.get("WORMKEY_TRACEBACK"):
            traceback.print_exc()
        return _fail(
            f"unexpected {type(error).__name__}: {error} (WORMKEY_TRACEBACK=1 shows where)",
            ExitCode.UNEXPECTED,
        )
    return code if isinstance(code, int) else ExitCode.DONE


def _fail(sentence: str, code: int) -> int:
    try:
        print("wormkey: " + " ".join(sentence.split()), file=sys.stderr)
    except OSError:
        pass  # nobody is left to read it
    return code


def _sentence_of(error: click.UsageError) -> str:
    """Say where the bad value stands: a flag, a variable or a key of config.toml."""
    path = error.ctx.command_path if error.ctx else "wormkey"
    help_ = f"see `{path} --help`"
    if not isinstance(error, click.BadParameter) or error.param is None or error.ctx is None:
        return f"{error.format_message()} ({help_})"
    param = error.param
    match error.ctx.get_parameter_source(param.name or ""):
        case ParameterSource.ENVIRONMENT:
            where = str(param.envvar)
        case ParameterSource.DEFAULT_MAP:
            where = f"config.toml, {param.name}"
        case _:
            where = param.opts[0] if isinstance(param, click.Option) else ""
    return f"{where}: {error.message}" if where else f"{error.message} ({help_})"


def _meant(text: str, known: Sequence[str], question: str) -> str:
    """Return the question with the name that is nearest to a mistyped one, or nothing."""
    import difflib  # noqa: PLC0415 - 0.3 MB and 4 ms that only a mistake needs

    nearest = difflib.get_close_matches(text, known, n=1)
    return f"; {question.format(nearest[0])}" if nearest else ""


class _Wormkey(click.Group):
    """The program: ``wormkey 5173`` means ``wormkey expose 5173``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the verb in front of arguments that begin with none."""
        if args and args[0] not in self.commands and args[0] not in (*_ALIASES, *_OWN):
            args = ["expose", *args]
        return super().parse_args(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the verb, also by another name that users of other tunnels bring."""
        return super().get_command(ctx, _ALIASES.get(cmd_name, cmd_name))

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's signature
        """Read config.toml before the verb's options are."""
        ctx.obj = LocalFiles.of_user()
        ctx.default_map = self._default_map(ctx.obj.read_config())
        return super().invoke(ctx)

    def _default_map(self, config: dict[str, object]) -> dict[str, Any]:
        known = {p.name for p in self.commands["expose"].params if isinstance(p, click.Option)}
        for key in config:
            if key not in known:
                hint = _meant(key, [name for name in known if name], "did you mean {}?")
                raise ConfigError(f"config.toml: there is no option {key!r}{hint}")
        names = [*self.commands, *_ALIASES]
        return {
            name: {
                param.name: config[param.name]
                for param in self.commands[_ALIASES.get(name, name)].params
                if param.name in config
            }
            for name in names
        }


class _Expose(click.Command):
    """The verb whose --auth may stand without a value, also right before the target."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Give --auth its value only where that can be one: it has a colon."""
        args = list(args)
        for at, (flag, value) in enumerate(itertools.pairwise(args)):
            if flag == "--auth" and ":" not in value and not value.startswith("-"):
                args[at] = "--auth=true"
        return super().parse_args(ctx, args)


_where = o.together(
    o.option(
        "--control-plane",
        type=o.URL,
        envvar="WORMKEY_CONTROL_PLANE_URL",
        help="The server's API; default: the last login's, else " + o.DEFAULT_CONTROL_PLANE,
    ),
    o.option(
        "--local", is_flag=True, envvar=None, help="This machine's daemon (WORMKEY_ENV=local)."
    ),
)
_token = o.together(
    o.option("--token", type=o.TOKEN, help="Access token; others can see it in the process list."),
    o.option("--token-file", type=o.FILE, help="File that holds the access token."),
)
_json = o.option("--json", is_flag=True, help="One JSON value on stdout.")
_quiet = o.option("-q", "--quiet", is_flag=True, help="Only warnings and errors on stderr.")


@click.group(cls=_Wormkey, context_settings=_SETTINGS)
@click.version_option(__version__, prog_name="wormkey", message="%(prog)s %(version)s")
def _wormkey() -> None:
    """Share a local app on a public URL, through your own server.

    `wormkey 5173` means `wormkey expose 5173`.
    """


@_wormkey.command("expose", cls=_Expose)
@click.argument("target", required=False)
@o.option("--name", type=o.NAME, help="The name in the URL; resumes your session of that name.")
@o.option(
    "--auth",
    type=o.AUTH,
    is_flag=False,
    flag_value="true",
    help="Ask viewers for a login; without USER:PASS the password is generated.",
)
@o.option("--expires", type=o.EXPIRES, help="End the session after this time: 90s, 30m, 2h, 7d.")
@term_options
@_where
@o.option(
    "--edge",
    type=o.EDGE,
    envvar="WORMKEY_EDGE_URL",
    help="The gateway; default: what the control plane answers.",
)
@_token
@o.option(
    "--host-header",
    type=o.HOST_HEADER,
    default="rewrite",
    show_default=True,
    help="The Host that the app sees: its own, the public one, or this value.",
)
@o.option("--insecure", is_flag=True, help="Accept any certificate of an https target.")
@_json
@o.option("--output", type=o.FILE, help="Write the JSON object to this file, too.")
@o.option("--wait-for", type=o.PATH, help="Start when a GET of this path has a status under 500.")
@o.option(
    "--timeout",
    type=o.TIMEOUT,
    default="60s",
    show_default=True,
    help="How long to wait for the app, and for the tunnel.",
)
@o.option("--qr/--no-qr", default=None, help="Show the URL as a QR code; default: on a terminal.")
@o.option("--open", is_flag=True, help="Open the URL in the browser.")
@o.option("--no-interactive", is_flag=True, help="No keys, no QR code, as if not on a terminal.")
@_quiet
@o.option("-v", "--verbose", is_flag=True, help="Say each request on stderr.")
@click.pass_context
def _expose(context: click.Context, /, **given: Any) -> int:  # noqa: ANN401 - parsed by options.py
    """Share TARGET: 5173, host:port, http(s)://host:port or unix:/path. Also called http.

    The public URL is the only line on stdout. Ctrl-C ends the session.

    Exit codes: 0 done, 1 unexpected, 2 usage, 11 app not reachable, 12 server not reachable,
    13 not authorised, 14 session over, 15 refused, 16 too many requests.
    """
    files: LocalFiles = context.obj
    target, auth = _target_and_auth(context, given["target"], given["auth"])
    console = Console(quiet=given["quiet"])
    control_plane = o.choose_control_plane(context, files)
    token = o.choose_token(context, files, control_plane)
    _warn_in_the_clear(console, control_plane, token)
    wish = SessionWish(
        target=target,
        control_plane=control_plane,
        edge_url=given["edge"],
        token=token,
        name=given["name"],
        auth=auth,
        expires=given["expires"],
        policy=policy_of(given),
        host_header=given["host_header"],
    )
    options = ExposeOptions(
        wish=wish,
        verify_tls=not given["insecure"],
        as_json=given["json"],
        output=given["output"],
        wait_for=given["wait_for"],
        timeout_s=given["timeout"],
        qr=given["qr"],
        open_browser=given["open"],
        interactive=is_interactive() and not given["no_interactive"],
        verbose=given["verbose"],
    )
    return trio.run(run_expose, options, files, console)


def _target_and_auth(
    context: click.Context, target: str | None, auth: BasicAuth | None
) -> tuple[Target, BasicAuth | None]:
    nothing = click.UsageError("what is to be shared? Name a port, such as 5173", context)
    if target is None:
        # `--auth localhost:5173`: the optional value took what was meant as the target.
        said = context.get_parameter_source("auth")
        if auth is None or auth.username is None or said is not ParameterSource.COMMANDLINE:
            raise nothing
        try:
            return parse_target(f"{auth.username}:{auth.password}"), BasicAuth()
        except ConfigError:  # it was a login, which must not be shown
            raise nothing from None
    try:
        return parse_target(target), auth
    except ConfigError as error:
        hint = _meant(target, list(_wormkey.commands), "did you mean the verb {}?")
        raise ConfigError(f"{error}{hint}") from error


def _warn_in_the_clear(console: Console, control_plane: str, token: str | None) -> None:
    if token is not None and goes_in_the_clear(control_plane):
        console.warn(f"{control_plane} is plain http: the token can be read on the way; use https")


@_wormkey.command("status")
@click.argument("slug", required=False)
@_json
@click.pass_obj
def _status(files: LocalFiles, slug: str | None, json: bool) -> int:
    """Say what the server knows about this machine's sessions, or about one."""
    return trio.run(partial(verbs.show_status, files, slug, as_json=json))


@_wormkey.command("list")
@_json
@click.pass_obj
def _list(files: LocalFiles, json: bool) -> int:
    """List this machine's sessions, without asking any server."""
    return verbs.list_sessions(files, as_json=json)


@_wormkey.command("close")
@click.argument("slug", required=False)
@click.option("--all", "every", is_flag=True, help="Every session of this machine.")
@_quiet
@click.pass_context
def _close(context: click.Context, slug: str | None, every: bool, quiet: bool) -> int:
    """End the session SLUG, the only session, or all of them."""
    if slug is not None and every:
        raise click.UsageError("a name or --all, not both", context)
    console = Console(quiet=quiet)
    return trio.run(partial(verbs.close_sessions, context.obj, console, slug, every=every))


@_wormkey.command("login")
@click.argument("url", type=o.URL)
@_token
@_quiet
@click.pass_context
def _login(context: click.Context, /, url: str, quiet: bool, **_: Any) -> int:  # noqa: ANN401
    """Keep the access token of the server at URL and make it the default.

    The token comes from --token-file, --token or stdin (which is asked for, unseen, on a terminal).
    """
    console = Console(quiet=quiet)
    token = o.choose_token(context, context.obj, None)
    if token is None and is_interactive():
        token = parse_token(click.prompt(f"Access token for {url}", hide_input=True, err=True))
    elif token is None:
        token = parse_token(sys.stdin.readline())
    _warn_in_the_clear(console, url, token)
    return trio.run(verbs.login, context.obj, console, url, token)


@_wormkey.command("logout")
@click.argument("url", type=o.URL, required=False)
@_quiet
@click.pass_obj
def _logout(files: LocalFiles, url: str | None, quiet: bool) -> int:
    """Forget the access token of the server at URL, or all of them."""
    return verbs.logout(files, Console(quiet=quiet), url)


_wormkey.add_command(explain.command)
