"""The client's connections to the local app: when one is used again, when a request is repeated."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest
import trio
import trustme

from tests.support.messages import LAST_CHUNK, Request, chunk, compose, response
from tests.support.origin import Connection, Handler, each_request, saying, start_origin
from tests.support.world import open_world

if TYPE_CHECKING:
    from pathlib import Path


async def test_framed_exchanges_share_a_connection() -> None:
    """Twenty GETs one after the other cost one connect at the app."""
    async with open_world() as world:
        viewer = await world.open_viewer()
        for _ in range(20):
            assert (await viewer.exchange()).status == 200
        assert len(world.origin.connections) == 1


async def test_exchanges_at_the_same_time_do_not_wait_for_each_other() -> None:
    """Each has a connection of its own while it lasts."""
    everyone = trio.Event()

    async def answer(connection: Connection, _request: Request) -> None:
        if len(world.origin.connections) == 10:
            everyone.set()
        await everyone.wait()
        await connection.answer(b"together")

    async with open_world(each_request(answer)) as world:
        viewers = [await world.open_viewer() for _ in range(10)]
        for viewer in viewers:
            await viewer.request()
        for viewer in viewers:
            assert (await viewer.read_response()).data == b"together"


@pytest.mark.parametrize(
    "raw",
    [
        response(b"bye", fields=((b"Connection", b"close"),)),
        b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nbye",
        response(b"bye") + b"left over",
        response(b"bye") + response(b"an answer that nobody asked for"),
        b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
    ],
)
async def test_a_connection_in_doubt_is_never_used_again(raw: bytes) -> None:
    """Close, HTTP/1.0, or a byte left over: the next request gets a connection of its own."""

    async def answer(connection: Connection, request: Request) -> None:
        if request.target == b"/first":
            await connection.send(raw)
        else:
            await connection.answer(b"second")

    async with open_world(each_request(answer)) as world:
        viewer = await world.open_viewer()
        first = await viewer.exchange(b"/first")
        assert first.data in (b"bye", b"")
        assert (await viewer.exchange(b"/second")).data == b"second"
        assert len(world.origin.connections) == 2


async def test_what_an_idle_connection_says_is_never_an_answer() -> None:
    """Bytes that come between two requests, a whole answer even, belong to nobody."""
    go, sent = trio.Event(), trio.Event()

    async def handler(connection: Connection) -> None:
        await connection.read_request()
        await connection.answer(b"asked for")
        if connection.number == 1:
            await go.wait()
            await connection.answer(b"asked for by nobody")
            sent.set()
            await connection.wait_left()

    async with open_world(handler) as world:
        assert (await world.exchange()).data == b"asked for"
        go.set()
        await sent.wait()
        assert (await world.exchange()).data == b"asked for"
        assert len(world.origin.connections) == 2


async def test_idle_connections_are_bounded_in_number_and_in_age() -> None:
    """An app does not see its client hoard connections, nor use one that it is about to close."""
    everyone = trio.Event()

    async def answer(connection: Connection, _request: Request) -> None:
        if len(world.origin.connections) == 4:
            everyone.set()
        await everyone.wait()
        await connection.answer(b"served")

    async with open_world(each_request(answer)) as world:
        assert world.client is not None
        pool = world.client.client._origin.pool
        pool.max_idle = 2
        viewers = [await world.open_viewer() for _ in range(4)]
        for viewer in viewers:
            await viewer.request()
        for viewer in viewers:
            assert (await viewer.read_response()).data == b"served"
        await world.origin.wait_closed(2)
        assert len(pool) == 2
        pool.max_idle_s = 0.0
        await world.origin.wait_closed(4)  # nobody has to ask for anything
        assert (await world.exchange()).data == b"served"
        assert len(world.origin.connections) == 5


def _closing_when_idle(reset: bool) -> Handler:
    """Answer one request on each connection, then close it as an impatient app does."""

    async def handler(connection: Connection) -> None:
        await connection.read_request()
        await connection.answer(b"one answer")
        await (connection.reset() if reset else connection.aclose())

    return handler


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("method", [b"GET", b"POST"])
async def test_an_idle_connection_that_the_app_closed_costs_nothing(
    method: bytes, reset: bool
) -> None:
    """No viewer sees a 502 because a pooled connection had gone stale."""
    async with open_world(_closing_when_idle(reset)) as world:
        content = b"x" if method == b"POST" else None
        for number in range(1, 6):
            answer = await world.exchange(method=method, content=content)
            assert (answer.status, answer.data) == (200, b"one answer")
            await world.origin.wait_closed(number)


async def test_an_idempotent_request_on_a_stale_connection_is_sent_again() -> None:
    """The app closes just as the request arrives: GET goes out once more, on a new connection."""

    async def handler(connection: Connection) -> None:
        await connection.read_request()
        await connection.answer(b"served")
        await connection.read_request()
        if connection.number > 1:
            await connection.answer(b"served")
        # the first connection is closed with the second request read and unanswered

    async with open_world(handler) as world:
        assert (await world.exchange()).data == b"served"
        answer = await world.exchange(b"/again")
        assert (answer.status, answer.data) == (200, b"served")
        assert [request.target for request in world.origin.requests].count(b"/again") == 2


@pytest.mark.parametrize("content", [b"x", b""])
async def test_a_post_is_sent_once(content: bytes) -> None:
    """An app that may have acted on a request never gets it twice, with content or without."""

    async def handler(connection: Connection) -> None:
        request = await connection.read_request()
        while request is not None and request.method == b"GET":
            await connection.answer(b"served")
            request = await connection.read_request()

    async with open_world(handler) as world:
        assert (await world.exchange()).data == b"served"
        answer = await world.exchange(b"/once", method=b"POST", content=content)
        assert (answer.status, answer.error) == (502, b"origin_failed")
        assert [request.target for request in world.origin.requests].count(b"/once") == 1


async def test_a_get_that_fails_on_a_new_connection_is_not_repeated() -> None:
    """Only a stale connection is a reason to try again; a crash of the app is not."""

    async def handler(connection: Connection) -> None:
        await connection.read_request()

    async with open_world(handler) as world:
        assert (await world.exchange()).status == 502
        assert len(world.origin.requests) == 1


async def test_an_upgraded_connection_never_returns_to_the_pool() -> None:
    """After a 101 its bytes belong to another protocol."""

    async def handler(connection: Connection) -> None:
        while (request := await connection.read_request()) is not None:
            if request.head.has(b"Upgrade"):
                await connection.send(
                    b"HTTP/1.1 101 Switching Protocols\r\n"
                    b"Connection: upgrade\r\nUpgrade: raw\r\n\r\n"
                )
                await connection.wait_left()
                return
            await connection.answer(b"plain")

    async with open_world(handler) as world:
        viewer = await world.open_viewer()
        await viewer.request(fields=((b"Connection", b"upgrade"), (b"Upgrade", b"raw")))
        assert (await viewer.read_final_head()).status == 101
        await viewer.send_eof()
        await viewer.read_rest()
        assert (await world.exchange()).data == b"plain"
        assert [len(connection.requests) for connection in world.origin.connections] == [1, 1]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_the_app_is_found_on_either_loopback_address(host: str) -> None:
    """Vite listens on ::1 only, others on 127.0.0.1 only: both work, and Host is localhost."""
    async with open_world() as world:
        origin = await start_origin(world.nursery, saying(b"found"), host=host)
        await world.restart_client(str(origin.port))
        for _ in range(2):
            assert (await world.exchange()).data == b"found"
        assert origin.requests[0].head.get(b"Host") == b"localhost:%d" % origin.port


async def test_an_app_that_moves_to_the_other_address_is_found_again() -> None:
    """The address that answered last is only tried first."""
    async with open_world() as world:
        assert (await world.exchange()).status == 200
        world.origin.stop()
        await world.origin.wait_closed(len(world.origin.connections))
        await start_origin(world.nursery, saying(b"moved"), host="::1", port=world.origin.port)
        assert (await world.exchange()).data == b"moved"


async def test_both_addresses_are_named_when_neither_answers() -> None:
    """The page helps: it says what was tried."""
    async with open_world() as world:
        world.origin.stop()
        page = (await world.exchange()).data
        assert b"127.0.0.1" in page
        assert b"::1" in page


async def test_a_unix_socket_is_served(tmp_path: Path) -> None:
    """``unix:/path`` works as a target."""
    async with open_world() as world:
        path = tmp_path / "app.sock"
        origin = await start_origin(world.nursery, saying(b"by file"), path=path)
        await world.restart_client(f"unix:{path}")
        assert (await world.exchange()).data == b"by file"
        assert len(origin.requests) == 1


async def test_an_https_app_is_served_where_its_certificate_may_be_its_own() -> None:
    """Self-signed is refused with a page that says so, and accepted with the flag."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(tls)
    async with open_world() as world:
        origin = await start_origin(world.nursery, saying(b"secret"), tls=tls)
        target = f"https://localhost:{origin.port}"
        await world.restart_client(target)
        refused = await world.exchange()
        assert (refused.status, refused.error) == (502, b"origin_unreachable")
        assert b"certificate" in refused.data
        await world.restart_client(target, verify_tls=False)
        assert (await world.exchange()).data == b"secret"


async def test_chunked_answers_leave_the_connection_usable() -> None:
    """The last chunk and its trailer section are an end like any other."""
    raw = compose(
        b"HTTP/1.1 200 OK", ((b"Transfer-Encoding", b"chunked"),), chunk(b"x" * 100) + LAST_CHUNK
    )

    async def answer(connection: Connection, _request: Request) -> None:
        await connection.send(raw)

    async with open_world(each_request(answer)) as world:
        for _ in range(5):
            assert (await world.exchange()).data == b"x" * 100
        assert len(world.origin.connections) == 1
