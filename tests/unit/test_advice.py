"""What is allowed and probably not meant: one sentence each, and none without a reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from wormkey.advice import warnings_of
from wormkey.config import Settings, parse_address
from wormkey.values import parse_network

if TYPE_CHECKING:
    from pathlib import Path

ANY = parse_address(":3002")


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"gateway": ANY, "routing": "host"},
        {"public_url": "https://t.example", "routing": "host", "access": "token"},
        {"public_url": "http://tunnels.localhost:3002"},
        {"public_url": "http://127.0.0.1:3002"},
        {"public_url": "http://[::1]:3002"},
        {"trusted_proxies": (parse_network("10.0.0.0/8"), parse_network("::1"))},
    ],
)
def test_a_sound_configuration_is_not_warned_of(settings: dict[str, Any]) -> None:
    """Whoever sees a warning has a reason to read it."""
    assert warnings_of(Settings(**settings)) == []


@pytest.mark.parametrize(
    ("settings", "beginning"),
    [
        ({"gateway": ANY, "access": "open", "routing": "host"}, "with --access open, everyone"),
        ({"gateway": ANY}, "with --routing path, the pages of all tunnels share one web origin"),
        (
            {"public_url": "https://t.example", "access": "token"},
            "with --routing path, the pages of all tunnels",
        ),
        (
            {"public_url": "https://t.example", "routing": "host"},  # open, by its addresses
            "with --access open and --public-url https://t.example, everyone who reaches",
        ),
        (
            {"public_url": "http://t.example", "routing": "host", "access": "token"},
            "with --public-url http://t.example, cookies, passwords and tokens cross the network",
        ),
        (
            {"trusted_proxies": (parse_network("0.0.0.0/0"),)},
            "with --trusted-proxy 0.0.0.0/0, everyone is believed",
        ),
        ({"trusted_proxies": (parse_network("::/0"),)}, "with --trusted-proxy ::/0, everyone"),
    ],
)
def test_what_is_probably_not_meant_is_one_sentence(
    settings: dict[str, Any], beginning: str
) -> None:
    """It names the option and says what follows from it."""
    (warning,) = warnings_of(Settings(**settings))
    assert warning.startswith(beginning)
    assert "\n" not in warning


def test_an_open_door_names_each_listener() -> None:
    """Both, when both are reachable."""
    settings = Settings(control=parse_address(":1"), gateway=ANY, access="open", routing="host")
    (warning,) = warnings_of(settings)
    assert "--control :1 and --gateway :3002" in warning


def test_an_audit_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A folder, or a file whose folder is missing; one that can be made is fine."""
    for path in (tmp_path, tmp_path / "missing" / "audit.log"):
        (warning,) = warnings_of(Settings(audit_log=path))
        assert warning.startswith(f"--audit-log {path} cannot be written")
    assert warnings_of(Settings(audit_log=tmp_path / "audit.log")) == []
    (tmp_path / "audit.log").touch()
    assert warnings_of(Settings(audit_log=tmp_path / "audit.log")) == []
