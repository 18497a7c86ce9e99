"""The loads: each takes a system and a duration, and returns figures by name.

wrk makes the small requests. The rest is plain sockets here, with the least work for each octet.
"""

from __future__ import annotations

import json
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.app import IN_FRAME, OUT_FRAME, STAMP_BYTES
from bench.processes import BenchError
from bench.systems import FILE_MIB, Way, find_program

if TYPE_CHECKING:
    from collections.abc import Sequence

UP_MIB: Final = 128
CHUNKS: Final = 250
PINGS: Final = 1500
BATCH: Final = 64  # messages under way in the load that counts messages
TIMEOUT_S: Final = 120.0
_MIB: Final = 1 << 20
_SCRIPT: Final = Path(__file__).with_name("wrk.lua")


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which ``share`` of the values lie."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))]


def connect(way: Way) -> socket.socket:
    """A connection to a system."""
    connection = socket.create_connection(("127.0.0.1", way.port), TIMEOUT_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def head(way: Way, line: str, *fields: str) -> bytes:
    """The head of a request."""
    return "\r\n".join([f"{line} HTTP/1.1", f"Host: {way.host}", *fields, "", ""]).encode()


def _read_head(connection: socket.socket, status: bytes) -> bytes:
    """Read an answer's head; what came behind it.

    Raises:
        BenchError: another status came.
    """
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            raise BenchError(f"closed within the head: {data[:200]!r}")
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    if head.split(b" ", 2)[1] != status:
        raise BenchError(f"answered {head[:200]!r}")
    return rest


def requests(
    way: Way, connections: int, seconds: float, hosts: Sequence[str] = ()
) -> dict[str, float]:
    """Small requests by wrk: requests a second, p50 and p99 in ms. ``hosts`` take turns."""
    command = [find_program("wrk"), "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s"]
    command += ["--timeout", "30s", "-s", str(_SCRIPT), f"http://127.0.0.1:{way.port}/hello"]
    command += ["--", *(hosts or (way.host,))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    line = next(text for text in done.stdout.splitlines() if text.startswith("{"))
    told: dict[str, float] = json.loads(line)
    if told["errors"]:
        raise BenchError(f"wrk saw {told['errors']:g} errors: {done.stdout}")
    return told


def download(way: Way, mib: int = FILE_MIB) -> float:
    """The first ``mib`` MiB of one large file: MB/s."""
    buffer = bytearray(_MIB)
    with connect(way) as connection:
        connection.sendall(head(way, "GET /big", f"Range: bytes=0-{mib * _MIB - 1}"))
        begun = time.perf_counter()
        left = mib * _MIB - len(_read_head(connection, b"206"))
        while left > 0:
            got = connection.recv_into(buffer)
            if not got:
                raise BenchError(f"the file was cut with {left} octets left")
            left -= got
        return mib * _MIB / 1e6 / (time.perf_counter() - begun)


def upload(way: Way) -> float:
    """One large upload, until the app says that it has it: MB/s."""
    piece = b"u" * _MIB
    with connect(way) as connection:
        begun = time.perf_counter()
        connection.sendall(head(way, "PUT /up", f"Content-Length: {UP_MIB * _MIB}"))
        for _ in range(UP_MIB):
            connection.sendall(piece)
        _read_head(connection, b"200")
        return UP_MIB * _MIB / 1e6 / (time.perf_counter() - begun)


def stream(way: Way) -> dict[str, float]:
    """A stream of events: how late the first and the others are, in ms."""
    late_ms = []
    with connect(way) as connection:
        begun = time.monotonic_ns()
        connection.sendall(head(way, f"GET /stream/{CHUNKS}"))
        data = _read_head(connection, b"200")
        size = len(b"%x\r\n" % STAMP_BYTES) + STAMP_BYTES + 2
        first_ms = 0.0
        while True:
            now = time.monotonic_ns()
            while len(data) >= size:
                first_ms = first_ms or (now - begun) / 1e6
                late_ms.append((now - int(data[4 : 4 + STAMP_BYTES])) / 1e6)
                data = data[size:]
            if len(late_ms) == CHUNKS:
                break
            data += connection.recv(65536)
    return {
        "first_ms": first_ms,
        "p50_ms": percentile(late_ms, 0.5),
        "p99_ms": percentile(late_ms, 0.99),
    }


def _open_websocket(way: Way) -> socket.socket:
    connection = connect(way)
    upgrade = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
    key = "Sec-WebSocket-Key: d29ybWtleS1iZW5jaCEhIQ=="
    connection.sendall(head(way, "GET /ws", *upgrade, key))
    _read_head(connection, b"101")
    return connection


def _receive_exactly(connection: socket.socket, length: int) -> None:
    while length:
        got = len(connection.recv(min(length, 65536)))
        if not got:
            raise BenchError("the WebSocket was cut")
        length -= got


def messages(way: Way, seconds: float) -> float:
    """Messages of 32 octets a second, there and back, BATCH of them under way."""
    with _open_websocket(way) as connection:
        begun = time.perf_counter()
        count = 0
        connection.sendall(IN_FRAME * BATCH)
        while time.perf_counter() - begun < seconds:
            connection.sendall(IN_FRAME * (BATCH // 2))
            _receive_exactly(connection, len(OUT_FRAME) * (BATCH // 2))
            count += BATCH // 2
        return count / (time.perf_counter() - begun)


def echoes(way: Way) -> dict[str, float]:
    """One message at a time: how long until it is back, in ms."""
    times = []
    with _open_websocket(way) as connection:
        for _ in range(PINGS):
            begun = time.perf_counter()
            connection.sendall(IN_FRAME)
            _receive_exactly(connection, len(OUT_FRAME))
            times.append((time.perf_counter() - begun) * 1e3)
    return {"p50_ms": percentile(times, 0.5), "p99_ms": percentile(times, 0.99)}
