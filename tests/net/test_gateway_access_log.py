"""The access log: one record for each viewer's exchange, when it ends, and nothing secret in it."""

from __future__ import annotations

import logging
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import trio
import trio.testing

from tests.support.messages import Request, compose
from tests.support.origin import Connection, each_request
from tests.support.websocket import handshake_fields
from tests.support.world import open_world
from wormkey.values import parse_network

if TYPE_CHECKING:
    from collections.abc import Iterator

PROXY = (parse_network("127.0.0.1/32"),)
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\n"
STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class Records(logging.Handler):
    """Keeps what the access log says."""

    def __init__(self) -> None:
        """Nothing is said yet."""
        super().__init__()
        self.all: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        self.all.append(record)

    async def wait(self, count: int) -> list[dict[str, Any]]:
        """Wait until there are this many; return what each tells."""
        while len(self.all) < count:
            await trio.testing.wait_all_tasks_blocked(0.005)
        assert len(self.all) == count
        for record in self.all:
            assert (record.levelname, record.getMessage()) == ("INFO", "exchange")
        return [
            {name: value for name, value in record.__dict__.items() if name not in STANDARD}
            for record in self.all
        ]


@contextmanager
def listening() -> Iterator[Records]:
    """Hear what is said on wormkey.access."""
    logger, records = logging.getLogger("wormkey.access"), Records()
    level = logger.level
    logger.addHandler(records)
    logger.setLevel(logging.INFO)
    try:
        yield records
    finally:
        logger.removeHandler(records)
        logger.setLevel(level)


async def test_an_exchange_leaves_one_record() -> None:
    """Who, what, how much, how long, for which session; no query, no credentials, no cookie."""

    async def answer(connection: Connection, _request: Request) -> None:
        await connection.answer(b"d" * 70, status=b"201 Created")

    secrets = (
        (b"Authorization", b"Bearer SECRET"),
        (b"Cookie", b"id=SECRET"),
        (b"X-Forwarded-For", b"192.0.2.9"),
    )
    with listening() as records:
        async with open_world(each_request(answer), access_log=True) as world:
            target = b"/a/b?key=SECRET"
            await world.exchange(target, method=b"POST", fields=secrets, content=b"u" * 30)
            [told] = await records.wait(1)
            assert 0 < told.pop("ttfb_s") <= told.pop("duration_s") < 20
            assert re.fullmatch(r"[0-9a-f]{16}", told.pop("request"))
            assert told == {
                "viewer": "127.0.0.1",  # nobody vouched for the other one
                "method": "POST",
                "path": "/a/b",
                "status": 201,
                "received_bytes": 30,
                "sent_bytes": 70,
                "session": world.session["sessionId"],
                "slug": world.slug,
                "upgraded": False,
                "error": None,
            }
            assert "SECRET" not in str(records.all[0].__dict__)


async def test_it_is_off_unless_asked_for() -> None:
    """By default an exchange leaves nothing."""
    with listening() as records:
        async with open_world() as world:
            await world.exchange()
            await world.exchange(b"/nothing", authority=world.base)
            await trio.testing.wait_all_tasks_blocked(0.01)
        assert records.all == []


async def test_the_viewers_address_comes_through_trusted_proxies() -> None:
    """The nearest address that no trusted proxy has."""
    with listening() as records:
        async with open_world(access_log=True, trusted_proxies=PROXY) as world:
            chain = ((b"X-Forwarded-For", b"198.51.100.1, 192.0.2.7, 127.0.0.1"),)
            await world.exchange(fields=chain)
            [told] = await records.wait(1)
            assert told["viewer"] == "192.0.2.7"


async def test_the_gateways_own_answers_are_recorded_with_their_code_and_id() -> None:
    """The id on the page is the one in the log, whether or not a request could be read."""
    with listening() as records:
        async with open_world(access_log=True) as world:
            unknown = await world.exchange(authority=b"nobody-has-this." + world.base)
            malformed = await world.open_viewer()
            await malformed.send(b"no HTTP\r\n\r\n")
            bad = await malformed.read_response()
            first, second = await records.wait(2)
        for answer, told in ((unknown, first), (bad, second)):
            assert told["status"] == answer.status
            assert told["error"] == (answer.error or b"").decode()
            assert told["request"] == (answer.head.get(b"Wormkey-Request-Id") or b"").decode()
            assert (told["session"], told["slug"], told["ttfb_s"]) == (None, None, None)
        assert (first["method"], first["path"], first["status"]) == ("GET", "/", 404)
        assert (second["method"], second["path"], second["status"]) == ("", "", 400)


async def test_the_record_of_a_websocket_comes_when_it_ends() -> None:
    """With the bytes of both directions; not before."""

    async def answer(connection: Connection) -> None:
        await connection.read_request()
        await connection.send(SWITCH)
        await connection.send(await connection.read_exactly(5) + b"!")
        await connection.wait_left()

    with listening() as records:
        async with open_world(answer, access_log=True) as world:
            viewer = await world.open_viewer()
            await viewer.request(fields=((b"Connection", b"upgrade"), (b"Upgrade", b"raw")))
            assert (await viewer.read_final_head()).status == 101
            await viewer.send(b"hello")
            assert await viewer.read_exactly(6) == b"hello!"
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert records.all == []
            await viewer.send_eof()
            [told] = await records.wait(1)
            assert (told["status"], told["upgraded"], told["error"]) == (101, True, None)
            assert (told["received_bytes"], told["sent_bytes"]) == (5, 6)


async def test_a_cut_answer_says_what_cut_it() -> None:
    """The status was sent already; the error tells that the content is not whole."""

    async def answer(connection: Connection) -> None:
        await connection.read_request()
        head = compose(b"HTTP/1.1 200 OK", ((b"Content-Length", b"10"),))
        await connection.send(head + b"half!")
        await connection.aclose()

    with listening() as records:
        async with open_world(answer, access_log=True) as world:
            await world.exchange()
            [told] = await records.wait(1)
            assert (told["status"], told["error"]) == (200, "origin_failed")


async def test_a_viewer_who_leaves_is_recorded_as_gone() -> None:
    """Status 0: he got none."""

    async def answer(connection: Connection) -> None:
        await connection.read_request()
        await connection.wait_left()

    with listening() as records:
        async with open_world(answer, access_log=True) as world:
            viewer = await world.open_viewer()
            await viewer.request()
            await world.origin.wait_connections(1)
            await viewer.reset()
            [told] = await records.wait(1)
            assert (told["status"], told["error"]) == (0, "viewer_left")


async def test_an_exchange_cut_by_the_drain_says_so() -> None:
    """Its record is written although everything around it ends."""

    async def answer(connection: Connection) -> None:
        await connection.read_request()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf!")
        await connection.wait_left()

    with listening() as records:
        async with open_world(answer, access_log=True, drain_timeout_s=0.1) as world:
            viewer = await world.open_viewer()
            await viewer.request()
            await viewer.read_final_head()
            world.node.drain.start()
            [told] = await records.wait(1)
            assert (told["status"], told["error"]) == (200, "draining")


async def test_tunnels_are_no_exchanges() -> None:
    """The log of lives has them: one that opens and one that is refused leave no record here."""
    with listening() as records:
        async with open_world(access_log=True) as world:
            await world.exchange(b"/tunnel", authority=world.base, fields=handshake_fields())
            await world.exchange()
            [told] = await records.wait(1)
            assert told["path"] == "/"
