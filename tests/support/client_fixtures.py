"""Fixtures for tests of the command line: named in a test module's ``pytest_plugins``."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from tests.support.client_home import FakeClient, interrupt
from tests.support.fake_control import Sessions, fake_control
from wormkey import expose

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.fake_control import FakeControl


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Give each test an empty home and an environment without our variables."""
    for name in list(os.environ):
        if name.startswith("WORMKEY"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> type[FakeClient]:
    """Put a client without a gateway in place; Ctrl-C follows once it is connected."""
    fake = type("FakeClient", (FakeClient,), {"made": [], "course": staticmethod(interrupt)})
    monkeypatch.setattr(expose, "Client", fake)
    return fake


@pytest.fixture
def control() -> Iterator[FakeControl]:
    """Run a control plane in open mode."""
    with fake_control(Sessions()) as control:
        yield control


@pytest.fixture
def origin() -> Iterator[str]:
    """Return a port on which something listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield str(server.getsockname()[1])
