"""Runs `make demo` as a reader of the README would: until its URL answers, then Ctrl-C.

It must print the public URL alone on standard output, serve the sample app there, and after one
SIGINT end by itself with nothing left running. Only the standard library: this runs before any
environment is made.
"""

from __future__ import annotations

import http.client
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from urllib.parse import urljoin, urlsplit

START_TIMEOUT_S = 240.0  # installs everything first
STOP_TIMEOUT_S = 20.0


def fetch(url: str) -> bytes:
    """The page at the URL, where redirects are followed; no proxy is asked."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=10)
    connection.request("GET", parts.path or "/")
    response = connection.getresponse()
    content = response.read()
    connection.close()
    location = response.getheader("Location", "")
    return fetch(urljoin(url, location)) if response.status == 308 and location != url else content


def still_listens(url: str) -> bool:
    """Whether anybody accepts connections where the URL points."""
    try:
        socket.create_connection((urlsplit(url).hostname, urlsplit(url).port), timeout=1).close()
    except OSError:
        return False
    return True


def main() -> int:
    """Start, wait, fetch, stop; the exit status says whether all of it went well."""
    demo = subprocess.Popen(
        ["make", "demo"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True
    )
    lines: queue.Queue[str] = queue.Queue()

    def read() -> None:
        for line in demo.stdout or ():
            lines.put(line.decode().strip())
        lines.put("")

    threading.Thread(target=read, daemon=True).start()
    try:
        line = "making ..."
        while line and "://" not in line:
            line = lines.get(timeout=START_TIMEOUT_S)
        if not line:
            print("make demo ended without a URL", file=sys.stderr)
            return 1
        content = fetch(line)
        if b"It works." not in content:
            print(f"{line} did not answer with the sample app: {content[:300]!r}", file=sys.stderr)
            return 1
        print(f"{line} answers")
        os.killpg(demo.pid, signal.SIGINT)
        started = time.monotonic()
        status = demo.wait(STOP_TIMEOUT_S)
        print(f"ended with status {status} after {time.monotonic() - started:.1f} s")
        if still_listens(line):
            print("the daemon was left running", file=sys.stderr)
            return 1
    finally:
        if demo.poll() is None:
            os.killpg(demo.pid, signal.SIGKILL)
    return 0


if __name__ == "__main__":
    sys.exit(main())
