"""Many clients in one process: creates sessions and keeps a tunnel open for each.

A program: CONTROL_PORT COUNT TARGET_PORT. Prints one line of JSON when all are connected: the
slugs, and how long creating and connecting took. Runs until killed.
"""

from __future__ import annotations

import http.client
import json
import sys
import time
from typing import Any

import trio

from wormkey.client import Client, ClientEvent, ClientSettings, Connected
from wormkey.target import parse_target

DIALS_AT_ONCE = 32


def create(control: int, count: int) -> list[dict[str, Any]]:
    """Create sessions, one after the other on one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", control)
    made = []
    for _ in range(count):
        connection.request(
            "POST", "/sessions", b'{"port": 1}', {"Content-Type": "application/json"}
        )
        made.append(json.loads(connection.getresponse().read()))
    connection.close()
    return made


async def connect(sessions: list[dict[str, Any]], target: int, created_s: float) -> None:
    """Run a client for each session."""
    limiter = trio.CapacityLimiter(DIALS_AT_ONCE)
    begun = time.perf_counter()
    async with trio.open_nursery() as nursery:

        async def start(session: dict[str, Any]) -> None:
            connected = trio.Event()

            def note(event: ClientEvent) -> None:
                if isinstance(event, Connected):
                    connected.set()

            client = Client(
                ClientSettings(),
                session["edgeUrl"],
                session["sessionToken"],
                parse_target(str(target)),
                note,
            )
            async with limiter:
                nursery.start_soon(client.run)
                await connected.wait()

        async with trio.open_nursery() as starting:
            for session in sessions:
                starting.start_soon(start, session)
        took_s = time.perf_counter() - begun
        told = {
            "slugs": [session["slug"] for session in sessions],
            "created_s": created_s,
            "connected_s": took_s,
        }
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()


def main() -> None:
    """Read the arguments, run until killed."""
    control, count, target = map(int, sys.argv[1:4])
    begun = time.perf_counter()
    sessions = create(control, count)
    trio.run(connect, sessions, target, time.perf_counter() - begun)


if __name__ == "__main__":
    main()
