"""Each fault at each place: nobody dies, nothing is mixed up, nothing stays behind."""

from __future__ import annotations

import hashlib
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import pytest
import trio
import trio.testing

from tests.support.fault import Faults, Relay, start_relay
from tests.support.link import CutError
from tests.support.origin import Connection, each_request
from tests.support.viewer import open_viewer
from tests.support.world import Connected, RunningClient, World, open_world, start_client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.support.messages import Request

PLACES: Final = ("viewer", "tunnel", "origin")
TIMES: Final = {"tunnel_timeout_s": 2.0, "ping_interval_s": 0.5, "content_idle_timeout_s": 3.0}


def _content(target: bytes) -> bytes:
    return hashlib.shake_128(target).digest(30_000)


async def _answer(connection: Connection, request: Request) -> None:
    """Say what only this target gets, and what came with it."""
    digest = hashlib.sha256(request.content.data).hexdigest().encode()
    await connection.answer(_content(request.target), fields=((b"X-Of", digest),))


@asynccontextmanager
async def _faulty(place: str) -> AsyncIterator[tuple[World, Relay, RunningClient]]:
    """Run a world with a relay at one place."""
    async with open_world(
        each_request(_answer), client=False, limit_s=90, hold_s=5.0, **TIMES
    ) as world:
        target = {
            "viewer": world.gateway,
            "tunnel": world.gateway,
            "origin": ("127.0.0.1", world.origin.port),
        }[place]
        relay = await start_relay(world.nursery, target)
        port = relay.port if place == "tunnel" else world.gateway[1]
        app = relay.port if place == "origin" else world.origin.port
        client = start_client(
            world.nursery,
            edge_url=f"ws://127.0.0.1:{port}",
            token=world.token,
            target=str(app),
        )
        await client.wait(Connected)
        yield world, relay, client


async def _visit(world: World, relay: Relay, place: str, target: bytes) -> str:
    """Do one POST; return how it went, or fail where it went wrong unseen."""
    address = relay.address if place == "viewer" else world.gateway
    body = b"body of " + target
    try:
        viewer = await open_viewer(*address, world.authority)
    except OSError:
        return "unreachable"
    try:
        answer = await viewer.exchange(target, method=b"POST", content=body)
    except (CutError, trio.BrokenResourceError):
        return "cut"
    finally:
        await viewer.aclose()
    if answer.status != 200:
        assert answer.status in {408, 502, 503, 504}, answer.status
        return "refused"
    content = _content(target)
    assert content.startswith(answer.data), "somebody else's content"
    if not answer.content.complete:
        return "cut"
    assert answer.data == content
    assert answer.head.get(b"X-Of") == hashlib.sha256(body).hexdigest().encode()
    return "whole"


async def _all_well(world: World, relay: Relay, place: str) -> None:
    """Wait until a visit goes through; everything of the exchanges before has gone by then."""
    relay.faults = Faults()
    relay.thaw()
    tries = 0
    while await _visit(world, relay, place, b"/well?%d" % tries) != "whole":
        tries += 1
        assert tries < 100
        await trio.sleep(0.1)  # a client backs off: nothing tells when it is back
    while any(tunnel.open_streams for tunnel in world.node.tunnels):  # noqa: ASYNC110 - nothing tells
        await trio.sleep(0.01)
    assert len(world.node.tunnels) == 1
    sent = [request.target for request in world.origin.requests]
    assert len(sent) == len(set(sent)), "a POST reached the app twice"


def _reset(relay: Relay) -> None:
    relay.reset()


def _slow(relay: Relay) -> None:
    relay.faults.delay_s = lambda: 0.05


def _tiny(relay: Relay) -> None:
    relay.faults.piece_bytes = 7_001


def _refuse(relay: Relay) -> None:
    relay.faults.refuses = True
    relay.reset()


FAULTS: Final[dict[str, Callable[[Relay], None]]] = {
    "reset": _reset,
    "slow": _slow,
    "pieces": _tiny,
    "refused": _refuse,
    "black hole": Relay.freeze,
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_harms_what_it_meets_and_no_more(place: str, fault: str) -> None:
    """Ten visits under way: each answer is right or seen not to be; then all is well again."""
    async with _faulty(place) as (world, relay, client):
        outcomes: list[str] = []

        async def visit(number: int) -> None:
            outcomes.append(await _visit(world, relay, place, b"/%d" % number))

        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(visit, number)
            await trio.testing.wait_all_tasks_blocked()
            FAULTS[fault](relay)
            if fault == "black hole":
                await trio.sleep(3)  # longer than the tunnel's silence may be
                relay.reset()
                relay.thaw()
        assert len(outcomes) == 10
        if fault in {"slow", "pieces"}:
            assert set(outcomes) == {"whole"}
        await _all_well(world, relay, place)
        assert not client.ended.is_set()


@pytest.mark.parametrize("place", PLACES)
async def test_a_connection_may_end_at_any_octet(place: str) -> None:
    """Cut after 0, 1, 2 … octets: heads, frames, chunks and lengths are never taken for whole."""
    async with _faulty(place) as (world, relay, _client):
        for at in (*range(0, 40, 3), 61, 127, 200, 257, 500, 1000, 16_400, 30_000):
            relay.faults.cut_after_bytes = at
            relay.reset()
            with trio.move_on_after(0.2):
                await _visit(world, relay, place, b"/cut?%d" % at)
        await _all_well(world, relay, place)


async def test_a_black_hole_is_noticed_on_both_sides() -> None:
    """Neither end waits for an end that nobody tells: viewers are answered, the tunnel goes."""
    async with _faulty("tunnel") as (world, relay, _client):
        assert await _visit(world, relay, "tunnel", b"/first") == "whole"
        relay.freeze()
        began_at = trio.current_time()
        (tunnel,) = world.node.tunnels
        await tunnel._ended.wait()
        assert trio.current_time() - began_at < 20
        assert await _visit(world, relay, "tunnel", b"/held") == "refused"
        relay.reset()
        await _all_well(world, relay, "tunnel")


async def test_a_random_schedule_of_faults() -> None:
    """A few seconds of anything, anywhere: the seed is printed, the properties hold."""
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for place in PLACES:
        async with _faulty(place) as (world, relay, _client):

            async def visit(number: int, world: World, relay: Relay, place: str) -> None:
                await _visit(world, relay, place, b"/chaos?%d" % number)

            with trio.move_on_after(20):
                async with trio.open_nursery() as nursery:
                    for number in range(30):
                        nursery.start_soon(visit, number, world, relay, place)
                        await trio.sleep(chance.random() / 20)
                        relay.faults.delay_s = lambda: chance.random() / 20
                        if chance.random() < 0.2:
                            relay.reset()
            relay.reset()
            await _all_well(world, relay, place)
