"""P7: many stalled downloads are bounded by the tunnel's window, not by their sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from tests.support.crowds import MIB, open_stand
from tests.support.promise import Promise, sized

if TYPE_CHECKING:
    from pathlib import Path

DOWNLOADS = sized(full=100, quick=100)


async def test_stalled_downloads_are_bounded(promise: Promise, tmp_path: Path) -> None:
    """100 viewers ask for a GiB each and read nothing: the daemon grows by 64 MiB at most."""
    with trio.fail_after(200):
        async with open_stand(tmp_path) as stand:
            await stand.times_s(50)
            before = stand.daemon.process.memory_bytes()
            client_before = stand.clients[0][0].memory_bytes()
            viewers = [await stand.open(b"big", stalled=True) for _ in range(DOWNLOADS)]
            await stand.wait_stalled()
            grown = stand.daemon.process.memory_bytes() - before
            client_grown = stand.clients[0][0].memory_bytes() - client_before
            for viewer in viewers:
                await viewer.aclose()
            promise.at_most("the daemon grew by", grown / MIB, 64, "MiB")
            promise.at_most("the client grew by", client_grown / MIB, 64, "MiB")
