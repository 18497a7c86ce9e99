"""P1: tunnels that carry nothing cost little memory and next to no CPU time."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from tests.support.process import Running, running, running_daemon

if TYPE_CHECKING:
    from tests.support.promise import Promise

from tests.support.promise import QUICK, sized

TUNNELS = sized(full=1000, quick=100)
IDLE_S = sized(full=60, quick=10)
# A hundred share what the first few cost the daemon at once: buffers, threads, caches.
MOST_MIB = 20.0 if QUICK else 100.0
CLIENTS = Path(__file__).resolve().parents[2] / "bench" / "clients.py"
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def cpu_s(process: Running) -> float:
    """The CPU time that a process has used so far (proc(5))."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


async def test_idle_tunnels_are_cheap(tmp_path: Path, promise: Promise) -> None:
    """The daemon's memory grows by so much for all of them, and PINGs take 2 % of a core."""
    with trio.fail_after(300 + 2 * IDLE_S):
        async with running_daemon(tmp_path) as daemon:
            before = daemon.process.memory_bytes()
            control = str(daemon.control[1])
            command = (sys.executable, "-P", str(CLIENTS), control, str(TUNNELS), "1")
            async with running(command, tmp_path) as clients:
                await clients.wait_line(clients.out, lambda line: line.startswith("{"))
                await trio.sleep(2)  # not for luck: what connecting left behind is no idle cost
                grown = daemon.process.memory_bytes() - before
                used = cpu_s(daemon.process)
                await trio.sleep(IDLE_S)
                share = (cpu_s(daemon.process) - used) / IDLE_S * 100
                assert not clients.ended.is_set(), clients.err
    promise.at_most(f"{TUNNELS} tunnels, in the daemon", grown / 2**20, MOST_MIB, "MiB")
    promise.at_most("CPU time of their keep-alive", share, 2.0, "% of a core")
