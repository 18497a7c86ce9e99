"""P15: requests that are opened and cut in a row leave nothing behind, and slow nobody down."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from tests.support.crowds import MIB, Stand, open_stand, p99
from tests.support.figures import Scrape
from tests.support.promise import QUICK, Promise, sized
from tests.support.viewer import open_viewer

if TYPE_CHECKING:
    from pathlib import Path

RESETS = sized(full=20_000, quick=600)
SPREAD_S = sized(full=20, quick=2)
CUTTERS = 8
SLOWEST_MS = 2000.0 if QUICK else 100.0  # a loaded machine; an idle one keeps a tenth of a second


async def _streams(stand: Stand) -> float:
    """How many exchanges the daemon has under way, as it tells."""
    viewer = await open_viewer(*stand.daemon.control, b"localhost:%d" % stand.daemon.control[1])
    answer = await viewer.exchange(b"/metrics")
    await viewer.aclose()
    return Scrape.of(answer.data).value("wormkey_streams")


async def test_rapid_resets_leave_nothing(promise: Promise, tmp_path: Path) -> None:
    """Every viewer asks for a stream of events and cuts the connection at once."""
    with trio.fail_after(200):
        async with open_stand(tmp_path) as stand:
            await stand.times_s(100)
            before = stand.daemon.process.memory_bytes()
            times: list[float] = []

            async def cut() -> None:
                for _ in range(RESETS // CUTTERS):
                    viewer = await stand.open(b"events")
                    await viewer.reset()
                    await trio.sleep(SPREAD_S * CUTTERS / RESETS)

            async with trio.open_nursery() as cutting:
                for _ in range(CUTTERS):
                    cutting.start_soon(cut)
                times += await stand.times_s(200)
            began_at = trio.current_time()
            while await _streams(stand):  # noqa: ASYNC110 - nothing tells
                await trio.sleep(0.05)
            gone_s = trio.current_time() - began_at
            grown = stand.daemon.process.memory_bytes() - before
    promise.at_most(f"after {RESETS} resets, no stream left after", gone_s, 2.0, "s")
    promise.at_most("the daemon grew by", grown / MIB, 32, "MiB")
    promise.at_most("honest p99 meanwhile", p99(sorted(times)) * 1000, SLOWEST_MS, "ms")
