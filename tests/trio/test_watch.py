"""The bell of a session: no ring is missed, and the record is bounded."""

from __future__ import annotations

from datetime import UTC, datetime

import trio
import trio.testing

from wormkey.watch import MAX_FINISHED, Finished, Watch


async def test_a_ring_wakes_all_and_is_not_missed() -> None:
    """Not even one that came before the wait began."""
    watch, woken = Watch(), 0

    async def wait() -> None:
        nonlocal woken
        await watch.changed(watch.turn)
        woken += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        assert woken == 0
        watch.ring()
    assert woken == 2
    turn = watch.turn
    watch.ring()
    await watch.changed(turn)


async def test_the_last_requests_are_kept() -> None:
    """So many, the oldest first."""
    watch = Watch()
    for number in range(MAX_FINISHED + 3):
        watch.note(
            Finished(
                at=datetime(2030, 1, 1, tzinfo=UTC),
                viewer_id="v",
                method="GET",
                path=f"/{number}",
                status=200,
                duration_s=0.1,
            )
        )
    assert watch.turn == MAX_FINISHED + 3
    assert [each.path for each in watch.finished] == [f"/{n}" for n in range(3, MAX_FINISHED + 3)]
