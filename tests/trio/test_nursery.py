"""nursery.py: how late the loop is, measured while it is busy."""

from __future__ import annotations

import time

import trio
import trio.testing

from wormkey.metrics import Metrics
from wormkey.nursery import LAG_SAMPLE_S, measure_lag


async def test_an_idle_loop_is_sampled_once_a_second_and_never_late(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A minute is sixty samples of nothing."""
    metrics = Metrics()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(measure_lag, metrics)
        await trio.sleep(60 * LAG_SAMPLE_S + 0.5)
        nursery.cancel_scope.cancel(reason="the test is over")
    assert metrics.loop_lag.count == 60
    assert metrics.loop_lag.sum_s < 0.001


async def test_a_task_that_holds_the_loop_shows_as_lag() -> None:
    """Whatever blocks between two checkpoints makes everybody late by that."""
    metrics = Metrics()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(measure_lag, metrics)
        await trio.testing.wait_all_tasks_blocked()
        time.sleep(LAG_SAMPLE_S + 0.25)  # noqa: ASYNC251 - holding the loop is the point
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel(reason="the test is over")
    assert metrics.loop_lag.sum_s >= 0.2
