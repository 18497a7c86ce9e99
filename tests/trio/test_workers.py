"""scopes.Workers: child tasks of one nursery that do one piece of work after the other."""

from __future__ import annotations

import gc
import weakref
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio
import trio.testing
from attrs import define, field

from wormkey.scopes import MAX_IDLE, Workers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@define(eq=False)
class Jobs:
    """Pieces of work that note who did them, in which scope, and how they ended."""

    tasks: list[trio.lowlevel.Task] = field(factory=list)
    scopes: list[trio.CancelScope] = field(factory=list)
    cancelled: int = 0
    go: trio.Event = field(factory=trio.Event)

    async def quick(self, scope: trio.CancelScope) -> None:
        """Take a turn."""
        self.tasks.append(trio.lowlevel.current_task())
        self.scopes.append(scope)
        await trio.lowlevel.checkpoint()

    async def long(self, scope: trio.CancelScope) -> None:
        """Wait until all may go."""
        self.tasks.append(trio.lowlevel.current_task())
        self.scopes.append(scope)
        try:
            await self.go.wait()
        except trio.Cancelled:
            self.cancelled += 1
            raise


@asynccontextmanager
async def open_workers(*, worked: int = 0) -> AsyncIterator[tuple[Workers, Jobs]]:
    """Open workers of a nursery that ends with the block; one has worked so often, and waits."""
    jobs = Jobs()
    async with trio.open_nursery() as nursery:
        workers = Workers(nursery)
        for _ in range(worked):
            workers.start(jobs.quick)
            await trio.testing.wait_all_tasks_blocked()
        yield workers, jobs
        nursery.cancel_scope.cancel()


async def settled(workers: Workers) -> int:
    """How many tasks there are when all have had their turn."""
    await trio.testing.wait_all_tasks_blocked()
    return len(workers.nursery.child_tasks)


async def test_a_worker_does_one_piece_of_work_after_the_other() -> None:
    """The second needs no other task; two at a time need two."""
    async with open_workers(worked=3) as (workers, jobs):
        assert len(jobs.tasks) == 3
        assert len(set(jobs.tasks)) == 1
        for _ in range(2):
            workers.start(jobs.long)
        await trio.testing.wait_all_tasks_blocked()
        assert len(set(jobs.tasks)) == 2
    assert jobs.cancelled == 2


async def test_a_cancelled_piece_of_work_takes_no_other_with_it() -> None:
    """Its worker ends; what comes next runs in another scope."""
    async with open_workers() as (workers, jobs):
        workers.start(jobs.long)
        await trio.testing.wait_all_tasks_blocked()
        jobs.scopes[0].cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert (jobs.cancelled, len(workers.nursery.child_tasks)) == (1, 0)
        workers.start(jobs.quick)
        await trio.testing.wait_all_tasks_blocked()
        assert len(set(jobs.scopes)) == 2


async def test_workers_that_wait_are_few_and_end() -> None:
    """No more than MAX_IDLE wait; who had nothing to do from one rest to the next ends."""
    async with open_workers() as (workers, jobs):
        for _ in range(MAX_IDLE + 5):
            workers.start(jobs.long)
        await trio.testing.wait_all_tasks_blocked()
        jobs.go.set()
        assert await settled(workers) == MAX_IDLE
        workers.rest()
        workers.start(jobs.quick)
        assert await settled(workers) == MAX_IDLE
        workers.rest()
        assert await settled(workers) == 1  # the one that worked
        workers.rest()  # and nothing since
        assert await settled(workers) == 0


async def test_a_worker_that_waits_keeps_nothing_of_its_work() -> None:
    """Neither of the first nor of the last: an exchange knows its head, and so its cookies."""
    kept: list[weakref.ref[Jobs]] = []
    async with open_workers() as (workers, _):
        for _ in range(3):
            jobs = Jobs()
            kept.append(weakref.ref(jobs))
            workers.start(jobs.quick)
            del jobs
            await trio.testing.wait_all_tasks_blocked()
        gc.collect()
        assert [each() for each in kept] == [None] * 3
        assert len(workers.nursery.child_tasks) == 1


async def test_a_rest_in_the_turn_of_the_end_harms_nobody() -> None:
    """The worker that is sent to rest is cancelled already, but does not know yet."""
    async with open_workers(worked=1) as (workers, _):
        workers.rest()
        workers.nursery.cancel_scope.cancel()
        workers.rest()
    assert not workers.nursery.child_tasks


async def test_work_that_comes_at_the_moment_of_the_end_hears_of_it() -> None:
    """Its worker is cancelled already, but does not know yet: the work gets another one."""
    async with open_workers(worked=1) as (workers, jobs):
        workers.nursery.cancel_scope.cancel()
        workers.start(jobs.long)
    assert (len(jobs.tasks), jobs.cancelled) == (2, 1)
