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
from wormkey import cli
from wormkey.local import LocalFiles
from wormkey.records import process_start_of

if TYPE_CHECKING:
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
