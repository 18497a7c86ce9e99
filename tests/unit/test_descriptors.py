"""What the descriptors allow, computed from RLIMIT_NOFILE."""

from __future__ import annotations

import resource

import pytest

from wormkey.descriptors import KEPT_DESCRIPTORS, MIN_CONNECTIONS, usable_connections

UNLIMITED = resource.RLIM_INFINITY


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Soft and hard limit of this process, as far as the code can tell."""
    values = [1024, 1024]
    monkeypatch.setattr(resource, "getrlimit", lambda _: tuple(values))

    def change(_: int, new: tuple[int, int]) -> None:
        values[:] = new

    monkeypatch.setattr(resource, "setrlimit", change)
    return values


@pytest.mark.parametrize(
    ("soft", "hard", "raised", "connections", "control"),
    [
        (1024, 1_000_000, 4096 + 256 + KEPT_DESCRIPTORS, 4096, 256),
        (1024, UNLIMITED, 4096 + 256 + KEPT_DESCRIPTORS, 4096, 256),
        (1024, 2048, 2048, 2048 - 248 - KEPT_DESCRIPTORS, 248),
        (256, 256, 256, 256 - 24 - KEPT_DESCRIPTORS, 24),
        (32, 32, 32, MIN_CONNECTIONS, MIN_CONNECTIONS),
        (UNLIMITED, UNLIMITED, UNLIMITED, 4096, 256),
        (8000, 9000, 8000, 4096, 256),
    ],
)
def test_the_soft_limit_is_raised_and_some_are_kept(
    limits: list[int], soft: int, hard: int, raised: int, connections: int, control: int
) -> None:
    """Raised to what is needed and no further; beyond the hard limit there are fewer places."""
    limits[:] = soft, hard
    assert usable_connections(4096, 256) == (connections, control)
    assert limits == [raised, hard]


def test_where_the_limit_cannot_be_raised_there_are_fewer(
    limits: list[int], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A sandbox that forbids it ends nothing; the log says what happened."""

    def refuse(_: int, __: tuple[int, int]) -> None:
        raise PermissionError("no")

    limits[:] = 1024, 9000
    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert usable_connections(4096, 256) == (1024 - 120 - KEPT_DESCRIPTORS, 120)
    assert len(caplog.records) == 2
