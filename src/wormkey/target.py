"""What TARGET means: the one local origin that a client serves, parsed and never dialled here.

The client dials a fixed address taken from this value and sends request targets as bytes; no URL
is ever built from what a viewer sent. Pure: no sockets, no name lookups (docs/usage.md is the
text for users).
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final, Literal, TypeAlias

from attrs import field, frozen

from wormkey.errors import ConfigError

Scheme: TypeAlias = Literal["http", "https"]

_DEFAULT_PORTS: Final[dict[Scheme, int]] = {"http": 80, "https": 443}
_LOOPBACK: Final = ("127.0.0.1", "::1")  # dev servers listen on one of the two, rarely on both
# What dev servers print when they listen everywhere, and what users then copy. Never bound here.
_THIS_MACHINE: Final = frozenset({"localhost", "0.0.0.0", "[::]"})  # noqa: S104
_MAX_UNIX_PATH_BYTES: Final = 107  # sun_path of Linux holds 108 with its NUL
_NAME: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?\.?")
_FORMS: Final = "a port, host:port, http(s)://host:port or unix:/path"


@frozen(kw_only=True)
class Target:
    """The origin's address. ``host`` None is this machine: 127.0.0.1 or ::1, whichever answers.

    ``unix_path`` wins over host and port; ``port`` is then the scheme's own and only recorded.
    """

    scheme: Scheme
    host: str | None
    port: int
    unix_path: str | None = field(default=None)

    @property
    def addresses(self) -> tuple[str, ...]:
        """The hosts to try, in order; empty for a unix socket."""
        if self.unix_path is not None:
            return ()
        return _LOOPBACK if self.host is None else (self.host,)

    @property
    def authority(self) -> bytes:
        """The origin's own authority for its Host field, default ports unsaid (RFC 9110 §7.2)."""
        name = "localhost" if self.host is None else _bracketed(self.host)
        if self.unix_path is not None or self.port == _DEFAULT_PORTS[self.scheme]:
            return name.encode("ascii")
        return f"{name}:{self.port}".encode("ascii")

    @property
    def aliases(self) -> frozenset[bytes]:
        """Every authority that names this origin, in lower case: what a Location may call it."""
        names = {"localhost" if self.host is None else _bracketed(self.host).lower()}
        if self.host is None:
            names |= {_bracketed(address) for address in _LOOPBACK} | _THIS_MACHINE
        with_port = {f"{name}:{self.port}" for name in names}
        unsaid = names if self.port == _DEFAULT_PORTS[self.scheme] else set()
        return frozenset(text.encode("ascii") for text in with_port | unsaid)

    @property
    def tried(self) -> str:
        """The places a dial tries, in words: ``127.0.0.1:5173 and [::1]:5173``."""
        if self.unix_path is not None:
            return self.unix_path
        return " and ".join(f"{_bracketed(address)}:{self.port}" for address in self.addresses)

    def __str__(self) -> str:
        """Return the target as a user would write it, in full."""
        if self.unix_path is not None:
            return f"unix:{self.unix_path}"
        return f"{self.scheme}://{self.authority.decode('ascii')}"


def parse_target(text: str) -> Target:
    """Return the origin that TARGET names; ``localhost`` in any form means both loopback addresses.

    Raises:
        ConfigError: it names none; the sentence says what is wrong and what would do.
    """
    stripped = text.strip()
    if stripped.lower().startswith("unix:"):
        return _parse_unix(text, stripped[len("unix:") :])
    scheme, rest = _split_scheme(text, stripped)
    authority = rest.removesuffix("/")
    if "@" in authority:
        raise ConfigError(f"target {text!r}: a user name does not belong there")
    if any(mark in authority for mark in "/?#"):
        raise ConfigError(f"target {text!r}: a path is not part of it; viewers bring their own")
    if scheme is None and authority.removeprefix(":").isdigit():
        return Target(scheme="http", host=None, port=_parse_port(text, authority.removeprefix(":")))
    host, port_text = _split_port(text, authority)
    if port_text is None and scheme is None:
        raise ConfigError(f"target {text!r} has no port: it may be {_FORMS}")
    sure_scheme: Scheme = scheme or "http"
    port = _DEFAULT_PORTS[sure_scheme] if port_text is None else _parse_port(text, port_text)
    return Target(scheme=sure_scheme, host=_parse_host(text, host), port=port)


def _split_scheme(text: str, stripped: str) -> tuple[Scheme | None, str]:
    name, mark, rest = stripped.partition("://")
    if not mark:
        return None, stripped
    match name.lower():
        case "http":
            return "http", rest
        case "https":
            return "https", rest
        case _:
            raise ConfigError(f"target {text!r}: {name!r} is not http, https or unix")


def _split_port(text: str, authority: str) -> tuple[str, str | None]:
    if authority.startswith("["):
        host, mark, rest = authority[1:].partition("]")
        if not mark or (rest and not rest.startswith(":")):
            raise ConfigError(f"target {text!r}: an IPv6 address is written [::1]:5173")
        if ":" not in host:
            raise ConfigError(f"target {text!r}: {host!r} is not an IPv6 address")
        return host, rest[1:] if rest else None
    if authority.count(":") > 1:
        raise ConfigError(f"target {text!r}: an IPv6 address is written [::1]:5173")
    host, mark, port = authority.partition(":")
    return host, port if mark else None


def _parse_port(text: str, port: str) -> int:
    # isdigit() alone takes other scripts' digits too, and int() 4,300 digits only to refuse them.
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535):
        raise ConfigError(f"target {text!r}: {port!r} is not a port from 1 to 65535")
    return int(port)


def _parse_host(text: str, host: str) -> str | None:
    if _bracketed(host.lower().removesuffix(".")) in _THIS_MACHINE:
        return None
    if ":" in host:
        try:
            return str(ipaddress.IPv6Address(host))
        except ValueError:
            raise ConfigError(f"target {text!r}: {host!r} is not an IPv6 address") from None
    if _NAME.fullmatch(host) is None:
        raise ConfigError(f"target {text!r}: {host!r} is not a host; a target is {_FORMS}")
    return host


def _parse_unix(text: str, path: str) -> Target:
    # unix:///run/app.sock is the URL spelling of unix:/run/app.sock.
    path = path.removeprefix("//") if path.startswith("///") else path
    if not path.startswith("/") or path.startswith("//") or path.endswith("/"):
        raise ConfigError(f"target {text!r}: a unix socket is written unix:/path/to/socket")
    if "\0" in path:
        raise ConfigError(f"target {text!r}: a path holds no NUL")
    if len(path.encode(errors="surrogateescape")) > _MAX_UNIX_PATH_BYTES:
        raise ConfigError(f"target {text!r}: a socket's path is too long")
    return Target(scheme="http", host=None, port=_DEFAULT_PORTS["http"], unix_path=path)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
