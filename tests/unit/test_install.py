"""wormkeyd install and uninstall below a private root, with a systemctl that notes its calls."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.support.installing import (
    CONFIG,
    CREDENTIAL,
    PROGRAM,
    RESTART,
    START,
    STATE,
    UNIT,
    Machine,
)
from wormkey import install as installer
from wormkey.daemon import run
from wormkey.firsttoken import read_first_token
from wormkey.sources import load_settings

Captured = pytest.CaptureFixture[str]

# ── install ─────────────────────────────────────────────────────────────────────────────────


def test_an_empty_machine_gets_a_service_and_one_line(machine: Machine) -> None:
    """Unit, configuration and token are there before the start; stdout is the laptop's line."""
    code, out = machine.install("--public-url", "https://tunnel.example.com", "--hold", "1s")
    assert (code, machine.calls()) == (0, RESTART)
    line, token = out.rstrip("\n").rsplit(" ", 1)
    assert line == "wormkey login https://control.tunnel.example.com --token"
    assert token.startswith("wk_")
    assert token not in machine.said
    assert f"ExecStart={PROGRAM}\n" in (machine.root / UNIT).read_text()
    settings = load_settings({"config_file": str(machine.root / CONFIG)}, {})
    assert (settings.public_url, settings.hold_s) == ("https://tunnel.example.com", 1)


def test_the_daemon_can_read_its_files_whatever_the_umask(machine: Machine) -> None:
    """Its user is nobody in particular; only the token is root's alone, and gone at the end."""
    old = os.umask(0o077)
    try:
        (machine.folder / "broken").touch()
        assert machine.install()[0] == 1
    finally:
        os.umask(old)
    modes = {
        name: (machine.root / name).stat().st_mode & 0o777
        for name in (UNIT, CONFIG, "etc/wormkey", CREDENTIAL, "etc/credstore")
    }
    assert list(modes.values()) == [0o644, 0o644, 0o755, 0o600, 0o700]


def test_a_start_that_fails_keeps_the_token_for_the_next_try(machine: Machine) -> None:
    """One line says where to look; after the repair the same token is told, then removed."""
    (machine.folder / "broken").touch()
    code, out = machine.install()
    assert (code, out) == (1, "")
    last = machine.said.splitlines()[-1]
    assert last.startswith("wormkeyd: `systemctl restart wormkey.service` failed with code 1;")
    assert "journalctl -u wormkey.service" in last
    token = read_first_token({"CREDENTIALS_DIRECTORY": str(machine.root / "etc/credstore")})
    assert token is not None
    (machine.folder / "broken").unlink()
    machine.calls()
    code, out = machine.install()
    assert (code, machine.calls()) == (0, RESTART)
    assert out.endswith(f" --token {token}\n")
    assert CREDENTIAL not in machine.files()


def test_running_it_again_changes_nothing(machine: Machine) -> None:
    """No second token, no restart, the options of the first time stay."""
    machine.install("--public-url", "https://tunnel.example.com")
    before = [(machine.root / name).read_text() for name in (UNIT, CONFIG)]
    names = machine.files()
    machine.calls()
    code, out = machine.install()
    assert (code, out, machine.calls()) == (0, "", START)
    assert [(machine.root / name).read_text() for name in (UNIT, CONFIG)] == before
    assert machine.files() == names
    assert f"{PROGRAM} token add NAME --state-dir " in machine.said


def test_an_option_that_is_given_later_goes_into_the_file(machine: Machine) -> None:
    """Beside those of before, and the daemon starts with it."""
    machine.install("--public-url", "https://tunnel.example.com")
    machine.calls()
    assert machine.install("--hold", "2s", "--trusted-proxy", "::1", "--access-log")[0] == 0
    assert machine.calls() == RESTART
    settings = load_settings({"config_file": str(machine.root / CONFIG)}, {})
    assert (settings.public_url, settings.hold_s) == ("https://tunnel.example.com", 2)
    assert settings.access_log


def test_edited_files_are_kept(machine: Machine) -> None:
    """To the byte, and it says so; an option that stands in them is no contradiction."""
    machine.install()
    edited = {}
    for name in (UNIT, CONFIG):
        path = machine.root / name
        edited[name] = path.read_text() + ("# mine\n" if name == UNIT else 'hold = "9s"\n')
        path.write_text(edited[name])
    assert machine.install("--hold", "9s")[0] == 0
    assert {name: (machine.root / name).read_text() for name in edited} == edited
    assert machine.said.count("it has been edited; move it away to get a new one") == 2


def test_an_option_against_an_edited_file_is_refused(machine: Machine) -> None:
    """Before anything is done; the sentence says what to do."""
    machine.install()
    path = machine.root / CONFIG
    path.write_text(path.read_text() + 'hold = "9s"\n')
    machine.calls()
    assert machine.install("--hold", "1s") == (2, "")
    assert machine.said == (
        f"wormkeyd: {path} has been edited and is kept: set hold in it, or move it away\n"
    )
    assert machine.calls() == []


def test_an_older_version_s_file_is_replaced(machine: Machine) -> None:
    """It is not an edit that another version wrote another text."""
    machine.install()
    path = machine.root / UNIT
    path.write_text(installer.service.stamped("[Service]\nExecStart=/old\n"))
    assert machine.install()[0] == 0
    assert f"write {path} anew\n" in machine.said
    assert f"ExecStart={PROGRAM}\n" in path.read_text()


def test_a_dry_run_prints_the_plan_and_does_nothing(machine: Machine) -> None:
    """Every step in order, and no token."""
    code, out = machine.install("--dry-run")
    assert code == 0
    assert [line.replace(str(machine.root), "") for line in out.splitlines()] == [
        f"write /{UNIT}",
        f"write /{CONFIG}",
        f"write /{CREDENTIAL}: a first access token, until the daemon has it",
        "run systemctl daemon-reload",
        "run systemctl enable wormkey.service",
        "run systemctl restart wormkey.service and wait until it is ready",
    ]
    assert (machine.files(), machine.calls()) == (set(), [])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--hold", "soon"], "--hold: 'soon' is not a duration"),
        (["--access", "open"], "--access is no option of the service: the unit says token"),
        (["--state-dir", "/srv"], "--state-dir is no option of the service: the unit says /var"),
        (["--config", "/x.toml"], "--config is no option of the service, which reads "),
        (["--control-url", "ftp://x"], "'ftp://x' is not a URL"),
        (["--routing", "host", "--public-url", "http://192.0.2.1"], "--routing host needs a name"),
    ],
)
def test_what_cannot_be_installed_is_one_line_and_exit_2(
    machine: Machine, arguments: list[str], sentence: str
) -> None:
    """And nothing is done."""
    assert machine.install(*arguments) == (2, "")
    assert machine.said.startswith(f"wormkeyd: {sentence}")
    assert machine.said.count("\n") == 1
    assert (machine.files(), machine.calls()) == (set(), [])


def test_without_a_public_name_the_line_is_for_this_machine_and_says_so(machine: Machine) -> None:
    """Unless --control-url knows better."""
    _, out = machine.install()
    assert out.startswith("wormkey login http://127.0.0.1:3001 --token wk_")
    assert "only this machine reaches http://127.0.0.1:3001" in machine.said


def test_a_written_control_url_is_told(machine: Machine) -> None:
    """A web server's configuration may have another name for it."""
    _, out = machine.install("--control-url", "https://Wormkey.example")
    assert out.startswith("wormkey login https://wormkey.example --token wk_")


def test_a_machine_without_systemd_is_one_line(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 1."""
    monkeypatch.setenv("PATH", str(machine.folder))
    assert machine.install()[0] == 1
    assert machine.said.splitlines()[-1].startswith("wormkeyd: there is no systemctl here")


@pytest.mark.parametrize("command", ["install", "uninstall"])
def test_only_root_may(command: str, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """One clear line, exit 1."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert run([command]) == 1
    assert capsys.readouterr() == (
        "",
        "wormkeyd: only root can do this; run it again behind sudo\n",
    )


# ── which program ───────────────────────────────────────────────────────────────────────────


def _make_program(path: Path) -> Path:
    path.parent.mkdir(parents=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_the_program_is_the_one_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the name it was called by; else the one beside its Python."""
    called = _make_program(tmp_path / "a" / "wormkeyd")
    beside = _make_program(tmp_path / "b" / "wormkeyd")
    monkeypatch.setattr(installer.service, "check_visible", lambda _: None)
    monkeypatch.setattr(sys, "executable", str(beside.with_name("python3")))
    monkeypatch.setattr(sys, "argv", [str(called), "install"])
    assert installer.this_program() == called
    monkeypatch.setattr(sys, "argv", ["-c", "install"])
    assert installer.this_program() == beside


def test_a_python_in_somebodys_home_is_refused(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program elsewhere does not help: the service could not read its interpreter."""
    monkeypatch.setattr(sys, "argv", [str(_make_program(tmp_path / "wormkeyd" / "wormkeyd"))])
    monkeypatch.setattr(installer.service, "_HIDDEN", (Path("/home"),))
    monkeypatch.setattr(sys, "executable", "/home/alice/venv/bin/python3")
    assert machine.command("install") == (2, "")
    assert "/home/alice/venv/bin/python3 is hidden from the service" in machine.said


# ── uninstall ───────────────────────────────────────────────────────────────────────────────


def test_uninstall_keeps_state_and_configuration(machine: Machine) -> None:
    """The unit is stopped before it goes; what is kept is named; a second time there is nothing."""
    machine.install()
    machine.calls()
    assert machine.command("uninstall") == (0, "")
    assert machine.calls() == ["disable --now wormkey.service", "daemon-reload"]
    assert machine.files() == {CONFIG, f"{STATE}/wormkeyd.sqlite3", "var/lib/wormkey"}
    assert f"keep {machine.root / CONFIG} (--purge removes it)\n" in machine.said
    assert machine.command("uninstall") == (0, "")
    assert "there is nothing to remove" in machine.said
    assert machine.calls() == []


def test_what_was_kept_is_used_again(machine: Machine) -> None:
    """Install after uninstall: the old sessions and tokens, no new token."""
    machine.install("--hold", "3s")
    machine.command("uninstall")
    assert machine.install() == (0, "")
    assert load_settings({"config_file": str(machine.root / CONFIG)}, {}).hold_s == 3


def test_purge_removes_everything_of_its_own(machine: Machine) -> None:
    """And nothing else: neither another file in the folder nor another's credential."""
    machine.install()
    foreign = ("etc/wormkey/mine.pem", "etc/credstore/other", "etc/systemd/system/x.service")
    for name in foreign:
        (machine.root / name).write_text("mine")
    drop_in = machine.root / f"{UNIT}.d" / "override.conf"
    drop_in.parent.mkdir()
    drop_in.touch()
    assert machine.command("uninstall", "--purge") == (0, "")
    assert machine.files() == set(foreign)
    assert "it holds mine.pem" in machine.said
    (machine.root / foreign[0]).unlink()
    assert machine.command("uninstall", "--purge") == (0, "")
    assert not (machine.root / "etc/wormkey").exists()


def test_purge_does_not_follow_a_link_out_of_its_place(machine: Machine, tmp_path: Path) -> None:
    """The state folder may be a link to another disk: the link goes, what it leads to stays."""
    machine.install()
    elsewhere = tmp_path / "disk"
    (machine.root / STATE).rename(elsewhere)
    (machine.root / STATE).symlink_to(elsewhere)
    assert machine.command("uninstall", "--purge") == (0, "")
    assert not (machine.root / STATE).is_symlink()
    assert (elsewhere / "wormkeyd.sqlite3").exists()


def test_a_service_that_does_not_stop_keeps_its_state(machine: Machine) -> None:
    """Nothing is removed under a running daemon."""
    machine.install()
    before = machine.files()
    systemctl = machine.folder / "bin" / "systemctl"
    systemctl.write_text("#!/bin/sh\nexit 5\n")
    assert machine.command("uninstall", "--purge") == (1, "")
    assert machine.files() == before


def test_uninstall_can_be_looked_at_first(machine: Machine) -> None:
    """The plan on stdout, nothing done."""
    machine.install()
    before = machine.files()
    machine.calls()
    code, out = machine.command("uninstall", "--purge", "--dry-run")
    assert code == 0
    assert f"remove {machine.root / STATE}\n" in out
    assert (machine.files(), machine.calls()) == (before, [])
