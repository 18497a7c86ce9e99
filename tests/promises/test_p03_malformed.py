"""P3: mutated requests crash nothing, hang nowhere, reach no app unseen, and learn no secret."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

import trio
from attrs import define, field

from tests.support.link import Link
from tests.support.origin import Connection, each_request, start_origin
from tests.support.process import running_daemon
from tests.support.promise import Promise, sized
from tests.support.share import authority_of, share
from tests.support.viewer import open_viewer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.messages import Request

SEEDS = (1, 2, 3)
EACH = sized(full=3334, quick=200)
AT_ONCE = 24
PATIENCE_S = 30.0
SMUGGLED = b"/smuggled"
# Short, so that what is not complete is over soon.
OPTIONS = (
    *("--head-timeout", "1s", "--content-idle-timeout", "1s", "--keep-alive-timeout", "500ms"),
    *("--log-level", "info"),
)
INSERTED = (
    *(b"\r", b"\n", b"\0", b":", b" ", b"\t", b"\r\n", b"\x0b", b"\x7f", b"\xff", b"#", b"%00"),
    b"Content-Length: 5\r\n",
    b"Content-Length: +5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n",
    b"Transfer-Encoding : chunked\r\n",
    b" folded\r\n",
    b"Connection: close, Content-Length\r\n",
    b"Upgrade: h2c\r\nConnection: upgrade\r\n",
    b"Expect: 100-continue\r\n",
    b"Host: elsewhere.example\r\n",
    b"0\r\n\r\n",
    b"/../%2e%2e//",
    # To a name that this gateway does not serve: it may be refused, and must not be passed on.
    b"\r\n\r\nGET " + SMUGGLED + b" HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n",
    b"0\r\n\r\nGET " + SMUGGLED + b" HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n",
)


def sound(number: int, authority: bytes) -> list[bytes]:
    """Requests that are right, each marked by its target."""
    host = b"Host: " + authority + b"\r\n"
    target = b"/m-%d" % number
    return [
        b"GET " + target + b" HTTP/1.1\r\n" + host + b"Cookie: a=b\r\nAccept: */*\r\n\r\n",
        b"HEAD " + target + b"?q HTTP/1.1\r\n" + host + b"\r\n",
        b"POST " + target + b" HTTP/1.1\r\n" + host + b"Content-Length: 11\r\n\r\nhello world",
        b"PUT " + target + b" HTTP/1.1\r\n" + host + b"Transfer-Encoding: chunked\r\n\r\n"
        b"5;x=y\r\nhello\r\n6\r\n world\r\n0\r\nX-T: 1\r\n\r\n",
        b"GET http://" + authority + target + b" HTTP/1.1\r\n" + host + b"\r\n",
        b"OPTIONS * HTTP/1.1\r\n" + host + b"\r\n",
        b"GET /s/none" + target + b" HTTP/1.0\r\n\r\n",
    ]


def mutated(chance: random.Random, raw: bytes) -> bytes:
    """A request with one to three faults."""
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        at = chance.randrange(len(raw) + 1)
        match chance.randrange(6):
            case 0:
                raw = raw[:at] + bytes([chance.randrange(256)]) + raw[at + 1 :]
            case 1:
                raw = raw[:at] + raw[at + chance.randint(1, 8) :]
            case 2:
                end = at + chance.randint(1, 40)
                raw = raw[:end] + raw[at:end] + raw[end:]
            case 3:
                raw = raw[: max(1, at)]
            case _:  # most often: something that parsers differ about, often where a line begins
                starts = [
                    index + 2 for index in range(len(raw) - 1) if raw[index : index + 2] == b"\r\n"
                ]
                at = chance.choice([at, *starts]) if starts else at
                raw = raw[:at] + chance.choice(INSERTED) + raw[at:]
    return raw


@define
class Attack:
    """Mutated requests for one gateway, and what came of them."""

    address: tuple[str, int]
    authority: bytes
    secrets: list[bytes]
    found: Counter[str] = field(factory=Counter)

    async def send(self, raw: bytes) -> None:
        """Send octets and read all that comes back."""
        link = Link(await trio.open_tcp_stream(*self.address))
        with trio.move_on_after(PATIENCE_S) as scope:
            try:
                await link.send(raw)
                told = await link.read_to_end()
            except trio.BrokenResourceError:
                told = b""
            self.found["secrets told"] += any(secret in told for secret in self.secrets)
        self.found["hangs"] += scope.cancelled_caught
        self.found["requests"] += 1
        await link.aclose()

    async def run(self, seed: int) -> None:
        """Send EACH of them, AT_ONCE at a time, always the same for a seed."""
        chance = random.Random(seed)
        left = iter(range(EACH))

        async def send_some() -> None:
            for number in left:
                await self.send(mutated(chance, chance.choice(sound(number, self.authority))))

        async with trio.open_nursery() as sending:
            for _ in range(AT_ONCE):
                sending.start_soon(send_some)


async def test_mutated_requests(tmp_path: Path, promise: Promise) -> None:
    """Each is answered or closed in its time; an honest request works afterwards."""
    seen: list[bytes] = []

    async def answer(connection: Connection, request: Request) -> None:
        seen.append(request.target)
        await connection.answer(b"" if request.method == b"HEAD" else b"ok")

    with trio.fail_after(120 + EACH):
        async with running_daemon(tmp_path, *OPTIONS) as daemon, trio.open_nursery() as nursery:
            origin = await start_origin(nursery, each_request(answer))
            session, client = await share(nursery, daemon, origin.port)
            authority = authority_of(daemon, session)
            secrets = [
                session["sessionToken"].partition(".")[2].encode(),
                session["ownerUrl"].partition("token=")[2].encode(),
            ]
            assert all(len(secret) > 20 for secret in secrets)
            attack = Attack(daemon.gateway, authority, secrets)
            for seed in SEEDS:
                await attack.run(seed)
            viewer = await open_viewer(*daemon.gateway, authority)
            honest = await viewer.exchange(b"/m-honest")
            await viewer.aclose()
            errors = [line for line in daemon.process.err if '"level": "error"' in line]
            assert not errors, errors[:3]
            assert not daemon.process.ended.is_set()
            assert not client.ended.is_set()
            nursery.cancel_scope.cancel(reason="the test is over")
    assert sum(target.startswith(b"/m-") for target in seen) > EACH // 10  # some are still right
    promise.exactly("mutated requests", attack.found["requests"], EACH * len(SEEDS))
    promise.exactly("hangs", attack.found["hangs"], 0)
    promise.exactly("smuggled requests at the app", sum(SMUGGLED in target for target in seen), 0)
    promise.exactly("secrets told", attack.found["secrets told"], 0)
    promise.exactly("status of an honest request afterwards", honest.status, 200)
