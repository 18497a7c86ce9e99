"""What happens at the client when it, its gateway or its app goes at a bad moment."""

from __future__ import annotations

import ssl
from itertools import pairwise

import trio
import trustme

from tests.support.link import CutError
from tests.support.origin import Connection, start_origin
from tests.support.world import open_world
from wormkey.client import (
    FIRST_RETRY_S,
    FLAPPING_TRIES,
    HEALTHY_AFTER_S,
    MAX_RETRY_S,
    Backoff,
)


async def test_a_drain_that_begins_while_the_client_dials_ends_it() -> None:
    """Ctrl-C before the first tunnel is open is not forgotten."""
    async with open_world(client=False) as world:
        for checkpoints in range(0, 40, 3):
            running = await world.start_client()
            for _ in range(checkpoints):
                await trio.lowlevel.checkpoint()
            await running.client.drain()
            with trio.fail_after(3):
                await running.ended.wait()
            assert running.error is None


def test_the_back_off_doubles_and_forgets_what_a_tunnel_has_disproved() -> None:
    """A gateway that is away is asked ever less; one that opens tunnels is asked again soon."""
    backoff = Backoff(random=lambda: 1.0)
    waits = [backoff.next_s(0) for _ in range(8)]
    assert waits[0] == FIRST_RETRY_S
    assert all(later == min(2 * earlier, MAX_RETRY_S) for earlier, later in pairwise(waits))
    assert backoff.next_s(HEALTHY_AFTER_S / 2) == FIRST_RETRY_S * 2**FLAPPING_TRIES
    assert backoff.next_s(HEALTHY_AFTER_S) == FIRST_RETRY_S
    assert [Backoff(random=lambda share=share: share).next_s(0) for share in (0.0, 0.5)] == [
        0.0,
        FIRST_RETRY_S / 2,
    ]


async def test_an_upgraded_connection_to_a_tls_app_ends_with_its_viewer() -> None:
    """TLS has no half-close: an app that cannot hear of the end must not keep its connection."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(tls)
    ended = trio.Event()

    async def app(connection: Connection) -> None:
        await connection.read_head()
        await connection.send(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\n"
        )
        try:
            await connection.read_to_end()
        except CutError:
            pass
        ended.set()

    async with open_world(client=False) as world:
        origin = await start_origin(world.nursery, app, tls=tls)
        await world.restart_client(f"https://localhost:{origin.port}", verify_tls=False)
        viewer = await world.open_viewer()
        await viewer.request(fields=((b"Connection", b"upgrade"), (b"Upgrade", b"raw")))
        assert (await viewer.read_final_head()).status == 101
        await viewer.send_eof()
        with trio.fail_after(5):
            await ended.wait()
