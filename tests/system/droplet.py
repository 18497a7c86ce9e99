"""A droplet without a droplet: real systemd on a copy of this machine, in namespaces of its own.

The copy is an overlay in memory: whatever is written, there or by the units it starts, is forgotten
at the end. It has its own processes, its own loopback with every port free, and a /etc/hosts that
can name anything. Needs root, a cgroup2 mount, and the right to make namespaces.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import define

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

BOOT = Path(__file__).with_name("boot.sh")
CHECKOUT = Path(__file__).resolve().parents[2]
BOOT_TIMEOUT_S = 20.0
COMMAND_TIMEOUT_S = 120.0  # pip, on a busy machine
POLL_INTERVAL_S = 0.02
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class NoDropletError(Exception):
    """This machine does not allow one; the message says why."""


@define(eq=False)
class Droplet:
    """A running copy; ``pid`` is its systemd, seen from outside."""

    pid: int

    def start(self, script: str, folder: str = "/", **environment: str) -> subprocess.Popen[str]:
        """Start a shell script in it, as root with the given environment and nothing else."""
        enter = ("nsenter", "-t", str(self.pid), "-m", "-p", "-i", "-u", "-n", "-C", "--")
        return subprocess.Popen(
            (*enter, "/bin/bash", "-euo", "pipefail", "-c", f"cd {folder}\n{script}"),
            env={"PATH": SYSTEM_PATH, "HOME": "/root", "LANG": "C.UTF-8", **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(
        self, script: str, folder: str = "/", *, code: int | None = 0, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell script to its end; fail, with what it said, on another exit code."""
        with self.start(script, folder, **environment) as process:
            try:
                out, err = process.communicate(timeout=COMMAND_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        if code is not None and process.returncode != code:
            journal = self.run("journalctl --no-pager -n 40", code=None).stdout
            raise AssertionError(f"{script}\nexit {process.returncode}\n{out}{err}{journal}")
        return subprocess.CompletedProcess(script, process.returncode, out, err)

    def stop(self, process: subprocess.Popen[str]) -> None:
        """End what ``start`` began, with SIGTERM."""
        # nsenter waits for its child in the other process namespace and passes no signal on.
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        for pid in children.read_text(encoding="ascii").split() if process.poll() is None else ():
            os.kill(int(pid), signal.SIGTERM)
        process.communicate(timeout=COMMAND_TIMEOUT_S)

    def write(self, path: str, text: str, mode: str = "644") -> None:
        """Write a file and make its folder."""
        script = 'mkdir -p "$(dirname "$FILE")"; printf %s "$TEXT" > "$FILE"; chmod "$MODE" "$FILE"'
        self.run(script, FILE=path, TEXT=text, MODE=mode)

    def copy(self, folder: Path, path: str) -> None:
        """Bring a folder of this machine to ``path``, as it is now."""
        self.run('mkdir -p "$TO"', TO=path)
        with subprocess.Popen(("tar", "-C", str(folder), "-c", "."), stdout=subprocess.PIPE) as tar:
            done = subprocess.run(
                ("nsenter", "-t", str(self.pid), "-m", "tar", "-C", path, "-x"),
                stdin=tar.stdout,
                timeout=COMMAND_TIMEOUT_S,
                check=False,
            )
        assert (tar.returncode, done.returncode) == (0, 0)


def _cgroup2() -> Path:
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        before, _, after = line.partition(" - ")
        if after.startswith("cgroup2 "):
            return Path(before.split()[4])
    raise NoDropletError("there is no cgroup2 mount")


@contextlib.contextmanager
def _cgroup() -> Iterator[Path]:
    """Make a cgroup; remove it with those that systemd made in it."""
    group = _cgroup2() / f"wormkey-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        raise NoDropletError(f"{group}: {error.strerror}") from None
    try:
        yield group
    finally:
        deadline = time.monotonic() + BOOT_TIMEOUT_S
        while group.exists() and time.monotonic() < deadline:
            for folder, _, _ in os.walk(group, topdown=False):
                with contextlib.suppress(OSError):  # its last process is still on its way out
                    os.rmdir(folder)
            time.sleep(POLL_INTERVAL_S)


@contextlib.contextmanager
def booted(hosts: Mapping[str, str]) -> Iterator[Droplet]:
    """Boot a droplet that knows these names, and end it with all its processes.

    Raises:
        NoDropletError: not root, or namespaces are not allowed here.
    """
    if os.geteuid() != 0:
        raise NoDropletError("only root can boot one")
    scratch = Path(tempfile.mkdtemp(prefix="wormkey-droplet-"))
    namespaces = ("--mount", "--pid", "--fork", "--kill-child", "--ipc", "--uts", "--net")
    try:
        with _cgroup() as group:
            unshare = subprocess.Popen(
                (
                    "unshare",
                    *namespaces,
                    "/bin/sh",
                    str(BOOT),
                    str(scratch),
                    str(group),
                    str(CHECKOUT),
                ),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            try:
                droplet = _wait(unshare)
                lines = "".join(f"{address} {name}\n" for name, address in hosts.items())
                droplet.run('printf %s "$LINES_" >> /etc/hosts', LINES_=lines)
                yield droplet
            finally:
                unshare.kill()  # --kill-child ends its systemd, which ends everything below
                unshare.communicate()
    finally:
        shutil.rmtree(scratch)


def _wait(unshare: subprocess.Popen[str]) -> Droplet:
    children = Path(f"/proc/{unshare.pid}/task/{unshare.pid}/children")
    deadline = time.monotonic() + BOOT_TIMEOUT_S
    while time.monotonic() < deadline:
        if unshare.poll() is not None:
            raise NoDropletError((unshare.communicate()[0] or "no namespaces").strip())
        pids = children.read_text(encoding="ascii").split()
        if pids:
            droplet = Droplet(int(pids[0]))
            # Before the switch of roots /run/droplet is not there.
            asked = "test -d /run/droplet && systemctl is-system-running"
            if droplet.run(asked, code=None).stdout.strip() in {"running", "degraded"}:
                return droplet
        time.sleep(POLL_INTERVAL_S)
    raise NoDropletError(f"systemd was not up within {BOOT_TIMEOUT_S:g} s")
