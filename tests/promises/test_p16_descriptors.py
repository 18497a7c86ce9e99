"""P16: a daemon without descriptors keeps its tunnel, and is well again when viewers leave."""

from __future__ import annotations

import resource
import sys
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import trio

from tests.support.origin import saying, start_origin
from tests.support.process import (
    ADDRESSES,
    DAEMON,
    options_of,
    ready,
    running,
    running_client,
)
from tests.support.promise import QUICK, Promise
from tests.support.viewer import open_viewer

if TYPE_CHECKING:
    from pathlib import Path

DESCRIPTORS = 256
VIEWERS = 400
LIMITED = (
    "import os, resource, sys;"
    f"resource.setrlimit(resource.RLIMIT_NOFILE, ({DESCRIPTORS}, {DESCRIPTORS}));"
    "os.execv(sys.argv[1], sys.argv[1:])"
)


async def _status(address: tuple[str, int], target: bytes) -> int:
    viewer = await open_viewer(*address, b"localhost:%d" % address[1])
    try:
        return (await viewer.exchange(target)).status
    finally:
        await viewer.aclose()


async def test_without_descriptors_the_tunnel_stays(promise: Promise, tmp_path: Path) -> None:
    """400 viewers with half a head each meet 256 descriptors: nobody dies, and it is over soon."""
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > VIEWERS + 100
    command = (sys.executable, "-c", LIMITED, *DAEMON, *ADDRESSES, *options_of(tmp_path))
    with trio.fail_after(120):
        async with trio.open_nursery() as nursery, AsyncExitStack() as opened:
            origin = await start_origin(nursery, saying())
            process = await opened.enter_async_context(running(command, tmp_path))
            daemon = await ready(process)
            client, made = await opened.enter_async_context(
                running_client(daemon, tmp_path, str(origin.port))
            )
            target = b"/s/" + made["slug"].encode() + b"/"
            assert await _status(daemon.gateway, target) == 200
            viewers = [await trio.open_tcp_stream(*daemon.gateway) for _ in range(VIEWERS)]
            for viewer in viewers:
                try:
                    await viewer.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n")
                except trio.BrokenResourceError:
                    pass  # this one has made room for another
            served = await _status(daemon.gateway, target)
            for viewer in viewers:
                await trio.aclose_forcefully(viewer)
            left_at = trio.current_time()
            while await _status(daemon.gateway, target) != 200:  # noqa: ASYNC110 - nothing tells
                await trio.sleep(0.05)
            recovered_s = trio.current_time() - left_at
            promise.exactly("status for one viewer more, meanwhile", served, 200)
            # A loaded machine may be slow at closing 400 sockets.
            promise.at_most("served again after they left", recovered_s, 10 if QUICK else 2, "s")
            lines = daemon.process.err
            assert sum("tunnel opened" in line for line in lines) == 1
            promise.exactly("tunnels lost", sum("tunnel closed" in line for line in lines), 0)
            promise.exactly(
                "daemon or client ended", process.ended.is_set() + client.ended.is_set(), 0
            )
            nursery.cancel_scope.cancel(reason="the test is over")
