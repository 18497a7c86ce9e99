"""Tunnels that share a host: no field of one reaches the others."""

from __future__ import annotations

import pytest

from wormkey.isolation import asks_for_worker, is_origin_wide


@pytest.mark.parametrize("value", [b"/s/otter/", b"/s/otter/app/", b" /s/otter/a.b/c"])
def test_a_service_worker_may_have_its_own_tunnels_path(value: bytes) -> None:
    """And what is under it."""
    assert not is_origin_wide(b"service-worker-allowed", value, b"/s/otter")


@pytest.mark.parametrize(
    "value",
    [
        *(b"", b"/", b"/s/otter", b"/s/badger/", b"/s/otters/", b"s/otter/", b"//evil/s/otter/"),
        *(b"/s/otter/../badger/", b"/s/otter/..", b"/s/otter/%2e%2e/", b"/s/otter/\\..\\"),
        *(b"https://evil.example/s/otter/", b"/s/otter/./x", b"/s/otter/\t../x"),
    ],
)
def test_it_may_have_no_other(value: bytes) -> None:
    """However the path is spelt."""
    assert is_origin_wide(b"service-worker-allowed", value, b"/s/otter")


def test_a_page_without_a_path_of_its_own_has_no_workers_beyond() -> None:
    """It came by the routing cookie."""
    assert is_origin_wide(b"service-worker-allowed", b"/s/otter/", b"")


@pytest.mark.parametrize("name", [b"clear-site-data", b"nel", b"alt-svc"])
def test_what_speaks_for_the_origin_is_wide(name: bytes) -> None:
    """Whatever it says."""
    assert is_origin_wide(name, b"/s/otter/", b"/s/otter")
    assert not is_origin_wide(b"content-type", b"text/html", b"/s/otter")


def test_a_worker_is_known_by_its_field() -> None:
    """Whatever it says; a script that a page loads has none."""
    assert asks_for_worker(((b"service-WORKER", b"script"),))
    assert not asks_for_worker(((b"Service-Worker-Navigation-Preload", b"true"),))
