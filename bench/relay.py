"""A path with a round trip: a TCP relay that holds every octet back for half of it, each way.

A program: LISTEN_PORT TARGET_PORT RTT_MS. It has as much room as the path would, so what limits a
transfer is the windows of those who talk over it.
"""

from __future__ import annotations

import queue
import socket
import sys
import threading
import time
from typing import Final

_READ_BYTES: Final = 1 << 18
_PIECES: Final = 4096  # about a GiB: more than any path here holds


def _carry(source: socket.socket, sink: socket.socket, delay_s: float) -> None:
    """Carry one direction, ``delay_s`` late."""
    waiting: queue.Queue[tuple[float, bytes]] = queue.Queue(_PIECES)

    def send() -> None:
        while True:
            due, data = waiting.get()
            left_s = due - time.perf_counter()
            if left_s > 0:
                time.sleep(left_s)
            try:
                if not data:
                    sink.shutdown(socket.SHUT_WR)
                    return
                sink.sendall(data)
            except OSError:
                return

    threading.Thread(target=send, daemon=True).start()
    while True:
        try:
            data = source.recv(_READ_BYTES)
        except OSError:
            data = b""
        waiting.put((time.perf_counter() + delay_s, data))
        if not data:
            return


def main() -> None:
    """Listen until killed."""
    port, target, rtt_ms = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    with socket.create_server(("127.0.0.1", port), backlog=512) as listener:
        while True:
            near, _ = listener.accept()
            far = socket.create_connection(("127.0.0.1", target))
            for end in (near, far):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for pair in ((near, far), (far, near)):
                threading.Thread(target=_carry, args=(*pair, rtt_ms / 2e3), daemon=True).start()


if __name__ == "__main__":
    main()
