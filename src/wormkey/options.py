"""What the client's options may hold, and which one counts when two name the control plane.

Each type turns text into a value or says in one sentence what is wrong with it, wherever the text
came from. Precedence among flag, variable, file and default is click's own: config.toml goes in
as its default map.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click
from click.core import ParameterSource

from wormkey.errors import ConfigError
from wormkey.grammar import is_authority, is_target
from wormkey.lease import BasicAuth
from wormkey.local import parse_token, read_token_file
from wormkey.target import parse_target
from wormkey.values import is_loopback, parse_duration, url_parser

if TYPE_CHECKING:
    from collections.abc import Callable

    from wormkey.local import LocalFiles

DEFAULT_CONTROL_PLANE: Final = "http://localhost:3001"
# session.py's rule, whose last word is the server's. Its word lists are 0.4 MB for a regex here.
_SLUG: Final = re.compile(r"[a-z][a-z0-9-]{1,38}[a-z0-9]")
_EXPIRES: Final = re.compile(r"0*[1-9][0-9]{0,8}[smhd]", re.ASCII)
_TRUE: Final = frozenset(("1", "true", "yes", "on", ""))
_FALSE: Final = frozenset(("0", "false", "no", "off"))
_MAX_CREDENTIAL_CHARS: Final = 128


F = TypeVar("F", bound="Callable[..., Any]")


class Parsed(click.ParamType):  # type: ignore[type-arg]  # click 8.1 has no parameter
    """A type whose values one function reads; its ConfigError is the user's error."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        """``name`` is what help shows for the value."""
        self.name = name
        self._parse = parse

    def convert(
        self,
        value: Any,  # noqa: ANN401 - click's signature
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Any:  # noqa: ANN401 - as above
        """Return the value of a text; values that are not text come from TOML or are converted."""
        if isinstance(value, bool) and self.name == "user:pass":
            value = "true" if value else "false"
        if not isinstance(value, str):
            if isinstance(value, int | float | list | dict):
                self.fail(f"{value!r} is not text in quotes", param, ctx)
            return value
        try:
            return self._parse(value)
        except ConfigError as error:
            self.fail(str(error), param, ctx)


def _name(text: str) -> str:
    slug = text.lower()
    if _SLUG.fullmatch(slug) is None:
        raise ConfigError(
            f"{text!r} is not a name; it has 3 to 40 letters, digits and hyphens, begins with a "
            "letter and does not end with a hyphen"
        )
    return slug


def _expires(text: str) -> str:
    if _EXPIRES.fullmatch(text) is None:
        raise ConfigError(f"{text!r} is not a time to live; write 90s, 30m, 2h or 7d")
    return text


def _timeout(text: str) -> float:
    seconds = parse_duration(text)
    if seconds <= 0:
        raise ConfigError(f"{text!r} leaves no time; write 60s")
    return seconds


def _edge(text: str) -> str:
    url = url_parser("ws", "wss", "http", "https")(text)
    return re.sub(r"^http", "ws", url)


def _host_header(text: str) -> str:
    if text in ("rewrite", "preserve"):
        return text
    if not text.isascii() or not is_authority(text.encode("ascii")):
        raise ConfigError(f"{text!r} is not rewrite, preserve or a host such as app.test:8080")
    return text


def _path(text: str) -> str:
    if not text.startswith("/") or not text.isascii() or not is_target(text.encode("ascii")):
        raise ConfigError(f"{text!r} is not a path such as /health")
    return text


def _auth(text: str) -> BasicAuth | None:
    """Read USER:PASS; a yes leaves the choice to the server, a no asks for none."""
    username, colon, password = text.partition(":")
    if not colon:
        if text.lower() in _FALSE:
            return None
        if text.lower() in _TRUE:
            return BasicAuth()
        raise ConfigError("it wants USER:PASS, or nothing for a generated password")
    for part in (username, password):
        if not (part and part.isprintable() and len(part) <= _MAX_CREDENTIAL_CHARS):
            raise ConfigError(
                f"user and password have 1 to {_MAX_CREDENTIAL_CHARS} characters each, and no "
                "control characters"
            )
    return BasicAuth(username=username, password=password)


TARGET: Final = Parsed("target", parse_target)
NAME: Final = Parsed("slug", _name)
AUTH: Final = Parsed("user:pass", _auth)
EXPIRES: Final = Parsed("duration", _expires)
TIMEOUT: Final = Parsed("duration", _timeout)
URL: Final = Parsed("url", url_parser("http", "https"))
EDGE: Final = Parsed("url", _edge)
HOST_HEADER: Final = Parsed("rewrite|preserve|value", _host_header)
PATH: Final = Parsed("path", _path)
TOKEN: Final = Parsed("token", parse_token)
FILE: Final = Parsed("file", Path)


def option(*names: str, **how: Any) -> Callable[[F], F]:  # noqa: ANN401 - click's own keywords
    """Declare an option with the variable that every option has."""
    long = next(name for name in names if name.startswith("--")).partition("/")[0]
    how.setdefault("envvar", "WORMKEY_" + long.removeprefix("--").replace("-", "_").upper())
    return click.option(*names, **how)


def together(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    """Return one decorator for several options, in their order."""

    def decorate(command: F) -> F:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


def choose_control_plane(context: click.Context, files: LocalFiles) -> str:
    """Return the control plane: flag, variable, config.toml, the last login, the default.

    ``--local`` and ``WORMKEY_ENV=local`` name this machine's, each at its own level.

    Raises:
        click.UsageError: two flags name different ones.
        LocalFileError: the credentials cannot be read.
    """
    url: str | None = context.params.get("control_plane")
    said = context.get_parameter_source("control_plane")
    local = context.get_parameter_source("local") if context.params.get("local") else None
    flag, file = ParameterSource.COMMANDLINE, ParameterSource.DEFAULT_MAP
    if said is flag and local is flag and url != DEFAULT_CONTROL_PLANE:
        raise click.UsageError("--local and --control-plane name different ones", context)
    named_locally = (
        (flag, local is flag),
        (ParameterSource.ENVIRONMENT, os.environ.get("WORMKEY_ENV") == "local"),
        (file, local is file),
    )
    for level, is_local in named_locally:
        if url is not None and said is level:
            return url
        if is_local:
            return DEFAULT_CONTROL_PLANE
    return files.read_default_control_plane() or DEFAULT_CONTROL_PLANE


def choose_token(
    context: click.Context, files: LocalFiles, control_plane: str | None
) -> str | None:
    """Return the access token: flag, variable, config.toml, the login's, the local daemon's.

    With ``control_plane`` None only what the user named counts.

    Raises:
        click.UsageError: two flags name tokens.
        ConfigError: the token file cannot be read or holds none.
        LocalFileError: the credentials cannot be read.
    """
    token: str | None = context.params.get("token")
    file: Path | None = context.params.get("token_file")
    if token is not None and file is not None:
        levels = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)
        said, file_said = map(context.get_parameter_source, ("token", "token_file"))
        if said is file_said:
            raise click.UsageError("--token and --token-file are both given", context)
        if file_said is next(level for level in levels if level in (said, file_said)):
            token = None  # the file is named on the more explicit level
    if token is not None:
        return token
    if file is not None:
        return read_token_file(file)
    if control_plane is None:
        return None
    stored = files.read_token(control_plane)
    if stored is None and is_loopback(control_plane):
        stored = files.read_daemon_token()
    return stored
