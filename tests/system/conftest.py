"""What the tests of the system service need of the machine, and one droplet for all of them."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.system.droplet import NoDropletError, booted
from tests.system.story import Story

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGES = {
    "systemd-analyze": "systemd",
    "/usr/sbin/nsenter": "util-linux",
    "caddy": "caddy",
    "/usr/bin/python3": "python3-venv",
    "git": "git",
}
NAMES = ("tunnel.example.com", "control.tunnel.example.com")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Say at once which Debian packages are missing."""
    del session
    missing = {
        package
        for program, package in PACKAGES.items()
        if shutil.which(program) is None and shutil.which(program.rpartition("/")[2]) is None
    }
    if missing:
        pytest.exit(f"missing: apt-get install {' '.join(sorted(missing))}", returncode=1)


@pytest.fixture
def story(machine: Story) -> Story:
    """The machine, with its service's starts not counted yet.

    The unit allows five in a minute: what the tests before did must not be this one's limit.
    """
    machine.droplet.run("systemctl reset-failed wormkey")
    return machine


@pytest.fixture(scope="session")
def machine() -> Iterator[Story]:
    """A machine to throw away, which answers for the README's names, up to the service that runs.

    One for all tests: what takes its time is pip. A test leaves the service as it found it.
    """
    try:
        with booted(dict.fromkeys(NAMES, "127.0.0.1")) as droplet:
            story = Story.begin(droplet)
            story.install()
            yield story
    except NoDropletError as error:
        pytest.skip(f"no droplet here: {error}")
