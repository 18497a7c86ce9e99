"""The app that the benchmarks share: takes uploads, streams time stamps, echoes messages.

Run as a program with a port. Threads and plain sockets, with as little work for each octet as can
be: what is measured is the way, not the app. Small answers and a large file are left to nginx.
"""

from __future__ import annotations

import base64
import hashlib
import socket
import sys
import threading
import time
from typing import Final

MESSAGE_BYTES: Final = 32
IN_FRAME_BYTES: Final = 2 + 4 + MESSAGE_BYTES  # a masked frame (RFC 6455 §5.2), mask of zeros
OUT_FRAME: Final = bytes([0x82, MESSAGE_BYTES]) + b"m" * MESSAGE_BYTES
IN_FRAME: Final = bytes([0x82, 0x80 | MESSAGE_BYTES]) + bytes(4) + b"m" * MESSAGE_BYTES
STAMP_BYTES: Final = 20  # CLOCK_MONOTONIC in nanoseconds, which all processes share
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 §1.3
_BUFFER_BYTES: Final = 1 << 20
_GAP_S: Final = 0.004


def fields_of(head: bytes) -> dict[bytes, bytes]:
    """The fields of a head by lower-case name."""
    pairs = (line.split(b":", 1) for line in head.split(b"\r\n")[1:] if b":" in line)
    return {name.strip().lower(): value.strip() for name, value in pairs}


def read_head(connection: socket.socket, rest: bytes) -> tuple[bytes, bytes]:
    """One head, and what came behind it; nothing at the end of the connection."""
    while b"\r\n\r\n" not in rest:
        data = connection.recv(65536)
        if not data:
            return b"", b""
        rest += data
    head, _, rest = rest.partition(b"\r\n\r\n")
    return head, rest


def take(connection: socket.socket, length: int, rest: bytes) -> None:
    """Read an upload to its end."""
    left = length - len(rest)
    buffer = bytearray(_BUFFER_BYTES)
    while left > 0:
        got = connection.recv_into(buffer)
        if not got:
            return
        left -= got
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


def stream(connection: socket.socket, count: int) -> None:
    """Send ``count`` chunks, each the moment at which it was sent."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(count):
        connection.sendall(b"%x\r\n%020d\r\n" % (STAMP_BYTES, time.monotonic_ns()))
        time.sleep(_GAP_S)
    connection.sendall(b"0\r\n\r\n")


def echo(connection: socket.socket, key: bytes, rest: bytes) -> None:
    """Upgrade, then answer each frame of IN_FRAME_BYTES by one OUT_FRAME."""
    accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
    connection.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )
    waiting = len(rest)
    while data := connection.recv(65536):
        whole, waiting = divmod(waiting + len(data), IN_FRAME_BYTES)
        if whole:
            connection.sendall(OUT_FRAME * whole)


def serve(connection: socket.socket) -> None:
    """Serve one connection to its end."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    rest = b""
    with connection:
        try:
            while True:
                head, rest = read_head(connection, rest)
                if not head:
                    return
                target, fields = head.split(b" ", 2)[1], fields_of(head)
                if key := fields.get(b"sec-websocket-key"):
                    echo(connection, key, rest)
                    return
                if target.startswith(b"/stream/"):
                    stream(connection, int(target.rpartition(b"/")[2]))
                else:
                    take(connection, int(fields.get(b"content-length", b"0")), rest)
                    rest = b""
        except OSError:
            return


def main(port: int) -> None:
    """Listen until killed."""
    with socket.create_server(("127.0.0.1", port), backlog=512) as listener:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=serve, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    main(int(sys.argv[1]))
