"""`make bench-more`: fairness, scale, sessions, round trips, start-up, of this project alone.

Each part prints its figures as lines of ``name: value``; --write keeps them as JSON. A part starts
what it needs and ends it.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final

from bench import loads
from bench.curves import draw_curves
from bench.machine import describe_machine
from bench.processes import Programs, free_port, programs, wait_port
from bench.systems import (
    ROOT,
    Origins,
    System,
    Way,
    environment,
    expose,
    remove_file,
    start_daemon,
    start_origins,
    wormkey,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

RTTS_MS: Final = (0, 20, 80, 200)
SLOW_MIB: Final = 64
IDLE_TUNNELS: Final = (100, 1000, 2500, 5000)
IDLE_S: Final = 20.0
STARTS: Final = 7
CHART: Final = ROOT / "docs" / "images" / "scale.svg"
SESSIONS: Final = (1_000, 10_000, 100_000)
SHARE_S: Final = 5.0

Told = dict[str, float]


class Puller(threading.Thread):
    """Downloads the large file for as long as it may, counting octets."""

    def __init__(self, way: Way) -> None:
        """Begins when it is started, as every thread."""
        super().__init__(daemon=True)
        self.way = way
        self.octets = 0
        self.stopped = threading.Event()

    def run(self) -> None:
        """Pull, again and again."""
        buffer = bytearray(1 << 18)
        while not self.stopped.is_set():
            with loads.connect(self.way) as connection:
                connection.sendall(loads.head(self.way, "GET /big", "Connection: close"))
                while not self.stopped.is_set() and (got := connection.recv_into(buffer)):
                    self.octets += got


@contextmanager
def pulling(*ways: Way) -> Iterator[list[Puller]]:
    """Pullers that stop with this block."""
    pullers = [Puller(way) for way in ways]
    for puller in pullers:
        puller.start()
    try:
        yield pullers
    finally:
        for puller in pullers:
            puller.stopped.set()
        for puller in pullers:
            puller.join()


def shares(*ways: Way) -> float:
    """The smallest share of several pullers at once, as a part of the even one."""
    with pulling(*ways) as pullers:
        time.sleep(1)
        before = [puller.octets for puller in pullers]
        time.sleep(SHARE_S)
        moved = [puller.octets - old for puller, old in zip(pullers, before, strict=True)]
    return min(moved) * len(moved) / max(1, sum(moved))


@contextmanager
def stalled(way: Way, count: int) -> Iterator[None]:
    """Viewers who asked for the large file and read nothing."""
    connections = [loads.connect(way) for _ in range(count)]
    for connection in connections:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(loads.head(way, "GET /big"))
    time.sleep(1)
    try:
        yield
    finally:
        for connection in connections:
            connection.close()


def measure_fairness(started: Programs, origins: Origins) -> Told:
    """What a bulk transfer and a stalled viewer do to others."""
    system: System = wormkey("wormkey", ROOT)(started, origins)
    told: Told = {}
    loads.requests(system.files, 4, 1)
    quiet, beside, behind = [], [], []
    for _ in range(3):
        quiet.append(loads.requests(system.files, 1, 3)["p99_ms"])
        with pulling(system.files):
            beside.append(loads.requests(system.files, 1, 3)["p99_ms"])
        with stalled(system.files, 1):
            behind.append(loads.requests(system.files, 1, 3)["p99_ms"])
    told["p99 ms of a small request, alone"] = median(quiet)
    told["p99 ms of a small request beside a bulk transfer"] = median(beside)
    told["… as a ratio (promised: below 5)"] = median(beside) / median(quiet)
    told["p99 ms of a small request beside a stalled viewer"] = median(behind)
    told["… as a ratio (promised: below 1.25)"] = median(behind) / median(quiet)
    told["smallest share of four streams of one tunnel"] = shares(*[system.files] * 4)
    files = system.files
    _, slug = expose(started, "second client", ROOT, system.control, origins.files)
    other = Way(files.port, f"{slug}.localhost:{files.port}")
    told["smallest share of two tunnels, three streams and one"] = 2 * min(
        *_tunnel_shares(files, other)
    )
    return told


def _tunnel_shares(one: Way, other: Way) -> tuple[float, float]:
    """The shares of two tunnels, of which the first has three streams."""
    with pulling(one, one, one, other) as pullers:
        time.sleep(1)
        before = [puller.octets for puller in pullers]
        time.sleep(SHARE_S)
        moved = [puller.octets - old for puller, old in zip(pullers, before, strict=True)]
    whole = max(1, sum(moved))
    return sum(moved[:3]) / whole, moved[3] / whole


def measure_scale(started: Programs, origins: Origins) -> Told:
    """Idle tunnels: memory, CPU, connect rate. Then a hundred busy ones, and one with a hundred."""
    told: Told = {}
    for count in IDLE_TUNNELS:
        room = ("--max-connections", str(4096 + count))  # beside what is there if not told
        daemon, control, gateway = start_daemon(started, f"daemon of {count}", ROOT, *room)
        time.sleep(1)
        before = daemon.cost().rss_kib
        command = [sys.executable, "-P", str(ROOT / "bench" / "clients.py")]
        clients = started.start(
            f"{count} clients",
            [*command, str(control), str(count), str(origins.files)],
            environment(started, "clients", ROOT) | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
        )
        assert clients.process.stdout
        ready = json.loads(clients.process.stdout.readline())
        time.sleep(2)
        cost = daemon.cost()
        told[f"{count} idle tunnels: KiB each"] = (cost.rss_kib - before) / count
        told[f"{count} idle tunnels: sessions created a second"] = count / ready["created_s"]
        told[f"{count} idle tunnels: tunnels opened a second"] = count / ready["connected_s"]
        time.sleep(IDLE_S)
        busy = (daemon.cost().cpu_s - cost.cpu_s) / IDLE_S * 100
        told[f"{count} idle tunnels: % of a core"] = busy
        if count == IDLE_TUNNELS[0]:
            hosts = [f"{slug}.localhost:{gateway}" for slug in ready["slugs"]]
            way = Way(gateway, hosts[0])
            many = [_requests(way, hosts) for _ in range(3)]
            one = [_requests(way, ()) for _ in range(3)]
            told["requests/s, 100 tunnels with a stream each"] = median(many)
            told["requests/s, 1 tunnel with 100 streams"] = median(one)
        started.stop(clients)
        started.stop(daemon)
    return told


def _requests(way: Way, hosts: Sequence[str]) -> float:
    """Requests a second over 100 connections; wrk's last ones have left before the next begin.

    They count as open for 0.4 s, and one address may have a hundred open at a time.
    """
    time.sleep(1)
    return loads.requests(way, 100, 4, hosts)["rps"]


def measure_round_trips(started: Programs, origins: Origins) -> Told:
    """What a path of 20, 80 and 200 ms does to a request, a transfer, and opening a session."""
    told: Told = {}
    for rtt_ms in RTTS_MS:
        daemon, control, gateway = start_daemon(started, f"daemon at {rtt_ms} ms", ROOT)
        far_control, far_gateway = free_port(), free_port()
        relays = []
        for port, target in ((far_control, control), (far_gateway, gateway)):
            command = [sys.executable, "-P", str(ROOT / "bench" / "relay.py")]
            relays.append(started.start("relay", [*command, str(port), str(target), str(rtt_ms)]))
            wait_port(port, "the relay")
        begun = time.perf_counter()
        edge = ["--edge", f"ws://127.0.0.1:{far_gateway}"]
        client, slug = expose(
            started, f"client at {rtt_ms} ms", ROOT, far_control, origins.files, edge
        )
        told[f"{rtt_ms} ms: start to URL, ms"] = (time.perf_counter() - begun) * 1e3
        way = Way(gateway, f"{slug}.localhost:{gateway}")
        loads.requests(way, 1, 1)
        told[f"{rtt_ms} ms: p50 of a request, ms"] = loads.requests(way, 1, 3)["p50_ms"]
        rates = [loads.download(way, SLOW_MIB) for _ in range(3)]
        told[f"{rtt_ms} ms: first {SLOW_MIB} MiB, MB/s"] = rates[0]
        told[f"{rtt_ms} ms: best of three, MB/s"] = max(rates)
        for program in (client, *relays, daemon):
            started.stop(program)
    return told


def measure_sessions(_started: Programs, _origins: Origins) -> Told:
    """How long it takes to find one of so many sessions, and what each costs."""
    told: Told = {}
    for count in SESSIONS:
        command = [sys.executable, "-P", str(ROOT / "bench" / "sessions.py"), str(count)]
        paths = os.environ | {"PYTHONPATH": str(ROOT / "src")}
        done = subprocess.run(command, env=paths, capture_output=True, text=True, check=True)
        seen = json.loads(done.stdout)
        told[f"{count:,} sessions: µs to find one"] = seen["find_us"]
        told[f"{count:,} sessions: KiB each"] = seen["kib"]
    return told


def measure_start(started: Programs, origins: Origins) -> Told:
    """How long the programs take to be there, and what they hold then."""
    daemons, clients, held = [], [], []
    for number in range(STARTS):
        begun = time.perf_counter()
        daemon, control, _ = start_daemon(started, f"daemon {number}", ROOT)
        daemons.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        client, _ = expose(started, f"client {number}", ROOT, control, origins.files)
        clients.append(time.perf_counter() - begun)
        time.sleep(1)
        held.append((daemon.cost().rss_kib / 1e3, client.cost().rss_kib / 1e3))
        started.stop(client)
        started.stop(daemon)
    return {
        "daemon: start to listening, s": median(daemons),
        "client: start to URL, s": median(clients),
        "daemon: MB resident with one tunnel": median(each[0] for each in held),
        "client: MB resident with one tunnel": median(each[1] for each in held),
    }


PARTS: Final[dict[str, Callable[[Programs, Origins], Told]]] = {
    "start": measure_start,
    "fairness": measure_fairness,
    "round-trips": measure_round_trips,
    "scale": measure_scale,
    "sessions": measure_sessions,
}


def main() -> int:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(prog="bench-more", description=__doc__)
    parser.add_argument("parts", nargs="*", help=", ".join(PARTS))
    parser.add_argument("--write", action="store_true", help="keep the figures")
    arguments = parser.parse_args()
    told: dict[str, Told] = {}
    for name in arguments.parts or PARTS:
        with tempfile.TemporaryDirectory(prefix="wormkey-bench-") as folder:
            Path(folder).chmod(0o755)
            with programs(Path(folder)) as started:
                try:
                    told[name] = PARTS[name](started, start_origins(started))
                finally:
                    remove_file()
        for figure, value in told[name].items():
            print(f"{name}: {figure}: {value:,.4g}", flush=True)
    if arguments.write:
        now = datetime.now(UTC)
        document = {
            "date": now.isoformat(timespec="seconds"),
            "machine": describe_machine(),
            **told,
        }
        path = ROOT / "bench" / "results" / f"{now:%Y-%m-%d}-more.json"
        path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        if {"scale", "sessions"} <= told.keys():
            note = f"{document['machine']}; {now:%Y-%m-%d}; clients and all on one machine"
            CHART.write_text(draw_curves(told, note), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
