"""wormkeyd install --sockets: systemd holds what the configuration says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.installing import RESTART, START, Machine

if TYPE_CHECKING:
    from pathlib import Path


def test_systemd_holds_the_sockets_where_it_is_asked(machine: Machine) -> None:
    """At the configuration's addresses, also when those change; uninstall lets go of both."""
    held = ["wormkey.socket", "wormkey-control.socket"]
    both = " ".join(held)
    taking = [START[0], f"stop wormkey.service {both}", f"enable --now {both}", *RESTART[1:]]
    code, _ = machine.install("--sockets", "--gateway", ":8080", "--control", "[::1]:3001")
    assert (code, machine.calls()) == (0, taking)
    units = [machine.root / "etc/systemd/system" / name for name in held]
    assert [line_of(unit, "ListenStream") for unit in units] == ["8080", "[::1]:3001"]
    assert [line_of(unit, "FileDescriptorName") for unit in units] == ["gateway", "control"]
    assert machine.install()[0] == 0
    assert machine.calls() == START
    assert machine.install("--sockets")[0] == 0  # what an interrupted one may have left undone
    assert machine.calls() == [*taking[:-1], START[-1]]
    assert machine.install("--control", "unix:/run/wormkey/control.sock")[0] == 0
    assert machine.calls() == taking
    assert line_of(units[1], "ListenStream") == "/run/wormkey/control.sock"
    assert line_of(units[1], "SocketMode") == "0660"
    assert machine.command("uninstall")[0] == 0
    assert machine.calls()[0] == f"disable --now {both} wormkey.service"
    assert not any(unit.exists() for unit in units)


@pytest.mark.parametrize("address", ["localhost:3002", "127.0.0.1:0"])
def test_what_systemd_cannot_listen_at_is_refused(machine: Machine, address: str) -> None:
    """It resolves no names and picks no ports; nothing is written."""
    code, _ = machine.install("--sockets", "--gateway", address)
    assert code == 2
    assert "give --gateway an IP address and a port" in machine.said
    assert machine.files() == set()


def line_of(unit: Path, key: str) -> str:
    """The value of a key that a unit has once."""
    (found,) = [line for line in unit.read_text().splitlines() if line.startswith(f"{key}=")]
    return found.removeprefix(f"{key}=")
