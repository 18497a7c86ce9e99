"""wormkeyd status: how the facts are spelt."""

from __future__ import annotations

from typing import Any

import pytest

from wormkey.status import duration, rows

FACTS: dict[str, Any] = {
    "pid": 77,
    "started_at": "2030-01-01T00:00:00Z",
    "uptime_s": 3723.5,
    "draining": False,
    "sessions": {"live": 12, "ended": 3},
    "tunnels": {"v1": 10, "v0": 1},
    "streams": 7,
    "viewer_connections": 30,
    "memory_bytes": 44 * 1024 * 1024,
    "descriptors": {"open": 99, "limit": 1024},
    "store": {"kind": "sqlite", "path": "/state/wormkeyd.sqlite3"},
    "control_url": "http://127.0.0.1:3001",
    "gateway_url": "http://127.0.0.1:3002",
    "public_url": "https://t.example",
    "edge_url": "wss://t.example",
    "versions": {"wormkey": "1.2", "python": "3.11.7", "trio": "0.35.0"},
}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0 s"),
        (0.9, "0 s"),
        (59, "59 s"),
        (60, "1 min 0 s"),
        (3_600, "1 h 0 min"),
        (3_723.5, "1 h 2 min"),
        (86_400 * 30 + 7_200, "30 d 2 h"),
    ],
)
def test_an_uptime_has_two_units(seconds: float, text: str) -> None:
    """As much as a person wants to know."""
    assert duration(seconds) == text


def test_every_fact_is_in_the_text() -> None:
    """What --json says, people can read, too."""
    lines = dict(rows(FACTS))
    assert lines == {
        "wormkeyd": "1.2, process 77, up 1 h 2 min",
        "control": "http://127.0.0.1:3001",
        "gateway": "http://127.0.0.1:3002",
        "public": "https://t.example, tunnels at wss://t.example",
        "sessions": "12 live, 3 ended lately",
        "tunnels": "11 (10 v1, 1 v0)",
        "streams": "7",
        "viewers": "30 connections",
        "memory": "44.0 MiB",
        "descriptors": "99 open, 1024 at most",
        "store": "sqlite /state/wormkeyd.sqlite3",
        "versions": "python 3.11.7, trio 0.35.0",
    }


def test_a_drain_and_unknown_figures_are_said() -> None:
    """A system without /proc cannot tell them; a daemon that drains says so first."""
    told = dict(
        rows(
            FACTS
            | {"draining": True, "memory_bytes": None, "descriptors": {"open": None} | {"limit": 9}}
        )
    )
    assert told["wormkeyd"].endswith(", draining")
    assert told["memory"] == "unknown"
    assert told["descriptors"] == "unknown open, 9 at most"
