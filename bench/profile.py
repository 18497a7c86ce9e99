"""`make bench-profile`: where daemon and client spend their CPU time under each load, by layer.

Each program samples itself: a timer that counts CPU time raises a signal, whose handler notes the
line that runs. A system call counts for the line that makes it, so sends and receives of sockets
and the wait for events are layers of their own. A sample in 5 ms of CPU time costs about a percent.
"""

from __future__ import annotations

import json
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field

from bench import loads, systems
from bench.machine import PYTHON
from bench.processes import BenchError, Program, Programs, programs

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from bench.systems import System

EVERY_S: Final = 0.005  # trio wakes for each signal, so that more would be seen
SECONDS: Final = 6.0
ROUNDS: Final = 4  # of transfers
# What a sampled line belongs to: the first of these that its file ends with.
LAYERS: Final = (
    ("wormkey/transport.py", "kernel: send and receive"),
    ("trio/_core/_io_epoll.py", "kernel: waiting for events"),
    ("trio/_socket.py", "kernel: send and receive"),
    ("trio/", "trio"),
    ("outcome/", "trio"),
    ("trio_websocket/", "trio-websocket, wsproto"),
    ("wsproto/", "trio-websocket, wsproto"),
    ("wormkey/masking.py", "trio-websocket, wsproto"),
    ("wormkey/carrier.py", "trio-websocket, wsproto"),
    ("wormkey/framemeter.py", "trio-websocket, wsproto"),
    ("wormkey/framereader.py", "trio-websocket, wsproto"),
    ("h11/", "h11"),
    ("wormkey/http1", "HTTP/1.1"),
    ("wormkey/grammar.py", "HTTP/1.1"),
    ("wormkey/recent.py", "HTTP/1.1"),
    ("wormkey/fields.py", "HTTP/1.1"),
    ("wormkey/forwarded.py", "HTTP/1.1"),
    ("wormkey/mux.py", "multiplexing"),
    ("wormkey/inbox.py", "multiplexing"),
    ("wormkey/outbox.py", "multiplexing"),
    ("wormkey/wire.py", "multiplexing"),
    ("wormkey/payload.py", "multiplexing"),
    ("wormkey/frames.py", "multiplexing"),
    ("wormkey/stream.py", "multiplexing"),
    ("wormkey/windows.py", "multiplexing"),
    ("wormkey/calm.py", "multiplexing"),
    ("wormkey/tunnel", "tunnel and stream tasks"),
    ("wormkey/exchange.py", "exchange"),
    ("wormkey/origin", "exchange"),
    ("wormkey/scopes.py", "exchange"),
    ("wormkey/idlewatch.py", "exchange"),
    ("wormkey/client.py", "exchange"),
    ("wormkey/", "routing, policy, records"),
)
REST: Final = "Python's library"
PRELUDE: Final = f"""
import sys
sys.path.insert(0, {str(systems.ROOT)!r})
from bench.profile import sample
sample()
"""


def layer_of(filename: str) -> str:
    """Return the layer of a source file."""
    path = filename.replace("\\", "/")
    for part, layer in LAYERS:
        if f"/{part}" in path:
            return layer
    return REST


def sample() -> None:
    """Sample this process from now on; SIGWINCH prints the counts on stderr and begins anew."""
    counts: Counter[str] = Counter()

    def note(_number: int, frame: FrameType | None) -> None:
        found = REST
        while frame is not None:  # the library works for the layer that called it
            found = layer_of(frame.f_code.co_filename)
            if found != REST:
                break
            frame = frame.f_back
        counts[found] += 1

    def tell(_number: int, _frame: FrameType | None) -> None:
        sys.stderr.write("layers " + json.dumps(counts) + "\n")
        sys.stderr.flush()
        counts.clear()

    signal.signal(signal.SIGPROF, note)
    signal.signal(signal.SIGWINCH, tell)
    signal.setitimer(signal.ITIMER_PROF, EVERY_S, EVERY_S)


def _program_of(module: str) -> list[str]:
    code = f"{PRELUDE}\nfrom wormkey.{module} import main; main()"
    return [PYTHON, "-P", "-c", code]


@define
class Reader:
    """Asks the programs of a system for their counts; each answers in its log."""

    folder: Path
    programs: tuple[Program, ...]
    read: Counter[str] = field(factory=Counter)

    def layers(self) -> dict[str, Counter[str]]:
        """Return what daemon and clients have counted since the last call."""
        daemon, *clients = map(self._ask, self.programs)
        return {"daemon": daemon, "client": sum(clients, Counter())}

    def _ask(self, program: Program) -> Counter[str]:
        program.process.send_signal(signal.SIGWINCH)
        log = self.folder / f"{program.name.replace(' ', '-')}.log"
        for _ in range(200):
            told = [line for line in log.read_text().splitlines() if line.startswith("layers ")]
            if len(told) > self.read[program.name]:
                self.read[program.name] = len(told)
                return Counter(json.loads(told[-1].removeprefix("layers ")))
            time.sleep(0.05)
        raise BenchError(f"{program.name} says nothing of its layers")


def _loads(system: System) -> dict[str, Callable[[], Any]]:
    return {
        "requests, 1 connection": lambda: loads.requests(system.files, 1, SECONDS),
        "requests, 16": lambda: loads.requests(system.files, 16, SECONDS),
        "requests, 64": lambda: loads.requests(system.files, 64, SECONDS),
        "download": lambda: [loads.download(system.files) for _ in range(ROUNDS)],
        "upload": lambda: [loads.upload(system.app) for _ in range(ROUNDS)],
        "WebSocket messages": lambda: loads.messages(system.app, SECONDS),
    }


def _table(program: str, found: dict[str, Counter[str]]) -> str:
    layers = [layer for layer, _ in sum(found.values(), Counter()).most_common()]
    lines = [f"| {program} | " + " | ".join(found) + " |", "|---" * (len(found) + 1) + "|"]
    for layer in layers:
        shares = [counts[layer] / max(1, counts.total()) for counts in found.values()]
        lines.append(f"| {layer} | " + " | ".join(f"{share:.0%}" for share in shares) + " |")
    return "\n".join(lines)


def _measure(started: Programs) -> dict[str, dict[str, Counter[str]]]:
    origins = systems.start_origins(started)
    system = systems.wormkey("profiled", systems.ROOT)(started, origins)
    loads.requests(system.files, 16, 1)
    reader = Reader(started.folder, system.programs)
    reader.layers()
    found: dict[str, dict[str, Counter[str]]] = {}
    for name, load in _loads(system).items():
        load()
        for program, counts in reader.layers().items():
            found.setdefault(program, {})[name] = counts
    return found


def main() -> None:
    """Print a table for each of the two programs, in Markdown."""
    systems.program_of = _program_of
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        with programs(Path(folder)) as started:
            try:
                found = _measure(started)
            finally:
                systems.remove_file()
    for program, by_load in found.items():
        print(_table(program, by_load), end="\n\n")


if __name__ == "__main__":
    main()
