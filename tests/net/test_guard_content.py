"""What the control plane makes of hostile content: a clear 4xx, soon, and nothing kept of it."""

from __future__ import annotations

import json

import pytest
import trio

from tests.support.plane import BODY, Plane
from wormkey import front

JSON = ((b"Content-Type", b"application/json"),)
RIGHT = json.dumps(BODY).encode()
# What 64 KiB of the worst content may cost; 5 ms is usual, a shared machine has bad moments.
SOON_S = 2.0


async def refusal(plane: Plane, content: bytes, *fields: tuple[bytes, bytes]) -> tuple[int, str]:
    """Send content, in the name of JSON unless ``fields`` say otherwise; return status and code."""
    with trio.fail_after(SOON_S):
        answer = await plane.answer("POST", "/sessions", content=content, fields=fields or JSON)
    assert len(plane.daemon.routes) == 0
    return answer.status, json.loads(answer.data)["code"]


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + RIGHT,  # a byte order mark
        RIGHT.decode().encode("utf-16"),
        RIGHT.decode().encode("utf-32-le"),
        b'{"port": 5173, "name": "caf\xe9"}',  # Latin-1
        b'{"port": 5173, "x": "\xed\xa0\x80"}',  # a surrogate, in UTF-8's manner
        b'{"port": 5173, "x": "\\ud800"}',
        b'{"port": 5173, "x": "\\uDC00\\uD800"}',
        b'{"port": 5173, "\\udfff": 1}',
        b'{"port": 1, "port": 5173}',
        b'{"port": 5173, "x": {"a": 1, "\\u0061": 2}}',
        b'{"port": NaN}',
        b'{"port": 5173, "x": [Infinity]}',
        b'{"port": 5173, "x": -Infinity}',
        b'{"port": 5173, "x": ' + b"1" * 5000 + b"}",  # over what int() converts
        b'{"port": 5173, "x": "a\x00b"}',
        b'{"port": 5173, "x": "a\nb"}',
        b'{"port": 5173,}',
        b'{"port": 5173} {}',
        b"{'port': 5173}",
        b'{"port": 05173}',
        b'{"port": 0x10}',
        b'{"x": ' * 10_000,
        b"[" * front.MAX_CONTENT_BYTES,
        b'{"x": ' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        b"",
        b"\x00",
        b"null null",
    ],
)
async def test_what_two_readers_could_read_differently_is_not_json(
    plane: Plane, content: bytes
) -> None:
    """Marks, other encodings, lone surrogates, repeated names, endless numbers, depth: 400."""
    assert await refusal(plane, content) == (400, "invalid_json")


@pytest.mark.parametrize("escape", [b"\\ud83d\\ude00", b"\\\\ud800", "\U0001f600".encode()])
async def test_what_is_whole_passes(plane: Plane, escape: bytes) -> None:
    """A surrogate pair is one character, an escaped backslash no escape: both are fine."""
    content = b'{"port": 5173, "unknown": "' + escape + b'"}'
    assert (await plane.answer("POST", "/sessions", content=content, fields=JSON)).status == 201


@pytest.mark.parametrize(
    ("port", "status"), [(b"80.0", 201), (b"8e1", 201), (b"80.5", 400), (b"1e999", 400)]
)
async def test_a_number_is_what_it_equals(plane: Plane, port: bytes, status: int) -> None:
    """JSON has one type of numbers: 80.0 is an integer, 80.5 is none."""
    content = b'{"port": %b}' % port
    answer = await plane.answer("POST", "/sessions", content=content, fields=JSON)
    assert answer.status == status


@pytest.mark.parametrize(
    "fields",
    [
        ((b"Content-Type", b"text/json"),),
        ((b"Content-Type", b"application/jsonp"),),
        ((b"Content-Type", b"application/x-www-form-urlencoded"),),
        ((b"Content-Type", b"multipart/form-data; boundary=x"),),
        ((b"Content-Type", b"application/json; charset=utf-16"),),
        ((b"Content-Type", b"application/json; charset=latin1"),),
        (*JSON, *JSON),
        (*JSON, (b"Content-Encoding", b"gzip")),
        (*JSON, (b"Content-Encoding", b"identity, br")),
    ],
)
async def test_other_content_is_415_and_says_what_is_taken(
    plane: Plane, fields: tuple[tuple[bytes, bytes], ...]
) -> None:
    """Media type, charset and coding are one each, or it is not read at all."""
    assert await refusal(plane, RIGHT, *fields) == (415, "unsupported_media_type")
    answer = await plane.answer("POST", "/sessions", content=RIGHT, fields=fields)
    assert answer.head.get(b"Accept") == b"application/json"


@pytest.mark.parametrize("charset", [b"", b"; charset=utf-8", b'; charset="UTF-8"', b";q=1"])
async def test_the_usual_spellings_pass(plane: Plane, charset: bytes) -> None:
    """Parameters that change nothing are fine."""
    fields = ((b"Content-Type", b"Application/JSON" + charset),)
    assert (await plane.answer("POST", "/sessions", content=RIGHT, fields=fields)).status == 201


def worst() -> dict[str, bytes]:
    """Contents that cost a naive reader much for each octet."""
    keys = b",".join(b'"%s":0' % word for word in sorted(_collisions(2048)))
    digits = b",".join([b"9" * 4000] * 15)
    return {
        "names that collide in simple hashes": b'{"port":5173,"x":{%b},"name":1}' % keys,
        "numbers as long as they may be": b'{"port":"","x":[%b]}' % digits,
        "many small lists": b'{"port":"","x":[%b]}' % b",".join([b"[]"] * 20_000),
        "lists in lists in lists": b'{"port":"","x":%b%b}' % (b"[" * 30_000, b"]" * 30_000),
        "nothing but escapes": b'{"port":"","x":"%b"}' % (b"\\u0041" * 10_000),
        "floats with long fractions": b'{"port":"","x":[0.%b]}' % (b"7" * 60_000),
        "spaces": b" " * 60_000 + b'{"port":""}',
    }


def _collisions(count: int) -> list[bytes]:
    """Names that hash alike where 31 * h + c is the hash ("Aa" and "BB")."""
    names = [b""]
    while len(names) < count:
        names = [name + part for name in names for part in (b"Aa", b"BB")]
    return names


@pytest.mark.parametrize("name", worst())
async def test_costly_content_is_answered_soon(plane: Plane, name: str) -> None:
    """64 KiB of it cost milliseconds, and nobody else waits."""
    content = worst()[name]
    assert len(content) <= front.MAX_CONTENT_BYTES
    assert (await refusal(plane, content))[0] == 400


@pytest.mark.parametrize("odd", ["\0", "\x1b[2J", "\x7f", "\x9b", "\u2028", "a\rb"])
async def test_controls_get_into_nothing_that_is_kept_or_shown(plane: Plane, odd: str) -> None:
    """Not into names, credentials or paths: a terminal, a log and a page would obey them."""
    for members in (
        {"name": odd},
        {"authMode": "basic", "username": odd},
        {"authMode": "basic", "password": odd},
        {"policy": {"blockPaths": ["/" + odd]}},
        {"policy": {"password": odd}},
        {"expiresIn": odd},
        {"authMode": odd},
    ):
        answer = await plane.answer(
            "POST", "/sessions", content=json.dumps(BODY | members).encode(), fields=JSON
        )
        assert answer.status == 400, members
        assert odd not in json.loads(answer.data)["error"]


async def test_a_kick_takes_no_controls(plane: Plane) -> None:
    """The id of a viewer comes back in lists and in the audit trail."""
    made = await plane.create()
    owner = made["ownerUrl"].rpartition("=")[2]
    for odd in ("a\0", "a\n", "\x1b[2J", "\u202e"):
        target = f"/sessions/by-slug/{made['slug']}/kick"
        status, error = await plane.call("POST", target, token=owner, body={"viewerId": odd})
        assert (status, error["code"]) == (400, "invalid_viewer_id")


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"authMode": ""}, "invalid_auth_mode"),
        ({"authMode": "basic", "password": "p", "policy": {"password": 5}}, "invalid_request"),
        ({"authMode": "basic", "password": ""}, "invalid_password"),
    ],
)
async def test_wrong_members_are_refused_where_others_would_do(
    plane: Plane, members: dict[str, object], code: str
) -> None:
    """An empty authMode is none of the two; a password of the policy is checked in any case."""
    status, error = await plane.call("POST", "/sessions", body={"port": 5173, **members})
    assert (status, error["code"]) == (400, code)


async def test_null_is_absent_for_the_auth_mode(plane: Plane) -> None:
    """Null means none, with a policy's password beside it or without."""
    for policy in ({}, {"password": "secret"}):
        body = {"port": 5173, "authMode": None, "policy": policy}
        status, made = await plane.call("POST", "/sessions", body=body)
        assert status == 201
        target = f"/sessions/{made['sessionId']}"
        _, shown = await plane.call("GET", target, token=made["sessionToken"])
        assert shown["authMode"] == "none"
        assert shown["policy"]["passwordProtected"] is bool(policy)
