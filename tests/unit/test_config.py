"""The table of options: complete, consistent, and the same for flags, variables and TOML keys."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from wormkey.config import OPTIONS, FdAddress, Option, Settings, TcpAddress, UnixAddress
from wormkey.errors import ConfigError

COMPUTED = {
    "public_url",
    "edge_url",
    "state_dir",
    "access",
    "trusted_proxies",
    "cors_origins",
    "audit_log",
    "config_file",
    "log_format",
}


def test_every_setting_is_an_option_once() -> None:
    """Nothing can be set that cannot be written, and no two share a name."""
    assert [option.field for option in OPTIONS] == [a.name for a in attrs.fields(Settings)]
    for names in (
        [option.flag for option in OPTIONS],
        [option.key for option in OPTIONS],
        [name for option in OPTIONS for name in option.variables],
    ):
        assert len(set(names)) == len(names)


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.flag)
def test_names_follow_one_pattern(option: Option) -> None:
    """Flags, variables and keys differ in spelling only, and units stay out of all of them."""
    assert option.flag.startswith("--")
    assert option.flag == option.flag.lower()
    assert option.variables[0].startswith("WORMKEY")
    assert option.help
    assert not option.help.endswith(".")
    if option.key is not None:
        assert option.field.startswith(option.key)
        assert not option.key.endswith(("_s", "_bytes"))


@pytest.mark.parametrize(
    "option", [option for option in OPTIONS if option.field not in COMPUTED], ids=lambda o: o.flag
)
def test_the_default_that_help_shows_is_the_default(option: Option) -> None:
    """The text in the table, parsed, is the value of a Settings that nobody set."""
    assert option.parse(option.default) == getattr(Settings(), option.field)


@pytest.mark.parametrize(
    ("variable", "field"),
    [
        ("WORMKEY_CONTROL", "control"),
        ("WORMKEY_GATEWAY", "gateway"),
        ("WORMKEY_PUBLIC_BASE_URL", "public_url"),
        ("WORMKEY_EDGE_BASE_URL", "edge_url"),
        ("WORMKEY_ROUTING", "routing"),
        ("WORMKEY_STATE_DIR", "state_dir"),
        ("WORMKEY_ACCESS", "access"),
        ("WORMKEY_HOLD", "hold_s"),
        ("WORMKEY_TRUSTED_PROXIES", "trusted_proxies"),
        ("WORMKEY_CORS_ORIGINS", "cors_origins"),
        ("WORMKEYD_CONFIG", "config_file"),
        ("WORMKEY_LOG_FORMAT", "log_format"),
        ("WORMKEY_LOG_LEVEL", "log_level"),
        ("WORMKEY_HEAD_TIMEOUT", "head_timeout_s"),
        ("WORMKEY_STREAM_WINDOW", "stream_window_bytes"),
    ],
)
def test_the_documented_variables_exist(variable: str, field: str) -> None:
    """What scripts rely on."""
    assert {option.field for option in OPTIONS if variable in option.variables} == {field}


@pytest.mark.parametrize(
    ("control", "gateway", "access"),
    [
        (TcpAddress("127.0.0.1", 1), TcpAddress("::1", 2), "open"),
        (TcpAddress("localhost", 1), UnixAddress("/a"), "open"),
        (TcpAddress(None, 1), TcpAddress("127.0.0.1", 2), "token"),
        (TcpAddress("127.0.0.1", 1), TcpAddress(None, 2), "token"),
        (TcpAddress("127.0.0.1", 1), FdAddress((3,)), "token"),
    ],
)
def test_access_is_open_only_where_nobody_else_can_connect(
    control: TcpAddress, gateway: TcpAddress, access: str
) -> None:
    """Both listeners count; in doubt a token is asked for."""
    assert Settings(control=control, gateway=gateway).access == access
    assert Settings(control=control, gateway=gateway, access="open").access == "open"


def test_the_urls_follow_the_real_port_and_each_other() -> None:
    """What is not set is derived: the public URL from the port, the edge from the public URL."""
    assert Settings().public_url_at(4000) == "http://localhost:4000"
    assert Settings().public_url_at(None) == "http://localhost"
    assert Settings().edge_url_at(4000) == "ws://localhost:4000"
    public = Settings(public_url="https://t.example")
    assert public.public_url_at(4000) == "https://t.example"
    assert public.edge_url_at(4000) == "wss://t.example"
    assert Settings(edge_url="ws://10.0.0.1").edge_url_at(4000) == "ws://10.0.0.1"


def test_the_state_folder_is_the_users() -> None:
    """A daemon that nobody configured writes to a folder of its own."""
    assert Settings().state_dir.is_absolute()
    assert Settings().state_dir.name == "wormkeyd"


def test_a_path_may_begin_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """``~`` means the same in a file as in a shell."""
    monkeypatch.setenv("HOME", "/home/someone")
    option = next(option for option in OPTIONS if option.field == "state_dir")
    assert option.parse("~/state") == Path("/home/someone/state")


def test_zero_is_a_value_for_hold_only() -> None:
    """Zero seconds would end every exchange; for --hold it means not to wait."""
    for option in OPTIONS:
        if option.field == "hold_s":
            assert option.parse("0s") == 0
        elif option.metavar == "DURATION":
            with pytest.raises(ConfigError, match="out of range"):
                option.parse("0s")
