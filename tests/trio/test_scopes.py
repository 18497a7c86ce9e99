"""A task with two parents, two tasks that end together, and a drain that everybody sees."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from wormkey.scopes import Child, Drain, Turnstile, Workers, alongside, together

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CLEANUP_TIMEOUT_S = 5.0


class Lost(Exception):
    """What the waiting parent is told when the other parent is gone."""


class Work:
    """Work that waits until it is told to end, and says how it ended."""

    def __init__(self, result: str | Exception = "done", cleanup_s: float = 0) -> None:
        """``cleanup_s`` is how long the work takes to end after it is cancelled."""
        self.result = result
        self.cleanup_s = cleanup_s
        self.started = trio.Event()
        self.release = trio.Event()
        self.ended = ""

    async def __call__(self) -> str:
        """Wait, then return or raise the result."""
        self.started.set()
        try:
            await self.release.wait()
        except trio.Cancelled:
            with trio.CancelScope(shield=True):
                await trio.sleep(self.cleanup_s)
            self.ended = "cancelled"
            raise
        self.ended = "finished"
        if isinstance(self.result, Exception):
            raise self.result
        return self.result

    async def returning_nothing(self) -> None:
        """The same, for those who want no value."""
        await self()


@asynccontextmanager
async def open_ending() -> AsyncIterator[trio.Nursery]:
    """Open a nursery that ends with its block, as a tunnel's does: idle workers wait in it."""
    async with trio.open_nursery() as nursery:
        yield nursery
        nursery.cancel_scope.cancel()


async def run_child(nursery: trio.Nursery, work: Work, child: Child[str] | None = None) -> str:
    """Run the work as a child of the nursery and of the calling task."""
    return await (child or Child[str]()).run(
        Workers(nursery).start, work, lost=Lost, cleanup_timeout_s=CLEANUP_TIMEOUT_S
    )


async def test_the_waiting_parent_gets_the_works_value() -> None:
    """The value crosses from the nursery's task to the waiting one."""
    work = Work("a value")
    work.release.set()
    async with open_ending() as nursery:
        assert await run_child(nursery, work) == "a value"


async def test_an_error_of_the_work_is_the_waiting_parents_alone() -> None:
    """The nursery and its other tasks live on."""
    work = Work(ValueError("broken"))
    work.release.set()
    async with open_ending() as nursery:
        with pytest.raises(ValueError, match=r"^broken$"):
            await run_child(nursery, work)
        await trio.lowlevel.checkpoint()  # Cancelled would be raised here


async def test_when_the_waiting_parent_is_cancelled_so_is_the_work() -> None:
    """And the parent goes on only when the work has cleaned up."""
    work = Work()
    async with open_ending() as nursery:
        with trio.CancelScope() as viewer:
            async with trio.open_nursery() as waiting:
                waiting.start_soon(run_child, nursery, work)
                await work.started.wait()
                viewer.cancel()
        assert work.ended == "cancelled"


async def test_a_cleanup_that_takes_too_long_is_not_waited_for(autojump_clock: Any) -> None:
    """The wait for the work's cleanup has an end."""
    work = Work(cleanup_s=60)
    started = trio.current_time()
    async with open_ending() as nursery:
        with trio.CancelScope() as viewer:
            async with trio.open_nursery() as waiting:
                waiting.start_soon(run_child, nursery, work)
                await work.started.wait()
                viewer.cancel()
        assert trio.current_time() - started == pytest.approx(CLEANUP_TIMEOUT_S)
        assert work.ended == ""
    assert work.ended == "cancelled"


async def test_when_the_nursery_is_cancelled_the_waiting_parent_is_told() -> None:
    """A tunnel that dies is an error to the exchange, not a cancellation."""
    work = Work()
    outcome = ""

    async def viewer(nursery: trio.Nursery) -> None:
        nonlocal outcome
        try:
            await run_child(nursery, work)
        except Lost:
            outcome = "lost"

    async with trio.open_nursery() as viewers, open_ending() as tunnel:
        viewers.start_soon(viewer, tunnel)  # noqa: ASYNC111 - two parents are the subject here
        await work.started.wait()
        tunnel.cancel_scope.cancel()
    assert (work.ended, outcome) == ("cancelled", "lost")


async def test_work_that_is_cancelled_by_its_scope_is_lost() -> None:
    """Whoever holds the scope can end this one piece of work; its siblings live on."""
    work, child = Work(), Child[str]()

    async def end_it() -> None:
        await work.started.wait()
        child.cancel()

    async with open_ending() as nursery:
        nursery.start_soon(end_it)
        with pytest.raises(Lost):
            await run_child(nursery, work, child)
        await trio.lowlevel.checkpoint()


async def test_a_nursery_that_has_closed_takes_no_work() -> None:
    """The tunnel went between the search for it and the start of the stream."""
    async with trio.open_nursery() as nursery:
        pass
    with pytest.raises(Lost):
        await run_child(nursery, Work())


async def test_work_that_is_cancelled_before_it_began_never_begins() -> None:
    """Its task has not had its turn yet."""
    work, child = Work(), Child[str]()
    async with open_ending() as nursery:

        def start(work: Any) -> None:
            Workers(nursery).start(work)
            child.cancel()

        with pytest.raises(Lost):
            await child.run(start, work, lost=Lost, cleanup_timeout_s=CLEANUP_TIMEOUT_S)
    assert not work.started.is_set()


async def test_the_background_ends_with_the_main_work() -> None:
    """alongside() is over when main is."""
    main, background = Work(), Work()
    main.release.set()
    await alongside(main.returning_nothing, background.returning_nothing)
    assert (main.ended, background.ended) == ("finished", "cancelled")


async def test_main_goes_on_when_the_background_is_done() -> None:
    """A background that ends early, and well, ends nothing else."""
    main, background = Work(), Work()
    background.release.set()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(alongside, main.returning_nothing, background.returning_nothing)
        await trio.testing.wait_all_tasks_blocked()
        assert (main.ended, background.ended) == ("", "finished")
        main.release.set()
    assert main.ended == "finished"


@pytest.mark.parametrize("failing", [0, 1])
@pytest.mark.parametrize("shape", [alongside, together])
async def test_the_first_error_cancels_the_other_and_is_raised_alone(
    shape: Any, failing: int
) -> None:
    """Never as a group: the caller writes a plain `except`."""
    works = [Work(), Work()]
    works[failing].result = OSError("hung up")
    works[failing].release.set()
    with pytest.raises(OSError, match=r"^hung up$"):
        await shape(works[0].returning_nothing, works[1].returning_nothing)
    assert works[1 - failing].ended in ("cancelled", "")  # "" if it had not begun


async def test_together_waits_for_all() -> None:
    """One direction that has ended does not end the other."""
    first, second = Work(), Work()
    first.release.set()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(together, first.returning_nothing, second.returning_nothing)
        await trio.testing.wait_all_tasks_blocked()
        assert (first.ended, second.ended) == ("finished", "")
        second.release.set()
    assert second.ended == "finished"


@pytest.mark.parametrize("shape", [alongside, together])
async def test_a_cancellation_from_outside_cancels_both(shape: Any) -> None:
    """Nothing is left running."""
    works = [Work(), Work()]
    with trio.CancelScope() as outside:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(shape, works[0].returning_nothing, works[1].returning_nothing)
            await trio.testing.wait_all_tasks_blocked()
            outside.cancel()
    assert [work.ended for work in works] == ["cancelled", "cancelled"]


async def test_a_drain_is_seen_by_everybody_and_begins_once() -> None:
    """Those who wait wake, those who come later see it, a second start does nothing."""
    drain = Drain()
    assert not drain.draining
    async with trio.open_nursery() as nursery:
        nursery.start_soon(drain.wait)
        nursery.start_soon(drain.wait)
        await trio.testing.wait_all_tasks_blocked()
        drain.start()
        drain.start()
    assert drain.draining
    await drain.wait()


async def test_a_turnstile_lets_one_through_in_each_turn() -> None:
    """In the order of their coming; who is cancelled in the row holds nobody up."""
    turnstile = Turnstile()
    turn = 0
    passed: list[tuple[int, int]] = []
    leaving = trio.CancelScope()

    async def count() -> None:
        nonlocal turn
        while True:
            turn += 1
            await trio.lowlevel.checkpoint()

    async def go(number: int, scope: trio.CancelScope) -> None:
        with scope:
            await turnstile.wait_turn()
            passed.append((number, turn))

    async with trio.open_nursery() as counting:
        counting.start_soon(count)
        async with trio.open_nursery() as nursery:
            for number in range(6):
                nursery.start_soon(go, number, leaving if number == 3 else trio.CancelScope())
                await trio.lowlevel.checkpoint()  # else trio starts them in any order
            leaving.cancel()
        counting.cancel_scope.cancel()
    assert sorted(number for number, _ in passed) == [0, 1, 2, 4, 5]
    turns = [at for _, at in passed]
    assert len(set(turns)) == len(turns)
