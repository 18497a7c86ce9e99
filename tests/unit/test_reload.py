"""What a reload may change: the options that config.py calls live, and no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from wormkey.config import OPTIONS, Option, Settings, parse_address
from wormkey.reload import merge
from wormkey.values import parse_network

OTHER = {
    "control": parse_address("127.0.0.1:1"),
    "gateway": parse_address("127.0.0.1:2"),
    "public_url": "https://t.example",
    "edge_url": "wss://e.example",
    "routing": "host",
    "state_dir": Path("/other"),
    "store": "memory",
    "access": "token",
    "trusted_proxies": (parse_network("10.0.0.0/8"),),
    "cors_origins": ("https://o.example",),
    "config_file": Path("/other.toml"),
    "log_format": "text",
    "log_level": "debug",
    "access_log": True,
    "audit_log": Path("/audit"),
}
# Each would need a socket, a file or a table of its own to be made anew.
RESTART = {
    *("control", "gateway", "state_dir", "store", "access", "config_file", "max_connections"),
    "max_control_connections",
}


def test_these_and_no_others_take_a_restart() -> None:
    """A new option is live or not on purpose."""
    assert {option.field for option in OPTIONS if not option.live} == RESTART


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.flag)
def test_an_option_is_taken_or_named(option: Option) -> None:
    """Whatever differs is either applied or in the list of what waits for a restart."""
    old = Settings(state_dir=Path("/state"))
    value = OTHER.get(option.field, 1)
    wanted = Settings(**{"state_dir": Path("/state"), option.field: value})
    new, changed, waiting = merge(old, wanted)
    if option.live:
        assert (changed, waiting) == ([option.flag], [])
        assert new == wanted
    else:
        assert (changed, waiting) == ([], [option.flag])
        assert new == old


def test_nothing_changes_when_nothing_differs() -> None:
    """A reload without an edit is no event for anybody."""
    assert merge(Settings(), Settings()) == (Settings(), [], [])


def test_an_address_that_changes_its_access_by_default_changes_nothing() -> None:
    """The default of --access follows the addresses: a daemon still public must not open up."""
    public = Settings(gateway=parse_address(":3002"))
    new, _, waiting = merge(public, Settings())
    assert new.access == "token"
    assert waiting == ["--gateway", "--access"]
