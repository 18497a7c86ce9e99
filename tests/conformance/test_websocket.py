"""RFC 6455: what the gateway relays unread, and the WebSocket that it serves itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.origin import Connection, each_request
from tests.support.websocket import KEY, accept_of, handshake_fields
from tests.support.world import World, open_world

if TYPE_CHECKING:
    from tests.support.messages import Request, Response


def _changed(name: bytes, *values: bytes) -> list[tuple[bytes, bytes]]:
    """The opening handshake's fields with one of them changed, repeated or left out."""
    kept = [pair for pair in handshake_fields() if pair[0] != name]
    return [*kept, *((name, value) for value in values)]


# A handshake for /tunnel that RFC 6455 §4.2.1 does not allow, and the status it gets.
WRONG = {
    "no Upgrade": (_changed(b"Upgrade"), 400),
    "another protocol": (_changed(b"Upgrade", b"h2c"), 400),
    "Connection without it": (_changed(b"Connection", b"keep-alive"), 400),
    "no key": (_changed(b"Sec-WebSocket-Key"), 400),
    "two keys": (_changed(b"Sec-WebSocket-Key", KEY, KEY), 400),
    "a short key": (_changed(b"Sec-WebSocket-Key", b"AAAA"), 400),
    "a key that is no base64": (_changed(b"Sec-WebSocket-Key", b"*" * 24), 400),
    "no version": (_changed(b"Sec-WebSocket-Version"), 426),
    "an old version": (_changed(b"Sec-WebSocket-Version", b"8"), 426),
    "a version to come": (_changed(b"Sec-WebSocket-Version", b"14"), 426),
}


async def _ask(world: World, fields: list[tuple[bytes, bytes]], method: bytes = b"GET") -> Response:
    bearer = (b"Authorization", b"Bearer " + world.token.encode())
    return await world.exchange(
        b"/tunnel", method=method, authority=world.base, fields=[*fields, bearer]
    )


@pytest.mark.parametrize("what", WRONG)
async def test_a_handshake_off_the_rules_opens_no_tunnel(what: str) -> None:
    """400, or 426 with the versions that are spoken (§4.2.2, §4.4); the daemon serves on."""
    fields, status = WRONG[what]
    async with open_world() as world:
        refused = await _ask(world, fields)
        assert refused.status == status
        if status == 426:
            assert refused.head.get(b"Sec-WebSocket-Version") == b"13"
            assert refused.head.get(b"Upgrade") == b"websocket"
        assert (await world.exchange()).status == 200


async def test_a_handshake_is_a_get() -> None:
    """§4.1: any other method opens nothing."""
    async with open_world() as world:
        assert (await _ask(world, handshake_fields(), b"POST")).status in (400, 405)


async def test_the_apps_accept_is_not_made_up() -> None:
    """A wrong Sec-WebSocket-Accept, or none, is the app's: the viewer is to see it (§4.1)."""
    for said in (b"wrong", accept_of(b"another key"), None):
        accept = () if said is None else ((b"Sec-WebSocket-Accept", said),)

        async def answer(
            connection: Connection,
            _request: Request,
            accept: tuple[tuple[bytes, bytes], ...] = accept,
        ) -> None:
            lines = b"".join(b"%b: %b\r\n" % pair for pair in accept)
            await connection.send(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                b"Connection: Upgrade\r\n" + lines + b"\r\n"
            )
            await connection.wait_left()

        async with open_world(each_request(answer)) as world:
            viewer = await world.open_viewer()
            await viewer.request(fields=handshake_fields())
            head = (await viewer.read_final_head()).head
            assert head.start[1] == b"101"
            assert head.get(b"Sec-WebSocket-Accept") == said


@pytest.mark.parametrize(
    ("name", "values"),
    [
        (b"Sec-WebSocket-Protocol", (b"chat, superchat", b"v2")),
        (b"Sec-WebSocket-Extensions", (b"permessage-deflate; client_max_window_bits", b"x-foo")),
        (b"Sec-WebSocket-Version", (b"13",)),
        (b"Sec-WebSocket-Key", (KEY, KEY)),
        (b"Sec-WebSocket-Unknown", (b"kept",)),
    ],
)
async def test_the_apps_handshake_is_the_apps(name: bytes, values: tuple[bytes, ...]) -> None:
    """Subprotocols, extensions, versions and keys reach it in order, repeats too: it decides."""
    async with open_world() as world:
        told = await world.exchange(fields=_changed(name, *values))
        assert told.status == 200
        (request,) = world.origin.requests
        assert request.head.all(name) == list(values)
        assert request.head.get(b"Upgrade") == b"websocket"
