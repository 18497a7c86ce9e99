"""lease.py: a crashed client comes back to its session, and to no weaker one."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import attrs
import pytest

from tests.support.client_home import (
    FakeClient,
    leave_a_crashed_session,
)
from wormkey import cli, lease
from wormkey.lease import why_not_there
from wormkey.local import LocalFiles
from wormkey.records import process_start_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.fake_control import FakeControl

pytest_plugins = ("tests.support.client_fixtures",)
pytestmark = pytest.mark.usefixtures("home")


def test_a_crashed_clients_session_is_resumed(
    client: type[FakeClient],
    control: FakeControl,
    origin: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The same name after a crash is the same URL with the same tokens, for the new target."""
    leave_a_crashed_session(control, "1")
    control.asked.clear()
    arguments = [origin, "--name", "demo", "--json", "--control-plane", control.url]
    assert cli.run(arguments) == 0
    ready = json.loads(capfd.readouterr().out)
    assert ready["session_id"] == "id-1"
    assert ready["owner_url"].endswith("token=owner-1")
    assert [asked.method for asked in control.asked] == ["GET", "DELETE"]
    assert client.made[0].token == "demo.secret-1"
    assert str(client.made[0].target).endswith(origin)


@pytest.mark.usefixtures("client")
def test_a_session_that_ended_meanwhile_is_made_anew(control: FakeControl, origin: str) -> None:
    """A record of what is over at the server is dropped."""
    leave_a_crashed_session(control, "1")
    control.script.live.clear()  # type: ignore[attr-defined]
    control.asked.clear()
    assert cli.run([origin, "--name", "demo", "--control-plane", control.url]) == 0
    assert [asked.method for asked in control.asked] == ["GET", "POST", "DELETE"]


@pytest.mark.parametrize(
    ("first", "then", "code"),
    [
        ([], ["--auth"], 15),
        ([], ["--auth", "al:pw"], 15),
        (["--auth", "al:pw"], ["--auth", "al:other"], 15),
        (["--auth", "al:pw"], ["--auth", "al:pw"], 0),
        (["--auth"], ["--auth"], 0),
        (["--auth"], [], 0),
    ],
)
@pytest.mark.usefixtures("client")
def test_resuming_never_protects_less_than_was_asked(
    first: list[str], then: list[str], code: int, control: FakeControl, origin: str
) -> None:
    """An open session is not served to someone who asked for a password."""
    leave_a_crashed_session(control, origin, *first)
    arguments = [origin, "--name", "demo", "--control-plane", control.url]
    assert cli.run([*arguments, *then]) == code


@pytest.mark.usefixtures("client")
def test_a_name_that_is_served_here_already_is_refused(
    control: FakeControl, origin: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Two clients never fight over one tunnel: the second is told who has it."""
    leave_a_crashed_session(control, origin)
    files = LocalFiles.of_user()
    (record,) = files.read_sessions()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        started = attrs.evolve(record, pid=other.pid)
        files.save_session(attrs.evolve(started, started=process_start_of(other.pid) or ""))
        assert cli.run([origin, "--name", "demo", "--control-plane", control.url]) == 15
        assert str(other.pid) in capfd.readouterr().err
        other.communicate(b"\n")


@pytest.mark.parametrize(
    ("control_plane", "edge_url", "why"),
    [
        ("https://tunnels.example", "wss://tunnels.example", None),
        ("https://api.example", "wss://edge.example:8443/path", None),
        ("http://10.0.0.5:3001", "ws://10.0.0.5:3002", None),
        ("http://localhost:3001", "ws://127.0.0.1:3002", None),
        ("https://localhost:3001", "ws://localhost:3002", None),
        ("https://tunnels.example", "wss://localhost:3002", "which is this machine"),
        ("https://tunnels.example", "ws://127.0.0.1:6379", "which is this machine"),
        ("http://10.0.0.5:3001", "ws://[::1]:3002", "which is this machine"),
        ("http://10.0.0.5:3001", "ws://a.localhost:3002", "which is this machine"),
        ("https://tunnels.example", "ws://tunnels.example", "without TLS"),
        ("https://tunnels.example", "ws://x@127.0.0.1:6379", "cannot be used"),
        ("https://tunnels.example", "wss://tunnels.example?a=b", "cannot be used"),
    ],
)
def test_a_gateway_is_believed_where_it_can_be_one(
    control_plane: str, edge_url: str, why: str | None
) -> None:
    """No server elsewhere makes the client dial its own machine, or send its token in clear."""
    said = why_not_there(control_plane, edge_url)
    assert (said is None) is (why is None)
    assert (why or "") in (said or "")


def test_a_gateway_that_is_not_believed_leaves_no_session(
    monkeypatch: pytest.MonkeyPatch, control: FakeControl, origin: str, home: Path
) -> None:
    """It is closed at once, and the client says what --edge is for; with it the user decides."""
    monkeypatch.setattr(lease, "is_loopback", lambda url: url.startswith("ws"))
    assert cli.run([origin, "--control-plane", control.url]) == 12
    assert [asked.method for asked in control.asked] == ["POST", "DELETE"]
    assert not control.script.live  # type: ignore[attr-defined]
    assert not (home / "state" / "wormkey" / "sessions.json").exists()


@pytest.mark.usefixtures("client")
def test_a_tunnel_in_the_clear_is_warned_of(
    control: FakeControl, origin: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nobody has to know that ws:// can be read on the way."""
    command = [origin, "--control-plane", control.url, "--edge", "ws://gateway.test"]
    assert cli.run(command) == 0
    assert "not encrypted" in capfd.readouterr().err
    assert cli.run([origin, "--control-plane", control.url]) == 0
    assert "not encrypted" not in capfd.readouterr().err
