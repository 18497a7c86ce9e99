"""tunnel.py against a virtual clock: every wait has its end, and which one."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from attrs import define, evolve, field

from tests.support.muxes import GET, OK, POST
from tests.support.tunnels import (
    TIMINGS,
    open_tunnel,
    play_client,
    play_gateway,
    slow_down,
)
from wormkey.errors import ErrorCode, TunnelError
from wormkey.frames import GoAway, Ping, Pong, StreamId, Window
from wormkey.keepalive import BEAT_S, REMEASURE_S, KeepAlive, Pulse
from wormkey.tunnel import RECHECK_S

if TYPE_CHECKING:
    from wormkey.frames import RequestHead
    from wormkey.tunnelstream import TunnelStream

Clock = trio.testing.MockClock
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


@pytest.mark.parametrize("version", [1, 0])
async def test_the_round_trip_time_is_measured_at_once(version: int, autojump_clock: Clock) -> None:
    """Both ends of v1 know it after one round trip; in v0 only the client asks."""
    async with open_tunnel(version=version) as ends:
        slow_down(ends.at_gateway, 0.2)
        slow_down(ends.at_client, 0.1)
        await trio.sleep(TIMINGS.ping_interval_s + 1)
        for side, asks in ((ends.client, True), (ends.gateway, bool(version))):
            if not asks:
                assert side.tunnel.rtt_s is None
                continue
            assert side.tunnel.rtt_s is not None
            assert 0.299 < side.tunnel.rtt_s < 0.61  # each may wait for the other's PING


async def test_each_round_trip_is_told(autojump_clock: Clock) -> None:
    """Who wants the figures hears every one that is measured, and no other."""
    async with open_tunnel() as ends:
        await trio.testing.wait_all_tasks_blocked()  # the first one took no time at all
        told: list[float] = []
        ends.gateway.tunnel.on_round_trip = told.append
        slow_down(ends.at_gateway, 0.2)
        await trio.sleep(5 * REMEASURE_S)
        assert len(told) >= 5
        assert told[-1] == ends.gateway.tunnel.rtt_s
        assert all(0 < seconds < 1 for seconds in told)


async def test_a_pong_that_answers_nothing_measures_nothing(autojump_clock: Clock) -> None:
    """A peer cannot make the figure up."""
    async with play_client() as hand:
        assert isinstance(await hand.receive(), Ping)
        await hand.send(Pong(bytes(8)), Pong(b"x"))
        await trio.testing.wait_all_tasks_blocked()
        assert hand.side.tunnel.rtt_s is None


async def test_an_idle_tunnel_lives_for_ever(autojump_clock: Clock) -> None:
    """PINGs keep it alive in both versions; a v0 gateway says nothing by itself."""
    for version in (1, 0):
        async with open_tunnel(version=version) as ends:
            await trio.sleep(3600)
            assert not ends.gateway.tunnel.ended
            assert not ends.client.tunnel.ended


async def test_a_silent_peer_is_given_up_in_time(autojump_clock: Clock) -> None:
    """Counted from the last thing heard, not from the next PING; its session may come back."""
    async with play_client() as hand:
        heard_at = trio.current_time()
        error = await hand.side.wait_error()
        assert hand.side.ended_at - heard_at == pytest.approx(TIMINGS.silence_timeout_s)
        assert error.retryable
        assert "silent" in str(error)


@define(eq=False)
class Asking:
    """A tunnel that does nothing but ask."""

    asked: list[float] = field(factory=list)
    given_up_at: float = 0.0
    _life: KeepAlive = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._life = KeepAlive(self._ping, interval_s=10, limit_s=20, asks=True, numbered=True)

    def _ping(self, _: bytes) -> None:
        self.asked.append(trio.current_time())

    def look(self, now: float) -> float | None:
        """As a tunnel looks."""
        due_at = self._life.look(now)
        if due_at is None:
            self.given_up_at = now
        return due_at

    def excuse(self, now: float, absent_s: float) -> None:
        """As a tunnel does."""
        self._life.excuse(now, absent_s)


async def test_absence_is_no_silence_of_the_peer(mock_clock: Clock) -> None:
    """Who was stopped himself asks once more before he gives his peer up."""
    pulse, asking = Pulse(), Asking()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pulse.run)
        pulse.watch(asking)
        await trio.testing.wait_all_tasks_blocked()
        assert len(asking.asked) == 1  # the first round trip
        mock_clock.jump(100)  # what should have been a wait of ten seconds
        await trio.testing.wait_all_tasks_blocked()
        assert len(asking.asked) == 2
        mock_clock.jump(9)
        await trio.testing.wait_all_tasks_blocked()
        assert not asking.given_up_at
        mock_clock.jump(1)  # ten before the absence, and ten since
        await trio.testing.wait_all_tasks_blocked()
        assert asking.given_up_at == trio.current_time()
        nursery.cancel_scope.cancel()
    assert len(asking.asked) == 2


async def test_a_silent_v0_client_is_given_longer(autojump_clock: Clock) -> None:
    """It sends PING every 25 s, and gets none."""
    async with play_client(version=0) as hand:
        heard_at = trio.current_time()
        await hand.side.wait_error()
        limit_s = TIMINGS.v0_silence_timeout_s
        assert hand.side.ended_at - heard_at == pytest.approx(limit_s)


async def test_a_silent_gateway_is_given_up(autojump_clock: Clock) -> None:
    """The client dials again, rather than hold a dead tunnel."""
    async with play_gateway() as hand:
        assert (await hand.side.wait_error()).retryable


async def test_any_frame_is_a_sign_of_life(autojump_clock: Clock) -> None:
    """A peer that is too busy for PONGs is no dead peer."""
    async with play_client() as hand:
        for _ in range(20):
            await trio.sleep(TIMINGS.silence_timeout_s - 1)
            await hand.send(Window(StreamId(0), 1))
        assert not hand.side.tunnel.ended


async def test_a_peer_that_takes_nothing_is_given_up(autojump_clock: Clock) -> None:
    """After the write time-out, though it goes on talking; its streams end."""
    async with open_tunnel() as ends:
        stream = ends.gateway.tunnel.open_stream(POST, end_stream=False)
        slow_down(ends.at_gateway, 10_000)
        begun_at = trio.current_time()
        await stream.send(b"x")
        error = await ends.gateway.wait_error()
        assert "took nothing" in str(error)
        assert ends.gateway.ended_at - begun_at < 2 * TIMINGS.write_timeout_s + 1
        with pytest.raises(TunnelError):
            await stream.receive()


async def test_a_slow_peer_is_not_a_dead_one(autojump_clock: Clock) -> None:
    """Each piece takes nearly the whole write time-out: the content arrives."""
    timings = evolve(TIMINGS, silence_timeout_s=10_000)
    async with open_tunnel(timings=timings) as ends:
        slow_down(ends.at_gateway, TIMINGS.write_timeout_s - 1)
        stream = ends.gateway.tunnel.open_stream(POST, end_stream=False)
        for _ in range(3):
            await stream.send(bytes(60_000))
        await stream.send(b"", end_stream=True)
        await stream.wait_sent()
        assert not ends.gateway.tunnel.ended


@pytest.mark.parametrize("version", [1, 0])
async def test_a_session_that_expires_ends_its_tunnel(version: int, autojump_clock: Clock) -> None:
    """To the second; the client is told SESSION_CLOSED, where v1 can say it."""
    expires_at = trio.current_time() + 1234.5

    def remaining_s() -> float:
        return expires_at - trio.current_time()

    async with open_tunnel(version=version, remaining_s=remaining_s) as ends:
        assert not (await ends.gateway.wait_error()).retryable
        assert ends.gateway.ended_at == pytest.approx(expires_at)
        await ends.client.over.wait()
        goodbye = ends.client.tunnel.goodbye
        assert (goodbye and goodbye.code) == (ErrorCode.SESSION_CLOSED if version else None)


async def test_a_wall_clock_that_jumps_is_seen(autojump_clock: Clock) -> None:
    """Expiry is wall time: the tunnel looks again, even if nobody else does."""
    left_s = 86_400.0
    async with open_tunnel(remaining_s=lambda: left_s) as ends:
        await trio.sleep(60)
        left_s = -1.0
        jumped_at = trio.current_time()
        await ends.gateway.wait_error()
        assert ends.gateway.ended_at - jumped_at <= RECHECK_S


async def test_a_goodbye_is_bounded(autojump_clock: Clock) -> None:
    """A peer that does not close its end cannot hold ours."""
    async with play_client() as hand:
        stream_begun = trio.current_time()
        await hand.socket.send_message(b"\xff" * 100)
        await hand.side.wait_error()
        assert hand.side.ended_at - stream_begun <= TIMINGS.close_timeout_s


async def test_a_goodbye_is_bounded_when_nothing_is_taken(autojump_clock: Clock) -> None:
    """Not even the GOAWAY."""
    async with open_tunnel() as ends:
        slow_down(ends.at_gateway, 10_000)
        begun_at = trio.current_time()
        ends.gateway.tunnel.close(ErrorCode.REPLACED)
        await ends.gateway.over.wait()
        assert ends.gateway.ended_at - begun_at <= TIMINGS.close_timeout_s


async def test_a_flood_of_pings_ends_the_tunnel(autojump_clock: Clock) -> None:
    """Answered while the peer reads, refused when it comes all at once."""
    async with play_client() as hand:
        for _ in range(200):
            await hand.send(Ping(b"1"))
            await trio.testing.wait_all_tasks_blocked()
        assert not hand.side.tunnel.ended
        await hand.send(*[Ping(b"2")] * 65)
        frame = await hand.receive()
        while not isinstance(frame, GoAway):
            frame = await hand.receive()
        assert frame.code is ErrorCode.ENHANCE_YOUR_CALM


async def test_a_peer_without_a_hello_is_given_up(autojump_clock: Clock) -> None:
    """``serve`` never begins."""
    async with play_client(hello=False) as hand:
        error = await hand.side.wait_error()
        assert "HELLO" in str(error)
        assert not hand.side.ready.is_set()
        assert hand.side.ended_at <= TIMINGS.hello_timeout_s


async def test_a_peer_that_speaks_is_pinged_only_to_measure_it(autojump_clock: Clock) -> None:
    """Any frame is a sign of life; a thousand idle tunnels ping from one end only."""
    async with play_client() as hand:
        assert isinstance(await hand.receive(), Ping)
        asked_at = trio.current_time()
        with trio.move_on_after(REMEASURE_S - 1):
            while True:
                await trio.sleep(TIMINGS.ping_interval_s / 2)
                await hand.send(Window(StreamId(0), 1))
        assert isinstance(await hand.receive(), Ping)
        assert trio.current_time() - asked_at >= REMEASURE_S


async def test_idle_tunnels_ask_on_a_common_beat(autojump_clock: Clock) -> None:
    """They began a hundredth of a second apart, between two beats; they ask at the same moment."""
    pulse, tunnels = Pulse(), []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pulse.run)
        for _ in range(5):
            await trio.sleep(BEAT_S / 10)
            tunnels.append(Asking())
            pulse.watch(tunnels[-1])
        await trio.sleep(15)
        nursery.cancel_scope.cancel()
    firsts, seconds = zip(*(each.asked[:2] for each in tunnels), strict=True)
    assert len(set(firsts)) == 5
    assert len(set(seconds)) == 1
    for first, second in zip(firsts, seconds, strict=True):
        assert 10 * (1 - 1 / 16) <= second - first <= 10 + BEAT_S


async def test_who_is_due_sooner_is_looked_at_sooner(autojump_clock: Clock) -> None:
    """A sleep that has begun is no reason to be late; who is forgotten is not looked at again."""
    looks: list[tuple[str, float]] = []

    @define(eq=False)
    class Every:
        name: str
        pause_s: float

        def look(self, now: float) -> float:
            looks.append((self.name, now))
            return now + self.pause_s

        def excuse(self, now: float, absent_s: float) -> None:
            assert absent_s == 0

    pulse, slow, quick = Pulse(), Every("slow", 10), Every("quick", 4)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pulse.run)
        await trio.testing.wait_all_tasks_blocked()
        pulse.watch(slow)
        await trio.testing.wait_all_tasks_blocked()
        pulse.watch(quick)
        await trio.sleep(9)
        pulse.watch(quick)  # its look at 12 counts no more
        pulse.forget(slow)
        await trio.sleep(5)
        nursery.cancel_scope.cancel()
    assert looks == [("slow", 0), *(("quick", at) for at in (0, 4, 8, 9, 13))]


async def test_tasks_that_have_nothing_to_do_end(autojump_clock: Clock) -> None:
    """A burst leaves no tasks behind for longer than two looks."""

    async def answer(stream: TunnelStream, head: RequestHead) -> None:
        stream.send_head(OK, end_stream=True)
        await stream.wait_sent()

    def living() -> int:
        return trio.lowlevel.current_statistics().tasks_living

    async with open_tunnel(answer) as ends:
        before = living()
        streams = [ends.gateway.tunnel.open_stream(GET, end_stream=True) for _ in range(5)]
        for stream in streams:
            await stream.receive()
            stream.close()
        await trio.testing.wait_all_tasks_blocked()
        assert living() == before + 5
        await trio.sleep(3 * TIMINGS.ping_interval_s)
        assert living() == before


async def test_who_is_forgotten_is_kept_by_nothing(autojump_clock: Clock) -> None:
    """A tunnel that is over must not live on until its next look would have been."""
    pulse, asking = Pulse(), Asking()
    pulse.watch(asking)
    pulse.watch(asking)
    kept = weakref.ref(asking)
    pulse.forget(asking)
    del asking
    gc.collect()
    assert kept() is None
    async with trio.open_nursery() as nursery:  # what is left of it is looked at by nobody
        nursery.start_soon(pulse.run)
        await trio.sleep(30)
        nursery.cancel_scope.cancel()


async def test_an_error_of_one_look_is_not_the_end_of_others(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told, and that tunnel is looked at again."""

    @define(eq=False)
    class Broken:
        looks: int = 0

        def look(self, now: float) -> float:
            self.looks += 1
            raise ValueError("a bug")

        def excuse(self, now: float, absent_s: float) -> None:
            """Nothing to excuse."""

    pulse, broken, asking = Pulse(), Broken(), Asking()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pulse.run)
        pulse.watch(broken)
        pulse.watch(asking)
        await trio.sleep(REMEASURE_S + 1)
        nursery.cancel_scope.cancel()
    assert broken.looks == 2
    assert asking.given_up_at
    assert [record.message for record in caplog.records] == ["a look at a tunnel failed"] * 2


async def test_a_tunnel_that_is_over_is_looked_at_no_more(autojump_clock: Clock) -> None:
    """However it ended; else each would be kept by what looks at it."""
    async with open_tunnel() as ends:
        kept = [ends.gateway.tunnel.pulse, ends.client.tunnel.pulse]
        ends.client.leave.set()
        await ends.gateway.over.wait()
        await ends.client.over.wait()
        assert [len(pulse) for pulse in kept] == [0, 0]
    async with open_tunnel() as ends:
        pulse = ends.gateway.tunnel.pulse  # both are cancelled at the end of the block
        assert len(pulse) == 2
    assert len(pulse) == 0
