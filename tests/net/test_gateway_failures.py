"""What a viewer gets when something behind the gateway fails: a page, or a visible cut."""

from __future__ import annotations

import json

import pytest
import trio

from tests.support.link import Ended
from tests.support.messages import Request, compose
from tests.support.origin import Connection, each_request, start_origin
from tests.support.world import Connected, open_world

CHUNKED = ((b"Transfer-Encoding", b"chunked"),)
LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf!"
CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhalf!\r\n"
CLOSE = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf!"


async def test_without_a_tunnel_and_without_hold_the_answer_is_502_at_once() -> None:
    """``--hold 0s``: the page says that no client is connected."""
    async with open_world(client=False, hold_s=0.0) as world:
        started = trio.current_time()
        answer = await world.exchange()
        assert (answer.status, answer.error) == (502, b"no_tunnel")
        assert trio.current_time() - started < 1
        assert answer.head.get(b"Cache-Control") == b"no-store"
        assert answer.head.get(b"Wormkey-Request-Id")


async def test_the_page_of_a_get_links_to_another_try() -> None:
    """Retry-After is sent once and said in words; no link sends a POST again as a GET."""
    async with open_world(client=False, hold_s=0.0) as world:
        asked = await world.exchange()
        [seconds] = [value for name, value in asked.head.fields if name == b"Retry-After"]
        assert b'href=""' in asked.data
        assert b"after %b seconds" % seconds in asked.data
        posted = await world.exchange(method=b"POST", content=b"order")
        assert b'href=""' not in posted.data
        assert b"Try again after %b seconds" % seconds in posted.data


async def test_a_request_waits_for_a_client_that_comes_back() -> None:
    """Within ``--hold`` the request is served as if nothing had happened."""
    async with open_world(client=False) as world:
        viewer = await world.open_viewer()
        await viewer.request(b"/held", method=b"POST", content=b"kept")
        await world.restart_client()
        answer = await viewer.read_response()
        assert (answer.status, answer.data) == (200, b"hello")
        assert world.origin.requests[0].content.data == b"kept"


async def test_a_request_that_waited_in_vain_gets_502() -> None:
    """Hold is a bound, not a promise."""
    async with open_world(client=False, hold_s=0.2) as world:
        started = trio.current_time()
        answer = await world.exchange()
        assert (answer.status, answer.error) == (502, b"no_tunnel")
        assert 0.2 <= trio.current_time() - started < 2


async def test_an_origin_that_is_not_there_is_named_with_its_port_and_the_remedy() -> None:
    """502 with a page for people and the same as JSON for programs."""
    async with open_world() as world:
        world.origin.stop()
        port = b"%d" % world.origin.port
        page = await world.exchange(fields=((b"Accept", b"text/html"),))
        assert (page.status, page.error) == (502, b"origin_unreachable")
        assert (page.head.get(b"Content-Type") or b"").startswith(b"text/html")
        assert port in page.data
        assert b"Start the app" in page.data
        answer = await world.exchange(fields=((b"Accept", b"application/json"),))
        told = json.loads(answer.data)
        assert (answer.status, told["code"]) == (502, "origin_unreachable")
        assert port.decode() in told["error"]
        assert told["requestId"] == (answer.head.get(b"Wormkey-Request-Id") or b"").decode()


async def test_the_origin_that_comes_back_is_found_again() -> None:
    """A dev server's restart costs a 502, never a restart of the client."""
    async with open_world() as world:
        world.origin.stop()
        assert (await world.exchange()).status == 502
        await start_origin(world.nursery, world.origin.handler, port=world.origin.port)
        assert (await world.exchange()).status == 200


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Len",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nX-Folded: a\r\n b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Nul: a\0b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX Y: b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Huge: " + b"x" * 200_000 + b"\r\n\r\n",
    ],
)
async def test_an_answer_that_is_not_http_is_a_502_and_spoils_nothing(raw: bytes) -> None:
    """RFC 9112 section 6.3: discard it, close that connection; the next request is served."""

    async def handler(connection: Connection) -> None:
        request = await connection.read_request()
        if request is not None and request.target == b"/bad":
            await connection.send(raw)
        elif request is not None:
            await connection.answer(b"good")

    async with open_world(handler) as world:
        viewer = await world.open_viewer()
        answer = await viewer.exchange(b"/bad", method=b"POST", content=b"once")
        assert (answer.status, answer.error) == (502, b"origin_failed")
        assert (await world.exchange(b"/good")).data == b"good"
        assert [request.target for request in world.origin.requests] == [b"/bad", b"/good"]


async def test_an_origin_that_never_answers_is_a_504() -> None:
    """``--answer-timeout`` bounds the wait for the start of an answer, and frees the origin."""

    async def never(connection: Connection, _request: Request) -> None:
        await connection.wait_left()

    async with open_world(each_request(never), answer_timeout_s=0.2) as world:
        answer = await world.exchange()
        assert (answer.status, answer.error) == (504, b"origin_timeout")
        await world.origin.wait_closed(1)


@pytest.mark.parametrize("rst", [False, True])
@pytest.mark.parametrize(("raw", "ended"), [(LENGTH, Ended.FIN), (CHUNKS, Ended.FIN)])
async def test_content_cut_by_the_origin_is_cut_for_the_viewer(
    raw: bytes, ended: Ended, rst: bool
) -> None:
    """Length and chunks show the cut by themselves: FIN, and no forged end."""

    async def handler(connection: Connection) -> None:
        await connection.read_request()
        await connection.send(raw)
        await seen.wait()
        await (connection.reset() if rst else connection.aclose())

    seen = trio.Event()
    async with open_world(handler) as world:
        viewer = await world.open_viewer()
        await viewer.request()
        head = (await viewer.read_final_head()).head
        assert head.start[1] == b"200"
        await viewer.read_until(b"half!")
        seen.set()
        rest = await viewer.read_rest()
        assert b"0\r\n" not in rest
        assert viewer.ended is ended


async def test_close_delimited_content_cut_by_a_reset_is_not_ended_properly() -> None:
    """Where the origin's close was to end the content, its RST must not look like one."""
    seen = trio.Event()

    async def handler(connection: Connection) -> None:
        await connection.read_request()
        await connection.send(CLOSE)
        await seen.wait()
        await connection.reset()

    async with open_world(handler) as world:
        viewer = await world.open_viewer()
        await viewer.request()
        await viewer.read_final_head()
        await viewer.read_until(b"half!")
        seen.set()
        assert b"0\r\n" not in await viewer.read_rest()
        assert viewer.ended is not None


async def test_an_http_1_0_viewer_sees_a_cut_by_an_rst() -> None:
    """Only the close would end his content, so the cut is an RST, as the interface says."""
    seen = trio.Event()

    async def handler(connection: Connection) -> None:
        await connection.read_request()
        await connection.send(CHUNKS)
        await seen.wait()
        await connection.aclose()

    async with open_world(handler) as world:
        viewer = await world.open_viewer()
        await viewer.send(compose(b"GET / HTTP/1.0", ((b"Host", world.authority),)))
        await viewer.read_until(b"half!")
        seen.set()
        assert await viewer.read_rest() == b""
        assert viewer.ended is Ended.RST


async def test_a_lost_tunnel_cuts_the_answer_under_way() -> None:
    """Kill -9 of the client: in-flight viewers are cut within 2 s, never shown as complete."""

    async def handler(connection: Connection) -> None:
        await connection.read_request()
        await connection.send(LENGTH)
        await connection.wait_left()

    async with open_world(handler) as world:
        viewer = await world.open_viewer()
        await viewer.request()
        await viewer.read_until(b"half!")
        assert world.client is not None
        await world.client.stop()
        with trio.fail_after(2):
            assert await viewer.read_rest() == b""
        assert viewer.ended is Ended.FIN


async def test_a_tunnel_lost_before_the_answer_is_a_502() -> None:
    """A request that may have had its effect is not sent again: the viewer is told."""
    got = trio.Event()

    async def handler(connection: Connection) -> None:
        await connection.read_request()
        got.set()
        await connection.wait_left()

    async with open_world(handler, hold_s=0.0) as world:
        viewer = await world.open_viewer()
        await viewer.request(method=b"POST", content=b"once")
        await got.wait()
        assert world.client is not None
        await world.client.stop()
        answer = await viewer.read_response()
        assert (answer.status, answer.error) == (502, b"tunnel_lost")


async def test_a_paused_client_is_a_503_with_retry_after() -> None:
    """P on the terminal: requests are told to come back, and served after R."""
    async with open_world() as world:
        assert world.client is not None
        world.client.client.pause()
        while (answer := await world.exchange()).status == 200:
            pass  # the PAUSE is on its way through the tunnel
        assert (answer.status, answer.error) == (503, b"paused")
        assert answer.head.get(b"Retry-After")
        world.client.client.resume()
        while (answer := await world.exchange()).status == 503:
            pass
        assert (answer.status, answer.data) == (200, b"hello")
        assert world.client.count(Connected) == 1


async def test_an_upload_cut_by_the_viewer_is_not_ended_at_the_origin() -> None:
    """Half an upload never looks whole: the origin's connection is closed inside the content."""
    started = trio.Event()  # of the connection at hand

    async def handler(connection: Connection) -> None:
        request = await connection.read_head()
        assert request is not None
        started.set()
        await connection.read_content(request)

    async with open_world(handler) as world:
        for fields in (((b"Content-Length", b"1000"),), CHUNKED):
            started = trio.Event()
            viewer = await world.open_viewer()
            await viewer.request(method=b"POST", fields=fields)
            await viewer.send(b"10\r\nsixteen bytes ok\r\n")
            await started.wait()
            await viewer.reset()
        await world.origin.wait_closed(2)
        assert [r.content.end[:3] for r in world.origin.requests] == ["cut", "cut"]
