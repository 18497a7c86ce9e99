"""Task shapes that trio does not ship: a drain that everybody can see, a task with two parents.

Nothing here knows HTTP, tunnels or frames. Every wait is cancellable; the one shield is bounded.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, Generic, TypeAlias, TypeVar

import trio
from attrs import define, field

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

MAX_IDLE: Final = 64  # tasks of one tunnel that wait for their next exchange
ROOM_PAUSE_S: Final = 0.1  # who was let in last has so long to say what he is

T = TypeVar("T")


# What a trio.lowlevel.ParkingLot does, for the few tasks that may wait in one place, in a plain
# list: a lot or an event costs some ten calls to wake a task, and an exchange wakes five.


@trio.lowlevel.enable_ki_protection
async def park(waiting: list[trio.lowlevel.Task]) -> None:
    """Wait in this line to be woken. Cancellation: waits only."""
    task = trio.lowlevel.current_task()
    waiting.append(task)

    def abort(_: object) -> trio.lowlevel.Abort:
        waiting.remove(task)
        return trio.lowlevel.Abort.SUCCEEDED

    await trio.lowlevel.wait_task_rescheduled(abort)


@trio.lowlevel.enable_ki_protection
def unpark(waiting: list[trio.lowlevel.Task]) -> None:
    """Wake who has waited longest, if somebody waits."""
    if waiting:
        trio.lowlevel.reschedule(waiting.pop(0))


def unpark_all(waiting: list[trio.lowlevel.Task]) -> None:
    """Wake all who wait."""
    while waiting:
        unpark(waiting)


@define(eq=False)
class Drain:
    """The moment after which nothing new is begun; set once, seen by everybody."""

    passing: bool = False  # another process takes over: it begins what is new
    _event: trio.Event = field(factory=trio.Event)

    @property
    def closing(self) -> bool:
        """Whether this process begins nothing more: it drains, or hands over to another."""
        return self.passing or self.draining

    @property
    def draining(self) -> bool:
        """Whether the drain has begun."""
        return self._event.is_set()

    def start(self) -> None:
        """Begin; a second call does nothing."""
        self._event.set()

    async def wait(self) -> None:
        """Wait until the drain begins.

        Cancellation: waits only, nothing is lost.
        """
        await self._event.wait()


@define(eq=False)
class Turnstile:
    """Lets one task through in each turn of the event loop, in the order of their coming.

    What costs a millisecond costs a second when a thousand tasks do it in the same turn, and
    everybody else waits for that turn to end.
    """

    _lock: trio.Lock = field(factory=trio.Lock)

    async def wait_turn(self) -> None:
        """Wait for a turn.

        Cancellation: waits only; the place is given up.
        """
        async with self._lock:
            await trio.lowlevel.checkpoint()


Work: TypeAlias = "Callable[[trio.CancelScope], Awaitable[None]]"


@define(eq=False)
class _Worker:
    work: Work | None
    waiting: list[trio.lowlevel.Task] = field(factory=list)


@define(eq=False)
class Workers:
    """Child tasks of one nursery, each of which does one piece of work after the other.

    To begin a task with its scope and to end both costs as much as the rest of what trio does for
    a small exchange. A piece of work gets the scope that it runs in; whoever keeps it must let it
    go when the work is over, because the next piece runs in the same one.
    """

    nursery: trio.Nursery
    _idle: list[_Worker] = field(factory=list)
    _fewest_idle: int = 0  # since the last rest()

    def start(self, work: Work) -> None:
        """Let a child task do ``work``, which raises nothing; what it raises ends the nursery.

        Raises:
            RuntimeError: the nursery has closed.
        """
        if not self._idle:
            self.nursery.start_soon(self._run, _Worker(work))
            return
        worker = self._idle.pop()
        self._fewest_idle = min(self._fewest_idle, len(self._idle))
        worker.work = work
        unpark(worker.waiting)

    def rest(self) -> None:
        """End those that had nothing to do since the last call."""
        for worker in self._idle[: self._fewest_idle]:
            unpark(worker.waiting)
        del self._idle[: self._fewest_idle]
        self._fewest_idle = len(self._idle)

    async def _run(self, worker: _Worker) -> None:
        with trio.CancelScope() as scope:
            while (work := worker.work) is not None:  # else it may rest
                worker.work = None
                await work(scope)
                del work  # or what it knows lives on, heads and cookies, while nothing is done
                if scope.cancel_called or len(self._idle) >= MAX_IDLE:
                    return
                self._idle.append(worker)
                try:
                    await park(worker.waiting)
                except trio.Cancelled:
                    if worker in self._idle:
                        self._idle.remove(worker)
                    elif worker.work is not None:
                        # It came in the moment of the end, and must hear of that.
                        self.nursery.start_soon(self._run, _Worker(worker.work))
                    raise


@define(eq=False)
class Child(Generic[T]):
    """A piece of work that lives in one nursery and is waited for by a task of another."""

    _scope: trio.CancelScope | None = None  # while it runs
    _cancelled: bool = False
    _over: bool = False
    _waiting: list[trio.lowlevel.Task] = field(factory=list)
    _error: Exception | None = None
    _value: list[T] = field(factory=list)

    def cancel(self, reason: str | None = None) -> None:
        """Cancel the work, which may not have begun."""
        self._cancelled = True
        if self._scope is not None:
            self._scope.cancel(reason=reason)

    async def _run(self, work: Callable[[], Awaitable[T]], scope: trio.CancelScope) -> None:
        self._scope = scope
        try:
            if not self._cancelled:
                self._value.append(await work())
        except Exception as error:  # noqa: BLE001 - it is the waiting parent's, raised there
            self._error = error
        finally:
            self._scope, self._over = None, True
            unpark(self._waiting)

    async def _wait_over(self) -> None:
        while not self._over:
            await park(self._waiting)

    async def run(
        self,
        start: Callable[[Work], None],
        work: Callable[[], Awaitable[T]],
        *,
        lost: Callable[[], Exception],
        cleanup_timeout_s: float,
    ) -> T:
        """Run ``work`` in a task that ``start`` finds in a nursery; return what it returns.

        The work has two parents. If the nursery is cancelled, the waiting task gets ``lost()``;
        if the waiting task is cancelled, so is the work; if somebody calls ``cancel``, trio's
        Cancelled stays inside and ``lost()`` is raised too. Errors of the work are raised here,
        never in the nursery, so siblings live on.

        Cancellation: cancels the work and waits for its cleanup, ``cleanup_timeout_s`` at most.
        """
        try:
            start(partial(self._run, work))
        except RuntimeError:  # the nursery closed meanwhile
            raise lost() from None
        try:
            await self._wait_over()
        except trio.Cancelled:
            self.cancel()
            with trio.move_on_after(cleanup_timeout_s, shield=True):
                await self._wait_over()
            raise
        if self._error is not None:
            raise self._error
        if not self._value:
            raise lost()
        return self._value[0]


async def alongside(
    main: Callable[[], Awaitable[None]], background: Callable[[], Awaitable[None]]
) -> None:
    """Run ``main`` with ``background`` beside it, which is cancelled when ``main`` is done.

    If ``background`` fails, ``main`` is cancelled and that error is raised; never a group.

    Cancellation: cancels both.
    """
    failures: list[Exception] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_guarded, background, nursery, failures)
        await _guarded(main, nursery, failures)
        nursery.cancel_scope.cancel(reason="the exchange is over")
    if failures:
        raise failures[0]


async def together(*works: Callable[[], Awaitable[None]]) -> None:
    """Run ``works`` until all are done; the first error cancels the others and is raised alone.

    Cancellation: cancels all.
    """
    failures: list[Exception] = []
    async with trio.open_nursery() as nursery:
        for work in works:
            nursery.start_soon(_guarded, work, nursery, failures)
    if failures:
        raise failures[0]


async def _guarded(
    work: Callable[[], Awaitable[None]], nursery: trio.Nursery, failures: list[Exception]
) -> None:
    try:
        await work()
    except Exception as error:  # noqa: BLE001 - the nursery's owner raises it, without a group
        failures.append(error)
        nursery.cancel_scope.cancel(reason="the other direction failed")


async def acquire(slots: trio.Semaphore, make_room: Callable[[], None]) -> None:
    """Take a slot; while there is none, ask for room again and again.

    A slot that is free is taken without a checkpoint: whoever holds an accepted connection must not
    lose it to a cancellation that comes just then.

    Cancellation: atomic.
    """
    while True:
        try:
            slots.acquire_nowait()
        except trio.WouldBlock:
            make_room()
            with trio.move_on_after(ROOM_PAUSE_S):
                await slots.acquire()
                return
        else:
            return
