"""expose.py: the URL on stdout, the exit codes, and an end that leaves nothing behind."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import stat
import termios
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.support.client_home import (
    FakeClient,
    interrupt,
    refused,
    wish_of,
)
from tests.support.fake_control import Answer, fake_control, refusal
from wormkey import cli, expose
from wormkey.client import Connected, Disconnected, Exchange
from wormkey.local import LocalFiles
from wormkey.terminal import Keyboard, clipboard_sequence

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.fake_control import FakeControl

pytest_plugins = ("tests.support.client_fixtures",)
pytestmark = pytest.mark.usefixtures("home")


@pytest.mark.parametrize("verb", [["expose"], ["http"], []])
def test_the_url_alone_is_on_stdout(
    verb: list[str],
    client: type[FakeClient],
    control: FakeControl,
    origin: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """One line on stdout; Ctrl-C closes the session at the server and is success."""
    assert cli.run([*verb, origin, "--name", "demo", "--control-plane", control.url]) == 0
    out, err = capfd.readouterr()
    assert out == "http://gateway.test/s/demo/\n"
    assert origin in err
    assert "owner" not in err
    assert [asked.method for asked in control.asked] == ["POST", "DELETE"]
    assert control.asked[1].token == client.made[0].token == "demo.secret-1"
    assert wish_of(control) == {"port": int(origin), "authMode": "none", "name": "demo"}
    assert LocalFiles.of_user().read_sessions() == ()


@pytest.mark.usefixtures("client")
def test_json_is_one_object_with_the_promised_members(
    control: FakeControl, origin: str, home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """--json prints one object, --output writes the same one privately, login included."""
    file = home / "ready.json"
    arguments = [origin, "--auth", "al:pw", "--json", "--output", str(file), "--expires", "30m"]
    assert cli.run(["--control-plane", control.url, *arguments]) == 0
    out = capfd.readouterr().out
    ready = json.loads(out)
    assert set(ready) == {
        "session_id",
        "slug",
        "url",
        "owner_url",
        "expires_at",
        "pid",
        "status",
        "basic_auth",
    }
    assert (ready["status"], ready["pid"]) == ("ready", os.getpid())
    assert ready["basic_auth"] == {"username": "al", "password": "pw"}
    assert out.count("\n") == 1
    assert file.read_text() == out
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    asked = wish_of(control)
    assert (asked["authMode"], asked["username"], asked["password"]) == ("basic", "al", "pw")
    assert asked["expiresIn"] == "30m"


def test_an_output_that_cannot_be_written_ends_the_session(
    client: type[FakeClient],
    control: FakeControl,
    origin: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Who waits for the file would wait for ever: exit 1 names it, and nothing stays open."""
    client.course = staticmethod(lambda _client: None)
    file = tmp_path / "absent" / "ready.json"
    assert cli.run([origin, "--control-plane", control.url, "--output", str(file)]) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert str(file) in err
    assert [asked.method for asked in control.asked] == ["POST", "DELETE"]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (refusal(400, "no"), 15),
        (refusal(401, "no"), 13),
        (refusal(403, "no"), 13),
        (refusal(409, "the name demo is taken"), 15),
        (refusal(429, "slow", Retry_After="9"), 16),
        (refusal(500, "oops"), 1),
        (Answer(200, {"status": "control plane alive"}), 12),
        (Answer(404, None), 12),  # another server: no session was asked about
        (Answer(raw=b"HTTP/1.1 200 OK\r\n\r\n<html>"), 12),
        (Answer(raw=b"\0"), 12),
    ],
)
def test_each_refusal_has_its_exit_code(
    answer: Answer, code: int, capfd: pytest.CaptureFixture[str]
) -> None:
    """What the control plane says becomes an exit code and one line on stderr."""
    with fake_control(lambda _: answer) as control:
        assert cli.run(["5173", "-q", "--control-plane", control.url]) == code
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("\n") == 1


def test_no_control_plane_is_12(capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing listens: the URL, the reason and the remedy in one line."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
    assert cli.run(["5173", "--control-plane", url]) == 12
    err = capfd.readouterr().err
    assert url in err
    assert "wormkeyd" in err


@pytest.mark.parametrize(("status", "code"), [(401, 13), (403, 13), (410, 14), (409, 15)])
def test_a_gateway_that_says_no_ends_the_client(
    status: int, code: int, client: type[FakeClient], control: FakeControl, origin: str
) -> None:
    """A rejected token, an ended session and another client each have their exit code."""
    client.course = staticmethod(refused(status))
    assert cli.run([origin, "--control-plane", control.url]) == code
    assert [asked.method for asked in control.asked] == ["POST"]


def test_a_tunnel_that_never_opens_is_12(
    client: type[FakeClient],
    control: FakeControl,
    origin: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Without a tunnel there is no URL; the session is closed again."""

    async def run(self: FakeClient) -> None:
        await self.drained.wait()

    monkeypatch.setattr(client, "run", run)
    assert cli.run([origin, "--control-plane", control.url, "--timeout", "50ms"]) == 12
    assert capfd.readouterr().out == ""
    assert [asked.method for asked in control.asked] == ["POST", "DELETE"]


def test_an_origin_that_is_not_there_yet_is_a_warning(
    client: type[FakeClient],
    control: FakeControl,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Both addresses are named, and the tunnel opens all the same."""
    said: list[str] = []

    async def run(self: FakeClient) -> None:
        self.on_event(Connected(1))
        with trio.fail_after(10):
            while "warning" not in "".join(said):
                said.append(capfd.readouterr().err)
                await trio.lowlevel.checkpoint()
        interrupt(self)
        await self.drained.wait()

    monkeypatch.setattr(client, "run", run)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert cli.run([str(port), "--control-plane", control.url]) == 0
    assert f"127.0.0.1:{port} and [::1]:{port}" in "".join(said)


def test_an_origin_that_is_waited_for_in_vain_is_11(
    control: FakeControl, capfd: pytest.CaptureFixture[str]
) -> None:
    """--wait-for asks for no session until the app answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    wait = ["--wait-for", "/", "--timeout", "50ms"]
    assert cli.run([str(port), "--control-plane", control.url, *wait]) == 11
    err = capfd.readouterr().err
    assert f"127.0.0.1:{port} and [::1]:{port}" in err
    assert "within 0.05 s" in err
    assert control.asked == []


@pytest.mark.usefixtures("client")
def test_an_origin_that_answers_is_not_waited_for(control: FakeControl) -> None:
    """Any status under 500 will do; what is over is asked again."""
    statuses = iter((500, 503, 404))
    with fake_control(lambda _: refusal(next(statuses), "no")) as app:
        port = app.url.rpartition(":")[2]
        assert cli.run([port, "--control-plane", control.url, "--wait-for", "/up?x=1"]) == 0
    assert [asked.path for asked in app.asked] == ["/up?x=1"] * 3


def test_a_second_signal_ends_at_once(
    client: type[FakeClient], control: FakeControl, origin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one does not wait for streams; the session can still be closed or resumed."""

    async def drain(self: FakeClient) -> None:
        interrupt(self)
        await trio.sleep_forever()

    monkeypatch.setattr(client, "drain", drain)
    arguments = [origin, "--name", "demo", "--control-plane", control.url]
    assert cli.run(arguments) == 128 + signal.SIGINT
    assert [asked.method for asked in control.asked] == ["POST"]
    assert [record.slug for record in LocalFiles.of_user().read_sessions()] == ["demo"]


def test_a_person_at_a_terminal_has_keys(
    client: type[FakeClient],
    control: FakeControl,
    origin: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """P and R pause and resume, R alone reconnects, C copies, L opens, Q ends with success."""
    master, slave = pty.openpty()
    usual = termios.tcgetattr(slave)
    monkeypatch.setattr(os, "tcgetpgrp", lambda _fd: os.getpgrp())
    monkeypatch.setattr(cli, "is_interactive", lambda: True)
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(
        client, "course", staticmethod(lambda _client: os.write(master, b"xPprrCLq"))
    )
    # attrs reads a field's factory when the class is made; only the life of this test has these.
    monkeypatch.setattr(expose, "_Life", partial(expose._Life, keyboard=Keyboard(slave)))
    try:
        assert cli.run([origin, "--name", "demo", "--control-plane", control.url]) == 0
        assert termios.tcgetattr(slave) == usual
    finally:
        os.close(master)
        os.close(slave)
    out, err = capfd.readouterr()
    assert out == "http://gateway.test/s/demo/\n"
    assert client.made[0].told == ["pause", "resume", "reconnect_now"]
    assert clipboard_sequence(out.strip()) in err
    assert "owner?slug=demo" in err
    assert "Q quit" in err
    assert "█" in err
    assert [asked.method for asked in control.asked] == ["POST", "DELETE"]


@pytest.mark.parametrize(
    ("flags", "at_terminal", "shown", "hidden"),
    [
        (["--qr"], False, ["█", "Forwarding"], ["Q quit", "owner?slug"]),
        ([], False, ["Forwarding"], ["█", "Q quit", "owner?slug"]),
        (["-q"], False, [], ["Forwarding", "closing"]),
        (["--no-qr"], True, ["Q quit", "owner?slug"], ["█"]),
        (["--no-interactive"], True, ["Forwarding"], ["█", "Q quit", "owner?slug"]),
        (["--open"], False, ["--open has no effect"], []),
    ],
)
@pytest.mark.usefixtures("client")
def test_what_a_person_is_shown_is_theirs_to_choose(
    flags: list[str],
    at_terminal: bool,
    shown: list[str],
    hidden: list[str],
    control: FakeControl,
    origin: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A script may have the QR code, a person may do without it, without keys or without words."""
    monkeypatch.setattr(cli, "is_interactive", lambda: at_terminal)
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME"):
        monkeypatch.delenv(name, raising=False)
    master, slave = pty.openpty()
    monkeypatch.setattr(expose, "_Life", partial(expose._Life, keyboard=Keyboard(slave)))
    try:
        assert cli.run([origin, *flags, "--name", "demo", "--control-plane", control.url]) == 0
    finally:
        os.close(master)
        os.close(slave)
    out, err = capfd.readouterr()
    assert out == "http://gateway.test/s/demo/\n"
    assert [text for text in shown if text not in err] == []
    assert [text for text in hidden if text in err] == []


def test_what_happens_to_the_tunnel_is_said(
    client: type[FakeClient],
    control: FakeControl,
    origin: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """-v says each request; a lost tunnel and its return are said once each, made printable."""

    def course(client: FakeClient) -> None:
        client.on_event(Exchange(b"GET", b"/\x1b[2J", 200, 0.012))
        client.on_event(Disconnected("gone\x1b[2J", 0.5))
        client.on_event(Connected(1))
        interrupt(client)

    async def run(self: FakeClient) -> None:
        self.on_event(Connected(1))
        await wait_all_tasks_blocked()
        course(self)
        await self.drained.wait()

    client.run = run  # type: ignore[method-assign]
    assert cli.run([origin, "-v", "--control-plane", control.url]) == 0
    err = capfd.readouterr().err
    assert "200 GET /\N{REPLACEMENT CHARACTER}[2J 12 ms" in err
    assert "no tunnel: gone\N{REPLACEMENT CHARACTER}[2J; trying again in 0.5 s" in err
    assert "the tunnel is back" in err
