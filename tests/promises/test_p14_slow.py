"""P14: slow heads, slow bodies and slow readers disturb nobody, and are cut."""

from __future__ import annotations

import re
import select
import shutil
import signal
import subprocess
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

from tests.support.crowds import STALLED_BUFFER_BYTES, open_stand, p99
from tests.support.promise import QUICK, Promise, sized
from tests.support.viewer import open_viewer

if TYPE_CHECKING:
    from tests.support.crowds import Stand

HEADS = sized(full=1000, quick=100)
BODIES = sized(full=500, quick=50)
DRIPPING = sized(full=200, quick=20)  # an octet a second: no idle time ends those
READERS = sized(full=500, quick=50)
REQUESTS = sized(full=2000, quick=200)
# Quick has the same deadlines in small, so that nobody waits half a minute for them.
QUICK_TIMES = ("--head-timeout", "2s", "--content-idle-timeout", "3s", "--write-idle-timeout", "3s")
CUT_S = 30.0
ATTACKED = 7  # the first of so many sessions is honest; no tunnel meets its limit of streams
# How slowhttptest attacks: with heads and content that drip, with ranges, and by reading in drips.
MODES = {
    "heads": ("-H", "-i", "1"),
    "bodies": ("-B", "-i", "10", "-s", "8192"),
    "ranges": ("-R", "-b", "2000"),
    "readers": ("-X", "-w", "10", "-y", "20", "-n", "1", "-z", "8", "-k", "3"),
}
P99_MS = 1000.0 if QUICK else 50.0  # quick runs beside others


async def _attack(stand: Stand, octets: bytes, kept_s: list[float], *, drips: bool) -> None:
    """Send octets and read nothing; note how long the gateway kept the connection.

    One who ``drips`` sends an octet a second, and notices the end by that.
    """
    viewer = await open_viewer(
        *stand.daemon.gateway, b"", receive_buffer_bytes=STALLED_BUFFER_BYTES
    )
    sock = viewer.stream.socket
    began = trio.current_time()
    try:
        await viewer.stream.send_all(octets)
        poll = select.poll()
        poll.register(sock.fileno(), select.POLLRDHUP)
        while not poll.poll(0):
            await trio.sleep(0.5)
            if drips:
                await viewer.stream.send_all(b"X")
    except trio.BrokenResourceError:
        pass
    finally:
        await trio.aclose_forcefully(viewer.stream)
    kept_s.append(trio.current_time() - began)


def _open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


async def test_slow_attackers_disturb_nobody(promise: Promise, tmp_path: Path) -> None:
    """1,000 dripping heads, 500 silent and 200 dripping bodies, 500 who do not read, at once."""
    with trio.fail_after(200):
        options = QUICK_TIMES if QUICK else ()
        async with open_stand(tmp_path, *options, clients=ATTACKED) as stand:
            await stand.times_s(50)
            targets = [slug for _, slug in stand.clients[1:]]
            body = b"POST %bx HTTP/1.1\r\nHost: localhost:%d\r\nContent-Length: 99\r\n\r\nabc"
            port = stand.daemon.gateway[1]
            kinds = {
                "heads": (HEADS, b"GET / HTTP/1.1\r\nX-", True),
                "bodies": (BODIES, body, False),
                "dripping bodies": (DRIPPING, body, True),
            }
            kept: dict[str, list[float]] = {kind: [] for kind in kinds}
            pid = stand.daemon.process.pid
            before = _open_files(pid)
            began = trio.current_time()
            readers = [
                await stand.open(b"big", each % (ATTACKED - 1) + 1, stalled=True)
                for each in range(READERS)
            ]
            async with trio.open_nursery() as attackers:
                for kind, (count, octets, drips) in kinds.items():
                    for each in range(count):
                        target = targets[each % len(targets)]
                        whole = octets % (target, port) if octets is body else octets
                        attack = partial(_attack, stand, whole, kept[kind], drips=drips)
                        attackers.start_soon(attack)
                await trio.sleep(1)
                honest = p99(await stand.times_s(REQUESTS))
            # What a reader did not read lies before the end, so only the daemon's side can tell.
            while _open_files(pid) > before:  # noqa: ASYNC110 - nothing tells
                await trio.sleep(0.2)
            readers_s = trio.current_time() - began
            for reader in readers:
                await reader.aclose()
            promise.at_most("honest p99", honest * 1000, P99_MS, "ms")
            for kind, (count, _, _) in kinds.items():
                assert len(kept[kind]) == count
                promise.at_most(f"{count} slow {kind}, the last cut", max(kept[kind]), CUT_S, "s")
            promise.at_most(f"{READERS} slow readers, the last cut", readers_s, CUT_S, "s")


@pytest.mark.skipif(not shutil.which("slowhttptest"), reason="slowhttptest is not installed")
@pytest.mark.parametrize("mode", MODES)
async def test_slowhttptest_finds_nothing(promise: Promise, tmp_path: Path, mode: str) -> None:
    """The tool that names these attacks: the app stays to be reached, and nobody slow stays."""
    count = HEADS if mode == "heads" else READERS
    options = QUICK_TIMES if QUICK else ()
    async with open_stand(tmp_path, *options) as stand, trio.open_nursery() as nursery:
        await stand.times_s(10)
        pid = stand.daemon.process.pid
        before = _open_files(pid)
        path = "big" if mode in {"ranges", "readers"} else "small"
        url = f"http://localhost:{stand.daemon.gateway[1]}{stand.clients[0][1].decode()}{path}"
        command = ("slowhttptest", *MODES[mode], "-c", str(count), "-r", "200", "-u", url)
        began = trio.current_time()
        tool = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE)
        said = bytearray()

        async def listen() -> None:
            assert tool.stdout is not None
            async for part in tool.stdout:  # the app's state each second, to its own probe
                said.extend(part)

        nursery.start_soon(listen)
        most = before
        with trio.fail_after(120):
            while tool.poll() is None and (most < before + count // 2 or _open_files(pid) > before):
                most = max(most, _open_files(pid))
                await trio.sleep(0.1)  # what it does not read hides the end from it: it cannot tell
        took_s = trio.current_time() - began
        if tool.poll() is None:
            tool.send_signal(signal.SIGINT)  # it says the last state
        await tool.wait()
    states = re.findall(rb"service available:\S*\s+\S*?(YES|NO)\b", said)
    promise.at_least(f"{mode} of slowhttptest, open at once", most - before, count // 20)
    promise.at_most("the last of them cut", took_s, CUT_S + count / 200, "s")
    promise.at_least("times that it found the app there", states.count(b"YES"), 1)
    promise.exactly("times that it found it away", states.count(b"NO"), 0)
