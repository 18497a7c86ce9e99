"""An app whose answers go on: a line with the time every 20 ms. $1: port, $2: a file.

GET /whole ends, complete, once the file is there; any other path never does. The time is the
monotonic clock's, which all processes of a machine share.
"""

from __future__ import annotations

import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PAUSE_S = 0.02


class Lines(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Write lines."""
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while self.path != "/whole" or not enough.exists():
            self.chunk(f"{time.monotonic()}\n")
            time.sleep(PAUSE_S)
        self.chunk("whole\n")
        self.chunk("")

    def chunk(self, text: str) -> None:
        """Write a piece of the content; the empty one is the last."""
        self.wfile.write(b"%x\r\n%b\r\n" % (len(text), text.encode()))


enough = Path(sys.argv[2])
with ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Lines) as server:
    server.daemon_threads = True
    print("listening", flush=True)
    server.serve_forever()
