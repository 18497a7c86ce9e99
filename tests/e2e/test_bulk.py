"""Bulk in both directions through real processes, with checksums, company and bounded memory.

WORMKEY_BULK_MIB sets the size of each transfer: 64 MiB where nobody says otherwise, 1024 in CI.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio

from tests.support.messages import LAST_CHUNK, Request, compose, framing, read_content
from tests.support.origin import Connection, each_head, start_origin
from tests.support.process import Running, running_client, running_daemon
from tests.support.viewer import open_viewer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.process import Daemon
    from tests.support.viewer import Viewer

MIB = 1 << 20
BULK_MIB = int(os.environ.get("WORMKEY_BULK_MIB", "64"))
COMPANY = 50
STEP = hashlib.shake_128(b"a MiB that does not repeat within itself").digest(MIB)
# The most that each may ever use, whatever is transferred. Interpreter and libraries take some
# 40 and 30 MiB; windows of 4 MiB for each direction and what the allocator keeps are the rest.
PEAK_BYTES = {"daemon": 80 * MIB, "client": 64 * MIB}


def _digest(mebibytes: int) -> str:
    digest = hashlib.sha256()
    for _ in range(mebibytes):
        digest.update(STEP)
    return digest.hexdigest()


async def _serve(connection: Connection, request: Request) -> None:
    """/down sends BULK_MIB, /up answers the checksum of what came, /ticks never stops ticking."""
    if request.target == b"/down":
        length = (b"Content-Length", b"%d" % (BULK_MIB * MIB))
        await connection.send(compose(b"HTTP/1.1 200 OK", (length,)))
        for _ in range(BULK_MIB):
            await connection.send(STEP)
    elif request.target == b"/up":
        digest = hashlib.sha256()

        async def take(piece: bytes) -> None:
            digest.update(piece)
            request.content.chunks.clear()

        kind = framing(request.head, request=True)
        await read_content(connection, kind, request.content, take)
        await connection.answer(digest.hexdigest().encode())
    else:
        await connection.send(compose(b"HTTP/1.1 200 OK", ((b"Transfer-Encoding", b"chunked"),)))
        while not connection.left.is_set():
            await connection.send_chunk(b"data: tick\n\n")
            with trio.move_on_after(0.1):
                await connection.wait_left()
        await connection.send(LAST_CHUNK)


async def _ticks(viewer: Viewer, counts: list[int], number: int) -> None:
    """Read an event stream for ever and count its events."""
    await viewer.request(b"/ticks")
    await viewer.read_final_head()
    rest = b""
    # A chunk is no event: on a busy machine two of them come in one.
    while data := await viewer.read_chunk():
        *events, rest = (rest + data).split(b"\n\n")
        assert set(events) <= {b"data: tick"}
        counts[number] += len(events)


async def _download(viewer: Viewer) -> str:
    await viewer.request(b"/down")
    answer = await viewer.read_final_head()
    digest, left = hashlib.sha256(), BULK_MIB * MIB
    assert answer.head.get(b"Content-Length") == b"%d" % left
    while left:
        data = await viewer.read_some(min(left, MIB))
        assert data, viewer.ended
        digest.update(data)
        left -= len(data)
    return digest.hexdigest()


async def _upload(viewer: Viewer) -> str:
    length = ((b"Content-Length", b"%d" % (BULK_MIB * MIB)),)
    await viewer.request(b"/up", method=b"PUT", fields=length)
    for _ in range(BULK_MIB):
        await viewer.send(STEP)
    return (await viewer.read_response()).data.decode()


def _report(name: str, process: Running) -> int:
    peak, now = process.memory_bytes("VmHWM"), process.memory_bytes("VmRSS")
    print(f"{name}: {now / MIB:.1f} MiB resident, {peak / MIB:.1f} MiB at its peak")
    return peak


@pytest.mark.slow
async def test_a_bulk_download_and_upload_with_fifty_streams_beside_them(tmp_path: Path) -> None:
    """Checksums agree, all the others go on meanwhile, and memory stays bounded in both."""
    expected = _digest(BULK_MIB)
    with trio.fail_after(60 + BULK_MIB):
        async with (
            trio.open_nursery() as nursery,
            running_daemon(tmp_path) as daemon,
        ):
            origin = await start_origin(nursery, each_head(_serve))
            async with (
                running_client(daemon, tmp_path, str(origin.port)) as (client, told),
                _viewers(daemon, told["slug"]) as viewers,
                trio.open_nursery() as company,
            ):
                counts = [0] * COMPANY
                for number in range(COMPANY):
                    company.start_soon(_ticks, viewers[number], counts, number)
                for name, transfer in (("down", _download), ("up", _upload)):
                    before = list(counts)
                    started = trio.current_time()
                    assert await transfer(viewers[-1]) == expected
                    rate = BULK_MIB / (trio.current_time() - started)
                    print(f"{name}: {BULK_MIB} MiB at {rate:.0f} MiB/s")
                    assert all(now > then for now, then in zip(counts, before, strict=True))
                for name, process in (("daemon", daemon.process), ("client", client)):
                    assert _report(name, process) < PEAK_BYTES[name]
                company.cancel_scope.cancel(reason="the test is over")
            nursery.cancel_scope.cancel(reason="the test is over")


@asynccontextmanager
async def _viewers(daemon: Daemon, slug: str) -> AsyncIterator[list[Viewer]]:
    """Connect the company and the one who transfers; close them all at the end."""
    authority = f"{slug}.localhost:{daemon.gateway[1]}".encode()
    viewers: list[Viewer] = []
    try:
        for _ in range(COMPANY + 1):
            viewer = await open_viewer(*daemon.gateway, authority)
            viewers.append(viewer)
        yield viewers
    finally:
        with trio.CancelScope(shield=True):  # forced closes: nothing here waits
            for viewer in viewers:
                await viewer.aclose()
