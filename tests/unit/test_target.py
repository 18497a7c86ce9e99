"""target.py: what TARGET may be, and what the origin is called."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wormkey.errors import ConfigError
from wormkey.target import Target, parse_target

LOCAL = Target(scheme="http", host=None, port=5173)


@pytest.mark.parametrize(
    "text",
    [
        "5173",
        ":5173",
        "localhost:5173",
        "LOCALHOST.:5173",
        "http://localhost:5173",
        "HTTP://localhost:5173/",
        " 5173 ",
        "0.0.0.0:5173",
        "http://[::]:5173",
    ],
)
def test_every_spelling_of_this_machine_is_one_target(text: str) -> None:
    """A port alone, localhost and the listen-everywhere addresses all mean both loopbacks."""
    assert parse_target(text) == LOCAL
    assert LOCAL.addresses == ("127.0.0.1", "::1")


@pytest.mark.parametrize(
    ("text", "scheme", "host", "port", "authority"),
    [
        ("app.internal:8080", "http", "app.internal", 8080, b"app.internal:8080"),
        ("my_app:8080", "http", "my_app", 8080, b"my_app:8080"),
        ("127.0.0.1:3000", "http", "127.0.0.1", 3000, b"127.0.0.1:3000"),
        ("[::1]:3000", "http", "::1", 3000, b"[::1]:3000"),
        ("[0:0::1]:3000", "http", "::1", 3000, b"[::1]:3000"),
        ("https://localhost:8443", "https", None, 8443, b"localhost:8443"),
        ("https://localhost", "https", None, 443, b"localhost"),
        ("http://app", "http", "app", 80, b"app"),
        ("http://app:443", "http", "app", 443, b"app:443"),
        ("https://[fd00::2]/", "https", "fd00::2", 443, b"[fd00::2]"),
    ],
)
def test_targets_name_scheme_host_and_port(
    text: str, scheme: str, host: str | None, port: int, authority: bytes
) -> None:
    """Each form gives its address; the authority leaves a default port unsaid."""
    target = parse_target(text)
    assert (target.scheme, target.host, target.port) == (scheme, host, port)
    assert target.authority == authority
    assert target.unix_path is None


@pytest.mark.parametrize(
    "text", ["unix:/run/app.sock", "unix:///run/app.sock", "UNIX:/run/app.sock"]
)
def test_a_unix_socket_is_a_path(text: str) -> None:
    """A socket has a path, no address to try, and is called localhost in Host."""
    target = parse_target(text)
    assert target.unix_path == "/run/app.sock"
    assert target.addresses == ()
    assert target.authority == b"localhost"
    assert target.tried == "/run/app.sock"
    assert str(target) == "unix:/run/app.sock"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "65536",
        "99999999999999999999",
        "٣٠٠٠",
        "-1",
        "5173x",
        "localhost",
        "app:",
        "http://",
        "http://:5173x",
        "ftp://localhost:21",
        "user:pw@host:80",
        "http://user@host",
        "http://host/path",
        "http://host?x=1",
        "host:80#x",
        "::1:80",
        "[::1",
        "[::1]x",
        "[::1]",
        "[1.2.3.4]:80",
        "[::g]:80",
        "ho st:80",
        "höst:80",
        "-host:80",
        "unix:",
        "unix:app.sock",
        "unix:/run/",
        "unix:/a\0b",
        "unix://host/a",
        "unix:/" + "x" * 107,
        "a:b:80",
    ],
)
def test_what_is_no_target_is_refused_in_one_sentence(text: str) -> None:
    """A bad target is a ConfigError of one line."""
    with pytest.raises(ConfigError) as caught:
        parse_target(text)
    assert "\n" not in str(caught.value)


def test_the_error_says_what_a_target_may_be() -> None:
    """A name without a port is told the forms, so the next try is right."""
    with pytest.raises(ConfigError, match="a port, host:port"):
        parse_target("myapp")


def test_aliases_are_what_a_location_may_call_the_origin() -> None:
    """Both loopbacks and localhost are one origin; on a default port also without it."""
    assert {b"localhost:5173", b"127.0.0.1:5173", b"[::1]:5173"} <= LOCAL.aliases
    assert b"localhost" not in LOCAL.aliases
    assert b"localhost" in parse_target("http://localhost").aliases
    assert parse_target("App.internal:81").aliases == {b"app.internal:81"}


def test_both_addresses_tried_are_named() -> None:
    """The error text can name every place a dial tries."""
    assert LOCAL.tried == "127.0.0.1:5173 and [::1]:5173"
    assert parse_target("app:80").tried == "app:80"


@given(st.text(max_size=40))
def test_no_text_breaks_the_parser(text: str) -> None:
    """Any text is a target or a ConfigError; and a target's own spelling parses to itself."""
    try:
        target = parse_target(text)
    except ConfigError:
        return
    again = parse_target(str(target))
    assert again == target
