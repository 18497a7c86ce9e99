"""`make bench`: measures the systems beside each other and says how they compare.

Each load goes over all systems before the next round, so that a machine that drifts drifts for all
alike; what counts is the median over the rounds of the ratio to `ssh -R` within one round.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field

from bench import loads
from bench.chart import draw
from bench.machine import describe_machine
from bench.processes import BenchError, Programs, programs
from bench.systems import (
    FILE_MIB,
    ROOT,
    Origins,
    System,
    direct,
    remove_file,
    start_bare,
    start_nginx,
    start_origins,
    start_ssh,
    wormkey,
)
from bench.targets import REFERENCE, TARGETS

if TYPE_CHECKING:
    from collections.abc import Callable

OURS: Final = "wormkey"
RESULTS: Final = ROOT / "bench" / "results"
CHART: Final = ROOT / "docs" / "images" / "speed.svg"
_GB: Final = 1e9


@define
class Figures:
    """What was measured: figure → system → one value for each round."""

    values: dict[str, dict[str, list[float]]] = field(
        factory=lambda: defaultdict(lambda: defaultdict(list))
    )

    def add(self, figure: str, system: str, value: float) -> None:
        """Keep one value."""
        self.values[figure][system].append(value)

    def median(self, figure: str, system: str) -> float | None:
        """The median over the rounds; None where the system was not measured."""
        found = self.values.get(figure, {}).get(system)
        return median(found) if found else None

    def ratio(self, figure: str, system: str, reference: str) -> float | None:
        """The median of the ratios of the rounds; None where one of the two is missing."""
        ours, theirs = (self.values.get(figure, {}).get(name) for name in (system, reference))
        if not ours or not theirs:
            return None
        pairs = zip(ours, theirs, strict=False)
        ratios = [mine / other for mine, other in pairs if other]  # who idles has cost nothing
        return median(ratios) if ratios else None


@define
class Costs:
    """CPU time of a system's programs while a load runs."""

    system: System
    before: list[float] = field(factory=list)

    def __enter__(self) -> Costs:
        """Begin."""
        self.before = [program.cost().cpu_s for program in self.system.programs]
        return self

    def __exit__(self, *_: object) -> None:
        """End; the caller reads the costs."""

    def each_s(self) -> dict[str, float]:
        """CPU seconds since the beginning, for each program."""
        spent = zip(self.system.programs, self.before, strict=True)
        return {program.name: program.cost().cpu_s - before for program, before in spent}


def measure_requests(figures: Figures, system: System, seconds: float) -> None:
    """Small requests at 1, 16 and 64 connections."""
    for connections in (1, 16, 64):
        with Costs(system) as costs:
            told = loads.requests(system.files, connections, seconds)
            spent = costs.each_s()
        figures.add(f"requests/s at {connections}", system.name, told["rps"])
        figures.add(f"p50 ms at {connections}", system.name, told["p50_ms"])
        figures.add(f"p99 ms at {connections}", system.name, told["p99_ms"])
        if spent:
            each_ms = sum(spent.values()) / told["count"] * 1e3
            figures.add(f"CPU ms a request at {connections}", system.name, each_ms)
            for program, cpu_s in spent.items():
                each = cpu_s / told["count"] * 1e3
                figures.add(f"CPU ms a request at {connections}: {program}", system.name, each)


def measure_bulk(figures: Figures, system: System, _seconds: float) -> None:
    """One large file each way."""
    ways: tuple[tuple[str, Callable[[], float], int], ...] = (
        ("download", lambda: loads.download(system.files), FILE_MIB),
        ("upload", lambda: loads.upload(system.app), loads.UP_MIB),
    )
    for name, load, mib in ways:
        with Costs(system) as costs:
            figures.add(f"{name} MB/s", system.name, load())
            spent = costs.each_s()
        if spent:
            gigabytes = mib * 2**20 / _GB
            figures.add(f"{name} CPU s a GB", system.name, sum(spent.values()) / gigabytes)
            for program, cpu_s in spent.items():
                figures.add(f"{name} CPU s a GB: {program}", system.name, cpu_s / gigabytes)


def measure_streams(figures: Figures, system: System, seconds: float) -> None:
    """Events, WebSocket messages, echoes."""
    told = loads.stream(system.app)
    figures.add("first event ms", system.name, told["first_ms"])
    figures.add("event p50 ms", system.name, told["p50_ms"])
    figures.add("event p99 ms", system.name, told["p99_ms"])
    figures.add("messages/s", system.name, loads.messages(system.app, seconds))
    told = loads.echoes(system.app)
    figures.add("echo p50 ms", system.name, told["p50_ms"])
    figures.add("echo p99 ms", system.name, told["p99_ms"])


def measure_memory(figures: Figures, system: System, when: str) -> None:
    """Resident memory of each program."""
    for program in system.programs:
        figures.add(
            f"MB resident {when}: {program.name}", system.name, program.cost().rss_kib / 1e3
        )


MEASURES: Final[dict[str, Callable[[Figures, System, float], None]]] = {
    "requests": measure_requests,
    "bulk": measure_bulk,
    "streams": measure_streams,
}


def start_systems(
    started: Programs, origins: Origins, ours: dict[str, Path], *, alone: bool
) -> list[System]:
    """Start what is there to compare with, then our own trees."""
    systems = []
    others = () if alone else (direct, start_nginx, start_ssh, start_bare)
    for start in (*others, *(wormkey(name, tree) for name, tree in ours.items())):
        try:
            systems.append(start(started, origins))
        except BenchError as error:
            print(f"left out: {error}", file=sys.stderr)
    return systems


def table(figures: Figures, systems: list[System], reference: str) -> str:
    """All figures as text: the median, and the ratio to the reference."""
    names = [system.name for system in systems]
    lines = [f"{'':42}" + "".join(f"{name:>24}" for name in names)]
    for figure in figures.values:
        cells = []
        for name in names:
            value, ratio = figures.median(figure, name), figures.ratio(figure, name, reference)
            shown = "" if ratio is None or name == reference else f" ({ratio:.2f} x)"
            cells.append(f"{'' if value is None else f'{value:,.3g}{shown}':>24}")
        lines.append(f"{figure:42}" + "".join(cells))
    return "\n".join(lines)


def judged(figures: Figures) -> str:
    """The targets, and how this run does."""
    lines = [f"{'target':28}{'measured':>10}{'floor':>8}{'goal':>8}"]
    for target in TARGETS:
        value = (
            figures.ratio(target.figure, OURS, REFERENCE)
            if target.ratio
            else figures.median(target.figure, OURS)
        )
        if value is not None:
            floor, goal, verdict = target.floor, target.goal, target.verdict(value)
            lines.append(f"{target.figure:28}{value:>10.2f}{floor:>8g}{goal:>8g}  {verdict}")
    return "\n".join(lines)


def write(figures: Figures, systems: list[System], arguments: argparse.Namespace) -> Path:
    """Keep the run as JSON."""
    now = datetime.now(UTC)
    git = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    document: dict[str, Any] = {
        "date": now.isoformat(timespec="seconds"),
        "machine": describe_machine(),
        "commit": commit,
        "rounds": arguments.rounds,
        "seconds": arguments.seconds,
        "systems": [system.name for system in systems],
        "figures": {name: dict(values) for name, values in figures.values.items()},
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{now:%Y-%m-%d}{arguments.tag}.json"
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return path


def measure(systems: list[System], arguments: argparse.Namespace) -> Figures:
    """Run every load on every system, round by round."""
    figures = Figures()
    for system in systems:
        loads.requests(system.files, 4, 1)  # warm: imports, caches, connections
        measure_memory(figures, system, "at first")
    for number in range(arguments.rounds):
        for name in arguments.only:
            for system in (each for each in systems if name in each.carries):
                print(f"round {number + 1}: {name}, {system.name}", file=sys.stderr)
                MEASURES[name](figures, system, arguments.seconds)
    for system in systems:
        measure_memory(figures, system, "at last")
    return figures


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often each load runs")
    parser.add_argument("--seconds", type=float, default=4, help="how long a timed load runs")
    parser.add_argument("--only", nargs="*", default=list(MEASURES), choices=list(MEASURES))
    parser.add_argument("--base", type=Path, help="another tree of this project, to compare with")
    parser.add_argument("--alone", action="store_true", help="our own trees only")
    parser.add_argument("--tag", default="", help="a word for the file of results")
    parser.add_argument("--write", action="store_true", help="keep the results, draw the chart")
    return parser.parse_args(words)


def main() -> int:
    """Run the benchmarks; print tables."""
    arguments = parse()
    ours = {OURS: ROOT}
    if arguments.base:
        ours = {"base": arguments.base.resolve(), **ours}
    with tempfile.TemporaryDirectory(prefix="wormkey-bench-") as folder:
        Path(folder).chmod(0o755)  # nginx's worker is another user where root starts it
        with programs(Path(folder)) as started:
            try:
                origins = start_origins(started)
                systems = start_systems(started, origins, ours, alone=arguments.alone)
                figures = measure(systems, arguments)
            finally:
                remove_file()
    reference = "base" if arguments.base else REFERENCE
    print(table(figures, systems, reference))
    if not arguments.base:
        print("\n" + judged(figures))
    if arguments.write:
        path = write(figures, systems, arguments)
        CHART.parent.mkdir(parents=True, exist_ok=True)
        CHART.write_text(draw(json.loads(path.read_text(encoding="utf-8"))), encoding="utf-8")
        print(f"\nwrote {path.relative_to(ROOT)} and {CHART.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
