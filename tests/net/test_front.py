"""front.py: the control plane's connections are read strictly, counted, and ended in time."""

from __future__ import annotations

import json
import socket
import struct
from typing import TYPE_CHECKING

import pytest
import trio

from tests.support.plane import BODY, Plane, open_plane
from wormkey import front

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.viewer import Viewer

HOST = b"Host: localhost\r\n"


@pytest.mark.parametrize(
    ("raw", "status", "code"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\n" + HOST + b"\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: a\r\n b\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X : a\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n", 400, "bad_request"),
        (
            b"POST /sessions HTTP/1.1\r\n"
            + HOST
            + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
            "bad_request",
        ),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: +1\r\n\r\nx", 400, "bad_request"),
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400, "bad_request"),
        (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414, "target_too_long"),
        (
            b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"x" * 40_000 + b"\r\n\r\n",
            431,
            "head_too_large",
        ),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Expect: x\r\n\r\n", 417, "expectation_failed"),
        (b"TRACE / HTTP/1.1\r\n" + HOST + b"\r\n", 405, "method_not_allowed"),
        (
            b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
            501,
            "not_implemented",
        ),
        (b"GET / HTTP/3.0\r\n" + HOST + b"\r\n", 505, "version_not_supported"),
    ],
)
async def test_what_is_no_request_is_said_in_the_api_s_shape(
    plane: Plane, raw: bytes, status: int, code: str
) -> None:
    """A sentence and a code, never an empty answer; the connection is over, and counted."""
    viewer = await plane.connect()
    await viewer.send(raw)
    answer = await viewer.read_response()
    assert (answer.status, json.loads(answer.data)["code"]) == (status, code)
    assert answer.head.get(b"Connection") == b"close"
    assert answer.head.get(b"X-Content-Type-Options") == b"nosniff"
    assert await viewer.read_rest() == b""
    await viewer.aclose()
    assert plane.node.metrics.control_requests[f"{status // 100}xx"] == 1


async def test_content_behind_a_refusal_is_no_request(plane: Plane) -> None:
    """What hides in content that nobody read creates nothing."""
    body = json.dumps(BODY).encode()
    hidden = (
        b"POST /sessions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    )
    for target in (b"/nothing", b"/sessions/by-slug/x", b"/health"):
        viewer = await plane.connect()
        await viewer.request(target, method=b"POST", content=hidden)
        assert (await viewer.read_response()).status in {404, 405}
        await viewer.send_eof()
        assert await viewer.read_rest() == b""
        await viewer.aclose()
    assert len(plane.daemon.routes) == 0


async def test_content_is_asked_for(plane: Plane) -> None:
    """Expect: 100-continue gets its 100 (RFC 9110 §10.1.1)."""
    body = json.dumps(BODY).encode()
    viewer = await plane.connect()
    fields = [
        (b"Content-Type", b"application/json"),
        (b"Content-Length", b"%d" % len(body)),
        (b"Expect", b"100-continue"),
    ]
    await viewer.request(b"/sessions", method=b"POST", fields=fields)
    assert (await viewer.read_head()).start[1] == b"100"
    await viewer.send(body)
    assert (await viewer.read_response()).status == 201
    await viewer.aclose()


async def test_nobody_can_introduce_himself(plane: Plane) -> None:
    """The fields by which the front says who asks are taken from strangers."""
    fields = ((b"Wormkey-Peer", b"192.0.2.9"), (b"Wormkey-Proof", b"0" * 32), (b"X", b"y"))
    assert front._passed(fields) == ((b"X", b"y"),)
    assert (await plane.answer("GET", "/health", fields=fields)).status == 200


async def test_who_resets_before_he_is_served_ends_himself_alone(plane: Plane) -> None:
    """His address is not to be had any more; everybody else's connection is served."""
    linger = struct.pack("ii", 1, 0)
    for _ in range(60):
        sock = socket.create_connection(("127.0.0.1", plane.port))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        sock.close()
    assert (await plane.answer("GET", "/health")).status == 200


async def test_content_that_is_too_large_is_not_asked_for(plane: Plane) -> None:
    """413 in the place of the 100."""
    viewer = await plane.connect()
    fields = [(b"Expect", b"100-continue"), (b"Content-Length", b"%d" % (1 << 20))]
    await viewer.request(b"/sessions", method=b"POST", fields=fields)
    answer = await viewer.read_response()
    assert (answer.status, answer.interim) == (413, [])
    await viewer.aclose()


async def _asking(plane: Plane, count: int) -> list[Viewer]:
    """Connections that are in the middle of a request."""
    viewers = [await plane.connect() for _ in range(count)]
    for viewer in viewers:
        await viewer.request(b"/sessions", method=b"POST", fields=[(b"Content-Length", b"9")])
    return viewers


async def test_connections_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all places taken by calls, one more is told 503; an idle one makes room instead."""
    async with open_plane(tmp_path, max_control_connections=4) as plane:
        idle = await plane.connect()
        await idle.exchange(b"/health")
        busy = await _asking(plane, 3)
        taken = await plane.connect()
        assert (await taken.exchange(b"/health")).status == 200  # the idle one's place
        assert await idle.read_rest() == b""
        busy += await _asking(plane, 1)
        assert await taken.read_rest() == b""
        refused = await plane.connect()
        monkeypatch.setattr(front, "TRIAL_S", 20.0)
        waiting = await refused.exchange(b"/health")
        assert (waiting.status, waiting.head.get(b"Retry-After")) == (503, b"1")
        for viewer in (idle, taken, refused, *busy):
            await viewer.aclose()
        assert (await plane.answer("GET", "/health")).status == 200


async def test_a_closed_connection_is_gone_at_once(plane: Plane) -> None:
    """Nothing of it is kept: neither its place nor its task."""
    before = len(plane.nursery.child_tasks), trio.lowlevel.current_statistics().tasks_living
    for _ in range(20):
        viewer = await plane.connect()
        assert (await viewer.exchange(b"/health")).status == 200
        await viewer.aclose()
    with trio.fail_after(5):
        while trio.lowlevel.current_statistics().tasks_living > before[1] + 2:  # noqa: ASYNC110 - nothing tells
            await trio.lowlevel.checkpoint()


async def test_who_has_just_connected_may_still_speak_at_the_end(plane: Plane) -> None:
    """His request was on its way; who had one before and waits is closed at once."""
    known, fresh = await plane.connect(), await plane.connect()
    assert (await known.exchange(b"/health")).status == 200
    plane.stop.set()
    assert await known.read_rest() == b""
    assert (await fresh.exchange(b"/health")).status == 200
    await known.aclose()
    await fresh.aclose()
