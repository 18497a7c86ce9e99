"""How long it takes to find one of so many live sessions, and what each costs in memory.

    python bench/sessions.py 100000

Prints one line of JSON. Nothing listens; the store is one in memory, since what is looked for by
each request is a route, which is in memory with any store.
"""

from __future__ import annotations

import json
import random
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import trio

from wormkey.audit import Actor
from wormkey.config import Settings
from wormkey.journal import Journal
from wormkey.registry import Registry
from wormkey.routes.local import LocalRoutes
from wormkey.store.memory import MemoryStore
from wormkey.trail import Trail
from wormkey.wishes import NewSession

FINDS: Final = 200_000


def _rss_kib() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmRSS:")[2].split()[0])


def _now() -> datetime:
    return datetime.now(UTC)


async def measure(count: int) -> dict[str, float]:
    """Create so many sessions and look for some of them."""
    settings, store, routes = Settings(), MemoryStore(), LocalRoutes()
    journal = Journal(store, routes.meters, settings.audit_records)
    trail = Trail(_now, journal.publish, journal.behind)
    registry = Registry(store, routes, _now, settings, trail)
    before = _rss_kib()
    began_at = time.perf_counter()
    for number in range(count):
        await registry.create(NewSession(port=1, expires_in_s=3600), Actor(f"token:{number % 100}"))
    created_s = time.perf_counter() - began_at
    each_kib = (_rss_kib() - before) / count
    slugs = [entry.session.slug for entry in routes.entries()]
    chosen = random.Random(1).choices(slugs, k=FINDS)  # noqa: S311 - no secret
    find = routes.find
    began_at = time.perf_counter()
    for slug in chosen:
        find(slug)
    found_s = time.perf_counter() - began_at
    return {"find_us": found_s / FINDS * 1e6, "created": count / created_s, "kib": each_kib}


def main() -> int:
    """Measure and print."""
    print(json.dumps(trio.run(measure, int(sys.argv[1]))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
