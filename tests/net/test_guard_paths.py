"""Requests that are none of this API's: odd targets, other protocols, pages of other origins."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.support.plane import BODY, Plane, open_plane

if TYPE_CHECKING:
    from pathlib import Path

UI = b"https://ui.example"


# ── targets ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("POST", "//sessions", 404),
        ("POST", "/sessions/", 404),
        ("POST", "/Sessions", 404),
        ("POST", "/./sessions", 404),
        ("POST", "/health/../sessions", 404),
        ("POST", "/sessions%2F", 404),
        ("POST", "/%2Fsessions", 404),
        ("POST", "%2Fsessions", 400),
        ("GET", "/sessions%2fby-slug%2fx", 404),
        ("GET", "/sessions/by-slug%5Cx", 404),
        ("GET", "/health%00", 404),
        ("GET", "/health;x", 404),
        ("GET", "/sessions/by-slug/%ff%fe", 404),
        ("GET", "/sessions/by-slug/" + "a" * 5000, 404),
        ("GET", "/sessions/%2e%2e/health", 404),
        ("GET", "health", 400),
        ("GET", "/http://localhost/health", 404),
        ("GET", "http%3A//localhost/health", 400),
        ("GET", "ftp://localhost/health", 400),
        ("POST", "http://localhost/health", 405),
        ("GET", "http://localhost/nothing", 404),
        ("GET", "http://localhost//health", 404),
        ("OPTIONS", "*", 404),
        ("CONNECT", "localhost:22", 405),
        ("CONNECT", "/sessions", 405),
        ("get", "/nothing", 404),
        ("M-SEARCH", "*", 400),
    ],
)
async def test_odd_targets_are_no_calls(
    plane: Plane, method: str, target: str, status: int
) -> None:
    """Refused in the usual shape, never a redirect to what was meant, never a session."""
    fields = ((b"Content-Type", b"application/json"),)
    content = json.dumps(BODY).encode() if method == "POST" else None
    answer = await plane.answer(method, target, content=content, fields=fields)
    assert answer.status == status
    assert set(json.loads(answer.data)) == {"error", "code"}
    assert not answer.head.has(b"Location")
    assert len(plane.daemon.routes) == 0


@pytest.mark.parametrize("target", ["/health?x=%2F", "/health?", "http://x/health?a=/b%00"])
async def test_a_query_is_not_read(plane: Plane, target: str) -> None:
    """What stands behind the question mark changes nothing."""
    assert (await plane.answer("GET", target)).status == 200


@pytest.mark.parametrize(
    ("target", "allow"),
    [
        ("/sessions", b"POST"),
        ("/sessions/1", b"DELETE, GET, HEAD"),
        ("/sessions/by-slug/x", b"GET, HEAD"),
        ("/sessions/by-slug/x/close", b"POST"),
    ],
)
async def test_allow_names_every_method_of_the_path(
    plane: Plane, target: str, allow: bytes
) -> None:
    """RFC 9110 section 10.2.1, also where two calls share a path."""
    answer = await plane.answer("OPTIONS", target)
    assert (answer.status, answer.head.get(b"Allow")) == (405, allow)


# ── other protocols ─────────────────────────────────────────────────────────────────────────


async def test_prior_knowledge_of_http2_opens_nothing(plane: Plane) -> None:
    """`PRI * HTTP/2.0` on the plain port is a version that is not served; nothing else is read."""
    viewer = await plane.connect()
    await viewer.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
    answer = await viewer.read_response()
    assert (answer.status, json.loads(answer.data)["code"]) == (505, "version_not_supported")
    assert await viewer.read_rest() == b""
    await viewer.aclose()


async def test_an_upgrade_to_h2c_opens_nothing(plane: Plane) -> None:
    """The offer is ignored, and HTTP/2 behind it is no request.

    A proxy that passes the offer on believes that a tunnel begins, and checks nothing more.
    """
    viewer = await plane.connect()
    await viewer.send(
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\n"
        b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    )
    assert [(await viewer.read_response()).status for _ in range(2)] == [200, 505]
    assert await viewer.read_rest() == b""
    await viewer.aclose()


async def test_no_websocket_opens(plane: Plane) -> None:
    """A handshake gets an error of the usual shape, with the usual fields."""
    handshake = (
        (b"Connection", b"Upgrade"),
        (b"Upgrade", b"websocket"),
        (b"Sec-WebSocket-Version", b"13"),
        (b"Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="),
    )
    for target in ("/", "/sessions", "/nothing"):
        answer = await plane.answer("GET", target, fields=handshake)
        assert (answer.status, json.loads(answer.data)["code"]) == (400, "websocket_refused")
        assert answer.head.get(b"X-Frame-Options") == b"DENY"


# ── pages of other origins ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (UI, True),
        (b"null", False),
        (b"https://evil.example", False),
        (b"https://ui.example.evil.example", False),
        (b"http://ui.example", False),
        (b"https://ui.example:8443", False),
        (b"https://UI.example", False),
        (b"*", False),
    ],
)
async def test_cors_is_for_the_configured_origins(
    origin: bytes, allowed: bool, tmp_path: Path
) -> None:
    """Preflight and call alike; never with credentials, never for any origin, told to caches."""
    async with open_plane(tmp_path, cors_origins=(UI.decode(),)) as plane:
        said = (b"Origin", origin)
        asked = (
            (b"Access-Control-Request-Method", b"DELETE"),
            (b"Access-Control-Request-Headers", b"authorization"),
        )
        preflight = await plane.answer("OPTIONS", "/sessions/1", fields=(said, *asked))
        call = await plane.answer("GET", "/sessions/by-slug/nobody", fields=(said,))
        assert preflight.status == (200 if allowed else 400)
        for answer in (preflight, call):
            expected = origin if allowed else None
            assert answer.head.get(b"Access-Control-Allow-Origin") == expected
            assert not answer.head.has(b"Access-Control-Allow-Credentials")
            assert b"Origin" in (answer.head.get(b"Vary") or b"")


async def test_a_preflight_admits_what_the_api_has(tmp_path: Path) -> None:
    """Its methods and fields, and no other."""
    async with open_plane(tmp_path, cors_origins=(UI.decode(),)) as plane:
        said = (b"Origin", UI)
        for name, value in (
            (b"Access-Control-Request-Method", b"PATCH"),
            (b"Access-Control-Request-Headers", b"x-secret"),
        ):
            method = (b"Access-Control-Request-Method", b"POST")
            fields = (said, *([method] if name.endswith(b"Headers") else []), (name, value))
            answer = await plane.answer("OPTIONS", "/sessions", fields=fields)
            assert json.loads(answer.data)["code"] == "cors_refused", name


async def test_without_configured_origins_there_is_no_cors(plane: Plane) -> None:
    """No page may read an answer; a preflight is a method that no path has."""
    said = ((b"Origin", UI), (b"Access-Control-Request-Method", b"POST"))
    answer = await plane.answer("OPTIONS", "/sessions", fields=said)
    assert answer.status == 405
    assert not answer.head.has(b"Access-Control-Allow-Origin")
