"""The daemon's settings: one table that flags, environment, TOML keys and the docs are made from.

Each attribute of Settings states its parser, its default as a user would write it, and its help;
OPTIONS is that table. values.py says what the texts mean, sources.py where they are found. Settings
hold parsed values only, so nothing behind them parses again. No trio, no sockets, no clock.
"""
# ruff: noqa: RUF009 - the calls below return attrs.field, which is no shared default

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, TypeVar, cast

import attrs
import platformdirs
from attrs import frozen

from wormkey.values import (
    Address,
    FdAddress,
    Network,
    TcpAddress,
    UnixAddress,
    choice_parser,
    parse_address,
    parse_count,
    parse_duration,
    parse_network,
    parse_size,
    parse_switch,
    url_parser,
    within,
)

__all__ = [
    "OPTIONS",
    "Address",
    "FdAddress",
    "Network",
    "Option",
    "Settings",
    "TcpAddress",
    "UnixAddress",
    "parse_address",
    "parse_duration",
    "parse_size",
]

T = TypeVar("T")
Routing: TypeAlias = Literal["path", "host"]
Access: TypeAlias = Literal["open", "token"]
StoreKind: TypeAlias = Literal["sqlite", "memory"]
LogFormat: TypeAlias = Literal["text", "json"]
LogLevel: TypeAlias = Literal["debug", "info", "warning", "error"]


@frozen(kw_only=True)
class Option:
    """How one setting is written: its flag, its variables, its TOML key, its parser, its help."""

    field: str
    flag: str
    variables: tuple[str, ...]  # the first that is set counts
    key: str | None  # in the TOML file; None: it cannot stand there
    parse: Callable[[str], Any]  # one text to one value
    default: str  # as a user would write it, or a few words where it depends
    metavar: str
    help: str
    repeatable: bool = False
    switch: bool = False  # the flag takes no value; --no-… is its opposite
    live: bool = False  # a reload changes it; else it takes a restart


@frozen(kw_only=True)
class _Line:
    """The part of an Option that an attribute of Settings states itself."""

    parse: Callable[[str], Any]
    default: str
    help: str
    metavar: str
    variables: tuple[str, ...] = ()
    flag: str = ""
    keyed: bool = True
    repeatable: bool = False
    switch: bool = False
    live: bool = False


def _option(line: _Line, default: object) -> Any:  # noqa: ANN401 - as attrs.field itself
    return attrs.field(default=default, metadata={_Line: line})


def _plain(
    parse: Callable[[str], T], default: str, help_: str, metavar: str, *, live: bool = False
) -> T:
    """Return an attribute whose default is what ``parse`` makes of the text ``default``."""
    line = _Line(parse=parse, default=default, help=help_, metavar=metavar, live=live)
    return cast("T", _option(line, parse(default)))


def _duration(default: str, help_: str, least: str = "1ms", most: str = "365d") -> float:
    return _plain(within(parse_duration, least, most), default, help_, "DURATION", live=True)


def _size(default: str, help_: str, least: str = "1KiB", most: str = "1GiB") -> int:
    return _plain(within(parse_size, least, most), default, help_, "SIZE", live=True)


def _count(default: str, help_: str, *, live: bool = True) -> int:
    return _plain(within(parse_count, "1", "1000000"), default, help_, "N", live=live)


def _switch(help_: str) -> bool:
    line = _Line(
        parse=parse_switch, default="false", help=help_, metavar="", switch=True, live=True
    )
    return cast("bool", _option(line, default=False))


def _special(
    parse: Callable[[str], Any],
    value: object,
    default: str,
    help_: str,
    metavar: str,
    **line: Any,  # noqa: ANN401 - the rest of _Line
) -> Any:  # noqa: ANN401 - as attrs.field itself
    """Return an attribute whose default ``value`` has no text, or that is written specially."""
    return _option(_Line(parse=parse, default=default, help=help_, metavar=metavar, **line), value)


def _parse_path(text: str) -> Path:
    return Path(text).expanduser()


@frozen(kw_only=True)
class Settings:
    """What the daemon runs with: every value parsed, seconds as ``_s``, bytes as ``_bytes``.

    The order of the attributes is the order of ``--help``. An attribute named ``head_timeout_s``
    is the flag ``--head-timeout``, the variable WORMKEY_HEAD_TIMEOUT and the key head_timeout,
    unless its line says otherwise.
    """

    control: Address = _plain(
        parse_address, "127.0.0.1:3001", "where the control plane listens", "ADDR"
    )
    gateway: Address = _special(
        parse_address,
        parse_address("127.0.0.1:3002"),
        "127.0.0.1:3002",
        "where viewers and tunnels connect; the variable PORT is taken as :PORT",
        "ADDR",
        variables=("WORMKEY_GATEWAY", "PORT"),
    )
    public_url: str | None = _special(
        url_parser("http", "https"),
        None,
        "http://localhost:<gateway port>",
        "the URL that viewers use for the gateway",
        "URL",
        variables=("WORMKEY_PUBLIC_BASE_URL",),
        live=True,
    )
    edge_url: str | None = _special(
        url_parser("ws", "wss"),
        None,
        "the public URL with ws or wss",
        "the URL that clients open tunnels at",
        "URL",
        variables=("WORMKEY_EDGE_BASE_URL",),
        live=True,
    )
    routing: Routing = _plain(
        choice_parser("path", "host"),
        "path",
        "how public URLs are written, /s/SLUG/ or SLUG.host; both are accepted",
        "path|host",
        live=True,
    )
    state_dir: Path = _special(
        _parse_path,
        attrs.Factory(lambda: platformdirs.user_state_path("wormkeyd", appauthor=False)),
        "the user's state folder, wormkeyd/",
        "the folder of what must survive a restart",
        "DIR",
        variables=("WORMKEY_STATE_DIR", "STATE_DIRECTORY"),
    )
    store: StoreKind = _plain(
        choice_parser("sqlite", "memory"),
        "sqlite",
        "where sessions are kept; memory forgets them at exit",
        "sqlite|memory",
    )
    access: Access = _special(
        choice_parser("open", "token"),
        attrs.Factory(lambda self: _default_access(self.control, self.gateway), takes_self=True),
        "open if both listeners are loopback, else token",
        "who may create sessions: everyone who can connect, or holders of an access token",
        "open|token",
    )
    trusted_proxies: tuple[Network, ...] = _special(
        parse_network,
        (),
        "none",
        "a proxy in front whose X-Forwarded-* fields are believed",
        "CIDR",
        flag="--trusted-proxy",
        repeatable=True,
        live=True,
    )
    cors_origins: tuple[str, ...] = _special(
        url_parser("http", "https"),
        (),
        "none",
        "a web origin whose pages may call the control plane",
        "ORIGIN",
        flag="--cors-origin",
        repeatable=True,
        live=True,
    )
    config_file: Path | None = _special(
        _parse_path,
        None,
        "none",
        'a TOML file of these options, head_timeout = "10s" for --head-timeout 10s',
        "FILE",
        flag="--config",
        variables=("WORMKEYD_CONFIG",),
        keyed=False,
    )
    log_format: LogFormat = _special(
        choice_parser("text", "json"),
        "json",
        "text on a terminal, else json",
        "how log records are written",
        "text|json",
        live=True,
    )
    log_level: LogLevel = _plain(
        choice_parser("debug", "info", "warning", "error"),
        "info",
        "the least severe records that are written",
        "debug|info|warning|error",
        live=True,
    )
    access_log: bool = _switch("write a record for each viewer's exchange")
    audit_log: Path | None = _special(
        _parse_path,
        None,
        "none",
        "a file that the audit trail is appended to, besides the store",
        "FILE",
        live=True,
    )
    audit_records: int = _count("10000", "the audit records that the store keeps")

    # Exchanges. Every time-out counts idle seconds, never a whole exchange (docs/limits.md).
    hold_s: float = _duration(
        "15s", "how long a request waits for a client that is away; 0s fails at once", least="0s"
    )
    head_timeout_s: float = _duration("10s", "the time for a whole request head")
    keep_alive_timeout_s: float = _duration("75s", "the idle time between two requests")
    content_idle_timeout_s: float = _duration("20s", "the idle time in a request's content")
    write_idle_timeout_s: float = _duration("20s", "the idle time of a viewer who does not read")
    min_rate_bytes: int = _size(
        "128",
        "what a viewer must send or take in each second of waiting, after 20 s; 0 for none",
        least="0",
    )
    answer_timeout_s: float = _duration("120s", "the time an origin takes to start answering")
    stream_idle_timeout_s: float = _duration("1h", "the idle time of an answer under way")
    close_timeout_s: float = _duration("5s", "the time for a closing handshake")
    drain_timeout_s: float = _duration("30s", "the time exchanges have to end after SIGTERM")
    max_connections: int = _count("4096", "viewers' and tunnels' connections at a time", live=False)
    max_control_connections: int = _count(
        "256",
        "the control plane's connections at a time, a quarter of them of one address",
        live=False,
    )
    max_connections_per_address: int = _count(
        "512", "viewers' connections of one address; loopback and trusted proxies are free"
    )
    max_head_bytes: int = _size("32KiB", "the size of a request head", most="60KiB")
    max_target_bytes: int = _size("16KiB", "the size of a request target", most="32KiB")
    memory_budget_bytes: int = _size(
        "256MiB",
        "what viewers and tunnels may hold in memory together; 0 for any",
        least="0",
        most="1GiB",
    )
    max_held_requests: int = _count("128", "requests that wait for one session's client")
    max_held_bytes: int = _size("16MiB", "the bytes held for requests that wait for a client")

    # Tunnels.
    ping_interval_s: float = _duration("10s", "the time between two pings of a quiet tunnel")
    tunnel_timeout_s: float = _duration("20s", "the silence after which a tunnel is lost")
    tunnel_write_timeout_s: float = _duration("10s", "the time a tunnel takes to accept a message")
    max_handshakes: int = _count("256", "tunnels' handshakes under way at a time")
    max_streams: int = _count("1024", "exchanges in one tunnel at a time")
    stream_window_bytes: int = _size("256KiB", "the bytes in flight of a stream at first")
    max_stream_window_bytes: int = _size(
        "16MiB", "the bytes in flight of a stream that drains fast, on a long path"
    )
    tunnel_window_bytes: int = _size("32MiB", "the bytes in flight of all of a tunnel's streams")
    v0_stream_bytes: int = _size("16MiB", "the bytes held for a stream of a v0 client")
    v0_tunnel_bytes: int = _size("64MiB", "the bytes held for all streams of a v0 client")
    max_glitches: int = _count(
        "10000", "frames a minute that move nothing, of one client, until its tunnel ends"
    )

    # Sessions. Rates may be used up at once and refill evenly over a minute.
    max_session_creations: int = _count(
        "60", "sessions that one address may create in a minute; loopback in open mode is free"
    )
    max_token_creations: int = _count("60", "sessions that one access token may create in a minute")
    max_live_sessions: int = _count(
        "100", "live sessions of one access token, or of one address in open mode"
    )
    max_auth_failures: int = _count("30", "failed authentications of one address in a minute")
    max_password_tries: int = _count(
        "10", "wrong passwords of one address for one session in a minute"
    )
    max_misses: int = _count("60", "names that nobody has, asked for by one address in a minute")
    max_session_age_s: float = _duration("30d", "the longest life of a session", least="1s")

    def public_url_at(self, port: int | None) -> str:
        """Return the public URL, given the real port of the gateway (None: it has no port)."""
        return self.public_url or "http://localhost" + ("" if port in {None, 80} else f":{port}")

    def edge_url_at(self, port: int | None) -> str:
        """Return the URL that clients connect to: the public URL with ws or wss by default."""
        return self.edge_url or "ws" + self.public_url_at(port).removeprefix("http")


def _default_access(control: Address, gateway: Address) -> Access:
    return "open" if control.loopback and gateway.loopback else "token"


def _describe(attribute: attrs.Attribute[Any]) -> Option:
    line: _Line = attribute.metadata[_Line]
    key = attribute.name.removesuffix("_bytes").removesuffix("_s")
    return Option(
        field=attribute.name,
        flag=line.flag or "--" + key.replace("_", "-"),
        variables=line.variables or (f"WORMKEY_{key.upper()}",),
        key=key if line.keyed else None,
        parse=line.parse,
        default=line.default,
        metavar=line.metavar,
        help=line.help,
        repeatable=line.repeatable,
        switch=line.switch,
        live=line.live,
    )


OPTIONS: Final = tuple(_describe(attribute) for attribute in attrs.fields(Settings))
