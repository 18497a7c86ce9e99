"""P10: a black hole between client and gateway is noticed on both sides; viewers get an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from tests.support.fault import start_relay
from tests.support.promise import QUICK, Promise
from tests.support.world import Connected, Disconnected, open_world, start_client
from wormkey.keepalive import TunnelTimings

if TYPE_CHECKING:
    from collections.abc import Mapping

# Quick: a tenth of the defaults, and a bound that a loaded machine keeps.
DAEMON: Mapping[str, Any] = {"tunnel_timeout_s": 2.0, "ping_interval_s": 1.0} if QUICK else {}
CLIENT: Mapping[str, Any] = (
    {"timings": TunnelTimings(ping_interval_s=1.0, silence_timeout_s=2.5)} if QUICK else {}
)
BOUND_S = 20.0 if QUICK else 30.0


async def test_a_black_hole_is_noticed_on_both_sides(promise: Promise) -> None:
    """No end is told; each side finds out by the silence."""
    async with open_world(client=False, limit_s=180, **DAEMON) as world:
        relay = await start_relay(world.nursery, world.gateway)
        client = start_client(
            world.nursery,
            edge_url=f"ws://127.0.0.1:{relay.port}",
            token=world.token,
            target=str(world.origin.port),
            **CLIENT,
        )
        await client.wait(Connected)
        viewer = await world.open_viewer()
        assert (await viewer.exchange()).status == 200
        noticed: dict[str, float] = {}
        relay.freeze()
        frozen_at = trio.current_time()

        async def by_the_client() -> None:
            await client.wait(Disconnected)
            noticed["client"] = trio.current_time() - frozen_at

        async def by_the_gateway() -> None:
            (tunnel,) = world.node.tunnels
            await tunnel._ended.wait()
            noticed["gateway"] = trio.current_time() - frozen_at

        async def by_a_viewer() -> None:
            await viewer.request(method=b"POST", content=b"x")
            answer = await viewer.read_response()
            assert answer.status in {502, 504}
            noticed["viewer"] = trio.current_time() - frozen_at

        async with trio.open_nursery() as nursery:
            nursery.start_soon(by_the_client)
            nursery.start_soon(by_the_gateway)
            nursery.start_soon(by_a_viewer)
        for side, seconds in noticed.items():
            promise.at_most(f"noticed by the {side}", seconds, BOUND_S, "s")
        relay.reset()
        relay.thaw()
        await client.wait(Connected, 2)
