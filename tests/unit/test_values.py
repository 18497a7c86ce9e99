"""What users write, and what it means: one table for each kind of text."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wormkey.errors import ConfigError
from wormkey.values import (
    FdAddress,
    TcpAddress,
    UnixAddress,
    choice_parser,
    is_ip,
    parse_address,
    parse_count,
    parse_duration,
    parse_network,
    parse_size,
    parse_switch,
    url_parser,
    within,
)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (":3001", TcpAddress(None, 3001)),
        (":0", TcpAddress(None, 0)),
        ("127.0.0.1:65535", TcpAddress("127.0.0.1", 65535)),
        ("localhost:1", TcpAddress("localhost", 1)),
        ("gate-way_1.example.com:80", TcpAddress("gate-way_1.example.com", 80)),
        ("[::1]:3001", TcpAddress("::1", 3001)),
        ("[fe80::1%eth0]:3001", TcpAddress("fe80::1%eth0", 3001)),
        ("unix:/run/wormkey.sock", UnixAddress("/run/wormkey.sock")),
        ("unix:relative.sock", UnixAddress("relative.sock")),
        ("fd:3", FdAddress((3,))),
        ("fd:3,4", FdAddress((3, 4))),
    ],
)
def test_an_address_is_read_and_written_back(text: str, address: object) -> None:
    """Every form of ADDR parses, and str() gives a text that means the same."""
    parsed = parse_address(text)
    assert parsed == address
    assert str(parsed) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "3001",
        "localhost",
        ":65536",
        ":-1",
        ":\u0663",
        "::1:3001",
        "[::1]",
        "[localhost]:1",
        "[127.0.0.1]:1",
        "[::g]:1",
        "a b:1",
        "a..b:1",
        ".a:1",
        "http://localhost:1",
        "unix:",
        "unix:" + "x" * 108,
        "unix:/a\0b",
        "fd:",
        "fd:x",
        "fd:-1",
        "fd:3,",
    ],
)
def test_what_is_no_address_is_refused_with_the_text_in_the_sentence(text: str) -> None:
    """A refusal shows what was written, on one line."""
    with pytest.raises(ConfigError) as caught:
        parse_address(text)
    assert repr(text) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "loopback"),
    [
        ("127.0.0.1:1", True),
        ("127.9.9.9:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("LOCALHOST:1", True),
        ("unix:/a", True),
        (":1", False),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("10.0.0.1:1", False),
        ("localhost.example.com:1", False),
        ("fd:3", False),
    ],
)
def test_loopback_is_only_what_this_machine_alone_can_reach(text: str, loopback: bool) -> None:
    """127.0.0.0/8, ::1, localhost and unix sockets; an inherited socket may be anything."""
    assert parse_address(text).loopback is loopback


@given(st.ip_addresses(), st.integers(0, 65535))
def test_every_ip_address_makes_the_round_trip(
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int
) -> None:
    """str() and parse_address are inverse for all IP addresses and ports."""
    address = TcpAddress(str(ip), port)
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    ("text", "duration_s"),
    [("500ms", 0.5), ("10s", 10), ("1.5s", 1.5), ("5m", 300), ("2h", 7200), ("30d", 2592000)],
)
def test_a_duration_is_a_number_and_a_unit(text: str, duration_s: float) -> None:
    """Milliseconds to days."""
    assert parse_duration(text) == pytest.approx(duration_s)


@pytest.mark.parametrize(
    "text", ["", "10", "0", "-1s", "s", "1 s", "1e3s", "\u0661s", "1w", "1S", "1s1s"]
)
def test_a_duration_without_a_unit_is_refused(text: str) -> None:
    """A bare number could be anything, so it is nothing."""
    with pytest.raises(ConfigError, match="is not a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("0", 0), ("1024", 1024), ("7B", 7), ("256KiB", 2**18), ("4mib", 2**22), ("1GiB", 2**30)],
)
def test_a_size_is_bytes_or_a_binary_multiple(text: str, size_bytes: int) -> None:
    """KiB, MiB and GiB, in any case."""
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize("text", ["", "1.5KiB", "-1", "4MB", "4M", "KiB", "1 KiB", "\u0661"])
def test_what_is_no_size_is_refused(text: str) -> None:
    """Decimal multiples too: they would be a guess."""
    with pytest.raises(ConfigError, match="is not a size"):
        parse_size(text)


def test_a_count_is_decimal_digits() -> None:
    """Nothing that int() takes besides."""
    assert parse_count("0128") == 128
    for text in ("", "-1", "+1", "1_0", " 1", "1.0", "\u0663"):
        with pytest.raises(ConfigError, match="is not a whole number"):
            parse_count(text)


def test_a_network_may_be_one_address() -> None:
    """CIDR and bare addresses of both families."""
    assert parse_network("10.0.0.0/8") == ipaddress.ip_network("10.0.0.0/8")
    assert parse_network("::1") == ipaddress.ip_network("::1/128")


def test_a_network_with_host_bits_names_the_one_that_was_meant() -> None:
    """10.1.2.3/8 is a slip; the refusal says what to write."""
    with pytest.raises(ConfigError, match=r"write 10\.0\.0\.0/8"):
        parse_network("10.1.2.3/8")
    with pytest.raises(ConfigError, match="is not a network"):
        parse_network("example.com")


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://Example.COM", "https://example.com"),
        ("HTTP://localhost:3002/", "http://localhost:3002"),
        ("https://a.example:443", "https://a.example"),
        ("http://a.example:80/", "http://a.example"),
        ("http://a.example:0443", "http://a.example:443"),
        ("http://[::1]:3002", "http://[::1]:3002"),
        ("http://192.0.2.7", "http://192.0.2.7"),
    ],
)
def test_two_spellings_of_an_origin_become_one(text: str, url: str) -> None:
    """Lower case, no default port, no slash at the end."""
    assert url_parser("http", "https")(text) == url


@pytest.mark.parametrize(
    "text",
    [
        "",
        "example.com",
        "ftp://example.com",
        "ws://example.com",
        "https://",
        "https://a/b",
        "https://a?b",
        "https://a#b",
        "https://user@a",
        "https://a:0",
        "https://a:65536",
        "https://a:x",
        "https://a b",
        "https://[::g]",
        "https://[1.2.3.4]:1",
        "https://-a",
        "https://bücher.example",
        "null",
        "*",
    ],
)
def test_a_url_has_a_host_and_nothing_behind(text: str) -> None:
    """No path, no query, no user, no wildcard."""
    with pytest.raises(ConfigError) as caught:
        url_parser("http", "https")(text)
    assert repr(text) in str(caught.value)


def test_a_choice_names_all_names_when_refused() -> None:
    """The user sees what there is to choose from."""
    parse = choice_parser("path", "host")
    assert parse("host") == "host"
    with pytest.raises(ConfigError, match="'Host' is not one of path, host"):
        parse("Host")


def test_a_range_includes_its_ends() -> None:
    """Out of range, the refusal says both ends as they are written."""
    parse = within(parse_duration, "1s", "1m")
    assert (parse("1s"), parse("60s")) == (1, 60)
    for text in ("999ms", "61s"):
        with pytest.raises(ConfigError, match="the least is 1s, the most 1m"):
            parse(text)


def test_a_name_is_no_ip() -> None:
    """What looks nearly like an address is a name."""
    assert is_ip("127.0.0.1")
    assert is_ip("::1")
    assert not is_ip("127.0.0")
    assert not is_ip("localhost")


@pytest.mark.parametrize(
    ("texts", "value"), [(("true", "YES", "on", "1"), True), (("false", "No", "off", "0"), False)]
)
def test_a_switch_has_words_for_on_and_off(texts: tuple[str, ...], value: bool) -> None:
    """In any case of letters; another word is refused."""
    assert [parse_switch(text) for text in texts] == [value] * len(texts)
    with pytest.raises(ConfigError, match="neither true nor false"):
        parse_switch("maybe")
