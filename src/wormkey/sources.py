"""Where settings are found: flags, the environment, one TOML file, sockets that systemd passes.

load_settings is the only way from a user's text to Settings. A bad value is a ConfigError of one
sentence that names the flag, the variable or the key where it stands. The file named by --config
is the only thing opened here.
"""

from __future__ import annotations

import difflib
import tomllib
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from attrs import frozen

from wormkey.config import OPTIONS, Option, Settings
from wormkey.errors import ConfigError
from wormkey.values import FdAddress, TcpAddress, is_ip

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def load_settings(
    flags: Mapping[str, str | Sequence[str] | None],
    environ: Mapping[str, str],
    *,
    pid: int = 0,
    terminal: bool = False,
) -> Settings:
    """Return the settings of these flags and variables, and of the file that they name.

    A flag beats a variable, a variable the file, the file the default. An empty variable counts
    as not set. Listening sockets that systemd passes under the names ``control`` and ``gateway``
    beat every written address, since the unit's author means them.

    Args:
        flags: texts by the Settings attribute; None and an empty sequence are not set.
        environ: the process's environment.
        pid: this process, for whom LISTEN_PID says that LISTEN_FDS is meant.
        terminal: whether stderr is one, so that log records are text by default.

    Raises:
        ConfigError: a value that cannot be used, an unknown key, or an unreadable file.
    """
    values: dict[str, Any] = {} if not terminal else {"log_format": "text"}
    written = {**_from_environment(environ), **_from_flags(flags)}
    path = written.pop("config_file", None)
    if path is not None:
        values["config_file"] = path.parse()
        written = {**_from_file(values["config_file"]), **written}
    values |= {field: text.parse() for field, text in written.items()}
    values |= inherited_addresses(environ, pid)
    settings = Settings(**values)
    check_together(settings)
    return settings


@frozen
class _Written:
    """A setting as someone wrote it, and where."""

    option: Option
    texts: tuple[str, ...]
    where: str

    def parse(self) -> Any:  # noqa: ANN401 - each option has its own type
        try:
            values = tuple(self.option.parse(text) for text in self.texts)
        except ConfigError as error:
            raise ConfigError(f"{self.where}: {error}") from None
        return values if self.option.repeatable else values[0]


def _from_flags(flags: Mapping[str, str | Sequence[str] | None]) -> dict[str, _Written]:
    written = {}
    for option in OPTIONS:
        given = flags.get(option.field)
        texts = (given,) if isinstance(given, str) else tuple(given or ())
        if texts:
            written[option.field] = _Written(option, texts, option.flag)
    return written


def _from_environment(environ: Mapping[str, str]) -> dict[str, _Written]:
    written = {}
    for option in OPTIONS:
        name = next((name for name in option.variables if environ.get(name)), None)
        if name is None:
            continue
        text = environ[name]
        if name == "PORT":  # platforms that set it expect a server on every interface
            text = f":{text}"
        elif name == "STATE_DIRECTORY":  # systemd joins several folders with colons
            text = text.partition(":")[0]
        texts = tuple(text.replace(",", " ").split()) if option.repeatable else (text,)
        written[option.field] = _Written(option, texts, name)
    return written


def _from_file(path: Path) -> dict[str, _Written]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None
    known = {option.key: option for option in OPTIONS if option.key is not None}
    written = {}
    for key, value in document.items():
        where = f"{path}: {key}"
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0)
            raise ConfigError(f"{path}: unknown key {key!r}; did you mean {near[0]!r}?")
        option = known[key]
        items = value if isinstance(value, list) and option.repeatable else [value]
        kinds = {str, bool} if option.switch else {str, int}  # bool is an int to isinstance
        if not all(type(item) in kinds for item in items):
            raise ConfigError(f'{where}: wanted text such as "{option.default}"')
        texts = tuple(str(item).lower() if isinstance(item, bool) else str(item) for item in items)
        written[option.field] = _Written(option, texts, where)
    return written


def texts_of_file(path: Path) -> dict[str, tuple[str, ...]]:
    """Return the texts that a configuration file holds, by its keys; not yet parsed.

    Raises:
        ConfigError: it cannot be read, is no TOML, or has an unknown key.
    """
    found = _from_file(path).values()
    return {line.option.key: line.texts for line in found if line.option.key is not None}


def inherited_addresses(environ: Mapping[str, str], pid: int) -> dict[str, FdAddress]:
    """Return the listening sockets that systemd passed to process ``pid``, by sd_listen_fds(3).

    Only the names ``control`` and ``gateway`` are taken; a name may stand for several sockets.
    """
    count = environ.get("LISTEN_FDS", "")
    if environ.get("LISTEN_PID") != str(pid) or not count.isdecimal():
        return {}
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    found: dict[str, FdAddress] = {}
    for fd, name in zip(range(3, 3 + int(count)), names, strict=False):
        if name in {"control", "gateway"}:
            earlier = found[name].fds if name in found else ()
            found[name] = FdAddress((*earlier, fd))
    return found


def check_together(settings: Settings) -> None:
    """Refuse values that are sound alone and not together.

    Raises:
        ConfigError: naming both flags.
    """
    same = settings.control == settings.gateway
    if same and not (isinstance(settings.control, TcpAddress) and settings.control.port == 0):
        raise ConfigError(f"--control and --gateway are both {settings.control}")
    if settings.routing == "host" and settings.public_url is not None:
        host = urlsplit(settings.public_url).hostname or ""
        if is_ip(host):
            raise ConfigError(f"--routing host needs a name in --public-url, not {host}")
    if settings.tunnel_timeout_s < 2 * settings.ping_interval_s:
        raise ConfigError(
            "--tunnel-timeout is under two of --ping-interval: one late ping is no loss"
        )
    for least, most in (
        ("max_target_bytes", "max_head_bytes"),
        ("stream_window_bytes", "max_stream_window_bytes"),
        ("max_stream_window_bytes", "tunnel_window_bytes"),
        ("v0_stream_bytes", "v0_tunnel_bytes"),
    ):
        if getattr(settings, least) > getattr(settings, most):
            flags = {option.field: option.flag for option in OPTIONS}
            raise ConfigError(f"{flags[least]} is over {flags[most]}")
