"""sd_notify against a real datagram socket, as the service manager has it."""

from __future__ import annotations

import socket
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from wormkey.notify import Notifier, watchdog_interval_s

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """Return the manager's socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.bind(str(tmp_path / "notify"))
        yield sock


def to(manager: socket.socket) -> Notifier:
    """Return a notifier that the manager's environment asks for."""
    return Notifier.from_environment({"NOTIFY_SOCKET": manager.getsockname()})


def test_ready_and_stopping_are_told_with_a_status(manager: socket.socket) -> None:
    """One datagram each, one field a line."""
    notifier = to(manager)
    assert notifier.ready("3 sessions")
    assert manager.recv(1024) == b"READY=1\nSTATUS=3 sessions"
    assert notifier.ready()
    assert manager.recv(1024) == b"READY=1"
    assert notifier.stopping("draining")
    assert manager.recv(1024) == b"STOPPING=1\nSTATUS=draining"


def test_the_watchdog_is_fed_by_one_field(manager: socket.socket) -> None:
    """Nothing else in that datagram."""
    assert to(manager).watchdog()
    assert manager.recv(1024) == b"WATCHDOG=1"


@pytest.mark.parametrize(
    ("environ", "interval_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "-1"}, None),
    ],
)
def test_the_watchdog_is_for_the_process_that_is_named(
    environ: dict[str, str], interval_s: float | None
) -> None:
    """As sd_watchdog_enabled(3) has it; what is odd is no order."""
    assert watchdog_interval_s(environ, 7) == interval_s


def test_a_status_is_one_line(manager: socket.socket) -> None:
    """A line break in it would be a field of its own."""
    assert to(manager).status("a\nSTOPPING=1\tb")
    assert manager.recv(1024) == b"STATUS=a STOPPING=1 b"


def test_a_reload_says_when_it_began(manager: socket.socket) -> None:
    """Type=notify-reload compares MONOTONIC_USEC with its own clock (sd_notify(3))."""
    before_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert to(manager).reloading()
    state, _, moment = manager.recv(1024).decode().partition("\nMONOTONIC_USEC=")
    assert state == "RELOADING=1"
    assert before_us <= int(moment) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


@pytest.mark.skipif(not hasattr(socket, "SO_PASSCRED"), reason="Linux has abstract sockets")
def test_an_abstract_socket_begins_with_an_at_sign(tmp_path: Path) -> None:
    """Containers are told of one."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.bind(f"\0{tmp_path}")
        assert Notifier.from_environment({"NOTIFY_SOCKET": f"@{tmp_path}"}).ready()
        assert sock.recv(1024) == b"READY=1"


def test_without_a_manager_nothing_happens() -> None:
    """Every call is safe everywhere."""
    notifier = Notifier.from_environment({})
    assert not notifier.ready()
    assert not notifier.reloading()
    assert not notifier.stopping()
    assert not notifier.status("x")


@pytest.mark.parametrize("path", ["/nowhere/notify", "vsock:2:1", "x" * 200])
def test_a_manager_that_is_away_is_no_error(path: str) -> None:
    """The daemon serves on."""
    assert not Notifier(path).ready()


def test_a_manager_that_does_not_read_keeps_nobody_waiting(manager: socket.socket) -> None:
    """A full socket loses the message, not the daemon."""
    notifier = to(manager)
    while notifier.status("x" * 1000):
        pass


def test_nothing_stays_open(manager: socket.socket) -> None:
    """Each message has a socket of its own: its descriptor is free again afterwards."""
    with closing(socket.socket()) as probe:
        free = probe.fileno()
    to(manager).ready()
    with closing(socket.socket()) as probe:
        assert probe.fileno() == free


def test_a_hand_over_names_the_next_process_and_is_the_last_word(manager: socket.socket) -> None:
    """Whoever was the service says nothing more: the manager listens to the other one."""
    notifier = Notifier(manager.getsockname())
    notifier.hand_over(4711)
    assert manager.recv(1024) == b"MAINPID=4711"
    assert not notifier.stopping("on its way out")
    manager.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.recv(1024)
