"""The tests' own v0 client and v0 gateway, tried against each other without Wormkey."""

from __future__ import annotations

import trio

from tests.support.messages import Request, response
from tests.support.origin import Connection, answering, each_request, start_origin
from tests.support.v0 import Frame, V0Gateway, open_v0_client


async def test_an_exchange_and_a_ping_cross_with_the_habits_of_old_programs() -> None:
    """The request is buffered, repeated response fields are joined, a PING is answered."""
    raw = response(b"x" * 100_000, fields=((b"Set-Cookie", b"a=1"), (b"Set-Cookie", b"b=2")))
    gateway = V0Gateway()
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            origin = await start_origin(nursery, answering(raw))
            await nursery.start(gateway.serve)
            async with open_v0_client(gateway.url, "slug.secret", origin.port) as client:
                await gateway.wait_tunnels(1)
                answer = await gateway.exchange(
                    b"POST", b"/a%20b?c", ((b"X-A", b"1"),), b"y" * 70_000
                )
                await client.ping()
            nursery.cancel_scope.cancel()
    assert gateway.tokens == ["Bearer slug.secret"]
    assert answer.status == 200
    assert answer.content == b"x" * 100_000
    assert answer.fields[b"set-cookie"] == b"a=1, b=2"
    assert origin.requests[0].target == b"/a%20b?c"
    assert origin.requests[0].content.data == b"y" * 70_000


async def test_a_cancel_ends_the_old_clients_request() -> None:
    """STREAM_CANCEL closes the old client's connection to its app."""

    async def never(connection: Connection, _request: Request) -> None:
        await connection.wait_left()

    gateway = V0Gateway()
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            origin = await start_origin(nursery, each_request(never))
            await nursery.start(gateway.serve)
            async with open_v0_client(gateway.url, "slug.secret", origin.port) as client:
                await gateway.wait_tunnels(1)
                stream = await gateway.open(b"GET", b"/")
                await gateway.send(0x03, stream)
                await origin.wait_connections(1)
                await gateway.send(0x04, stream)
                await client.wait_cancelled(stream)
                await origin.wait_closed(1)
            nursery.cancel_scope.cancel()


def test_a_message_under_five_bytes_is_no_frame() -> None:
    """Existing programs ignore it."""
    assert Frame.decode(b"\x01\0\0\0") is None
    assert Frame.decode(Frame(3, 7, b"x").encode()) == Frame(3, 7, b"x")
