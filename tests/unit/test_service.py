"""The texts of the system service: what stands in them, and how an edit is noticed."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from wormkey.config import OPTIONS, Settings, parse_address
from wormkey.errors import ConfigError
from wormkey.service import (
    FIXED,
    check_visible,
    config_text,
    control_url,
    is_edited,
    stamped,
    unit_text,
)
from wormkey.sources import load_settings

ROOT = Path(__file__).resolve().parents[2]
KEYS = [option.key for option in OPTIONS if option.key is not None]


# ── the unit ────────────────────────────────────────────────────────────────────────────────


def test_the_unit_is_the_one_of_the_repository_with_another_program() -> None:
    """`wormkey.service` at the top is the only source."""
    source = (ROOT / "wormkey.service").read_text()
    _, _, text = unit_text(Path("/opt/wormkey/venv/bin/wormkeyd")).partition("\n")
    assert text.count("ExecStart=/opt/wormkey/venv/bin/wormkeyd\n") == 1
    assert text == source.replace(
        "ExecStart=/usr/local/bin/wormkeyd", "ExecStart=/opt/wormkey/venv/bin/wormkeyd"
    )


def test_the_units_are_part_of_the_package() -> None:
    """A wheel has them where the code looks first."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        hatch = tomllib.load(file)["tool"]["hatch"]["build"]["targets"]["wheel"]
    units = ("wormkey.service", "wormkey.socket", "wormkey-control.socket")
    assert hatch["force-include"] == {unit: f"wormkey/assets/{unit}" for unit in units}


@pytest.mark.parametrize(
    "path", ["/home/alice/venv/bin/wormkeyd", "/run/user/0/bin/wormkeyd", "/tmp/wormkeyd"]
)
def test_a_program_that_the_sandbox_hides_is_refused(path: str) -> None:
    """The unit would fail to start with a riddle; the sentence says what to do."""
    with pytest.raises(ConfigError, match=f"{path} is hidden .* -m venv /opt/wormkey/venv"):
        unit_text(Path(path))


def test_names_that_only_begin_like_a_hidden_folder_are_seen() -> None:
    """/homework is not /home."""
    check_visible([Path("/homework/bin/wormkeyd"), Path("/opt/home/x"), Path("/rooted")])


@pytest.mark.parametrize("path", ["/opt/my programs/wormkeyd", "/opt/50%/wormkeyd", "wormkeyd"])
def test_a_path_that_a_unit_would_read_otherwise_is_refused(path: str) -> None:
    """Blanks and % mean something in ExecStart=."""
    with pytest.raises(ConfigError, match="cannot stand in a unit"):
        unit_text(Path(path))


# ── the configuration file ──────────────────────────────────────────────────────────────────


def test_every_option_stands_in_the_file_behind_its_help() -> None:
    """Nothing is set by it, and everything can be."""
    text = config_text({})
    assert tomllib.loads(text) == {}
    assert re.findall(r"^#(\w+) = ", text, re.MULTILINE) == KEYS
    plain = " ".join(text.replace("\n#", " ").split())
    for option in OPTIONS:
        if option.key is not None:
            assert " ".join(option.help.split()) in plain
    assert max(map(len, text.splitlines())) <= 100


def test_the_commented_lines_are_toml() -> None:
    """Taking the # away is all there is to do; those with a value have the default."""
    text = re.sub(r"^#(?=\w+ = )", "", config_text({}), flags=re.MULTILINE)
    document = tomllib.loads(text)
    assert list(document) == KEYS
    assert document["hold"] == "15s"
    assert document["access_log"] is False
    assert document["trusted_proxies"] == ["CIDR"]


def test_what_is_set_is_read_back(tmp_path: Path) -> None:
    """By the daemon, as given: texts, lists, switches."""
    values = {
        "public_url": ("https://tunnel.example.com",),
        "trusted_proxies": ("127.0.0.1", "::1"),
        "access_log": ("true",),
        "control": ('unix:/run/a \\ "b"',),
    }
    path = tmp_path / "wormkeyd.toml"
    path.write_text(config_text(values))
    settings = load_settings({"config_file": str(path)}, {})
    assert settings.public_url == "https://tunnel.example.com"
    assert [str(each) for each in settings.trusted_proxies] == ["127.0.0.1/32", "::1/128"]
    assert settings.access_log is True
    assert str(settings.control) == 'unix:/run/a \\ "b"'


def test_keys_that_the_unit_decides_say_so() -> None:
    """The unit's environment beats the file: a key there would be silently void."""
    unit = (ROOT / "wormkey.service").read_text()
    assert "Environment=WORMKEY_ACCESS=token" in unit
    assert "StateDirectory=wormkey" in unit
    for key, why in FIXED.items():
        assert f"# {why}\n#{key} = " in config_text({})


# ── edits ───────────────────────────────────────────────────────────────────────────────────


def test_an_edit_is_noticed() -> None:
    """A changed line, a line more, a lost head; not a text as it was written."""
    text = stamped("a = 1\nb = 2\n")
    assert not is_edited(text)
    for other in (text.replace("1", "3"), text + "\n", text.partition("\n")[2], "", text[1:]):
        assert is_edited(other)


# ── where a laptop finds the control plane ──────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("control", "public", "expected"),
    [
        ("127.0.0.1:3001", "https://tunnel.example.com", "https://control.tunnel.example.com"),
        ("127.0.0.1:3001", "http://t.example:81", "http://control.t.example:81"),
        ("127.0.0.1:3001", "http://192.0.2.1", None),
        ("127.0.0.1:3001", None, None),
        ("unix:/run/c", None, None),
        (":3001", None, "http://box.example:3001"),
        (":3001", "https://tunnel.example.com", "http://tunnel.example.com:3001"),
        ("[2001:db8::1]:3001", None, "http://[2001:db8::1]:3001"),
        ("192.0.2.7:80", "https://tunnel.example.com", "http://192.0.2.7:80"),
    ],
)
def test_the_url_for_laptops(control: str, public: str | None, expected: str | None) -> None:
    """The listener itself if others reach it, else the name that the web server has for it."""
    settings = Settings(control=parse_address(control), public_url=public)
    assert control_url(settings, "box.example") == expected
