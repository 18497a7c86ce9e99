"""Time-outs count idle seconds, never a whole exchange; limits refuse at once and say so."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest
import trio

from tests.support.messages import LAST_CHUNK, Request, compose, response
from tests.support.origin import Connection, each_head, each_request
from tests.support.world import open_world

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

RAW = (b"Upgrade", b"raw")
CHUNKED = ((b"Transfer-Encoding", b"chunked"),)
IDLE_S = 0.4
PACE_S = 0.1  # well within IDLE_S, so that only a time-out of the whole could end the exchange
STEPS = 12


async def test_a_slow_answer_outlives_every_time_out_as_long_as_it_moves() -> None:
    """An event stream may last for ever: each event starts the idle time anew."""

    async def answer(connection: Connection, _request: Request) -> None:
        await connection.send(compose(b"HTTP/1.1 200 OK", CHUNKED))
        for number in range(STEPS):
            await trio.sleep(PACE_S)
            await connection.send_chunk(b"%d\n" % number)
        await connection.send(LAST_CHUNK)

    async with open_world(
        each_request(answer),
        answer_timeout_s=IDLE_S,
        content_idle_timeout_s=IDLE_S,
        stream_idle_timeout_s=IDLE_S,
        write_idle_timeout_s=IDLE_S,
    ) as world:
        got = await world.exchange()
        assert got.content.end == "chunked"
        assert got.data == b"".join(b"%d\n" % number for number in range(STEPS))


async def test_a_slow_upload_outlives_every_time_out_as_long_as_it_moves() -> None:
    """Ten minutes of photo upload are not an error; silence would be."""
    async with open_world(
        content_idle_timeout_s=IDLE_S, answer_timeout_s=IDLE_S, stream_idle_timeout_s=IDLE_S
    ) as world:
        viewer = await world.open_viewer()
        await viewer.request(method=b"POST", fields=CHUNKED)
        for _ in range(STEPS):
            await trio.sleep(PACE_S)
            await viewer.send_chunk(b"photo")
        await viewer.send(LAST_CHUNK)
        assert (await viewer.read_response()).status == 200
        assert world.origin.requests[0].content.data == b"photo" * STEPS


async def test_an_answer_that_stops_moving_is_cut() -> None:
    """``--stream-idle-timeout`` of silence within an answer frees both ends."""

    async def answer(connection: Connection, _request: Request) -> None:
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf!")
        await connection.wait_left()

    async with open_world(each_request(answer), stream_idle_timeout_s=IDLE_S) as world:
        viewer = await world.open_viewer()
        await viewer.request()
        await viewer.read_until(b"half!")
        assert await viewer.read_rest() == b""
        await world.origin.wait_closed(1)


async def test_an_early_hint_starts_the_wait_for_the_answer_anew() -> None:
    """An origin that says 103 or 102 is alive."""

    async def answer(connection: Connection, _request: Request) -> None:
        for _ in range(STEPS):
            await trio.sleep(PACE_S)
            await connection.send(b"HTTP/1.1 102 Processing\r\n\r\n")
        await connection.answer(b"at last")

    async with open_world(each_request(answer), answer_timeout_s=IDLE_S) as world:
        assert (await world.exchange()).data == b"at last"


async def test_who_waits_for_a_100_is_given_the_time_that_the_origin_takes() -> None:
    """His content is not late: nobody has asked for it yet."""

    async def answer(connection: Connection, request: Request) -> None:
        await trio.sleep(3 * IDLE_S)
        await connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await connection.answer((await connection.read_content(request)).data)

    expect = ((b"Expect", b"100-continue"), (b"Content-Length", b"7"))
    async with open_world(each_head(answer), content_idle_timeout_s=IDLE_S) as world:
        viewer = await world.open_viewer()
        await viewer.request(method=b"PUT", fields=expect)
        assert (await viewer.read_head()).start[1] == b"100"
        await viewer.send(b"content")
        assert (await viewer.read_response()).data == b"content"


async def test_a_quiet_websocket_stays_open() -> None:
    """Answer and content time-outs end with the 101; only the stream's idle time counts."""

    async def handler(connection: Connection) -> None:
        await connection.read_request()
        await connection.send(
            compose(b"HTTP/1.1 101 Switching Protocols", ((b"Connection", b"upgrade"), RAW))
        )
        await trio.sleep(3 * IDLE_S)
        await connection.send(b"still open")

    async with open_world(
        handler, answer_timeout_s=IDLE_S, content_idle_timeout_s=IDLE_S, keep_alive_timeout_s=IDLE_S
    ) as world:
        viewer = await world.open_viewer()
        await viewer.request(fields=((b"Connection", b"upgrade"), RAW))
        assert (await viewer.read_final_head()).status == 101
        assert await viewer.read_rest() == b"still open"


@pytest.mark.parametrize("sender", ["viewer", "origin"])
async def test_a_websocket_that_moves_one_way_only_stays_open(sender: str) -> None:
    """A page that only listens, or only reports, is not idle."""
    sent = b"".join(b"%d\n" % number for number in range(STEPS))

    async def speak(send: Callable[[bytes], Awaitable[None]]) -> None:
        for number in range(STEPS):
            await trio.sleep(PACE_S)
            await send(b"%d\n" % number)

    async def handler(connection: Connection) -> None:
        await connection.read_request()
        await connection.send(
            compose(b"HTTP/1.1 101 Switching Protocols", ((b"Connection", b"upgrade"), RAW))
        )
        if sender == "origin":
            await speak(connection.send)
        else:
            assert await connection.read_exactly(len(sent)) == sent
            await connection.send(b"heard")

    async with open_world(handler, stream_idle_timeout_s=IDLE_S) as world:
        viewer = await world.open_viewer()
        await viewer.request(fields=((b"Connection", b"upgrade"), RAW))
        assert (await viewer.read_final_head()).status == 101
        if sender == "viewer":
            await speak(viewer.send)
        assert await viewer.read_rest() == (sent if sender == "origin" else b"heard")


async def test_more_streams_than_a_tunnel_takes_are_a_429_at_once() -> None:
    """No queue: the viewer is told to come back, and is served once another has gone."""
    release = trio.Event()

    async def answer(connection: Connection, _request: Request) -> None:
        await release.wait()
        await connection.answer(b"served")

    async with open_world(each_request(answer), max_streams=4) as world:
        viewers = [await world.open_viewer() for _ in range(4)]
        for viewer in viewers:
            await viewer.request()
        await world.origin.wait_connections(4)
        refused = await world.exchange()
        assert (refused.status, refused.error) == (429, b"too_many_streams")
        assert refused.head.get(b"Retry-After")
        release.set()
        for viewer in viewers:
            assert (await viewer.read_response()).data == b"served"
        assert (await world.exchange()).data == b"served"


async def test_no_more_requests_are_held_than_the_limit() -> None:
    """A client that is away cannot make the gateway collect viewers without bound."""
    async with open_world(client=False, max_held_requests=2) as world:
        held = [await world.open_viewer() for _ in range(2)]
        for viewer in held:
            await viewer.request()
        # Both have been read once the gateway has answered somebody behind them.
        assert (await world.exchange(b"/health", authority=world.base)).status == 200
        refused = await world.exchange()
        assert (refused.status, refused.error) == (502, b"no_tunnel")
        await world.restart_client()
        for viewer in held:
            assert (await viewer.read_response()).data == b"hello"


async def test_a_session_with_basic_auth_lets_nobody_in_without_the_password() -> None:
    """401 with a challenge; the right credentials pass and never reach the app."""
    async with open_world(session={"authMode": "basic"}) as world:
        pair = f"{world.session['username']}:{world.session['password']}"
        right = b"Basic " + base64.b64encode(pair.encode())
        wrong = b"Basic " + base64.b64encode(pair.encode() + b"x")
        for fields in ((), ((b"Authorization", wrong),), ((b"Authorization", b"Basic"),)):
            refused = await world.exchange(fields=fields)
            assert (refused.status, refused.error) == (401, b"credentials_required")
            assert (refused.head.get(b"WWW-Authenticate") or b"").startswith(b"Basic ")
        assert world.origin.requests == []
        answer = await world.exchange(fields=((b"Authorization", right),))
        assert answer.data == b"hello"
        assert not world.origin.requests[0].head.has(b"Authorization")


async def test_a_websocket_needs_the_password_too() -> None:
    """An upgrade is a request like any other."""
    async with open_world(session={"authMode": "basic"}) as world:
        viewer = await world.open_viewer()
        refused = await viewer.exchange(fields=((b"Connection", b"upgrade"), RAW))
        assert refused.status == 401
        assert world.origin.requests == []


async def test_without_basic_auth_the_apps_own_credentials_pass() -> None:
    """Authorization and its challenge are between viewer and app."""
    raw = response(
        status=b"401 Unauthorized", fields=((b"WWW-Authenticate", b'Basic realm="the app"'),)
    )

    async def answer(connection: Connection, request: Request) -> None:
        authorized = request.head.get(b"Authorization") == b"Basic app"
        await connection.send(response(b"in") if authorized else raw)

    async with open_world(each_head(answer)) as world:
        challenge = (await world.exchange()).head.get(b"WWW-Authenticate")
        assert challenge == b'Basic realm="the app"'
        assert (await world.exchange(fields=((b"Authorization", b"Basic app"),))).data == b"in"


async def test_draining_finishes_what_is_under_way_and_closes_what_is_idle() -> None:
    """SIGTERM: idle viewers get a FIN, the answer under way is whole, its connection closes."""
    asked, release = trio.Event(), trio.Event()

    async def answer(connection: Connection, request: Request) -> None:
        if request.target == b"/slow":
            asked.set()
            await release.wait()
        await connection.answer(b"whole")

    async with open_world(each_request(answer)) as world:
        idle, busy = await world.open_viewer(), await world.open_viewer()
        assert (await idle.exchange()).data == b"whole"
        await busy.request(b"/slow")
        await asked.wait()
        world.node.drain.start()
        assert await idle.read_rest() == b""
        release.set()
        answered = await busy.read_response()
        assert answered.data == b"whole"
        assert answered.head.get(b"Connection") == b"close"
        assert await busy.read_rest() == b""
