"""What happens at the client when it, its gateway or its app goes at a bad moment."""

from __future__ import annotations

import trio

from tests.support.world import open_world


async def test_a_drain_that_begins_while_the_client_dials_ends_it() -> None:
    """Ctrl-C before the first tunnel is open is not forgotten."""
    async with open_world(client=False) as world:
        for checkpoints in range(0, 40, 3):
            running = await world.start_client()
            for _ in range(checkpoints):
                await trio.lowlevel.checkpoint()
            await running.client.drain()
            with trio.fail_after(3):
                await running.ended.wait()
            assert running.error is None
