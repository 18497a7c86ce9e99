"""What the gateway counts while real exchanges run: requests, bytes, times, tunnels, refusals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from tests.support.figures import Scrape
from tests.support.messages import Request, compose
from tests.support.origin import Connection, Handler, each_request
from tests.support.websocket import echo_websocket, handshake_fields
from tests.support.world import World, open_world
from wormkey.exposition import expose

if TYPE_CHECKING:
    from collections.abc import Callable

    from wormkey.usage import Meter

CHUNKED = ((b"Transfer-Encoding", b"chunked"),)
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\n"
RAW_OFFER = ((b"Connection", b"upgrade"), (b"Upgrade", b"raw"))


def figures(world: World) -> Scrape:
    """Return what /metrics says now."""
    return Scrape.of(expose(world.node)[0])


def meter_of(world: World) -> Meter:
    """Return what the world's session has carried."""
    entry = world.node.routes.find(world.slug)
    assert entry is not None
    return entry.meter


async def until(fulfilled: Callable[[], bool]) -> None:
    """Wait for what the daemon does after the viewer has all he waits for."""
    while not fulfilled():
        await trio.testing.wait_all_tasks_blocked(0.005)


async def test_requests_are_counted_by_the_class_of_their_status() -> None:
    """The origin's answers and the gateway's own; /health and redirects among them."""
    statuses = iter((b"200 OK", b"302 Found", b"500 Oops"))

    async def answer(connection: Connection, _request: Request) -> None:
        await connection.answer(b"x", status=next(statuses))

    async with open_world(each_request(answer)) as world:
        for _ in range(3):
            await world.exchange()
        await world.exchange(b"/health", authority=world.base)
        await world.exchange(b"/s/" + world.slug.encode(), authority=world.base)
        await world.exchange(b"/nothing", authority=world.base)
        viewer = await world.open_viewer()
        await viewer.send(b"no HTTP\r\n\r\n")
        await viewer.read_response()
        scrape = figures(world)
        counted = {
            each: scrape.value("wormkey_requests_total", status=each)
            for each in ("none", "1xx", "2xx", "3xx", "4xx", "5xx")
        }
        assert counted == {"none": 0, "1xx": 0, "2xx": 2, "3xx": 2, "4xx": 2, "5xx": 1}
        assert scrape.value("wormkey_refusals_total", reason="not_found") == 1
        assert scrape.value("wormkey_refusals_total", reason="bad_request") == 1
        assert scrape.total("wormkey_refusals_total") == 2
        assert scrape.value("wormkey_time_to_first_byte_seconds_count") == 3


async def test_time_to_first_byte_is_the_origins_delay() -> None:
    """It counts from the request's head, and lands in the bucket of what the app took."""

    async def answer(connection: Connection, _request: Request) -> None:
        await trio.sleep(0.06)
        await connection.answer(b"slow")

    async with open_world(each_request(answer)) as world:
        await world.exchange()
        histogram = world.node.metrics.time_to_first_byte
        assert histogram.count == 1
        assert 0.06 <= histogram.sum_s < 5


async def test_content_is_counted_both_ways_while_it_moves() -> None:
    """The daemon's figure and the session's own, before the exchange has ended."""
    asked = trio.Event()

    async def answer(connection: Connection, _request: Request) -> None:
        await connection.send(compose(b"HTTP/1.1 200 OK", CHUNKED))
        await connection.send_chunk(b"d" * 700)
        await asked.wait()
        await connection.send(b"0\r\n\r\n")

    async with open_world(each_request(answer)) as world:
        viewer = await world.open_viewer()
        await viewer.request(method=b"POST", content=b"u" * 300)
        await viewer.read_final_head()
        assert await viewer.read_chunk() == b"d" * 700
        await until(lambda: figures(world).value("wormkey_sent_bytes_total") == 700)
        assert figures(world).value("wormkey_received_bytes_total") == 300
        assert figures(world).value("wormkey_streams") == 1
        meter = meter_of(world)
        assert (meter.requests, meter.received_bytes, meter.sent_bytes) == (1, 300, 700)
        assert meter.last_seen_at is not None
        asked.set()
        assert await viewer.read_chunk() == ()
        await until(lambda: figures(world).value("wormkey_streams") == 0)


async def test_a_long_answer_keeps_its_session_in_use() -> None:
    """The time of the session's last use moves while content does, not at the ends alone."""
    go_on = trio.Event()

    async def answer(connection: Connection, _request: Request) -> None:
        await connection.send(compose(b"HTTP/1.1 200 OK", CHUNKED))
        await connection.send_chunk(b"one")
        await go_on.wait()
        await connection.send_chunk(b"two")
        await connection.wait_left()

    # An idle time is noted as moved once an eighth of it is over: 0.1 s here.
    async with open_world(each_request(answer), stream_idle_timeout_s=0.8) as world:
        viewer = await world.open_viewer()
        await viewer.request()
        await viewer.read_final_head()
        assert await viewer.read_chunk() == b"one"
        await trio.sleep(0.2)
        meter_of(world).last_seen_at = None
        go_on.set()
        assert await viewer.read_chunk() == b"two"
        await until(lambda: meter_of(world).last_seen_at is not None)


async def test_bytes_of_an_upgraded_connection_are_counted_while_it_is_open() -> None:
    """A WebSocket may stay for days; its bytes are content, its request is 1xx."""
    async with open_world(_echo_raw) as world:
        viewer = await world.open_viewer()
        await viewer.request(fields=RAW_OFFER)
        assert (await viewer.read_final_head()).status == 101
        await viewer.send(b"x" * 50)
        assert await viewer.read_exactly(50) == b"x" * 50
        await until(lambda: figures(world).value("wormkey_sent_bytes_total") == 50)
        scrape = figures(world)
        assert scrape.value("wormkey_received_bytes_total") == 50
        assert scrape.value("wormkey_requests_total", status="1xx") == 1
        assert scrape.value("wormkey_time_to_first_byte_seconds_count") == 1
        assert (meter_of(world).received_bytes, meter_of(world).sent_bytes) == (50, 50)


async def _echo_raw(connection: Connection) -> None:
    await connection.read_request()
    await connection.send(SWITCH)
    await connection.send(await connection.read_exactly(50))
    await connection.wait_left()


async def test_who_leaves_before_an_answer_has_the_class_none() -> None:
    """He is neither a success nor a failure of the app."""
    async with open_world(_silent) as world:
        viewer = await world.open_viewer()
        await viewer.request()
        await world.origin.wait_connections(1)
        await viewer.reset()
        await until(lambda: figures(world).value("wormkey_requests_total", status="none") == 1)
        assert figures(world).total("wormkey_cut_answers_total") == 0


async def _silent(connection: Connection) -> None:
    await connection.read_request()
    await connection.wait_left()


def _half(end: str) -> Handler:
    async def handler(connection: Connection) -> None:
        await connection.read_request()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf!")
        if end == "viewer":
            await connection.wait_left()
        else:
            await connection.aclose()

    return handler


@pytest.mark.parametrize(
    ("end", "reason"), [("origin", "origin_failed"), ("viewer", "viewer_left")]
)
async def test_an_answer_that_is_cut_is_counted_by_what_cut_it(end: str, reason: str) -> None:
    """Its status said 200; this figure says that it was not whole."""
    async with open_world(_half(end)) as world:
        viewer = await world.open_viewer()
        await viewer.request()
        await viewer.read_final_head()
        assert await viewer.read_exactly(5) == b"half!"
        if end == "viewer":
            await viewer.reset()
        await until(lambda: figures(world).total("wormkey_cut_answers_total") == 1)
        assert figures(world).value("wormkey_cut_answers_total", reason=reason) == 1
        assert figures(world).value("wormkey_requests_total", status="2xx") == 1


async def test_tunnels_are_counted_as_they_come_and_go() -> None:
    """Open ones by version, opened ones, and which of those were a session's return."""
    opened = "wormkey_tunnels_opened_total"
    async with open_world() as world:
        await until(lambda: figures(world).value(opened, version="1") == 1)
        assert figures(world).value("wormkey_tunnels", version="1") == 1
        assert figures(world).value("wormkey_reconnects_total") == 0
        await world.restart_client()
        await until(lambda: figures(world).value(opened, version="1") == 2)
        assert figures(world).value("wormkey_reconnects_total") == 1
        await until(lambda: figures(world).value("wormkey_tunnels", version="1") == 1)
        assert world.client is not None
        await world.client.stop()
        await until(lambda: figures(world).value("wormkey_tunnels", version="1") == 0)


async def test_the_round_trip_of_a_tunnel_is_observed() -> None:
    """The tunnel pings once it is open; what it measures is in the histogram."""
    async with open_world() as world:
        await until(lambda: world.node.metrics.round_trip.count >= 1)
        assert 0 < world.node.metrics.round_trip.sum_s < 5


async def test_requests_that_wait_for_a_client_are_shown_while_they_wait() -> None:
    """A gauge: it is 0 again when the client has come."""
    async with open_world(client=False) as world:
        viewer = await world.open_viewer()
        await viewer.request()
        await until(lambda: figures(world).value("wormkey_held_requests") == 1)
        await world.restart_client()
        assert (await viewer.read_response()).status == 200
        assert figures(world).value("wormkey_held_requests") == 0


async def test_refused_tunnels_are_no_requests_of_viewers() -> None:
    """They have their own figure, by reason; a wrong token is a failed authentication as well."""
    async with open_world(client=False) as world:
        before = figures(world).total("wormkey_requests_total")
        await world.exchange(b"/tunnel", authority=world.base)
        bearer = ((b"Authorization", b"Bearer guess"),)
        for extra in ((), bearer):
            fields = (*handshake_fields(), *extra)
            await world.exchange(b"/tunnel", authority=world.base, fields=fields)
        scrape = figures(world)
        assert scrape.value("wormkey_tunnel_refusals_total", reason="bad_request") == 1
        assert scrape.value("wormkey_tunnel_refusals_total", reason="unauthorized") == 2
        assert scrape.value("wormkey_failed_authentications_total", what="tunnel") == 1
        assert scrape.total("wormkey_requests_total") == before
        assert scrape.total("wormkey_refusals_total") == 0


async def test_a_wrong_password_is_a_failed_authentication_and_a_first_visit_is_not() -> None:
    """A browser asks without credentials first."""
    async with open_world(session={"authMode": "basic"}) as world:
        wrong = ((b"Authorization", b"Basic dTpw"),)
        for fields in ((), wrong):
            assert (await world.exchange(fields=fields)).status == 401
        scrape = figures(world)
        assert scrape.value("wormkey_failed_authentications_total", what="viewer") == 1
        assert scrape.value("wormkey_refusals_total", reason="credentials_required") == 2
        assert meter_of(world).requests == 0  # nobody used the session


async def test_the_loops_lag_is_sampled_by_the_running_daemon() -> None:
    """Within the first seconds there is a sample."""
    async with open_world(client=False) as world:
        await until(lambda: figures(world).value("wormkey_event_loop_lag_seconds_count") >= 1)


async def test_the_store_of_the_running_daemon_is_timed() -> None:
    """Each operation by its name: at least the session was put."""
    async with open_world(client=False, store="sqlite") as world:
        name = "wormkey_store_operation_seconds_count"
        assert figures(world).value(name, operation="put_session") == 1
        assert 0 < world.node.metrics.store["put_session"].sum_s < 10


async def test_websockets_are_counted_like_any_upgrade() -> None:
    """Frames are not parsed: what is counted are the bytes of the connection."""
    async with open_world(echo_websocket) as world:
        viewer = await world.open_viewer()
        await viewer.request(fields=handshake_fields())
        assert (await viewer.read_final_head()).status == 101
        await viewer.send(b"\x81\x82\0\0\0\0hi")
        assert await viewer.read_exactly(4) == b"\x81\x02hi"
        await until(lambda: figures(world).value("wormkey_sent_bytes_total") == 4)
        assert figures(world).value("wormkey_received_bytes_total") == 8
