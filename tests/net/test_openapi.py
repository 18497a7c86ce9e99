"""GET /openapi.json on a real socket, and the table of routes behind it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from starlette.routing import Route

from tests.support.plane import Plane, open_plane
from wormkey import openapi
from wormkey.control import make_app

if TYPE_CHECKING:
    from pathlib import Path


async def test_every_route_is_described_and_every_description_has_a_route(plane: Plane) -> None:
    """No call is added to the one without the other; HEAD goes with GET (RFC 9110 9.3.2)."""
    routes = make_app(plane.node).routes
    served = {
        (method, route.path)
        for route in routes
        if isinstance(route, Route)
        for method in route.methods or ()
        if method != "HEAD"
    }
    assert all(isinstance(route, Route) for route in routes)
    assert served == {(call.method, call.path) for call in openapi.CALLS}


@pytest.mark.parametrize("access", ["open", "token"])
async def test_anyone_may_read_the_description(access: str, tmp_path: Path) -> None:
    """It needs no token, and says how this daemon is set up: access, and the longest life."""
    async with open_plane(tmp_path, access=access, max_session_age_s=7 * 86400.0) as plane:
        answer = await plane.answer("GET", "/openapi.json")
        assert answer.status == 200
        assert answer.head.get(b"Content-Type") == b"application/json"
        served = json.loads(answer.data)
        expected = openapi.document(
            version=plane.node.version, access=access, max_age_s=7 * 86400.0
        )
        assert served == expected
        assert "at most 7d here" in answer.data.decode()


async def test_every_get_has_a_head(plane: Plane) -> None:
    """The same status and length, and no content."""
    for target in ("/", "/health", "/ready", "/openapi.json", "/access", "/sessions/by-slug/x"):
        full, head = await plane.answer("GET", target), await plane.answer("HEAD", target)
        assert (head.status, head.data) == (full.status, b"")
        assert head.head.get(b"Content-Length") == b"%d" % len(full.data)
