"""What the control plane refuses: paths, methods, content, origins, HTTP/2."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import trio

from tests.support.plane import BODY, Plane, open_plane
from wormkey import front

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/health/", 404),
        ("GET", "/metricz", 404),
        ("GET", "/sessions/by-slug/x/y/z", 404),
        ("GET", "/sessions", 405),
        ("DELETE", "/sessions", 405),
        ("POST", "/health", 405),
        ("PUT", "/sessions", 405),
        ("PATCH", "/sessions/1", 405),
        ("TRACE", "/", 405),
        ("CONNECT", "example.com:443", 405),
        ("BREW", "/pot", 405),
        ("OPTIONS", "/sessions", 405),
    ],
)
async def test_errors_have_one_shape(plane: Plane, method: str, target: str, status: int) -> None:
    """Unknown paths and methods answer JSON with a sentence and a code, marked as not to keep."""
    answer = await plane.answer(method, target)
    assert answer.status == status
    error = json.loads(answer.data)
    assert set(error) == {"error", "code"}
    assert answer.head.get(b"Cache-Control") == b"no-store"
    assert answer.head.get(b"X-Content-Type-Options") == b"nosniff"
    assert not answer.head.has(b"Server")
    assert answer.head.has(b"Allow") == (status == 405)


@pytest.mark.parametrize(
    ("content", "media_type", "status"),
    [
        (b"", b"application/json", 400),
        (b"{", b"application/json", 400),
        (b"[" * 60_000, b"application/json", 400),
        (b"\xff\xfe", b"application/json", 400),
        (b'{"port": NaN}', b"application/json", 400),
        (b'{"port": ' + b"9" * 5000 + b"}", b"application/json", 400),
        (b"[]", b"application/json", 400),
        (b'{"port": "5173"}', b"application/json; charset=utf-8", 400),
        (b'{"port": 5173}', b"text/plain", 415),
        (b"port=5173", b"application/x-www-form-urlencoded", 415),
    ],
)
async def test_bad_content_is_said(
    plane: Plane, content: bytes, media_type: bytes, status: int
) -> None:
    """No JSON, odd JSON, deep JSON, another type: a clear 4xx, and no session."""
    answer = await plane.answer(
        "POST", "/sessions", content=content, fields=((b"Content-Type", media_type),)
    )
    assert answer.status == status
    assert set(json.loads(answer.data)) == {"error", "code"}
    assert len(plane.daemon.routes) == 0


async def test_content_is_capped(plane: Plane) -> None:
    """64 KiB pass, one octet more is 413, by length and by chunks; the answer arrives."""
    padded = json.dumps(BODY).encode().ljust(front.MAX_CONTENT_BYTES)
    assert (await plane.answer("POST", "/sessions", content=padded)).status == 201
    for size in (front.MAX_CONTENT_BYTES + 1, 4 * front.MAX_CONTENT_BYTES):
        assert (await plane.answer("POST", "/sessions", content=b" " * size)).status == 413
    viewer = await plane.connect()
    fields = [(b"Transfer-Encoding", b"chunked")]
    await viewer.request(b"/sessions", method=b"POST", fields=fields)
    for _ in range(5):
        await viewer.send_chunk(b" " * 16_384)
    await viewer.send(b"0\r\n\r\n")
    assert (await viewer.read_response()).status == 413
    await viewer.aclose()


async def test_endless_content_is_cut(plane: Plane) -> None:
    """Somebody who never stops sending is answered and cut, not stored."""
    viewer = await plane.connect()
    await viewer.request(b"/sessions", method=b"POST", fields=[(b"Content-Length", b"1000000000")])
    with pytest.raises(trio.BrokenResourceError):  # noqa: PT012 - the cut comes in any round
        while True:
            await viewer.stream.send_all(b" " * 65536)
    await viewer.aclose()


async def test_slow_content_is_cut(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    """Content has a deadline as a whole: trickling does not keep a place for ever."""
    monkeypatch.setattr(front, "CONTENT_TIMEOUT_S", 0.2)
    viewer = await plane.connect()
    await viewer.request(b"/sessions", method=b"POST", fields=[(b"Content-Length", b"10")])
    assert (await viewer.read_response()).status == 408
    await viewer.aclose()


async def test_peer_who_leaves_in_the_content_makes_nothing(plane: Plane) -> None:
    """Half a request is no request."""
    viewer = await plane.connect()
    fields = [(b"Content-Length", b"1000")]
    await viewer.request(b"/sessions", method=b"POST", fields=fields)
    await viewer.send(json.dumps(BODY).encode())
    await viewer.aclose()
    assert (await plane.answer("GET", "/health")).status == 200
    assert len(plane.daemon.routes) == 0


async def test_slow_head_is_cut(tmp_path: Path) -> None:
    """A head that does not come is not waited for longer than the option says."""
    async with open_plane(tmp_path, head_timeout_s=0.2) as plane:
        viewer = await plane.connect()
        await viewer.send(b"GET / HT")
        await viewer.read_rest()
        await viewer.aclose()


async def test_web_pages_create_nothing_in_open_mode(tmp_path: Path) -> None:
    """An Origin that is not configured is refused, without CORS fields; a configured one works."""
    async with open_plane(tmp_path, cors_origins=("https://ui.example",)) as plane:
        content = json.dumps(BODY).encode()
        for origin in (b"https://evil.example", b"null"):
            answer = await plane.answer(
                "POST", "/sessions", content=content, fields=((b"Origin", origin),)
            )
            assert answer.status == 403
            assert not answer.head.has(b"Access-Control-Allow-Origin")
        ours = ((b"Origin", b"https://ui.example"),)
        answer = await plane.answer("POST", "/sessions", content=content, fields=ours)
        assert answer.status == 201
        assert answer.head.get(b"Access-Control-Allow-Origin") == b"https://ui.example"


async def test_preflight_answers_configured_origins_only(tmp_path: Path) -> None:
    """Allowed for the configured origin, an error of the usual shape for others."""
    async with open_plane(tmp_path, cors_origins=("https://ui.example",)) as plane:
        asked = ((b"Access-Control-Request-Method", b"POST"),)
        ours = (*asked, (b"Origin", b"https://ui.example"))
        answer = await plane.answer("OPTIONS", "/sessions", fields=ours)
        assert answer.status == 200
        assert answer.head.get(b"Access-Control-Allow-Origin") == b"https://ui.example"
        theirs = (*asked, (b"Origin", b"https://evil.example"))
        answer = await plane.answer("OPTIONS", "/sessions", fields=theirs)
        assert answer.status == 400
        assert json.loads(answer.data)["code"] == "cors_refused"
        assert not answer.head.has(b"Access-Control-Allow-Origin")


async def test_http2_is_refused(plane: Plane, caplog: pytest.LogCaptureFixture) -> None:
    """By its preface: 505, in HTTP/1.1, and what it carries is not logged."""
    caplog.set_level("DEBUG")
    viewer = await plane.connect()
    await viewer.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nauthorization: Bearer canary\r\n\r\n")
    assert (await viewer.read_response()).status == 505
    assert await viewer.read_rest() == b""
    assert "canary" not in caplog.text
    await viewer.aclose()


async def test_absolute_form_is_taken(plane: Plane) -> None:
    """A client behind a proxy may send the whole URL (RFC 9112 §3.2.2)."""
    assert (await plane.answer("GET", "http://localhost/health")).status == 200
    assert (await plane.answer("GET", "http://localhost")).status == 200


@pytest.mark.parametrize("value", [b"Basic eDp5", b"Bearer", b"Bearer  ", b"Bearer a b", b"bearer"])
async def test_other_authorization_is_none(plane: Plane, value: bytes) -> None:
    """Only one well-formed Bearer field counts; its scheme has no case."""
    made = await plane.create()
    target = f"/sessions/{made['sessionId']}"
    answer = await plane.answer("GET", target, fields=((b"Authorization", value),))
    assert answer.status == 401
    right = (b"authorization", b"BEARER " + made["sessionToken"].encode())
    assert (await plane.answer("GET", target, fields=(right,))).status == 200
    assert (await plane.answer("GET", target, fields=(right, right))).status == 401
