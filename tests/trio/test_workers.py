"""scopes.Workers: child tasks of one nursery that do one piece of work after the other."""

from __future__ import annotations

import gc
import weakref

import trio
import trio.testing
from attrs import define, field

from wormkey.scopes import MAX_IDLE, Workers


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


async def test_a_worker_does_one_piece_of_work_after_the_other() -> None:
    """The second needs no other task; two at a time need two."""
    jobs = Jobs()
    async with trio.open_nursery() as nursery:
        workers = Workers(nursery)
        for _ in range(3):
            workers.start(jobs.quick)
            await trio.testing.wait_all_tasks_blocked()
        assert len(set(jobs.tasks)) == 1
        for _ in range(2):
            workers.start(jobs.long)
        await trio.testing.wait_all_tasks_blocked()
        assert len(set(jobs.tasks)) == 2
        nursery.cancel_scope.cancel()
    assert jobs.cancelled == 2


async def test_a_cancelled_piece_of_work_takes_no_other_with_it() -> None:
    """Its worker ends; what comes next runs in another scope."""
    jobs = Jobs()
    async with trio.open_nursery() as nursery:
        workers = Workers(nursery)
        workers.start(jobs.long)
        await trio.testing.wait_all_tasks_blocked()
        jobs.scopes[0].cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert (jobs.cancelled, len(nursery.child_tasks)) == (1, 0)
        workers.start(jobs.quick)
        await trio.testing.wait_all_tasks_blocked()
        assert len(set(jobs.scopes)) == 2
        nursery.cancel_scope.cancel()


async def test_workers_that_wait_are_few_and_end() -> None:
    """No more than MAX_IDLE wait; who had nothing to do from one rest to the next ends."""
    jobs = Jobs()
    async with trio.open_nursery() as nursery:
        workers = Workers(nursery)
        for _ in range(MAX_IDLE + 5):
            workers.start(jobs.long)
        await trio.testing.wait_all_tasks_blocked()
        jobs.go.set()
        await trio.testing.wait_all_tasks_blocked()
        assert len(nursery.child_tasks) == MAX_IDLE
        workers.rest()
        workers.start(jobs.quick)
        await trio.testing.wait_all_tasks_blocked()
        assert len(nursery.child_tasks) == MAX_IDLE
        workers.rest()
        await trio.testing.wait_all_tasks_blocked()
        assert len(nursery.child_tasks) == 1  # the one that worked
        workers.rest()  # and nothing since
    assert not nursery.child_tasks


async def test_a_worker_that_waits_keeps_nothing_of_its_work() -> None:
    """Neither of the first nor of the last: an exchange knows its head, and so its cookies."""
    kept: list[weakref.ref[Jobs]] = []
    async with trio.open_nursery() as nursery:
        workers = Workers(nursery)
        for _ in range(3):
            jobs = Jobs()
            kept.append(weakref.ref(jobs))
            workers.start(jobs.quick)
            del jobs
            await trio.testing.wait_all_tasks_blocked()
        gc.collect()
        assert [each() for each in kept] == [None] * 3
        assert len(nursery.child_tasks) == 1
        nursery.cancel_scope.cancel()


async def test_a_rest_in_the_turn_of_the_end_harms_nobody() -> None:
    """The worker that is sent to rest is cancelled already, but does not know yet."""
    jobs = Jobs()
    async with trio.open_nursery() as nursery:
        workers = Workers(nursery)
        workers.start(jobs.quick)
        await trio.testing.wait_all_tasks_blocked()
        workers.rest()
        nursery.cancel_scope.cancel()
        workers.rest()
    assert not nursery.child_tasks


async def test_work_that_comes_at_the_moment_of_the_end_hears_of_it() -> None:
    """Its worker is cancelled already, but does not know yet: the work gets another one."""
    jobs = Jobs()
    async with trio.open_nursery() as nursery:
        workers = Workers(nursery)
        workers.start(jobs.quick)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        workers.start(jobs.long)
    assert (len(jobs.tasks), jobs.cancelled) == (2, 1)
