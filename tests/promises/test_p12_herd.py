"""P12: a thousand clients after a restart come back spread, and viewers are served meanwhile.

Daemon, herd and viewers are three processes, as they are on the internet: what the herd's own end
costs is not the daemon's.
"""

from __future__ import annotations

import json
import math
import resource
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from tests.support.origin import saying, start_origin
from tests.support.process import running, running_daemon
from tests.support.promise import QUICK, Promise, sized
from tests.support.share import addresses_of, share, visit

if TYPE_CHECKING:
    from tests.support.process import Daemon

CLIENTS = sized(full=1000, quick=100)
SLOWEST_S = 10.0 if QUICK else 1.0  # a loaded machine; an idle one keeps a second
TOGETHER_S = 60.0 if QUICK else 30.0
PROGRAM = Path(__file__).resolve().parents[2] / "bench" / "clients.py"


def _take_descriptors() -> None:
    """Programs that this one starts inherit it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _p99(waits: list[float]) -> float:
    return sorted(waits)[math.ceil(len(waits) * 0.99) - 1]


async def _view(daemon: Daemon, session: dict[str, str], waits: list[float]) -> None:
    """Ask again and again; note how long each answer took."""
    while True:
        began_at = trio.current_time()
        assert (await visit(daemon, session)).status == 200
        waits.append(trio.current_time() - began_at)
        await trio.sleep(0.02)


async def test_a_herd_comes_back_spread(promise: Promise, tmp_path: Path) -> None:
    """All are back within half a minute, none knocks more than three times in five seconds."""
    _take_descriptors()
    options = ("--max-live-sessions", str(2 * CLIENTS))
    waits: list[float] = []
    with trio.fail_after(300):
        async with trio.open_nursery() as nursery:
            origin = await start_origin(nursery, saying())
            async with running_daemon(tmp_path, *options) as daemon:
                again = addresses_of(daemon)
                session, _client = await share(nursery, daemon, origin.port)
                command = (sys.executable, "-P", str(PROGRAM))
                arguments = (str(daemon.control[1]), str(CLIENTS), "1")
                herd = await nursery.start(_run_herd, (*command, *arguments), tmp_path)
                await herd.wait_line(herd.out, lambda line: "slugs" in line)
                await daemon.process.end(signal.SIGKILL)
            async with running_daemon(tmp_path, *options, *again) as daemon:
                began_at = trio.current_time()
                assert (await visit(daemon, session)).status == 200  # held for its client
                first_s = trio.current_time() - began_at
                async with trio.open_nursery() as viewing:
                    viewing.start_soon(_view, daemon, session, waits)
                    lines = await herd.wait_lines(herd.out, lambda line: "back_s" in line, 1)
                    viewing.cancel_scope.cancel(reason="the herd is back")
            nursery.cancel_scope.cancel(reason="the test is over")
    back = json.loads(lines[0])
    promise.at_most("the first viewer after the start", first_s, TOGETHER_S, "s")
    promise.at_most(f"all of {CLIENTS} clients back", back["back_s"], TOGETHER_S, "s")
    promise.at_most("tries of one client in the first 5 s", back["tries"], 3)
    promise.at_most(f"p99 of {len(waits)} viewers meanwhile", _p99(waits), SLOWEST_S, "s")


async def _run_herd(
    command: tuple[str, ...], home: Path, task_status: trio.TaskStatus[object]
) -> None:
    async with running(command, home) as herd:
        task_status.started(herd)
        await trio.sleep_forever()
