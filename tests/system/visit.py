"""A viewer: gets the page at $1 and talks to its /echo; prints what he saw."""

from __future__ import annotations

import ssl
import sys
import urllib.request

from websockets.sync.client import connect

url = sys.argv[1].rstrip("/") + "/"
context = ssl.create_default_context()
with urllib.request.urlopen(url, timeout=10, context=context) as response:  # noqa: S310 - https
    print(response.status, response.read().decode().strip())
with connect("wss" + url.removeprefix("https") + "echo", ssl=context, open_timeout=10) as socket:
    socket.send("a word")
    print("echo:", socket.recv(timeout=10))
