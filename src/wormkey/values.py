"""The texts of the configuration and what they mean: addresses, durations, sizes, networks, URLs.

Each parser takes what a user wrote and returns a value, or raises a ConfigError of one sentence
that shows the text and how to write it. Values only: which option takes which of them stands in
config.py; sockets are opened in transport.py.
"""

from __future__ import annotations

import ipaddress
import os
import re
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from attrs import frozen

from wormkey.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
L = TypeVar("L", bound=str)
N = TypeVar("N", int, float)

_MAX_UNIX_PATH_BYTES: Final = 107  # sun_path of Linux holds 108 with its NUL
_HOSTNAME: Final = re.compile(r"(?!.*\.\.)[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}")
_DURATION: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h|d)", re.ASCII)
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE: Final = re.compile(r"(\d{1,12})(B|KiB|MiB|GiB)?", re.ASCII | re.IGNORECASE)
_BYTES: Final = {"": 1, "b": 1, "kib": 1024, "mib": 1024**2, "gib": 1024**3}
_ON: Final = frozenset({"true", "yes", "on", "1"})
_OFF: Final = frozenset({"false", "no", "off", "0"})
_DEFAULT_PORTS: Final = {"http": 80, "ws": 80, "https": 443, "wss": 443}
_URL: Final = re.compile(
    r"(?P<scheme>[a-z]+)://(?P<host>\[[0-9a-f:.]+\]|[^\s/?#@\[\]:]+)(?::(?P<port>\d{1,5}))?/?",
    re.ASCII | re.IGNORECASE,
)


@frozen
class TcpAddress:
    """A host and a TCP port; host None means every interface, IPv4 and IPv6."""

    host: str | None
    port: int

    @property
    def loopback(self) -> bool:
        """Whether only this machine can connect: 127.0.0.0/8, ::1 or the name localhost."""
        return self.host is not None and _is_loopback(self.host)

    def __str__(self) -> str:
        """Return the text that parse_address takes."""
        host = f"[{self.host}]" if self.host and ":" in self.host else self.host or ""
        return f"{host}:{self.port}"


@frozen
class UnixAddress:
    """A unix domain socket by its path."""

    path: str
    loopback = True

    def __str__(self) -> str:
        """Return the text that parse_address takes."""
        return f"unix:{self.path}"


@frozen
class FdAddress:
    """Inherited listening sockets by their file descriptors; who may connect is not known."""

    fds: tuple[int, ...]
    loopback = False

    def __str__(self) -> str:
        """Return the text that parse_address takes."""
        return "fd:" + ",".join(map(str, self.fds))


Address: TypeAlias = TcpAddress | UnixAddress | FdAddress


def parse_address(text: str) -> Address:
    """Return the address that ``:3001``, ``[::1]:3001``, ``unix:/path`` or ``fd:3`` names.

    Raises:
        ConfigError: none of these forms, or a part out of range.
    """
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not 0 < len(os.fsencode(path)) <= _MAX_UNIX_PATH_BYTES or "\0" in path:
            raise ConfigError(
                f"{text!r}: a unix socket's path has 1 to {_MAX_UNIX_PATH_BYTES} bytes"
            )
        return UnixAddress(path)
    if match := re.fullmatch(r"fd:(\d{1,7}(?:,\d{1,7})*)", text, re.ASCII):
        return FdAddress(tuple(map(int, match[1].split(","))))
    host, colon, port = text.rpartition(":")
    if not colon or not re.fullmatch(r"\d{1,5}", port, re.ASCII) or int(port) > 65535:
        forms = ":3001, 127.0.0.1:3001, [::1]:3001, unix:/path or fd:3"
        raise ConfigError(f"{text!r} is not an address; write {forms}")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if not _is_ipv6(host):
            raise ConfigError(f"{text!r}: {host!r} is not an IPv6 address")
    elif host and not _HOSTNAME.fullmatch(host):
        raise ConfigError(f"{text!r}: {host!r} is not a host; an IPv6 address stands in brackets")
    return TcpAddress(host or None, int(port))


def parse_duration(text: str) -> float:
    """Return the seconds that ``500ms``, ``10s``, ``5m``, ``2h`` or ``30d`` name.

    Raises:
        ConfigError: no number, no unit, or another unit.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ConfigError(f"{text!r} is not a duration; write 500ms, 10s, 5m, 2h or 30d")
    return float(match[1]) * _SECONDS[match[2]]


def parse_size(text: str) -> int:
    """Return the bytes that ``1024``, ``256KiB``, ``4MiB`` or ``1GiB`` name.

    Raises:
        ConfigError: no number, or another unit.
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ConfigError(f"{text!r} is not a size; write 1024, 256KiB, 4MiB or 1GiB")
    return int(match[1]) * _BYTES[(match[2] or "").lower()]


def parse_count(text: str) -> int:
    """Return a whole number.

    Raises:
        ConfigError: anything but decimal digits.
    """
    if not re.fullmatch(r"\d{1,12}", text, re.ASCII):
        raise ConfigError(f"{text!r} is not a whole number")
    return int(text)


def parse_switch(text: str) -> bool:
    """Return what a word for on or off means.

    Raises:
        ConfigError: another word.
    """
    word = text.lower()
    if word in _ON:
        return True
    if word in _OFF:
        return False
    raise ConfigError(f"{text!r} is neither true nor false")


def parse_network(text: str) -> Network:
    """Return the network that ``10.0.0.0/8``, ``::1`` or another CIDR names.

    Raises:
        ConfigError: not a network, or host bits set (the message says which network was meant).
    """
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        pass
    try:
        meant = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ConfigError(f"{text!r} is not a network; write 10.0.0.0/8 or ::1/128") from None
    raise ConfigError(f"{text!r} has bits set after its prefix; write {meant}")


def url_parser(*schemes: str) -> Callable[[str], str]:
    """Return a parser of ``scheme://host[:port]``.

    What it returns is in lower case, without the scheme's default port and without a path, so
    that two spellings of one origin (RFC 6454 §4) compare equal.
    """
    form = f"{' or '.join(f'{scheme}://' for scheme in schemes)}host[:port]"

    def parse_url(text: str) -> str:
        match = _URL.fullmatch(text)
        if match is None or match["scheme"].lower() not in schemes:
            raise ConfigError(f"{text!r} is not a URL of the form {form}, without a path")
        scheme, host, port = match["scheme"].lower(), match["host"].lower(), match["port"]
        known = _is_ipv6(host[1:-1]) if host[0] == "[" else _HOSTNAME.fullmatch(host)
        if not known or (port is not None and not 0 < int(port) < 65536):
            raise ConfigError(f"{text!r} has no host and port that can exist; write {form}")
        shown = "" if port is None or int(port) == _DEFAULT_PORTS[scheme] else f":{int(port)}"
        return f"{scheme}://{host}{shown}"

    return parse_url


def choice_parser(*names: L) -> Callable[[str], L]:
    """Return a parser that takes these names only."""

    def parse_choice(text: str) -> L:
        for name in names:
            if name == text:
                return name
        raise ConfigError(f"{text!r} is not one of {', '.join(names)}")

    return parse_choice


def within(parse: Callable[[str], N], least: str, most: str) -> Callable[[str], N]:
    """Return a parser that takes what ``parse`` takes, from ``least`` to ``most``."""
    low, high = parse(least), parse(most)

    def parse_within(text: str) -> N:
        value = parse(text)
        if not low <= value <= high:
            raise ConfigError(f"{text!r} is out of range; the least is {least}, the most {most}")
        return value

    return parse_within


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def is_ip(host: str) -> bool:
    """Return whether this is an IP address, without brackets."""
    return _ip(host) is not None


def _is_ipv6(host: str) -> bool:
    return ":" in host and _ip(host) is not None


def _is_loopback(host: str) -> bool:
    ip = _ip(host)
    return host.lower() == "localhost" if ip is None else ip.is_loopback


def is_loopback(url: str) -> bool:
    """Tell whether a URL (canonical) names this machine and nothing beyond."""
    host = url.partition("://")[2].partition("/")[0]
    host = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return host.endswith(".localhost") or TcpAddress(host, 0).loopback


def goes_in_the_clear(url: str) -> bool:
    """Tell whether what is sent to a URL can be read on the way."""
    return url.startswith(("http://", "ws://")) and not is_loopback(url)
