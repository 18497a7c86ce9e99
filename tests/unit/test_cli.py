"""cli.py: verbs and options, what a bad value is told, help and version."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.client_home import (
    FakeClient,
    wish_of,
    write_config,
)
from wormkey import __version__, cli

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.fake_control import FakeControl

pytest_plugins = ("tests.support.client_fixtures",)
pytestmark = pytest.mark.usefixtures("home")


def test_version_and_help(capfd: pytest.CaptureFixture[str]) -> None:
    """Both answer on stdout and succeed."""
    assert cli.run(["--version"]) == 0
    assert capfd.readouterr().out == f"wormkey {__version__}\n"
    assert cli.run(["--help"]) == 0
    assert cli.run(["expose", "--help"]) == 0
    assert "--wait-for" in capfd.readouterr().out


def test_a_bug_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """What nobody expected is exit 1 and one line; the traceback comes on request."""

    def broken(*_: object) -> int:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(cli.verbs, "list_sessions", lambda *_, **__: broken())
    assert cli.run(["list"]) == 1
    assert capfd.readouterr().err.count("\n") == 1


def test_the_module_is_the_program() -> None:
    """Python -m wormkey does what wormkey does."""
    done = subprocess.run(
        [sys.executable, "-m", "wormkey", "--version"],
        check=True,
        capture_output=True,
        timeout=30,
    )
    assert done.stdout.decode().strip() == f"wormkey {__version__}"


@pytest.mark.parametrize(
    "arguments",
    [
        ["{0}", "--auth"],
        ["--auth", "{0}"],
        ["--auth", "localhost:{0}"],
        ["--auth", "--json", "{0}"],
        ["--auth=true", "{0}"],
    ],
)
@pytest.mark.usefixtures("client")
def test_auth_without_a_value_may_stand_anywhere(
    arguments: list[str], control: FakeControl, origin: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """--auth right before the target asks for a generated password, and says it."""
    arguments = [argument.format(origin) for argument in arguments]
    assert cli.run(["expose", "--control-plane", control.url, *arguments]) == 0
    asked = wish_of(control)
    assert asked["authMode"] == "basic"
    assert "password" not in asked
    captured = capfd.readouterr()
    assert "made-up" in captured.err
    assert asked["port"] == int(origin)


def test_flag_before_variable_before_file_before_default(
    client: type[FakeClient],
    control: FakeControl,
    origin: str,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each level wins over those below it."""
    write_config(home, f'name = "file"\ncontrol_plane = "{control.url}"\nhost_header = "a.test"\n')
    assert cli.run([origin]) == 0
    monkeypatch.setenv("WORMKEY_NAME", "variable")
    assert cli.run([origin]) == 0
    assert cli.run([origin, "--name", "flag", "--host-header", "preserve"]) == 0
    asked = [asked.body["name"] for asked in control.asked if asked.method == "POST"]
    assert asked == ["file", "variable", "flag"]
    shown = [made.settings.host_header for made in client.made]
    assert shown == [b"a.test", b"a.test", b"preserve"]


def test_the_gateway_is_the_one_named_else_the_control_planes(
    client: type[FakeClient], control: FakeControl, origin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--edge beats WORMKEY_EDGE_URL, which beats the control plane's answer."""
    arguments = [origin, "--control-plane", control.url]
    assert cli.run(arguments) == 0
    monkeypatch.setenv("WORMKEY_EDGE_URL", "wss://variable.test")
    assert cli.run(arguments) == 0
    assert cli.run([*arguments, "--edge", "ws://flag.test:81"]) == 0
    answered, *named = [made.edge_url for made in client.made]
    assert answered.startswith("ws://")
    assert named == ["wss://variable.test", "ws://flag.test:81"]


def test_certificates_are_checked_unless_told_otherwise(
    client: type[FakeClient], control: FakeControl, origin: str
) -> None:
    """--insecure reaches the client; without it a self-signed app is refused."""
    for flags in ([], ["--insecure"]):
        target = f"https://localhost:{origin}"
        assert cli.run([target, *flags, "--control-plane", control.url]) == 0
    assert [made.settings.verify_tls for made in client.made] == [True, False]


@pytest.mark.parametrize(
    ("arguments", "environment", "config", "named"),
    [
        (["--name", "Ä"], {}, "", "--name"),
        (["--name", "a"], {}, "", "--name"),
        (["--expires", "30"], {}, "", "--expires"),
        (["--expires", "0m"], {}, "", "--expires"),
        (["--expires", "500ms"], {}, "", "--expires"),
        (["--timeout", "0s"], {}, "", "--timeout"),
        (["--auth", "a:"], {}, "", "--auth"),
        (["--host-header", "a b"], {}, "", "--host-header"),
        (["--wait-for", "health"], {}, "", "--wait-for"),
        (["--control-plane", "localhost:3001"], {}, "", "--control-plane"),
        (["--edge", "ftp://x"], {}, "", "--edge"),
        (["--token", "two words"], {}, "", "--token"),
        (["--token-file", "/nonexistent/token"], {}, "", "/nonexistent/token"),
        (["--local", "--control-plane", "http://a.test"], {}, "", "--local"),
        (["--token", "a", "--token-file", "b"], {}, "", "--token-file"),
        (["--nonsense"], {}, "", "--nonsense"),
        ([], {"WORMKEY_EXPIRES": "soon"}, "", "WORMKEY_EXPIRES"),
        ([], {"WORMKEY_JSON": "perhaps"}, "", "WORMKEY_JSON"),
        ([], {}, 'expires = "soon"', "config.toml, expires"),
        ([], {}, "expires = 30", "config.toml, expires"),
        ([], {}, "nmae = 'x'", "did you mean name?"),
        ([], {}, "name = ", "config.toml"),
    ],
)
def test_what_cannot_be_used_is_one_line_and_exit_2(
    arguments: list[str],
    environment: dict[str, str],
    config: str,
    named: str,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A bad value is named with its place, before anything is asked of anybody."""
    write_config(home, config)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert cli.run(["5173", *arguments]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert named in err


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["expose"], "such as 5173"),
        (["statsu"], "did you mean the verb status?"),
        (["70000"], "not a port"),
        (["--auth", "al:canary"], "such as 5173"),
    ],
)
def test_a_target_that_is_none(
    arguments: list[str], hint: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """A missing or mistyped target says what to write, and shows no password."""
    assert cli.run(arguments) == 2
    err = capfd.readouterr().err
    assert hint in err
    assert "canary" not in err
