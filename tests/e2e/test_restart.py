"""A daemon that is killed or restarted under two hundred tunnels: every one of them comes back.

WORMKEY_TUNNELS says how many. The times are printed.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.support.origin import saying, start_origin
from tests.support.process import Daemon, running_daemon
from tests.support.share import addresses_of, answers, create_session, start_client_of
from tests.support.world import Connected, RunningClient

if TYPE_CHECKING:
    from pathlib import Path

TUNNELS = int(os.environ.get("WORMKEY_TUNNELS", "200"))
MAX_RESUME_S = 15.0
CREATORS = 8


async def create_sessions(daemon: Daemon) -> list[dict[str, Any]]:
    """Make TUNNELS sessions."""
    made: list[dict[str, Any]] = []
    left = iter(range(TUNNELS))

    async def create_some() -> None:
        made.extend([await create_session(daemon) for _ in left])

    async with trio.open_nursery() as nursery:
        for _ in range(CREATORS):
            nursery.start_soon(create_some)
    return made


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "restarted"])
async def test_every_tunnel_resumes(tmp_path: Path, number: signal.Signals) -> None:
    """Each client has its tunnel and its URL again within MAX_RESUME_S of the new daemon."""
    resumed_s: list[float] = []
    with trio.fail_after(120):
        async with trio.open_nursery() as nursery:
            origin = await start_origin(nursery, saying())
            async with running_daemon(tmp_path) as daemon:
                sessions = await create_sessions(daemon)
                clients = [
                    start_client_of(nursery, daemon, session, origin.port) for session in sessions
                ]
                for client in clients:
                    await client.wait(Connected)
                await daemon.process.end(number)
            begun = trio.current_time()
            async with running_daemon(tmp_path, *addresses_of(daemon)) as daemon:
                ready = trio.current_time()

                async def resume(client: RunningClient, session: dict[str, Any]) -> None:
                    await client.wait(Connected, 2)
                    assert await answers(daemon, session)
                    resumed_s.append(trio.current_time() - ready)

                async with trio.open_nursery() as resuming:
                    for client, session in zip(clients, sessions, strict=True):
                        resuming.start_soon(resume, client, session)
                assert not any(client.ended.is_set() for client in clients)
                nursery.cancel_scope.cancel(reason="the test is over")
    resumed_s.sort()
    median_s, last_s = resumed_s[len(resumed_s) // 2], resumed_s[-1]
    print(
        f"{len(resumed_s)} of {TUNNELS} resumed after a start of {ready - begun:.1f} s: "
        f"median {median_s:.1f} s, last {last_s:.1f} s"
    )
    assert len(resumed_s) == TUNNELS
    assert last_s < MAX_RESUME_S
