"""P11: a daemon that is killed costs nothing but the moment; every client is back with its URL."""

from __future__ import annotations

import signal
from statistics import median
from typing import TYPE_CHECKING, Any

import trio

from tests.support.origin import saying, start_origin
from tests.support.process import Daemon, running_daemon
from tests.support.promise import QUICK, Promise, sized
from tests.support.share import addresses_of, create_session, share, visit
from tests.support.world import RunningClient, call

if TYPE_CHECKING:
    from pathlib import Path

CLIENTS = sized(full=100, quick=10)
KILLS = sized(full=1000, quick=3)
SLOWEST_S = 30.0 if QUICK else 5.0  # a loaded machine; an idle one keeps five seconds


async def _back_s(daemon: Daemon, clients: list[tuple[RunningClient, dict[str, Any]]]) -> float:
    """Wait until every client is connected and its URL leads to the app; how long that took."""
    began_at = trio.current_time()

    async def back(client: RunningClient, session: dict[str, Any]) -> None:
        answer = await visit(daemon, session)  # held until its client is there
        took_s = trio.current_time() - began_at
        # The app and all clients share this process: where it is too busy to accept, the client
        # says so, and by that it is back.
        assert answer.status == 200 or answer.error == b"origin_unreachable", (
            *(took_s, session["slug"], answer.status, answer.data[-300:]),
            *(client.events[-6:], daemon.process.err[-20:]),
        )

    async with trio.open_nursery() as nursery:
        for client, session in clients:
            nursery.start_soon(back, client, session)
    return trio.current_time() - began_at


async def test_every_session_outlives_every_kill(tmp_path: Path, promise: Promise) -> None:
    """Killed in a row under its clients: all resume, and no session that was told of is missing."""
    took_s: list[float] = []
    told = missing = 0
    addresses: tuple[str, ...] = ()
    fleet: list[tuple[RunningClient, dict[str, Any]]] = []
    known: list[dict[str, Any]] = []
    with trio.fail_after(120 + 20 * KILLS):
        async with trio.open_nursery() as nursery:
            origin = await start_origin(nursery, saying())
            for number in range(KILLS + 1):
                async with running_daemon(tmp_path, *addresses) as daemon:
                    addresses = addresses_of(daemon)
                    if number == 0:
                        for _ in range(CLIENTS):
                            session, client = await share(nursery, daemon, origin.port)
                            fleet.append((client, session))
                    else:
                        took_s.append(await _back_s(daemon, fleet))
                    for session in known:
                        path = f"/sessions/by-slug/{session['slug']}"
                        missing += (await call(daemon.control, "GET", path))[0] != 200
                    known = [await create_session(daemon) for _ in range(3)]
                    told += len(known)
                    await daemon.process.end(signal.SIGKILL)
            assert not any(client.ended.is_set() for client, _ in fleet)
            nursery.cancel_scope.cancel(reason="the test is over")
    print("slowest:", *(f"{each:.2f} s at {took_s.index(each)}" for each in sorted(took_s)[-5:]))
    promise.exactly(f"of {told} acknowledged sessions, missing", missing, 0)
    promise.at_most(f"{CLIENTS} clients back after a start, median", median(took_s), SLOWEST_S, "s")
    promise.at_most(f"the slowest of {KILLS} starts", max(took_s), SLOWEST_S, "s")
