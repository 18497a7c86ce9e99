"""/metrics: the whole table as Prometheus reads it, for who may create sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.figures import Scrape
from tests.support.plane import open_plane
from wormkey.exposition import expose
from wormkey.metrics import FIGURES

if TYPE_CHECKING:
    from pathlib import Path

KINDS = {figure.name.removesuffix("_total"): figure.kind for figure in FIGURES}
HELP = {figure.name.removesuffix("_total"): figure.help for figure in FIGURES}
PROCESS = {
    "process_cpu_seconds": "counter",
    "process_max_fds": "gauge",
    "process_open_fds": "gauge",
    "process_resident_memory_bytes": "gauge",
    "process_start_time_seconds": "gauge",
    "process_virtual_memory_bytes": "gauge",
}


async def test_every_figure_of_the_table_is_there_and_nothing_else(tmp_path: Path) -> None:
    """Name, type and help, as prometheus_client's parser reads them; the process's own beside."""
    async with open_plane(tmp_path, access="open") as plane:
        plane.node.metrics.observe_store("put_session", 0.002)
        answer = await plane.answer("GET", "/metrics")
        assert answer.status == 200
        assert (answer.head.get(b"Content-Type") or b"").startswith(b"text/plain; version=0.0.4")
        families = Scrape.of(answer.data).families
        assert {name: each.type for name, each in families.items()} == KINDS | PROCESS
        assert {name: families[name].documentation for name in HELP} == HELP
        assert all(each.samples for each in families.values())


async def test_labels_have_their_values_before_anything_happened(tmp_path: Path) -> None:
    """With 0, so that a rate sees the first event."""
    async with open_plane(tmp_path, access="open") as plane:
        scrape = Scrape.of(expose(plane.node)[0])
        for figure in FIGURES:
            if figure.kind == "counter":
                for value in figure.values:
                    assert scrape.value(figure.name, **{figure.label: value}) == 0
        assert scrape.value("wormkey_build_info", version=plane.node.version) == 1
        assert scrape.value("wormkey_tunnels", version="1") == 0


async def test_live_sessions_are_those_of_the_routes(tmp_path: Path) -> None:
    """A session counts from its creation to its end."""
    async with open_plane(tmp_path, access="open") as plane:
        made = await plane.create()
        await plane.create()
        assert Scrape.of(expose(plane.node)[0]).value("wormkey_sessions") == 2
        await plane.call("DELETE", f"/sessions/{made['sessionId']}", token=made["sessionToken"])
        assert Scrape.of(expose(plane.node)[0]).value("wormkey_sessions") == 1


async def test_a_histogram_is_told_in_cumulative_buckets(tmp_path: Path) -> None:
    """Its buckets, its count and its sum are those that were observed."""
    async with open_plane(tmp_path, access="open") as plane:
        for seconds in (0.004, 0.02, 9999.0):
            plane.node.metrics.time_to_first_byte.observe(seconds)
        scrape = Scrape.of(expose(plane.node)[0])
        name = "wormkey_time_to_first_byte_seconds"
        assert scrape.value(f"{name}_bucket", le="0.005") == 1
        assert scrape.value(f"{name}_bucket", le="0.025") == 2
        assert scrape.value(f"{name}_bucket", le="120.0") == 2
        assert scrape.value(f"{name}_bucket", le="+Inf") == scrape.value(f"{name}_count") == 3
        assert scrape.value(f"{name}_sum") == pytest.approx(9999.024)


async def test_metrics_are_for_holders_of_an_access_token(tmp_path: Path) -> None:
    """401 for others in token mode, a session's tokens included; nothing of it is told."""
    async with open_plane(tmp_path, access="token") as plane:
        token = await plane.node.access.add("prometheus")
        assert (await plane.answer("GET", "/metrics", token=token)).status == 200
        made = (await plane.call("POST", "/sessions", token=token, body={"port": 1}))[1]
        for other in (None, "guess", made["sessionToken"]):
            refused = await plane.answer("GET", "/metrics", token=other)
            assert refused.status == 401
            assert b"wormkey_" not in refused.data
        assert (await plane.answer("POST", "/metrics", token=token)).status == 405


async def test_a_web_page_cannot_read_metrics_in_open_mode(tmp_path: Path) -> None:
    """A browser names the page's origin; programs on this machine need nothing."""
    async with open_plane(tmp_path, access="open") as plane:
        page = ((b"Origin", b"https://evil.example"),)
        assert (await plane.answer("GET", "/metrics", fields=page)).status == 403


async def test_requests_of_the_control_plane_are_counted_by_class(tmp_path: Path) -> None:
    """Refusals before any call, too: HTTP the API does not take, a path it does not have."""
    async with open_plane(tmp_path, access="open") as plane:
        await plane.create()
        await plane.answer("GET", "/nothing")
        await plane.answer("BREW", "/sessions")
        scrape = Scrape.of(expose(plane.node)[0])
        assert scrape.value("wormkey_control_requests_total", status="2xx") == 1
        assert scrape.value("wormkey_control_requests_total", status="4xx") == 2


async def test_wrong_tokens_and_rates_are_counted(tmp_path: Path) -> None:
    """By what the token was tried for, and by which rate said no."""
    async with open_plane(tmp_path, access="token", max_auth_failures=2, max_misses=1) as plane:
        token = await plane.node.access.add("laptop")
        made = (await plane.call("POST", "/sessions", token=token, body={"port": 1}))[1]
        await plane.answer("GET", "/access", token="guess")
        await plane.answer("GET", f"/sessions/{made['sessionId']}", token="guess")
        assert (await plane.answer("GET", "/access", token="guess")).status == 429
        for _ in range(3):
            await plane.answer("GET", "/sessions/by-slug/nobody-has-this")
        scrape = Scrape.of(expose(plane.node)[0])
        assert scrape.value("wormkey_failed_authentications_total", what="access") == 1
        assert scrape.value("wormkey_failed_authentications_total", what="session") == 1
        assert scrape.value("wormkey_throttled_total", rate="failures") == 1
        assert scrape.value("wormkey_throttled_total", rate="misses") == 2
        assert scrape.value("wormkey_throttled_total", rate="creations") == 0


async def test_creations_over_a_rate_are_counted(tmp_path: Path) -> None:
    """By the rate that refused."""
    async with open_plane(tmp_path, access="token", max_token_creations=1) as plane:
        token = await plane.node.access.add("laptop")
        for status in (201, 429, 429):
            made = await plane.call("POST", "/sessions", token=token, body={"port": 1})
            assert made[0] == status
        scrape = Scrape.of(expose(plane.node)[0])
        assert scrape.value("wormkey_throttled_total", rate="token_creations") == 2
        assert scrape.value("wormkey_throttled_total", rate="creations") == 0
