"""Many clients in one process: creates sessions and keeps a tunnel open for each.

A program: CONTROL_PORT COUNT TARGET_PORT. Prints one line of JSON when all are connected: the
slugs, and how long creating and connecting took. Another line whenever all are connected again: how
long since the first was back, and the most tries of one client in the first five seconds of that,
the last one too: tries at a server that is not there cost it nothing. Runs until killed.
"""

from __future__ import annotations

import http.client
import json
import sys
import time
from collections import Counter
from typing import Any

import trio
from attrs import define, field

from wormkey.client import Client, ClientEvent, ClientSettings, Connected, Disconnected
from wormkey.target import parse_target

DIALS_AT_ONCE = 32
EARLY_S = 5.0


@define(eq=False)
class Herd:
    """Who of ``count`` is connected, and what came since the first was back."""

    count: int
    connected: set[str] = field(factory=set)
    started: bool = False  # all have been connected once
    began_at: float | None = None
    tries: Counter[str] = field(factory=Counter)

    def note(self, slug: str, event: ClientEvent) -> None:
        """Take an event of a client: each try ends in one of these two."""
        now = time.perf_counter()
        if isinstance(event, Disconnected):
            self.connected.discard(slug)
        elif isinstance(event, Connected):
            if self.started and not self.connected:
                self.began_at = now
                self.tries.clear()
            self.connected.add(slug)
        else:
            return
        if self.began_at is not None and now - self.began_at < EARLY_S:
            self.tries[slug] += 1
        if self.began_at is not None and len(self.connected) == self.count:
            tell({"back_s": now - self.began_at, "tries": max(self.tries.values())})
            self.began_at = None


def tell(what: dict[str, Any]) -> None:
    """Print a line."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


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
    herd = Herd(len(sessions))
    async with trio.open_nursery() as nursery:

        async def start(session: dict[str, Any]) -> None:
            connected = trio.Event()

            def note(event: ClientEvent) -> None:
                herd.note(session["slug"], event)
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
        herd.started = True
        slugs = [session["slug"] for session in sessions]
        tell({"slugs": slugs, "created_s": created_s, "connected_s": took_s})


def main() -> None:
    """Read the arguments, run until killed."""
    control, count, target = map(int, sys.argv[1:4])
    begun = time.perf_counter()
    sessions = create(control, count)
    trio.run(connect, sessions, target, time.perf_counter() - begun)


if __name__ == "__main__":
    main()
