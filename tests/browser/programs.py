"""The processes of a browser test: dev servers, the sample app, `wormkeyd`, `wormkey expose`.

Each runs in a session of its own with its output in a log file, is waited for by what it
promises (an open port, a line of its output), and ends with the test that started it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import define, frozen

from tests.browser.packages import MODULES, WORKSHOP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

ROOT = Path(__file__).resolve().parent.parent.parent
APPS = Path(__file__).resolve().parent / "apps"
START_TIMEOUT_S = 60.0  # Next compiles itself warm on a busy machine
STOP_TIMEOUT_S = 8.0
POLL_INTERVAL_S = 0.05
BETWEEN_EDITS_S = 0.25  # chokidar, which Vite watches with, drops a change 50 ms after another


def clean_environment(home: Path) -> dict[str, str]:
    """The environment of a child: no Wormkey setting of the caller, a HOME of its own."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("WORMKEY", "XDG_")) and name != "PORT"
    }
    return {**kept, "HOME": str(home), "NO_COLOR": "1", "NEXT_TELEMETRY_DISABLED": "1"}


@define
class Program:
    """One child process and the file its output goes to."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def said(self) -> str:
        """Everything it has written so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def stop(self) -> int:
        """End it and all its children; its exit status."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        try:
            status = self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            status = -signal.SIGKILL
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        return status

    def wait_until(self, promise: Callable[[], Any]) -> Any:
        """The first true value of ``promise``, asked again and again while the process lives."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if value := promise():
                return value
            if self.process.poll() is not None:
                raise AssertionError(f"{self.name} ended too early; it said:\n{self.said()}")
            time.sleep(POLL_INTERVAL_S)
        raise AssertionError(f"{self.name} was not ready in time; it said:\n{self.said()}")


@contextlib.contextmanager
def running(name: str, command: Sequence[object], folder: Path, *, logs: Path) -> Iterator[Program]:
    """A program that runs in ``folder`` until the block ends."""
    logs.mkdir(parents=True, exist_ok=True)
    log = logs / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=folder,
            env=clean_environment(logs),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    program = Program(name, process, log)
    try:
        yield program
    finally:
        program.stop()


def free_port() -> int:
    """A port that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    """Whether something accepts connections on the port of localhost."""
    with contextlib.suppress(OSError), socket.create_connection(("localhost", port), timeout=1):
        return True
    return False


@frozen
class DevServer:
    """A dev server: its port, its page's URL, and the source file that a test edits."""

    port: int
    source: Path

    @property
    def url(self) -> str:
        """The page without a tunnel."""
        return f"http://localhost:{self.port}/"

    def edit(self, message: str) -> None:
        """Change the message in the source, no sooner after the last edit than a person could."""
        time.sleep(BETWEEN_EDITS_S)
        self.source.write_text(f'export const message = "{message}";\n')


_SERVERS: dict[str, tuple[str, Callable[[int], list[str | Path]]]] = {
    "vite": (
        "message.js",
        lambda port: [MODULES / "vite/bin/vite.js", "--port", str(port), "--strictPort"],
    ),
    "webpack": ("src/message.js", lambda port: ["serve.js", str(port)]),
    "next": (
        "app/message.js",
        lambda port: [
            *(MODULES / "next/dist/bin/next", "dev"),
            *("--hostname", "localhost", "--port", str(port)),
        ],
    ),
}


@contextlib.contextmanager
def dev_server(name: str, run: Path) -> Iterator[DevServer]:
    """A dev server over a copy of its app, in a folder from which node_modules is found."""
    source, arguments = _SERVERS[name]
    folder = run / name
    shutil.copytree(APPS / name, folder)
    port = free_port()
    with running(name, ["node", *arguments(port)], folder, logs=run / "logs") as program:
        program.wait_until(lambda: answers(port))
        yield DevServer(port, folder / source)


@contextlib.contextmanager
def sample_app(run: Path) -> Iterator[int]:
    """The sample app's port."""
    command = [sys.executable, ROOT / "examples" / "sample_app.py", "--port", "0"]
    with running("sample-app", command, ROOT, logs=run / "logs") as program:
        url = program.wait_until(lambda: program.said().partition("\n")[0])
        yield int(url.rstrip("/").rpartition(":")[2])


@frozen
class Daemon:
    """Where a running `wormkeyd` listens."""

    control: str
    gateway: str


@contextlib.contextmanager
def daemon(run: Path, domain: str = "") -> Iterator[Daemon]:
    """A `wormkeyd` on free ports; they are read from its log record ``ready``.

    With a ``domain`` its public URL is that, and tunnels' are hosts under it.
    """
    gateway, where = "127.0.0.1:0", []
    if domain:
        gateway = f"127.0.0.1:{free_port()}"
        port = gateway.rpartition(":")[2]
        where = ["--routing=host", f"--public-url=http://{domain}:{port}"]
    name = f"wormkeyd{domain and '-'}{domain}"
    command = [
        Path(sys.executable).with_name("wormkeyd"),
        "--control=127.0.0.1:0",
        f"--gateway={gateway}",
        f"--state-dir={run / name}",
        "--log-format=json",
        "--log-level=debug",
        *where,
    ]
    with running(name, command, run, logs=run / "logs") as program:
        record = program.wait_until(lambda: _ready_record(program.said()))
        yield Daemon(record["control"], record["gateway"])


def _ready_record(log: str) -> dict[str, Any] | None:
    for line in log.splitlines():
        if line.startswith("{") and line.endswith("}"):
            record: dict[str, Any] = json.loads(line)
            if record.get("event") == "ready":
                return record
    return None


@frozen
class Tunnel:
    """One exposed app, by both kinds of public URL."""

    slug: str
    by_path: str
    by_host: str
    url: str
    owner_url: str


@contextlib.contextmanager
def exposed(port: int, served: Daemon, run: Path, name: str = "expose") -> Iterator[Tunnel]:
    """`wormkey expose` for a port of this machine; ``name`` is its log's."""
    output = run / "logs" / f"{name}-{port}.json"
    output.unlink(missing_ok=True)
    command = [
        Path(sys.executable).with_name("wormkey"),
        "expose",
        str(port),
        f"--control-plane={served.control}",
        f"--edge={served.gateway.replace('http', 'ws', 1)}",
        f"--output={output}",
        "--json",
        "-v",
    ]
    with running(f"{name}-{port}", command, run, logs=run / "logs") as program:
        answer = program.wait_until(lambda: output.is_file() and json.loads(output.read_text()))
        slug, gateway_port = answer["slug"], served.gateway.rpartition(":")[2].strip("/")
        yield Tunnel(
            slug,
            by_path=f"http://localhost:{gateway_port}/s/{slug}/",
            by_host=f"http://{slug}.localhost:{gateway_port}/",
            url=answer["url"],
            owner_url=answer["owner_url"],
        )


def new_run_folder() -> Path:
    """An empty folder beside node_modules; those of earlier runs are removed."""
    runs = WORKSHOP / "runs"
    shutil.rmtree(runs, ignore_errors=True)
    folder = runs / str(os.getpid())
    folder.mkdir(parents=True)
    return folder
