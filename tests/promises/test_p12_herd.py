"""P12: a thousand clients that are dropped at once come back spread, and viewers are served."""

from __future__ import annotations

import math
import resource
from typing import TYPE_CHECKING

import trio

from tests.support.origin import Connection, each_request
from tests.support.promise import QUICK, Promise, sized
from tests.support.world import Connected, RunningClient, open_world, start_client
from wormkey.client import Disconnected

if TYPE_CHECKING:
    from tests.support.messages import Request

CLIENTS = sized(full=1000, quick=100)
SLOWEST_S = 10.0 if QUICK else 1.0  # a loaded machine; an idle one keeps a second
TOGETHER_S = 60.0 if QUICK else 30.0
EARLY_S = 5.0


async def _answer(connection: Connection, _request: Request) -> None:
    await connection.answer(b"here")


def _take_descriptors() -> None:
    """Three are needed for each client."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _p99(waits: list[float]) -> float:
    return sorted(waits)[math.ceil(len(waits) * 0.99) - 1]


async def test_a_herd_comes_back_spread(promise: Promise) -> None:
    """All are back within half a minute, none knocks more than three times in five seconds."""
    _take_descriptors()
    async with open_world(
        each_request(_answer), limit_s=600, max_live_sessions=2 * CLIENTS
    ) as world:
        herd: list[RunningClient] = []
        await world.exchange()
        (own,) = world.node.tunnels
        for _ in range(CLIENTS):
            _, made = await world.call("POST", "/sessions", body={"port": world.origin.port})
            client = start_client(
                world.nursery,
                edge_url=world.edge_url,
                token=made["sessionToken"],
                target=str(world.origin.port),
            )
            await client.wait(Connected)
            herd.append(client)
        dropped_at = trio.current_time()
        early = [0] * CLIENTS
        back = 0
        all_back = trio.Event()

        def note(index: int, client: RunningClient) -> None:
            take = client.client.on_event

            def noted(event: object) -> None:
                nonlocal back
                if isinstance(event, Disconnected):
                    early[index] += trio.current_time() - dropped_at < EARLY_S
                if isinstance(event, Connected):
                    back += 1
                    if back == CLIENTS:
                        all_back.set()
                take(event)  # type: ignore[arg-type]

            client.client.on_event = noted

        for index, client in enumerate(herd):
            note(index, client)
        waits: list[float] = []

        async def view() -> None:
            while not all_back.is_set():
                began_at = trio.current_time()
                assert (await world.exchange()).status == 200
                waits.append(trio.current_time() - began_at)
                await trio.sleep(0.02)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(view)
            for tunnel in list(world.node.tunnels):
                if tunnel is not own:
                    tunnel._end(tunnel.lost(), lost=True)  # as a connection that broke
            await all_back.wait()
        took_s = trio.current_time() - dropped_at
        promise.at_most(f"all of {CLIENTS} clients back", took_s, TOGETHER_S, "s")
        promise.at_most("tries of one client in the first 5 s", max(early), 3)
        promise.at_most("viewers' p99 meanwhile", _p99(waits), SLOWEST_S, "s")
