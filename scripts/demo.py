"""Runs the whole story on one machine: the daemon, a sample app, and a tunnel to it.

`make demo` calls this. `wormkey expose` gets the terminal: its output, its keys and Ctrl-C are
its own, and when it ends this ends the other two. They run in sessions of their own, so that one
Ctrl-C reaches them in that order, and not all at once: the session is closed at a daemon that
still answers.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from types import FrameType

ROOT = Path(__file__).resolve().parent.parent
STATE = ROOT / ".work" / "demo"
PROGRAMS = Path(sys.executable).parent  # not resolved: a venv's python is a link out of it
CONTROL_PORT, GATEWAY_PORT = 3001, 3002  # wormkey's own defaults: `wormkey list` finds the daemon

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0
POLL_INTERVAL_S = 0.1


class DemoError(Exception):
    """The demo cannot go on; the message says why."""


def port_or_any(port: int) -> int:
    """The port if nobody listens on it, else 0."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return 0
    return port


def environment() -> dict[str, str]:
    """The environment without the user's own Wormkey settings: a demo is the same for everyone."""
    return {name: value for name, value in os.environ.items() if not name.startswith("WORMKEY")}


def start_daemon() -> tuple[subprocess.Popen[bytes], str]:
    """The daemon and its control plane's URL, once both listeners accept."""
    command = [
        str(PROGRAMS / "wormkeyd"),
        f"--control=127.0.0.1:{port_or_any(CONTROL_PORT)}",
        f"--gateway=127.0.0.1:{port_or_any(GATEWAY_PORT)}",
        f"--state-dir={STATE / 'state'}",
        "--log-format=json",
    ]
    log = STATE / "wormkeyd.log"
    with log.open("wb") as stderr:
        daemon = subprocess.Popen(
            command,
            stderr=stderr,
            stdin=subprocess.DEVNULL,
            env=environment(),
            start_new_session=True,
        )
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and daemon.poll() is None:
        for line in log.read_text(encoding="utf-8").splitlines():
            if line.startswith("{") and '"ready"' in line:
                return daemon, str(json.loads(line)["control"])
        time.sleep(POLL_INTERVAL_S)
    stop(daemon)
    raise DemoError(f"wormkeyd did not start; its log:\n{log.read_text(encoding='utf-8')}")


def start_app() -> tuple[subprocess.Popen[bytes], str]:
    """The sample app on a free port, and `host:port`."""
    command = [sys.executable, str(ROOT / "examples" / "sample_app.py"), "--port=0"]
    app = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True
    )
    url = app.stdout.readline().decode().strip() if app.stdout else ""
    if not url:
        raise DemoError("the sample app did not start; what it said stands above")
    return app, url.removeprefix("http://").rstrip("/")


def take_terminal() -> None:
    """In the child: a process group of its own, in the terminal's foreground if there is one."""
    os.setpgid(0, 0)
    if sys.stdin.isatty():
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # or tcsetpgrp stops the caller
        os.tcsetpgrp(sys.stdin.fileno(), os.getpid())
        signal.signal(signal.SIGTTOU, signal.SIG_DFL)


def expose(control: str, target: str) -> subprocess.Popen[bytes]:
    """`wormkey expose`, with this terminal."""
    command = [str(PROGRAMS / "wormkey"), "expose", target, f"--control-plane={control}"]
    return subprocess.Popen(command, env=environment(), preexec_fn=take_terminal)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a child: politely, then at once."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def on_signal(_number: int, _frame: FrameType | None) -> NoReturn:
    """A signal is how a demo is meant to end: no failure for make to report."""
    raise SystemExit(0)


def main() -> int:
    """Start the three, wait for one of them to end, stop the others."""
    # Set by hand: a job that a shell put into the background is born ignoring SIGINT.
    signal.signal(signal.SIGINT, on_signal)
    signal.signal(signal.SIGTERM, on_signal)
    STATE.mkdir(parents=True, exist_ok=True)
    children: list[subprocess.Popen[bytes]] = []
    try:
        daemon, control = start_daemon()
        children.append(daemon)
        app, target = start_app()
        children.append(app)
        print(
            f"wormkeyd runs, its control plane at {control}; a sample app listens at {target}.\n"
            f"Next: wormkey expose {target}. Its public URL follows; Ctrl-C ends everything.",
            file=sys.stderr,
            flush=True,
        )
        children.append(tunnel := expose(control, target))
        while all(child.poll() is None for child in children):
            time.sleep(POLL_INTERVAL_S)
        if tunnel.poll() is None:
            raise DemoError(f"a part of the demo ended by itself; see {STATE / 'wormkeyd.log'}")
        return tunnel.returncode
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    finally:
        for child in reversed(children):
            stop(child)
        if sys.stdin.isatty():
            signal.signal(signal.SIGTTOU, signal.SIG_IGN)
            os.tcsetpgrp(sys.stdin.fileno(), os.getpgrp())


if __name__ == "__main__":
    sys.exit(main())
