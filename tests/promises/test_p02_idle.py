"""P2: open event streams cost little memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from tests.support.crowds import MIB, open_stand
from tests.support.promise import Promise, sized

if TYPE_CHECKING:
    from pathlib import Path

STREAMS = sized(full=2000, quick=200)
CLIENTS = 20  # so that none of them meets the 128 streams of one viewer


async def test_open_event_streams_are_cheap(promise: Promise, tmp_path: Path) -> None:
    """The daemon grows by less than 200 MiB for 2,000 of them, in proportion for fewer."""
    with trio.fail_after(300):
        async with open_stand(tmp_path, clients=CLIENTS) as stand:
            await stand.times_s(20)
            before = stand.daemon.process.memory_bytes()
            viewers = []
            for number in range(STREAMS):
                viewer = await stand.open(b"events", number % CLIENTS)
                await viewer.read_final_head()
                assert await viewer.read_chunk()
                viewers.append(viewer)
            grown = stand.daemon.process.memory_bytes() - before
            bound = 200 * STREAMS / 2000
            promise.at_most(f"{STREAMS} event streams, in the daemon", grown / MIB, bound, "MiB")
            for viewer in viewers:
                await viewer.aclose()
