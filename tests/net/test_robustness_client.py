"""What happens at the client when it, its gateway or its app goes at a bad moment."""

from __future__ import annotations

import ssl
from itertools import pairwise

import trio
import trustme

from tests.support.link import CutError
from tests.support.messages import LAST_CHUNK, Request, compose
from tests.support.origin import Connection, each_request, start_origin
from tests.support.world import Connected, open_world
from wormkey.links import (
    FIRST_RETRY_S,
    FLAPPING_TRIES,
    HEALTHY_AFTER_S,
    MAX_LINKS,
    MAX_RETRY_S,
    YOUNG_OUTAGE_S,
    YOUNG_RETRY_S,
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
    waits = [backoff.next_s(0)]
    while sum(waits) < YOUNG_OUTAGE_S:
        waits.append(backoff.next_s(0))
    assert waits[0] == FIRST_RETRY_S
    assert all(later == min(2 * earlier, YOUNG_RETRY_S) for earlier, later in pairwise(waits))
    assert [backoff.next_s(0) for _ in range(3)] == [MAX_RETRY_S] * 3
    assert backoff.next_s(HEALTHY_AFTER_S / 2) == FIRST_RETRY_S * 2**FLAPPING_TRIES
    for _ in range(8):  # another outage begins young
        assert backoff.next_s(0) <= YOUNG_RETRY_S
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


async def test_a_gateway_that_goes_is_dialled_before_its_streams_are_over() -> None:
    """A restart cuts nothing: new requests take the new tunnel, the old one ends its streams."""
    go_on = trio.Event()

    async def answer(connection: Connection, request: Request) -> None:
        if request.target != b"/stream":
            await connection.answer(b"new")
            return
        await connection.send(compose(b"HTTP/1.1 200 OK", ((b"Transfer-Encoding", b"chunked"),)))
        await connection.send_chunk(b"first")
        await go_on.wait()
        await connection.send_chunk(b"last")
        await connection.send(LAST_CHUNK)

    async with open_world(each_request(answer)) as world:
        assert world.client is not None
        viewer = await world.open_viewer()
        await viewer.request(b"/stream")
        await viewer.read_final_head()
        assert await viewer.read_chunk() == b"first"
        (old,) = world.node.tunnels
        old.go_away("a restart")
        await world.client.wait(Connected, 2)
        assert (await world.exchange(b"/")).data == b"new"
        assert not old.ended
        go_on.set()
        assert await viewer.read_chunk() == b"last"
        assert await viewer.read_chunk() == ()
        await old.wait_idle()


async def test_a_gateway_that_goes_away_for_ever_costs_a_few_tunnels() -> None:
    """However often it says that it goes, the client keeps MAX_LINKS tunnels at most."""

    async def wait(connection: Connection, _request: Request) -> None:
        await connection.wait_left()

    async with open_world(each_request(wait)) as world:
        assert world.client is not None
        for number in range(1, MAX_LINKS + 2):
            viewer = await world.open_viewer()
            await viewer.request(method=b"POST")  # nobody sends it again
            await world.origin.wait_connections(number)
            entry = world.node.routes.find(world.slug)
            assert entry is not None
            assert entry.upstream is not None
            entry.upstream.go_away("again")  # type: ignore[attr-defined]
            await world.client.wait(Connected, number + 1)
        first = world.viewers[0]
        answer = await first.read_response()
        assert answer.status == 502
        assert len(world.node.tunnels) <= MAX_LINKS
