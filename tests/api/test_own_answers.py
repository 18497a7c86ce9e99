"""Every answer that the daemon makes itself, read by httplint: a tool that knows nothing of us.

Pages, JSON, redirects, assets and refusals of both listeners. What it calls bad or warns of fails
the test, but for what is listed with its reason. `make api` runs it.
"""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime
from email.utils import format_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, TypeAlias

import pytest
from httplint import HttpResponseLinter
from httplint.note import levels

from tests.support.messages import Content, Fields, Head, Request, Response
from tests.support.origin import Connection, each_request
from tests.support.viewer import open_viewer
from tests.support.websocket import handshake_fields
from tests.support.world import World, open_world
from wormkey.codes import ERRORS
from wormkey.pages import render

if TYPE_CHECKING:
    from collections.abc import Iterable

HTML: Final = ((b"Accept", b"text/html"),)
JSON: Final = ((b"Content-Type", b"application/json"),)

# Method, target, fields, content, the status that it must have.
Case: TypeAlias = tuple[bytes, bytes, tuple[tuple[bytes, bytes], ...], "bytes | None", int]
Cases: TypeAlias = tuple[Case, ...]

GATEWAY: Final[Cases] = (
    (b"GET", b"/", (), None, 200),
    (b"HEAD", b"/", (), None, 200),
    (b"GET", b"/health", (), None, 200),
    (b"HEAD", b"/health", (), None, 200),
    (b"OPTIONS", b"*", (), None, 204),
    (b"GET", b"/s/nobody/", HTML, None, 404),
    (b"GET", b"/s/nobody/", (), None, 404),
    (b"HEAD", b"/s/nobody/", (), None, 404),
    (b"GET", b"/s/%s", (), None, 308),
    (b"GET", b"/.wormkey/nothing", (), None, 404),
    (b"GET", b"/.wormkey/policy", (), None, 405),
    (b"POST", b"/.wormkey/policy", JSON, b"{}", 400),
    (b"GET", b"/.wormkey/state?slug=%s", (), None, 403),
    (b"GET", b"/.wormkey/owner?slug=%s", HTML, None, 401),
    (b"GET", b"/.wormkey/bar?slug=%s", HTML, None, 200),
    (b"GET", b"/.wormkey/bar.js", (), None, 200),
    (b"GET", b"/.wormkey/bar.css", (), None, 200),
    (b"GET", b"/.wormkey/overlay.js", (), None, 200),
    (b"GET", b"/.wormkey/bar.js", ((b"If-None-Match", b"*"),), None, 304),
    (b"GET", b"/tunnel", (), None, 400),
    (b"GET", b"/tunnel", tuple(handshake_fields()[:3]), None, 426),
    (b"OPTIONS", b"/s/%s/", ((b"Max-Forwards", b"0"),), None, 204),
    (b"GET", b"/s/%s/", HTML, None, 502),
    (b"GET", b"/s/%s/", (), None, 502),
    (b"HEAD", b"/s/%s/", (), None, 502),
    (b"TRACE", b"/", (), None, 501),
    (b"GET", b"/" + b"x" * 20_000, (), None, 414),
    (b"GET", b"/", ((b"X-Large", b"x" * 40_000),), None, 431),
    (b"GET", b"/", ((b"X-Bad", b"\x01"),), None, 400),
    (b"POST", b"/", ((b"Transfer-Encoding", b"gzip, chunked"),), None, 501),
    (b"POST", b"/", ((b"Expect", b"miracles"),), b"x", 417),
    (b"GET", b"http://elsewhere.example/", (), None, 421),
)
CONTROL: Final[Cases] = (
    (b"GET", b"/", (), None, 200),
    (b"HEAD", b"/", (), None, 200),
    (b"GET", b"/health", (), None, 200),
    (b"GET", b"/ready", (), None, 200),
    (b"GET", b"/metrics", (), None, 200),
    (b"GET", b"/openapi.json", (), None, 200),
    (b"GET", b"/access", (), None, 200),
    (b"GET", b"/nothing", (), None, 404),
    (b"DELETE", b"/health", (), None, 405),
    (b"POST", b"/sessions", JSON, b'{"port": 1}', 201),
    (b"POST", b"/sessions", JSON, b"{", 400),
    (b"POST", b"/sessions", JSON, b'"%b"' % (b"x" * 500_000), 413),
    (b"GET", b"/sessions/by-slug/%s", (), None, 200),
    (b"GET", b"/sessions/by-slug/nobody", (), None, 404),
    (b"POST", b"/sessions/by-slug/%s/kick", JSON, b"{}", 401),
    (b"DELETE", b"/sessions/nothing", (), None, 401),
)

# What an answer of this status must have beside what a page has (RFC 9110 §15).
DUE: Final[dict[int, Fields]] = {
    401: ((b"WWW-Authenticate", b'Basic realm="wormkey", charset="UTF-8"'),),
    405: ((b"Allow", b"GET, HEAD"),),
    426: ((b"Upgrade", b"websocket"), (b"Connection", b"upgrade")),
    429: ((b"Retry-After", b"5"),),
    503: ((b"Retry-After", b"5"),),
}
MEANT: Final = "STATUS_"  # notes that say no more than what the status is for


def findings(answer: Response, method: bytes, url: str) -> set[str]:
    """What httplint calls bad, or warns of."""
    linter = HttpResponseLinter(
        start_time=datetime.now(UTC).timestamp(), no_content=method == b"HEAD"
    )
    linter.base_uri = url
    version, status, *reason = answer.head.start
    linter.process_response_topline(version, status, b" ".join(reason))
    linter.process_headers(list(answer.fields))
    linter.feed_content(answer.data)
    linter.finish_content(True)
    return {
        f"{type(note).__name__}: {note}"
        for note in linter.notes
        if note.level in (levels.BAD, levels.WARN) and not type(note).__name__.startswith(MEANT)
    }


async def _look(
    world: World,
    address: tuple[str, int],
    cases: Iterable[Case],
) -> dict[str, set[str]]:
    found = {}
    for method, pattern, fields, content, status in cases:
        target = pattern.replace(b"%s", world.slug.encode())
        viewer = await open_viewer(*address, b"localhost:%d" % address[1])
        answer = await viewer.exchange(target, method=method, fields=fields, content=content)
        await viewer.aclose()
        name = f"{method.decode()} {target[:60].decode()} {answer.status}"
        assert answer.status == status, name
        said = findings(answer, method, f"http://localhost:{address[1]}{target[:60].decode()}")
        if said:
            found[name] = said
    return found


def test_it_finds_what_is_wrong() -> None:
    """An answer with a fault of each kind does not pass."""
    fields = ((b"Content-Type", b"text/html"), (b"Date", b"yesterday"), (b"Content-Length", b"9"))
    head = Head((b"HTTP/1.1", b"200", b"OK"), fields, b"")
    assert findings(Response(head), b"GET", "http://a/")


@pytest.mark.parametrize("accept", [b"text/html", b"application/json"])
@pytest.mark.parametrize("code", ERRORS)
def test_every_error_has_no_fault(code: str, accept: bytes) -> None:
    """All that docs/errors.md lists, as a page and as JSON, also what is hard to provoke."""
    status = ERRORS[code].status
    fields, data = render(
        code=code, request_id="0123456789abcdef", accept=accept, fields=DUE.get(status, ())
    )
    date = (b"Date", format_datetime(datetime.now(UTC), usegmt=True).encode())
    start = (b"HTTP/1.1", b"%d" % status, HTTPStatus(status).phrase.encode())
    answer = Response(Head(start, (date, *fields), b""), content=Content([data]))
    assert findings(answer, b"GET", "http://localhost/") == set()


async def test_who_is_slow_or_guesses_is_told_without_a_fault() -> None:
    """408 for half a head, 429 for names that nobody has."""
    async with open_world(client=False, head_timeout_s=0.1, max_misses=1) as world:
        viewer = await world.open_viewer(world.base)
        await viewer.send(b"GET / HTTP/1.1\r\nX-")
        answer = await viewer.read_response()
        assert answer.status == 408
        assert findings(answer, b"GET", "http://localhost/") == set()
        address = f"http://localhost:{world.gateway[1]}/"
        for status in (404, 429):
            answer = await world.exchange(b"/s/nobody/", authority=world.base)
            assert answer.status == status
            assert findings(answer, b"GET", address) == set()


async def test_the_gateway_s_own_answers_have_no_fault() -> None:
    """Pages, assets, redirects and every refusal that HTTP itself knows."""
    async with open_world(client=False, limit_s=60, hold_s=0.0) as world:
        assert await _look(world, world.gateway, GATEWAY) == {}


async def test_the_api_s_answers_have_no_fault() -> None:
    """Each call once as it is meant, and once in each way it is refused."""
    async with open_world(client=False, limit_s=60) as world:
        assert await _look(world, world.control, CONTROL) == {}


async def test_what_the_gateway_says_of_apps_and_sessions_has_no_fault() -> None:
    """A password, the owner's link, an app that is slow, broken or gone, a session that is over."""

    async def answer(connection: Connection, request: Request) -> None:
        if request.target == b"/broken":
            await connection.send(b"nonsense\r\n\r\n")
        await connection.wait_left()

    async with open_world(
        each_request(answer), limit_s=60, answer_timeout_s=0.2, session={"authMode": "basic"}
    ) as world:
        credentials = b64encode(f"{world.session['username']}:{world.session['password']}".encode())
        known = (b"Authorization", b"Basic " + credentials)
        link = world.session["ownerUrl"].partition("/.wormkey/")[2].encode()
        gateway: Cases = (
            (b"GET", b"/s/%s/", HTML, None, 401),
            (b"GET", b"/s/%s/", (), None, 401),
            (b"GET", b"/.wormkey/" + link, HTML, None, 303),
            (b"GET", b"/s/%s/slow", (known, *HTML), None, 504),
            (b"GET", b"/s/%s/slow", (known,), None, 504),
            (b"GET", b"/s/%s/broken", (known, *HTML), None, 502),
            (b"GET", b"/s/%s/broken", (known,), None, 502),
        )
        assert await _look(world, world.gateway, gateway) == {}
        world.origin.stop()
        assert await _look(world, world.gateway, gateway[-2:]) == {}
        bearer = (b"Authorization", b"Bearer " + world.token.encode())
        owner = (b"Authorization", b"Bearer " + link.rpartition(b"=")[2])
        path = b"/sessions/" + world.session["sessionId"].encode()
        control: Cases = (
            (b"GET", path, (bearer,), None, 200),
            (b"POST", b"/sessions/by-slug/%s/owner-link", (owner, *JSON), b"{}", 200),
            (b"POST", b"/sessions/by-slug/%s/policy", (owner, *JSON), b"{}", 200),
            (b"DELETE", path, (bearer,), None, 200),
        )
        assert await _look(world, world.control, control) == {}
        over: Cases = ((b"GET", b"/s/%s/", HTML, None, 410), (b"GET", b"/s/%s/", (), None, 410))
        assert await _look(world, world.gateway, over) == {}
