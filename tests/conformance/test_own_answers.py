"""Where the gateway itself answers, content that is still coming is never a request."""

from __future__ import annotations

import pytest
import trio

from tests.support.world import World, open_world

SMUGGLED = b"GET /s/SLUG/smuggled HTTP/1.1\r\nHost: BASE\r\n\r\n"
PASSWORD = {"authMode": "basic"}

# Target, and whether it is asked of the base host; each is answered without a look at its content.
OWN = {
    "health": (b"/health", True),
    "home": (b"/", True),
    "an unknown slug": (b"/s/nobody/", True),
    "a redirect": (b"/s/SLUG", True),
    "a reserved path": (b"/.wormkey/nothing", True),
    "an asset": (b"/.wormkey/bar.js", True),
    "a wrong method": (b"/.wormkey/policy", True),
    "a tunnel without a handshake": (b"/tunnel", True),
    "a password": (b"/", False),
    "another host": (b"http://elsewhere.example/", True),
}


def _put(world: World, raw: bytes) -> bytes:
    return raw.replace(b"SLUG", world.slug.encode()).replace(b"BASE", world.base)


async def _answers(world: World, head: bytes, content: bytes) -> bytes:
    """Send a head and content with a request inside; everything that comes back."""
    viewer = await world.open_viewer()
    try:
        await viewer.send(head)
        await viewer.send(content)
        await viewer.send_eof()
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass  # it was answered and closed already
    return await viewer.read_rest()


@pytest.mark.parametrize("method", [b"POST", b"GET", b"HEAD"])
@pytest.mark.parametrize("framing", ["length", "chunks", "more to come", "none of it yet"])
@pytest.mark.parametrize("what", OWN)
async def test_content_behind_an_own_answer_is_no_request(
    what: str, framing: str, method: bytes
) -> None:
    """One answer, whatever the content looks like; the app hears nothing of it."""
    async with open_world(session=PASSWORD) as world:
        target, on_base = OWN[what]
        host = world.base if on_base else world.authority
        hidden = _put(world, SMUGGLED)
        fields = {
            "length": b"Content-Length: %d" % len(hidden),
            "chunks": b"Transfer-Encoding: chunked",
            "more to come": b"Content-Length: 100000",
            "none of it yet": b"Content-Length: %d" % len(hidden),
        }[framing]
        head = b"%b %b HTTP/1.1\r\nHost: %b\r\n%b\r\n\r\n"
        content = {
            "chunks": b"%x\r\n%b\r\n0\r\n\r\n" % (len(hidden), hidden),
            "none of it yet": b"",
        }.get(framing, hidden)
        told = await _answers(world, head % (method, _put(world, target), host, fields), content)
        assert told.count(b"HTTP/1.1 ") == 1, told
        assert all(not connection.requests for connection in world.origin.connections)
