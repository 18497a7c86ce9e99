"""options.py: where tokens and the control plane come from."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

import pytest
import trio

from tests.support.client_home import (
    write_config,
)
from tests.support.fake_control import Sessions, fake_control, refusal
from wormkey import cli, expose
from wormkey.local import LocalFiles

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.fake_control import FakeControl

pytest_plugins = ("tests.support.client_fixtures",)
pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def closed() -> Iterator[FakeControl]:
    """Run a control plane that wants an access token."""
    with fake_control(Sessions(access_token="canary")) as control:
        yield control


@pytest.mark.usefixtures("client")
def test_where_the_token_comes_from(
    closed: FakeControl, origin: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flag, then variable, then config.toml, then login, then the daemon of this same user."""
    monkeypatch.setenv("WORMKEY_CONTROL_PLANE_URL", closed.url)
    files = LocalFiles.of_user()

    def token_sent(*arguments: str) -> str | None:
        closed.asked.clear()
        cli.run([origin, *arguments])
        return closed.asked[0].token

    assert token_sent() is None
    files.daemon_state_dir.mkdir(parents=True)
    (files.daemon_state_dir / "local-token").write_text("daemon\n")
    assert token_sent() == "daemon"
    files.store_token(closed.url, "login")
    assert token_sent() == "login"
    write_config(home, 'token = "file"')
    assert token_sent() == "file"
    (home / "secret").write_text("token-file\n")
    monkeypatch.setenv("WORMKEY_TOKEN_FILE", str(home / "secret"))
    assert token_sent() == "token-file"
    monkeypatch.delenv("WORMKEY_TOKEN_FILE")
    monkeypatch.setenv("WORMKEY_TOKEN", "variable")
    assert token_sent() == "variable"
    assert token_sent("--token-file", str(home / "secret")) == "token-file"
    assert token_sent("--token", "flag") == "flag"


def feed_stdin(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Give the program a stdin with this text that is no terminal."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))


@pytest.mark.usefixtures("client")
def test_login_keeps_a_token_that_the_server_takes(
    closed: FakeControl,
    origin: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """After login the server is the default and its token is used; logout undoes both."""
    feed_stdin(monkeypatch, "canary\n")
    assert cli.run(["login", closed.url]) == 0
    assert cli.run([origin]) == 0
    assert cli.run(["logout"]) == 0
    captured = capfd.readouterr()
    assert "canary" not in captured.out + captured.err
    assert LocalFiles.of_user().read_default_control_plane() is None


@pytest.mark.parametrize(("token", "code"), [("wrong\n", 13), ("", 2), ("two words\n", 2)])
def test_login_keeps_no_token_that_does_not_work(
    token: str, code: int, closed: FakeControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token is tried before it is kept."""
    feed_stdin(monkeypatch, token)
    assert cli.run(["login", closed.url]) == code
    assert LocalFiles.of_user().read_token(closed.url) is None


def test_a_token_over_plain_http_is_warned_of(capfd: pytest.CaptureFixture[str]) -> None:
    """A secret that leaves this machine unencrypted is worth a line; on loopback it is not."""
    url = "http://nowhere.invalid"
    assert cli.run(["5173", "--control-plane", url, "--token", "canary"]) == 12
    assert "plain http" in capfd.readouterr().err
    with fake_control(lambda _: refusal(401, "no")) as control:
        cli.run(["5173", "--control-plane", control.url, "--token", "canary"])
    assert "plain http" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "environment", "config", "expected"),
    [
        (["--local"], {"WORMKEY_CONTROL_PLANE_URL": "http://v.test"}, "", "http://localhost:3001"),
        ([], {"WORMKEY_CONTROL_PLANE_URL": "http://v.test"}, "", "http://v.test"),
        (
            [],
            {"WORMKEY_CONTROL_PLANE_URL": "http://v.test", "WORMKEY_ENV": "local"},
            "",
            "http://v.test",
        ),
        ([], {"WORMKEY_ENV": "local"}, 'control_plane = "http://f.test"', "http://localhost:3001"),
        (["--control-plane", "http://a.test"], {"WORMKEY_ENV": "local"}, "", "http://a.test"),
        ([], {}, 'control_plane = "HTTP://F.test:80/"', "http://f.test"),
        ([], {}, "local = true", "http://localhost:3001"),
        ([], {}, "", "http://login.test"),
    ],
)
def test_which_control_plane_is_asked(
    arguments: list[str],
    environment: dict[str, str],
    config: str,
    expected: str,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """--local and WORMKEY_ENV=local count at their own level; a login is below the file."""
    LocalFiles.of_user().store_token("http://login.test", "x")
    write_config(home, config)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    asked: list[str] = []

    async def expose_nothing(options: expose.ExposeOptions, *_: object) -> int:
        await trio.lowlevel.checkpoint()
        asked.append(options.wish.control_plane)
        return 0

    monkeypatch.setattr(cli, "run_expose", expose_nothing)
    assert cli.run(["5173", *arguments]) == 0
    assert asked == [expected]
