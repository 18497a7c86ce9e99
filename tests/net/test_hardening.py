"""Security fields on the wire: on everything that is ours, on nothing that is an origin's."""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING

import pytest

from tests.support.messages import response
from tests.support.origin import answering
from tests.support.plane import BODY, Plane, open_plane
from tests.support.viewer import open_viewer
from tests.support.world import World, open_world
from wormkey.hardening import OWN_ANSWER

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.messages import Head

LOOPBACK = (ip_network("127.0.0.0/8"),)
BY_HTTPS = ((b"X-Forwarded-Proto", b"https"),)
STRICT = b"Strict-Transport-Security"
YEAR = b"max-age=31536000"
HOST = b"tunnels.example"


def check_own(head: Head) -> None:
    """Fail unless each of the fields is there, once; a page may have its own content policy."""
    for name, value in OWN_ANSWER:
        if name != b"Content-Security-Policy":
            assert head.get(name) == value, name
    policy = head.get(b"Content-Security-Policy") or b""
    assert policy.startswith(b"default-src 'none'")
    assert b"frame-ancestors 'none'" in policy


@pytest.mark.parametrize(
    ("method", "target"),
    [
        *(("GET", path) for path in ("/", "/health", "/ready", "/metrics", "/openapi.json")),
        *(("GET", path) for path in ("/nothing", "/sessions/1", "/sessions/by-slug/x")),
        *(("POST", "/sessions"), ("DELETE", "/health"), ("BREW", "/pot"), ("OPTIONS", "/")),
    ],
)
async def test_every_answer_of_the_control_plane(method: str, target: str, tmp_path: Path) -> None:
    """Success, refusal, unknown path, unknown method."""
    async with open_plane(tmp_path) as plane:
        check_own((await plane.answer(method, target)).head)


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/1.1\r\n\r\n",  # no Host
        b"\x16\x03\x01\x02\x00\x01\r\n\r\n",  # TLS on a plain port
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
    ],
)
async def test_answers_that_the_server_gives_without_asking_the_app(
    raw: bytes, tmp_path: Path
) -> None:
    """What is no request at all gets a 4xx with the same fields."""
    async with open_plane(tmp_path) as plane:
        viewer = await plane.connect()
        await viewer.send(raw)
        answer = await viewer.read_response()
        assert 400 <= answer.status < 500
        check_own(answer.head)
        await viewer.aclose()


async def test_strict_transport_of_the_control_plane(tmp_path: Path) -> None:
    """As a trusted proxy says; who is not trusted cannot say so for another name."""
    for trusted, told, expected in (
        (LOOPBACK, BY_HTTPS, YEAR),
        (LOOPBACK, ((b"X-Forwarded-Proto", b"http"),), None),
        (LOOPBACK, (), None),
        ((), BY_HTTPS, None),  # anybody can say so
    ):
        async with open_plane(tmp_path, trusted_proxies=trusted) as plane:
            for target in ("/health", "/nothing"):
                fields = (*told, (b"X-Forwarded-Host", b"control.example"))
                answer = await plane.answer("GET", target, fields=fields)
                assert answer.head.get(STRICT) == expected, (trusted, told)
            large = (*fields, (b"Content-Length", b"999999"), (b"Expect", b"100-continue"))
            refused = await plane.answer("POST", "/sessions", fields=large)  # by the front itself
            assert (refused.status, refused.head.get(STRICT)) == (413, expected)
            assert (await answer_at_localhost(plane)).get(STRICT) is None


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        (b"control.tunnels.example", YEAR),
        (b"tunnels.example:443", YEAR),
        (b"tunnels.example:3001", None),  # another port, which speaks plain http
        (b"control.example", None),
        (b"localhost", None),
    ],
)
async def test_strict_transport_behind_a_proxy_that_is_not_named(
    host: bytes, expected: bytes | None, tmp_path: Path
) -> None:
    """Where nobody tells, the public URL does, for its own names: as at the gateway."""
    async with open_plane(tmp_path) as plane:
        viewer = await open_viewer("127.0.0.1", plane.port, host)
        assert (await viewer.exchange(b"/health")).head.get(STRICT) == expected
        await viewer.aclose()


async def answer_at_localhost(plane: Plane) -> Head:
    """The head of an answer to who came by https to this machine's own name."""
    return (await plane.answer("GET", "/", fields=BY_HTTPS)).head


async def own_answers(world: World, *fields: tuple[bytes, bytes]) -> list[Head]:
    """One of each kind of the gateway's own answers on its base host."""
    asked = [(b"Accept", b"application/json")]
    exchange = world.exchange
    own = [
        await exchange(b"/", authority=HOST, fields=fields),
        await exchange(b"/health", authority=HOST, fields=fields),
        await exchange(b"*", authority=HOST, method=b"OPTIONS", fields=fields),
        await exchange(b"/s/" + world.slug.encode(), authority=HOST, fields=fields),
        await exchange(b"/s/nobody-here/", authority=HOST, fields=fields),
        await exchange(b"/s/nobody-here/", authority=HOST, fields=(*fields, *asked)),
        await exchange(b"/tunnel", authority=HOST, fields=fields),
    ]
    assert [each.status for each in own] == [200, 200, 204, 308, 404, 404, 400]
    return [each.head for each in own]


async def test_every_answer_of_the_gateways_own() -> None:
    """Pages, JSON, text, redirects and refusals; with https, also to stay with it."""
    async with open_world(public_url="https://tunnels.example", client=False) as world:
        for head in await own_answers(world):
            check_own(head)
            assert head.get(STRICT) == YEAR
        viewer = await world.open_viewer(HOST)
        await viewer.send(b"GET / HTTP/1.1\r\n\r\n")
        refused = (await viewer.read_response()).head
        check_own(refused)
        assert not refused.has(STRICT)  # nobody knows what this was


async def test_strict_transport_of_the_gateway_follows_the_viewers_scheme() -> None:
    """Not with an http public URL; not where the proxy says http; not for this machine's names."""
    async with open_world(public_url="http://tunnels.example", client=False) as world:
        assert not any(head.has(STRICT) for head in await own_answers(world))
    https = {"public_url": "https://tunnels.example", "trusted_proxies": LOOPBACK}
    async with open_world(client=False, **https) as world:
        assert all(head.has(STRICT) for head in await own_answers(world, *BY_HTTPS))
        assert not any(head.has(STRICT) for head in await own_answers(world))  # it did not say
        told = (b"X-Forwarded-Proto", b"http")
        assert not any(head.has(STRICT) for head in await own_answers(world, told))
        for authority in (b"localhost", b"127.0.0.1"):
            answer = await world.exchange(b"/health", authority=authority, fields=BY_HTTPS)
            assert not answer.head.has(STRICT)


async def test_an_origins_answer_has_none_of_them() -> None:
    """By https, by path and by host: the app's policy is its owner's, ours would break it."""
    content_policy = (b"Content-Security-Policy", b"default-src 'self'")
    raw = response(b"mine", fields=(content_policy,))
    https = {"public_url": "https://tunnels.example", "trusted_proxies": LOOPBACK}
    async with open_world(answering(raw), **https) as world:
        slug = world.slug.encode()
        by_path = await world.exchange(b"/s/%b/x" % slug, authority=HOST, fields=BY_HTTPS)
        by_host = await world.exchange(b"/x", authority=slug + b"." + HOST, fields=BY_HTTPS)
        for answer in (by_path, by_host):
            assert (answer.status, answer.data) == (200, b"mine")
            assert answer.head.all(b"Content-Security-Policy") == [b"default-src 'self'"]
            for name, _ in (*OWN_ANSWER, (STRICT, YEAR)):
                assert name == b"Content-Security-Policy" or not answer.head.has(name), name


async def test_an_origins_own_strict_transport_passes() -> None:
    """Its host is its own, and so is its field."""
    raw = response(b"mine", fields=((STRICT, b"max-age=1"),))
    async with open_world(answering(raw)) as world:
        assert (await world.exchange()).head.all(STRICT) == [b"max-age=1"]


async def test_creation_tells_nobody_to_keep_it(tmp_path: Path) -> None:
    """The one answer with secrets is not cached anywhere."""
    async with open_plane(tmp_path) as plane:
        _, made = await plane.call("POST", "/sessions", body=BODY)
        target = f"/sessions/{made['sessionId']}"
        answer = await plane.answer("GET", target, token=made["sessionToken"])
        assert answer.head.get(b"Cache-Control") == b"no-store"
