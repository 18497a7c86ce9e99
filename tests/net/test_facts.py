"""What the daemon says of itself is what is the case."""

from __future__ import annotations

import os
import resource
from datetime import datetime
from typing import TYPE_CHECKING

import trio

from tests.support.origin import Connection, each_request
from tests.support.world import open_world
from wormkey.facts import open_descriptors, resident_bytes

if TYPE_CHECKING:
    from tests.support.messages import Request


async def test_the_counts_are_those_of_the_moment() -> None:
    """A session, its tunnel, an exchange under way, an idle viewer; and none of them later."""
    release = trio.Event()

    async def answer(connection: Connection, _request: Request) -> None:
        await release.wait()
        await connection.answer(b"done")

    async with open_world(each_request(answer)) as world:
        busy, _idle = await world.open_viewer(), await world.open_viewer()
        await busy.request()
        await world.origin.wait_connections(1)
        while world.facts.gateway.connections < 3:  # noqa: ASYNC110 - nothing tells
            await trio.lowlevel.checkpoint()
        facts = world.facts.as_json()
        assert facts["sessions"] == {"live": 1, "ended": 0}
        assert facts["tunnels"] == {"v1": 1, "v0": 0}
        assert (facts["streams"], facts["viewer_connections"]) == (1, 2)
        assert world.facts.line() == "1 session, 1 tunnel, 1 stream"
        release.set()
        assert (await busy.read_response()).data == b"done"
        path = f"/sessions/{world.session['sessionId']}"
        await world.call("DELETE", path, token=world.token)
        assert world.client is not None
        await world.client.ended.wait()
        while world.node.tunnels:  # noqa: ASYNC110 - nothing tells
            await trio.lowlevel.checkpoint()
        facts = world.facts.as_json()
        assert facts["sessions"] == {"live": 0, "ended": 1}
        assert facts["tunnels"] == {"v1": 0, "v0": 0}
        assert world.facts.line() == "0 sessions, 0 tunnels, 0 streams"


async def test_the_rest_is_about_this_process() -> None:
    """Its own id, addresses, memory, descriptors and limit; a drain is said."""
    async with open_world(client=False) as world:
        facts = world.facts.as_json()
        assert facts["pid"] == os.getpid()
        assert facts["control_url"] == f"http://127.0.0.1:{world.control[1]}"
        assert facts["gateway_url"] == f"http://127.0.0.1:{world.gateway[1]}"
        assert facts["public_url"] == f"http://localhost:{world.gateway[1]}"
        assert facts["edge_url"] == f"ws://localhost:{world.gateway[1]}"
        assert facts["store"] == {"kind": "memory", "path": None}
        versions = facts["versions"]
        assert isinstance(versions, dict)
        assert set(versions) == {"wormkey", "python", "trio", "hypercorn", "h11", "trio-websocket"}
        assert versions["trio"] == trio.__version__
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        descriptors = facts["descriptors"]
        assert isinstance(descriptors, dict)
        assert descriptors["limit"] == limit
        assert datetime.fromisoformat(str(facts["started_at"])) <= world.node.now()
        assert facts["draining"] is False
        world.node.drain.start()
        assert world.facts.as_json()["draining"] is True
        assert world.facts.line().startswith("draining: ")


def test_memory_and_descriptors_are_counted() -> None:
    """64 MiB more are seen, and one more open file is one more.

    So large a piece never comes from memory that an earlier test gave back: it is a mapping.
    """
    before = resident_bytes()
    held = bytearray(b"x" * (64 * 1024 * 1024))
    after = resident_bytes()
    assert before is not None
    assert after is not None
    assert after - before > len(held) // 2
    opened = open_descriptors()
    with open(os.devnull, encoding="ascii"):
        assert opened is not None
        assert open_descriptors() == opened + 1
