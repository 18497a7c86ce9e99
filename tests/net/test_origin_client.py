"""The client keeps its URL: it comes back by itself, and stops only when it is refused for good."""

from __future__ import annotations

import ssl
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
import trustme

from tests.support.origin import Connection, each_request
from tests.support.v0 import V0Gateway
from tests.support.world import Connected, Disconnected, World, open_world
from wormkey.client import Client, ClientSettings, Exchange
from wormkey.errors import ErrorCode
from wormkey.target import parse_target

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.messages import Request


async def test_a_client_that_lost_its_tunnel_is_back_with_the_same_url() -> None:
    """The first try comes within 250 ms of the loss; requests meanwhile wait and are served."""
    async with open_world() as world:
        client = world.client
        assert client is not None
        assert (await world.exchange()).data == b"hello"  # both ends have the tunnel now
        for number in range(2, 5):  # the back-off of a third loss is 1 s at most
            _drop_tunnel(world)
            await client.wait(Disconnected, number - 1)
            lost_at = trio.current_time()
            assert (await world.exchange()).data == b"hello"
            await client.wait(Connected, number)
            assert trio.current_time() - lost_at < 1.5
        assert client.error is None


async def test_a_client_that_was_paused_comes_back_paused() -> None:
    """Only R lets viewers in again, not a tunnel that was lost."""
    async with open_world() as world:
        client = world.client
        assert client is not None
        client.client.pause()
        while (await world.exchange()).error != b"paused":
            pass  # the PAUSE is on its way through the tunnel
        _drop_tunnel(world)
        assert (await world.exchange()).error == b"paused"  # the first that the next one could take
        assert client.count(Connected) == 2


def _drop_tunnel(world: World) -> None:
    """End the tunnel at the gateway as a lost connection does."""
    entry = world.node.routes.find(world.slug)
    assert entry is not None
    assert entry.upstream is not None
    entry.upstream.close(ErrorCode.NO_ERROR, "the test drops the tunnel")


@pytest.mark.parametrize("token", ["SLUG.wrong", "made-up-11-aaaaaaaa.whatever"])
async def test_a_rejected_token_stops_the_client(token: str) -> None:
    """401 is for good: no retry, and an error that says so."""
    async with open_world(client=False) as world:
        client = await world.start_client(token=token.replace("SLUG", world.slug))
        await client.ended.wait()
        assert getattr(client.error, "status", None) == 401
        assert getattr(client.error, "retryable", None) is False
        assert client.count(Connected) == 0


async def test_a_gateway_that_is_away_is_tried_again() -> None:
    """Nobody listening is no reason to give up; the wait between tries is bounded by 10 s."""
    async with open_world(client=False) as world:
        gateway = V0Gateway()  # its port is free again once it has gone
        async with trio.open_nursery() as nursery:
            await nursery.start(gateway.serve)
            nursery.cancel_scope.cancel()
        world.gateway = ("127.0.0.1", gateway.port)
        client = await world.start_client()
        await client.wait(Disconnected, 2)
        waits = [event.retry_in_s for event in client.events if isinstance(event, Disconnected)]
        assert all(0 <= wait <= 10 for wait in waits)
        assert not client.ended.is_set()


async def test_a_gateway_that_sheds_clients_is_given_the_time_that_it_asks_for() -> None:
    """503 with Retry-After: a herd of clients does not come back at once."""

    async def shed(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(
                b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n"
            )

    async with open_world(client=False) as world:
        listeners = await world.nursery.start(partial(trio.serve_tcp, shed, 0, host="127.0.0.1"))
        world.gateway = listeners[0].socket.getsockname()
        client = await world.start_client()
        await client.wait(Disconnected)
        (event,) = [event for event in client.events if isinstance(event, Disconnected)]
        assert 7 <= event.retry_in_s <= 10


@pytest.mark.parametrize("trusted", [True, False])
async def test_the_way_to_the_gateway_may_be_tls(
    trusted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``wss://``: a web server in front ends TLS; its certificate must be one that is trusted."""
    authority, tls = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(tls)
    if trusted:
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    said, heard = trio.open_memory_channel[object](16)

    async with said, heard, open_world(client=False) as world:

        async def relay(secured: trio.SSLStream[trio.SocketStream]) -> None:
            plain = await trio.open_tcp_stream(*world.gateway)
            async with secured, plain, trio.open_nursery() as nursery:
                nursery.start_soon(_copy, secured, plain)
                await _copy(plain, secured)
                nursery.cancel_scope.cancel()

        serve = partial(trio.serve_ssl_over_tcp, relay, 0, tls, host="127.0.0.1")
        listeners = await world.nursery.start(serve)
        edge = f"wss://localhost:{listeners[0].transport_listener.socket.getsockname()[1]}"
        target = parse_target(str(world.origin.port))
        client = Client(ClientSettings(), edge, world.token, target, said.send_nowait)
        world.nursery.start_soon(client.run)
        event = await heard.receive()
        if trusted:
            assert isinstance(event, Connected)
            assert (await world.exchange()).data == b"hello"
        else:
            assert isinstance(event, Disconnected)
            assert "certificate" in event.reason


async def _copy(source: trio.abc.Stream, sink: trio.abc.Stream) -> None:
    try:
        while data := await source.receive_some(65_536):
            await sink.send_all(data)
    except trio.BrokenResourceError:
        pass  # the other side has gone, or refused the certificate


async def test_draining_a_client_lets_its_streams_end() -> None:
    """Ctrl-C: what is under way is finished, nothing new is taken, and run() returns."""
    release, asked = trio.Event(), trio.Event()

    async def answer(connection: Connection, _request: Request) -> None:
        asked.set()
        await release.wait()
        await connection.answer(b"finished")

    async with open_world(each_request(answer), hold_s=0.0) as world:
        client = world.client
        assert client is not None
        viewer = await world.open_viewer()
        await viewer.request()
        await asked.wait()
        world.nursery.start_soon(client.client.drain)
        release.set()
        assert (await viewer.read_response()).data == b"finished"
        await client.ended.wait()
        assert client.error is None
        assert (await world.exchange()).status in (502, 503)


async def test_exchanges_are_reported() -> None:
    """``-v`` shows method, target and status of each."""
    async with open_world() as world:
        await world.exchange(b"/seen?x", method=b"PUT", content=b"")
        client = world.client
        assert client is not None
        await client.wait(Exchange)
        (exchange,) = [event for event in client.events if isinstance(event, Exchange)]
        assert (exchange.method, exchange.target, exchange.status) == (b"PUT", b"/seen?x", 200)
