"""Where a setting is found: who beats whom, and what a bad one is told."""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING

import pytest

from wormkey.config import FdAddress, Settings, TcpAddress
from wormkey.errors import ConfigError
from wormkey.sources import inherited_addresses, load_settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def write(folder: Path, text: str) -> str:
    """Return the path of a configuration file."""
    path = folder / "wormkeyd.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_nothing_set_gives_the_defaults() -> None:
    """An empty world is a valid one."""
    assert load_settings({}, {}) == Settings()


def test_a_flag_beats_the_environment_which_beats_the_file(tmp_path: Path) -> None:
    """For each setting alone, whatever the others do."""
    path = write(tmp_path, 'hold = "1s"\nhead_timeout = "1s"\nclose_timeout = "1s"\n')
    environ = {"WORMKEY_HOLD": "2s", "WORMKEY_HEAD_TIMEOUT": "2s", "WORMKEYD_CONFIG": path}
    settings = load_settings({"hold_s": "3s"}, environ)
    assert (settings.hold_s, settings.head_timeout_s, settings.close_timeout_s) == (3, 2, 1)
    assert settings.drain_timeout_s == Settings().drain_timeout_s


def test_the_file_of_the_flag_beats_the_file_of_the_variable(tmp_path: Path) -> None:
    """--config is found like every other setting, and only one file is read."""
    path = write(tmp_path, "max_streams = 7\n")
    settings = load_settings({"config_file": path}, {"WORMKEYD_CONFIG": "/nowhere"})
    assert settings.max_streams == 7
    assert str(settings.config_file) == path


def test_an_empty_variable_is_not_set() -> None:
    """As service managers and compose files leave them."""
    assert load_settings({}, {"WORMKEY_HOLD": "", "PORT": "", "WORMKEYD_CONFIG": ""}) == Settings()


def test_port_is_the_gateways_unless_it_is_named() -> None:
    """A platform that sets PORT expects a server on every interface."""
    assert load_settings({}, {"PORT": "8080"}).gateway == TcpAddress(None, 8080)
    environ = {"PORT": "8080", "WORMKEY_GATEWAY": "127.0.0.1:1"}
    assert load_settings({}, environ).gateway == TcpAddress("127.0.0.1", 1)


def test_the_first_folder_of_systemd_is_the_state_folder() -> None:
    """STATE_DIRECTORY may hold several; WORMKEY_STATE_DIR beats it."""
    environ = {"STATE_DIRECTORY": "/var/lib/wormkey:/var/lib/other"}
    assert str(load_settings({}, environ).state_dir) == "/var/lib/wormkey"
    assert str(load_settings({}, {**environ, "WORMKEY_STATE_DIR": "/x"}).state_dir) == "/x"


@pytest.mark.parametrize("separated", ["10.0.0.0/8,::1", "10.0.0.0/8, ::1", "10.0.0.0/8 ::1"])
def test_a_repeatable_setting_is_a_list_everywhere(tmp_path: Path, separated: str) -> None:
    """Repeated flags, separated variables, TOML arrays and a single TOML text."""
    networks = (ip_network("10.0.0.0/8"), ip_network("::1"))
    flags = {"trusted_proxies": ("10.0.0.0/8", "::1")}
    assert load_settings(flags, {}).trusted_proxies == networks
    environ = {"WORMKEY_TRUSTED_PROXIES": separated}
    assert load_settings({"trusted_proxies": ()}, environ).trusted_proxies == networks
    path = write(tmp_path, 'trusted_proxies = ["10.0.0.0/8", "::1"]\ncors_origins = "http://a"')
    settings = load_settings({"config_file": path}, {})
    assert settings.trusted_proxies == networks
    assert settings.cors_origins == ("http://a",)


def test_logs_are_text_on_a_terminal_unless_somebody_says_otherwise() -> None:
    """People read terminals, programs read the rest."""
    assert load_settings({}, {}).log_format == "json"
    assert load_settings({}, {}, terminal=True).log_format == "text"
    assert load_settings({"log_format": "json"}, {}, terminal=True).log_format == "json"


@pytest.mark.parametrize(
    ("flags", "environ", "sentence"),
    [
        ({"hold_s": "3"}, {}, "--hold: '3' is not a duration"),
        ({"cors_origins": ("http://a", "*")}, {}, "--cors-origin: '*' is not a URL"),
        ({}, {"WORMKEY_MAX_STREAMS": "0"}, "WORMKEY_MAX_STREAMS: '0' is out of range"),
        ({}, {"PORT": "http"}, "PORT: ':http' is not an address"),
        ({}, {"WORMKEYD_CONFIG": "/no/such"}, "/no/such: No such file or directory"),
        ({"gateway": "127.0.0.1:3001"}, {}, "--control and --gateway are both 127.0.0.1:3001"),
        ({"ping_interval_s": "1m"}, {}, "--tunnel-timeout is under two of --ping-interval"),
        ({"max_target_bytes": "32KiB", "max_head_bytes": "16KiB"}, {}, "--max-target is over"),
        ({"stream_window_bytes": "17MiB"}, {}, "--stream-window is over --max-stream-window"),
        ({"tunnel_window_bytes": "1MiB"}, {}, "--max-stream-window is over --tunnel-window"),
        ({"v0_tunnel_bytes": "1MiB"}, {}, "--v0-stream is over --v0-tunnel"),
        (
            {"routing": "host", "public_url": "http://[::1]:1"},
            {},
            "--routing host needs a name in --public-url, not ::1",
        ),
    ],
)
def test_a_bad_value_names_its_source(
    flags: Mapping[str, str | Sequence[str]], environ: Mapping[str, str], sentence: str
) -> None:
    """One line that begins with the flag, variable or file."""
    with pytest.raises(ConfigError) as caught:
        load_settings(flags, environ)
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('head_timout = "3s"', "unknown key 'head_timout'; did you mean 'head_timeout'?"),
        ('trusted_proxy = "::1"', "did you mean 'trusted_proxies'?"),
        ("[gateway]\nport = 1", "gateway: wanted text such as"),
        ('config_file = "x"', "unknown key 'config_file'"),
        ("hold = 15", "hold: '15' is not a duration"),
        ("hold = true", 'hold: wanted text such as "15s"'),
        ("max_streams = false", "max_streams: wanted text"),
        ("max_streams = 1.5", "max_streams: wanted text"),
        ("max_streams = -1", "max_streams: '-1' is not a whole number"),
        ('hold = ["1s"]', "hold: wanted text"),
        ("hold = ", "is not TOML"),
        ('hold = "\\uD800"', "is not TOML"),
    ],
)
def test_a_bad_file_names_itself_and_the_key(tmp_path: Path, text: str, sentence: str) -> None:
    """Unknown keys come with the nearest one that exists."""
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_settings({"config_file": path}, {})
    assert str(caught.value).startswith(path)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """Bytes that are not UTF-8 are not TOML."""
    path = tmp_path / "wormkeyd.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not TOML"):
        load_settings({"config_file": str(path)}, {})


def test_an_address_without_a_port_cannot_be_shared_either() -> None:
    """One unix socket for both listeners is refused before anything is opened."""
    with pytest.raises(ConfigError, match="--control and --gateway are both unix:/a"):
        load_settings({"control": "unix:/a", "gateway": "unix:/a"}, {})


def test_host_routing_takes_a_name() -> None:
    """``<slug>.example.com`` exists, ``<slug>.192.0.2.7`` does not."""
    flags = {"routing": "host", "public_url": "https://t.example.com"}
    assert load_settings(flags, {}).routing == "host"


def test_port_zero_twice_is_two_ports() -> None:
    """Only a port that can be taken once is refused twice."""
    settings = load_settings({"control": "127.0.0.1:0", "gateway": "127.0.0.1:0"}, {})
    assert settings.control == settings.gateway


LISTEN = {"LISTEN_PID": "7", "LISTEN_FDS": "4", "LISTEN_FDNAMES": "gateway:other:control:gateway"}


def test_sockets_of_systemd_are_found_by_name() -> None:
    """sd_listen_fds(3): descriptors from 3 upwards, in the order of the names."""
    assert inherited_addresses(LISTEN, 7) == {
        "gateway": FdAddress((3, 6)),
        "control": FdAddress((5,)),
    }
    settings = load_settings({"control": ":1"}, LISTEN, pid=7)
    assert settings.control == FdAddress((5,))
    assert settings.access == "token"


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {**LISTEN, "LISTEN_PID": "8"},
        {**LISTEN, "LISTEN_FDS": "x"},
        {**LISTEN, "LISTEN_FDS": "0"},
        {**LISTEN, "LISTEN_FDNAMES": ""},
    ],
)
def test_sockets_for_somebody_else_are_left_alone(environ: Mapping[str, str]) -> None:
    """Another process's, malformed, or unnamed."""
    assert inherited_addresses(environ, 7) == {}
