"""forwarded.py: only trusted proxies are believed, from the nearest one on."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wormkey.forwarded import (
    count_down,
    forwards_left,
    is_trusted,
    last,
    parse_address,
    viewer_address,
)
from wormkey.frames import RequestHead

TRUSTED = [ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8")]


@pytest.mark.parametrize(
    ("peer", "chain", "viewer"),
    [
        ("192.0.2.1", [b"198.51.100.1"], "192.0.2.1"),
        ("10.0.0.1", [b"198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", [b"203.0.113.9, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", [b"203.0.113.9", b"198.51.100.1:4711, fd00::1"], "198.51.100.1"),
        ("fd00::2", [b"[2001:db8::1]:443, 10.1.1.1"], "2001:db8::1"),
        ("::ffff:10.0.0.1", [b"::ffff:198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", [b"unknown"], "10.0.0.1"),
        ("10.0.0.1", [b"198.51.100.1, \xff"], "10.0.0.1"),
        ("10.0.0.1", [b"10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("", [b"198.51.100.1"], ""),
    ],
)
def test_the_viewer_is_the_first_whom_only_he_vouches_for(
    peer: str, chain: list[bytes], viewer: str
) -> None:
    """The chain is read from its end, past trusted proxies only; nonsense ends it."""
    assert viewer_address(chain, peer, TRUSTED) == viewer


@given(st.lists(st.binary(max_size=20), max_size=3))
def test_an_untrusted_peer_is_himself(chain: list[bytes]) -> None:
    """Whatever he claims, his own address counts."""
    assert viewer_address(chain, "192.0.2.1", TRUSTED) == "192.0.2.1"
    viewer_address(chain, "10.0.0.1", TRUSTED)


def test_without_a_list_nobody_is_trusted() -> None:
    """Trust is the operator's to give; text that is no address never gets it."""
    assert not is_trusted("127.0.0.1", [])
    assert not is_trusted("localhost", TRUSTED)
    assert is_trusted("10.255.0.1", TRUSTED)


def test_the_nearest_proxys_word_is_the_last() -> None:
    """Of several fields and elements the last counts."""
    assert last([b"a, b", b"c ,\td "]) == b"d"
    assert last([]) == b""


def test_addresses_may_carry_ports() -> None:
    """Both families are read with and without a port; a mapped address is its IPv4 self."""
    assert parse_address(b" 192.0.2.1:80 ") == ipaddress.ip_address("192.0.2.1")
    assert parse_address(b"[::1]") == ipaddress.ip_address("::1")
    assert parse_address(b"::ffff:192.0.2.1") == ipaddress.ip_address("192.0.2.1")
    assert parse_address(b"192.0.2.1:") is None


@pytest.mark.parametrize(
    ("method", "sent", "left", "goes_on"),
    [
        (b"OPTIONS", (b"3",), 3, [b"2"]),
        (b"OPTIONS", (b"0",), 0, [b"0"]),
        (b"OPTIONS", (), None, []),
        (b"OPTIONS", (b"-1",), None, [b"-1"]),
        (b"OPTIONS", (b"1", b"1"), None, [b"1", b"1"]),
        (b"OPTIONS", (b"9" * 4000,), 999_999_999, [b"999999998"]),
        (b"GET", (b"0",), None, [b"0"]),
    ],
)
def test_max_forwards_binds_options(
    method: bytes, sent: tuple[bytes, ...], left: int | None, goes_on: list[bytes]
) -> None:
    """One plain number counts down; whatever else stands there limits nothing."""
    head = RequestHead(method, b"/", tuple((b"max-forwards", value) for value in sent))
    assert forwards_left(head) == left
    assert [value for _, value in count_down(head).fields] == goes_on
