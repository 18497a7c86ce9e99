"""P13: SIGTERM ends the daemon soon, and what is short comes to its end before."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import trio

from tests.support.messages import Request, compose
from tests.support.origin import Connection, each_request, start_origin
from tests.support.process import Daemon, running_daemon
from tests.support.promise import QUICK, Promise, sized
from tests.support.share import authority_of, share
from tests.support.viewer import Viewer, open_viewer

if TYPE_CHECKING:
    from pathlib import Path

REQUESTS = sized(full=120, quick=30)  # one viewer may have 128 open
GRACE_S = 3
SLACK_S = 10.0 if QUICK else 1.0  # a loaded machine; an idle one keeps a second


async def _answer(connection: Connection, request: Request) -> None:
    if request.target == b"/events":
        await connection.send(compose(b"HTTP/1.1 200 OK", ((b"Transfer-Encoding", b"chunked"),)))
        await connection.send_chunk(b"data: first\n\n")
        await connection.wait_left()
        return
    await trio.sleep(0.3)  # long enough to be under way when the signal comes
    await connection.answer(b"whole")


async def _share(nursery: trio.Nursery, daemon: Daemon) -> bytes:
    """A session with its client; the authority of its URL."""
    origin = await start_origin(nursery, each_request(_answer))
    session, _ = await share(nursery, daemon, origin.port)
    return authority_of(daemon, session)


async def _stop_s(daemon: Daemon) -> float:
    """Send SIGTERM; how long the daemon took to end by itself."""
    began_at = trio.current_time()
    assert await daemon.process.end(signal.SIGTERM) == 0
    return trio.current_time() - began_at


async def test_an_idle_daemon_ends_at_once(tmp_path: Path, promise: Promise) -> None:
    """Nobody is there to wait for."""
    with trio.fail_after(60):
        async with running_daemon(tmp_path) as daemon:
            took_s = await _stop_s(daemon)
    promise.at_most("an idle daemon's end", took_s, 1.0 if not QUICK else SLACK_S, "s")


async def test_an_open_stream_keeps_it_for_the_grace(tmp_path: Path, promise: Promise) -> None:
    """An event stream never ends by itself: it is cut when the drain's time is over."""
    with trio.fail_after(60):
        async with (
            running_daemon(tmp_path, "--drain-timeout", f"{GRACE_S}s") as daemon,
            trio.open_nursery() as nursery,
        ):
            authority = await _share(nursery, daemon)
            viewer = await open_viewer(*daemon.gateway, authority)
            await viewer.request(b"/events")
            await viewer.read_final_head()
            took_s = await _stop_s(daemon)
            await viewer.aclose()
            nursery.cancel_scope.cancel(reason="the test is over")
    promise.at_least("with an event stream: the grace", took_s, GRACE_S - 0.5, "s")
    promise.at_most("with an event stream", took_s, GRACE_S + SLACK_S, "s")


async def test_what_is_under_way_is_finished(tmp_path: Path, promise: Promise) -> None:
    """Every short request that had reached the app is answered whole."""
    whole = 0
    with trio.fail_after(90):
        async with running_daemon(tmp_path) as daemon, trio.open_nursery() as nursery:
            authority = await _share(nursery, daemon)

            async def ask(viewer: Viewer) -> None:
                nonlocal whole
                answer = await viewer.read_response()
                await viewer.aclose()
                whole += (answer.status, answer.data) == (200, b"whole")

            async with trio.open_nursery() as asking:
                for _ in range(REQUESTS):
                    viewer = await open_viewer(*daemon.gateway, authority)
                    await viewer.request()
                    asking.start_soon(ask, viewer)
                took_s = await _stop_s(daemon)
            nursery.cancel_scope.cancel(reason="the test is over")
    promise.exactly(f"of {REQUESTS} requests, answered whole", whole, REQUESTS)
    promise.at_most("with short requests", took_s, 30.0 + SLACK_S, "s")


async def test_who_does_not_read_keeps_nobody(tmp_path: Path, promise: Promise) -> None:
    """A peer of the control plane that asks for much and reads nothing."""
    with trio.fail_after(90):
        async with running_daemon(tmp_path, "--close-timeout", "1s") as daemon:
            deaf = await open_viewer(*daemon.control, b"localhost", receive_buffer_bytes=4096)
            with trio.move_on_after(2):
                try:
                    while True:
                        await deaf.request(b"/openapi.json")
                except trio.BrokenResourceError:
                    pass  # cut already, as it may be
            took_s = await _stop_s(daemon)
            await deaf.aclose()
    promise.at_most("with a deaf peer of the control plane", took_s, GRACE_S + SLACK_S, "s")
