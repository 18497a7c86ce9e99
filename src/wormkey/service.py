"""The texts of the system service: its unit, its configuration file, and how an edit is noticed.

Owns what `wormkeyd install` writes, not where and when: no file is written here, and the only one
read is the unit's source, which ships with the package. The configuration is made from
config.OPTIONS. No secret stands in any of these texts.
"""

from __future__ import annotations

import hashlib
import json
import re
import textwrap
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from wormkey.config import OPTIONS, Option, Settings, TcpAddress
from wormkey.errors import ConfigError
from wormkey.values import UnixAddress, is_ip

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from wormkey.values import Address

UNIT: Final = "wormkey.service"
SOCKETS: Final = {"gateway": "wormkey.socket", "control": "wormkey-control.socket"}
# What the unit itself decides; its environment beats the file, so a key there would do nothing.
FIXED: Final = {
    "state_dir": "the unit says /var/lib/wormkey (StateDirectory=)",
    "access": "the unit says token (WORMKEY_ACCESS); `systemctl edit wormkey` can say open",
}
# What ProtectHome=yes and PrivateTmp=yes of the unit keep from the daemon.
_HIDDEN: Final = tuple(map(Path, ("/home", "/root", "/run/user", "/tmp", "/var/tmp")))  # noqa: S108
_PROGRAM: Final = re.compile(r"/[A-Za-z0-9/._+@-]+", re.ASCII)  # needs no quoting in a unit
_STAMP: Final = "# Written by `wormkeyd install`, which keeps this file once it is edited: "
_HEAD: Final = """\
# The options of wormkeyd, each with its default behind its key. Take the # away from a key to set
# it, then: systemctl restart wormkey. `wormkeyd check --config THIS_FILE` looks without starting.
# Everybody on this machine can read this file: no option is a secret.
"""


def unit_text(program: Path) -> str:
    """Return the unit that starts ``program``, stamped.

    Raises:
        ConfigError: the unit could not see the program, or its path has odd characters.
    """
    if _PROGRAM.fullmatch(str(program)) is None:
        raise ConfigError(
            f"the path {str(program)!r} cannot stand in a unit: use letters, digits and / . _ + @ -"
        )
    check_visible([program])
    line = f"ExecStart={program}"
    return stamped(re.sub(r"^ExecStart=.*$", line, _source(UNIT), count=1, flags=re.MULTILINE))


def socket_text(role: str, address: Address) -> str:
    """Return the unit by which systemd holds a listener of the daemon's, stamped.

    Raises:
        ConfigError: systemd cannot listen there; it resolves no names, and picks no ports.
    """
    line = f"ListenStream={_listen_at(role, address)}"
    if isinstance(address, UnixAddress):
        line += "\nSocketMode=0660"
    text = _source(SOCKETS[role])
    return stamped(re.sub(r"^ListenStream=.*$", lambda _: line, text, flags=re.MULTILINE))


def _listen_at(role: str, address: Address) -> str:
    if isinstance(address, UnixAddress) and address.path.startswith("/"):
        return address.path.replace("%", "%%")
    if isinstance(address, TcpAddress) and address.port:
        if address.host is None:
            return str(address.port)
        if is_ip(address.host):
            return str(address)
    raise ConfigError(
        f"systemd cannot hold a socket at {address}: give --{role} an IP address and a port, "
        "or leave --sockets out"
    )


def _source(name: str) -> str:
    """Return a unit of the project's: from the package, or in a checkout from the top of it."""
    packed = resources.files("wormkey").joinpath(f"assets/{name}")
    if packed.is_file():
        return packed.read_text("utf-8")
    return Path(__file__).parents[2].joinpath(name).read_text("utf-8")


def check_visible(paths: Iterable[Path]) -> None:
    """Refuse paths that the sandbox of the unit hides from the daemon.

    Raises:
        ConfigError: naming the path, and what to do.
    """
    for path in paths:
        for folder in _HIDDEN:
            if path.is_relative_to(folder):
                raise ConfigError(
                    f"{path} is hidden from the service, which sees nothing below {folder}: "
                    "install wormkey into /opt with a Python of the system, as in: "
                    "/usr/bin/python3 -m venv /opt/wormkey/venv"
                )


def config_text(values: Mapping[str, tuple[str, ...]]) -> str:
    """Return the configuration file: every option explained, those in ``values`` set, stamped.

    Args:
        values: texts by TOML key.
    """
    parts = [_HEAD]
    for option in OPTIONS:
        if option.key is None:
            continue
        form = "true|false" if option.switch else option.metavar
        lines = [f"{option.help} ({form}; default: {option.default})"]
        if option.key in FIXED:
            lines.append(FIXED[option.key])
        comment = "\n".join(textwrap.fill(line, 98) for line in lines)
        texts = values.get(option.key)
        sign, shown = ("#", (_example(option),)) if texts is None else ("", texts)
        parts.append(
            f"{textwrap.indent(comment, '# ')}\n{sign}{option.key} = {_toml(option, shown)}\n"
        )
    return stamped("\n".join(parts))


def _example(option: Option) -> str:
    """Return the default if it is a text that the option takes, else the form of such a text."""
    try:
        option.parse(option.default)
    except ConfigError:
        return option.metavar
    # A path is any text; a default in words ("none", "the user's state folder") is not meant.
    return option.metavar if option.metavar in {"FILE", "DIR"} else option.default


def _toml(option: Option, texts: tuple[str, ...]) -> str:
    # A JSON string is a TOML basic string, but for DEL, which no option takes.
    written = [text if option.switch else json.dumps(text, ensure_ascii=False) for text in texts]
    return f"[{', '.join(written)}]" if option.repeatable else written[0]


def stamped(text: str) -> str:
    """Return the text behind a first line by which ``is_edited`` knows it again."""
    return f"{_STAMP}{_digest(text)}\n{text}"


def is_edited(text: str) -> bool:
    """Tell whether this is anything but a text that ``stamped`` returned, of whatever version."""
    first, _, rest = text.partition("\n")
    return first != _STAMP + _digest(rest)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]  # against slips, not against attackers


def control_url(settings: Settings, hostname: str) -> str | None:
    """Return the URL at which other machines reach the control plane; None: they do not.

    Behind a web server it is the name ``control`` under the public URL's host, as the web
    servers' configurations in the documentation have it; no session can take that name.
    """
    public = urlsplit(settings.public_url or "")
    address = settings.control
    if isinstance(address, TcpAddress) and not address.loopback:
        host = address.host
        if host in {None, "::", "0.0.0.0"}:  # noqa: S104 - compared, never bound
            host = public.hostname or hostname
        return f"http://{f'[{host}]' if ':' in (host or '') else host}:{address.port}"
    if public.hostname and not is_ip(public.hostname) and public.hostname != "localhost":
        return f"{public.scheme}://control.{public.netloc}"
    return None
