"""What one daemon leaves to the next, as one variable of the environment."""

from __future__ import annotations

import pytest

from wormkey.errors import ConfigError
from wormkey.inheritance import VARIABLE, Inheritance

LEFT = Inheritance(
    channel=9, lock=5, sockets={"control": ("127.0.0.1:3001", (3,)), "gateway": (":3002", (4, 6))}
)


def test_the_heir_gets_what_was_left() -> None:
    """Descriptors and addresses survive the way, and the variable is gone afterwards."""
    environ = LEFT.environment({"PATH": "/bin"})
    assert Inheritance.take(environ, 77) == LEFT
    assert environ == {"PATH": "/bin"}
    assert Inheritance.take(environ, 77) is None


def test_what_systemd_gave_is_the_heirs_too() -> None:
    """LISTEN_PID and WATCHDOG_PID name the old process: they do not pass, their values do."""
    old = {"LISTEN_FDS": "2", "LISTEN_PID": "1", "WATCHDOG_USEC": "3", "WATCHDOG_PID": "1"}
    environ = LEFT.environment(old)
    Inheritance.take(environ, 77)
    assert environ == {"LISTEN_FDS": "2", "LISTEN_PID": "77", "WATCHDOG_USEC": "3"}


def test_every_descriptor_is_named() -> None:
    """Those of the channel, the lock and all sockets must stay open across the start."""
    assert sorted(LEFT.descriptors) == [3, 4, 5, 6, 9]


def test_sockets_are_for_their_own_address() -> None:
    """An address that changed since is opened anew."""
    assert LEFT.sockets_at("gateway", ":3002") == (4, 6)
    assert LEFT.sockets_at("gateway", ":3003") == ()
    assert LEFT.sockets_at("admin", "unix:/run/x") == ()


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "1", '{"channel": 1, "lock": 2, "sockets": {"control": 3}}']
)
def test_nonsense_is_refused_in_one_line(text: str) -> None:
    """Somebody else wrote the variable."""
    with pytest.raises(ConfigError, match=VARIABLE):
        Inheritance.take({VARIABLE: text}, 1)
