"""verbs.py: status, list and close."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.support.client_home import (
    leave_a_crashed_session,
)
from tests.support.fake_control import Sessions, fake_control
from wormkey import cli
from wormkey.local import LocalFiles

if TYPE_CHECKING:
    from tests.support.fake_control import FakeControl

pytest_plugins = ("tests.support.client_fixtures",)
pytestmark = pytest.mark.usefixtures("home")


def test_the_sessions_of_this_machine(
    control: FakeControl, capfd: pytest.CaptureFixture[str]
) -> None:
    """List knows them, status asks about them, close ends them; no secret is shown."""
    leave_a_crashed_session(control, "5173", "--auth", "al:canary", "--host-header", "preserve")
    assert cli.run(["list", "--json"]) == 0
    (listed,) = json.loads(capfd.readouterr().out)
    assert listed["slug"] == "demo"
    assert listed["pid"] is None
    assert cli.run(["status", "--json"]) == 0
    (known,) = json.loads(capfd.readouterr().out)
    assert (known["state"], known["host_header"]) == ("live", "preserve")
    assert cli.run(["status", "demo"]) == 0
    assert cli.run(["list"]) == 0
    out = capfd.readouterr().out
    assert "http://gateway.test/s/demo/" in out
    assert not {"canary", "secret-1", "owner-1"} & {word for word in out.split() if word}
    assert "secret" not in out
    assert cli.run(["close"]) == 0
    assert control.script.live == {}  # type: ignore[attr-defined]
    assert cli.run(["list", "--json"]) == 0
    assert json.loads(capfd.readouterr().out) == []


def test_a_session_that_is_over_and_one_that_is_unknown(control: FakeControl) -> None:
    """Status says 14 for the one that is asked about; close takes what is over as closed."""
    leave_a_crashed_session(control, "5173")
    control.script.live.clear()  # type: ignore[attr-defined]
    assert cli.run(["status", "demo"]) == 14
    assert cli.run(["status", "other"]) == 14
    assert cli.run(["close", "other"]) == 14
    assert cli.run(["close", "demo"]) == 0
    assert cli.run(["close", "demo"]) == 14
    assert cli.run(["close", "demo", "--all"]) == 2


def test_a_server_that_is_away_loses_no_record(origin: str) -> None:
    """What could not be closed can be closed later."""
    with fake_control(Sessions()) as control:
        leave_a_crashed_session(control, origin)
    assert cli.run(["status"]) == 12
    assert cli.run(["close", "--all"]) == 12
    assert [record.slug for record in LocalFiles.of_user().read_sessions()] == ["demo"]


def test_close_says_what_ends_a_session_of_another_machine(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """This one has no token of it; whoever holds the owner URL needs none."""
    assert cli.run(["close", "shop"]) == 14
    assert "its owner URL, in a browser, closes one of another machine" in capfd.readouterr().err
    assert cli.run(["status", "shop"]) == 14
    assert "owner URL" not in capfd.readouterr().err


def test_close_does_not_guess(control: FakeControl, capfd: pytest.CaptureFixture[str]) -> None:
    """With two sessions the user says which one, or all."""
    leave_a_crashed_session(control, "5173")
    leave_a_crashed_session(control, "5174", "--name", "other")
    assert cli.run(["close"]) == 2
    assert "demo, other" in capfd.readouterr().err
    assert cli.run(["close", "--all"]) == 0
    assert cli.run(["close"]) == 0
