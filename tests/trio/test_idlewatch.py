"""idlewatch.py on trio's clock: what stands still is seen in time, what moves is left alone."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from attrs import define, field

from wormkey.idlewatch import LOOK_S, IdleWatch


@define(eq=False)
class Seen:
    """Notes when it was looked at."""

    looks: list[float] = field(factory=list)

    def look(self, now: float) -> None:
        """Note the moment."""
        self.looks.append(now)


async def test_each_is_looked_at_while_it_is_under_way(autojump_clock: object) -> None:
    """From add to discard, every LOOK_S; afterwards nobody wakes."""
    watch, one, other = IdleWatch(), Seen(), Seen()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch.run)
        await trio.testing.wait_all_tasks_blocked()
        watch.add(one)
        await trio.sleep(LOOK_S * 2.5)
        watch.add(other)
        await trio.sleep(LOOK_S)
        watch.discard(one)
        watch.discard(other)
        watch.discard(other)
        await trio.sleep(LOOK_S * 10)
        nursery.cancel_scope.cancel()
    begun = one.looks[0] - LOOK_S
    assert one.looks == pytest.approx([begun + LOOK_S * n for n in (1, 2, 3)])
    assert other.looks == pytest.approx(one.looks[2:])


async def test_one_may_end_another_while_they_are_looked_at(autojump_clock: object) -> None:
    """What a look ends is discarded at once, in the middle of a round."""
    watch = IdleWatch()

    @define(eq=False)
    class Ends:
        looks: int = 0

        def look(self, now: float) -> None:
            self.looks += 1
            for idler in both:
                watch.discard(idler)

    both = [Ends(), Ends()]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch.run)
        for idler in both:
            watch.add(idler)
        await trio.sleep(LOOK_S * 5)
        nursery.cancel_scope.cancel()
    assert [idler.looks for idler in both] == [1, 1]
