"""Two ends of a tunnel in step agree, whatever happens and however bytes are sliced."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import pytest
from attrs import define, evolve, field
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.muxes import EARLY, GET, LIMITS, OK, Pair
from wormkey.errors import ErrorCode, StreamError
from wormkey.frames import Data, Request, Reset, StreamId, Trailers
from wormkey.mux import Mux, Role
from wormkey.stream import Half

if TYPE_CHECKING:
    from wormkey.frames import Event
    from wormkey.stream import Stream
    from wormkey.windows import ReceiveWindow

SMALL = evolve(
    LIMITS,
    stream_window_bytes=60,
    max_stream_window_bytes=200,
    tunnel_window_bytes=300,
    max_growth_bytes=250,
    max_streams=5,
    v0_stream_bytes=400,
    v0_tunnel_bytes=900,
)
HONEST = {
    ErrorCode.CANCELLED,
    ErrorCode.NO_ERROR,
    ErrorCode.REFUSED_STREAM,
    ErrorCode.ENHANCE_YOUR_CALM,
}
FIELDS = ((b"A", b"1"),)


def pattern(at: int, count: int) -> bytes:
    """Content in which every place differs from its neighbours: a lost byte shows."""
    return bytes((at + i) * 7 % 251 for i in range(count))


@define(eq=False)
class End:
    """One end, its owner's view of the streams, and the bytes on their way to the other one."""

    mux: Mux
    wire: deque[bytes] = field(factory=deque)
    sent: dict[StreamId, bytearray] = field(factory=dict)
    received: dict[StreamId, bytearray] = field(factory=dict)
    held: dict[StreamId, int] = field(factory=dict)

    def stream(self, number: int, *halves: Half) -> Stream | None:
        """One of the open streams whose sending half is at one of these."""
        streams = [s for s in self.mux._streams.values() if not halves or s.sending in halves]
        return streams[number % len(streams)] if streams else None

    def begin(self, stream_id: StreamId) -> None:
        """A stream is there."""
        self.sent[stream_id] = bytearray()
        self.received[stream_id] = bytearray()
        self.held[stream_id] = 0

    def send(self, number: int, count: int, *, end: bool) -> None:
        """Queue content on some stream that may have some."""
        stream = self.stream(number, Half.CONTENT)
        if stream is not None:
            sent = self.sent[stream.id]
            data = pattern(len(sent), count)
            sent += data
            self.mux.send_data(stream.id, data, end_stream=end)

    def answer(self, number: int, *, interim: bool, end: bool) -> None:
        """Answer some stream that has no final head yet."""
        stream = self.stream(number, Half.HEAD)
        if stream is not None:
            self.mux.send_head(stream.id, EARLY if interim else OK, end_stream=end)

    def trail(self, number: int) -> None:
        """End some stream's half with trailers."""
        stream = self.stream(number, Half.CONTENT)
        if stream is not None:
            self.mux.send_trailers(stream.id, FIELDS)

    def release(self, number: int, count: int) -> None:
        """The next hop takes some of what is held."""
        stream = self.stream(number)
        if stream is not None:
            count = min(count, self.held[stream.id])
            self.held[stream.id] -= count
            self.mux.release(stream.id, count)

    def close(self, number: int, code: ErrorCode) -> None:
        """The owner of some stream is done with it, finished or not."""
        stream = self.stream(number)
        if stream is not None:
            self.mux.close_stream(stream.id, code)
            self.held.pop(stream.id)

    def write(self) -> bool:
        """One message leaves."""
        wanted = self.mux.wants_to_write
        message = self.mux.next_message()
        assert wanted == bool(message)
        if message:
            self.wire.append(message)
        return wanted

    def take(self, events: list[Event], peer: End) -> None:
        """Do what an owner does with events; every byte must be the peer's next one."""
        for event in events:
            match event:
                case Request(stream_id):
                    self.begin(stream_id)
                case Data(stream_id, data):
                    received = self.received[stream_id]
                    assert data == peer.sent[stream_id][len(received) :][: len(data)]
                    received += data
                    self.held[stream_id] += len(data)
                case Reset(stream_id, code):
                    assert code in HONEST, event
                    if stream_id not in self.mux._streams:
                        del self.held[stream_id]


@define(eq=False)
class World:
    """Both ends and what may happen to them."""

    gateway: End
    client: End
    version: int

    @classmethod
    def open(cls, version: int) -> World:
        """Both have said HELLO."""
        pair = Pair.open(SMALL, version=version)
        return cls(End(pair.gateway), End(pair.client), version)

    def open_stream(self, *, end: bool) -> None:
        """The gateway opens a stream, if the limits let it."""
        try:
            stream_id = self.gateway.mux.open_stream(GET, end_stream=end)
        except StreamError:
            return
        self.gateway.begin(stream_id)

    def deliver(self, end: End, count: int) -> None:
        """Some of what ``end`` has sent arrives: v1 cut anywhere, v0 message by message."""
        if not end.wire:
            return
        message = end.wire.popleft()
        if self.version and count < len(message):
            end.wire.appendleft(message[count:])
            message = message[:count]
        elif self.version and count > len(message) and end.wire:
            message += end.wire.popleft()
        peer = self.client if end is self.gateway else self.gateway
        peer.take(peer.mux.receive(message), end)

    def step(self, what: str, side: bool, number: int, count: int, flag: bool) -> None:
        """Let one thing happen."""
        end = self.gateway if side else self.client
        match what:
            case "open":
                self.open_stream(end=flag)
            case "answer":
                self.client.answer(number, interim=flag, end=side)
            case "send":
                end.send(number, count, end=flag)
            case "trail":
                end.trail(number)
            case "release":
                end.release(number, count)
            case "close":
                end.close(number, ErrorCode.NO_ERROR if flag else ErrorCode.CANCELLED)
            case "ping":
                end.mux.ping(b"12345678")
            case "write":
                end.write()
            case _:
                self.deliver(end, max(count, 1))
        self.check()

    def check(self) -> None:
        """What holds at every moment."""
        for end in (self.gateway, self.client):
            inbox = end.mux.inbox
            windows = [inbox._tunnel]
            for stream in end.mux._streams.values():
                assert stream.send_window.available_bytes >= 0
                assert stream.receive_window.held_bytes == end.held[stream.id]
                windows.append(stream.receive_window)
            for window in windows:
                check_window(window)
            assert end.mux._outbox.window.available_bytes >= 0
            assert inbox.held_bytes == sum(end.held.values())
            bound = SMALL.tunnel_window_bytes if self.version else SMALL.v0_tunnel_bytes
            assert inbox.held_bytes <= bound
            assert 0 <= inbox._grown_bytes <= SMALL.max_growth_bytes

    def settle(self) -> None:
        """Everything arrives, every next hop takes it."""
        moved = True
        while moved:
            moved = False
            for end in (self.gateway, self.client):
                moved |= end.write()
                while end.wire:
                    self.deliver(end, 1 << 20)
                for stream_id, count in list(end.held.items()):
                    moved |= bool(count)
                    end.held[stream_id] = 0
                    end.mux.release(stream_id, count)
                self.check()

    def check_settled(self) -> None:
        """What holds when nothing is on its way: no byte is lost, both say the same."""
        ours, theirs = self.gateway.mux._streams, self.client.mux._streams
        for stream_id in ours.keys() | theirs.keys():
            one, other = ours.get(stream_id), theirs.get(stream_id)
            if one is None or other is None:
                assert (one or other).finished  # type: ignore[union-attr]
                continue
            for sender, receiver in ((self.gateway, self.client), (self.client, self.gateway)):
                assert receiver.received[stream_id] == sender.sent[stream_id]
            assert (one.sending, one.receiving) == (other.receiving, other.sending)
            if self.version:
                for a, b in ((one, other), (other, one)):
                    if a.sending is not Half.ENDED:
                        available = b.receive_window.available_bytes
                        assert a.send_window.available_bytes == available
        if self.version:
            for a, b in ((self.gateway, self.client), (self.client, self.gateway)):
                assert a.mux._outbox.window.available_bytes == b.mux.inbox._tunnel.available_bytes


def check_window(window: ReceiveWindow) -> None:
    """Size = available + held + taken, none of them negative."""
    parts = (window.available_bytes, window.held_bytes, window.taken_bytes)
    assert min(parts) >= 0
    assert sum(parts) == window.size_bytes


OFTEN = ("answer", "send", "release", "write", "deliver")
STEPS = st.lists(
    st.tuples(
        st.sampled_from([*OFTEN, *OFTEN, "send", "write", "open", "trail", "close", "ping"]),
        st.booleans(),
        st.integers(0, 4),
        st.integers(0, 150),
        st.booleans(),
    ),
    max_size=120,
)


@pytest.mark.parametrize("version", [1, 0])
@settings(max_examples=300)
@given(steps=STEPS)
def test_two_ends_agree_whatever_happens(
    version: int, steps: list[tuple[str, bool, int, int, bool]]
) -> None:
    """No byte is lost or out of order, no window breaks, and in the end all credit is back."""
    world = World.open(version)
    for _ in range(2):
        world.open_stream(end=False)
    for step in steps:
        world.step(*step)
    world.settle()
    world.check_settled()
    for end in (world.gateway, world.client):
        for stream_id in list(end.mux._streams):
            end.mux.close_stream(stream_id, ErrorCode.CANCELLED)
            del end.held[stream_id]
        world.settle()
    for end in (world.gateway, world.client):
        statistics = end.mux.statistics()
        assert (statistics.streams, statistics.held_bytes, statistics.queued_bytes) == (0, 0, 0)
        assert end.mux.inbox._grown_bytes == 0
        tunnel = end.mux.inbox._tunnel
        assert tunnel.available_bytes + tunnel.taken_bytes == tunnel.size_bytes
        assert not end.mux.wants_to_write


def test_trailers_arrive_behind_all_content() -> None:
    """Though heads and grants overtake content, a stream's own order is kept."""
    pair = Pair.open(SMALL)
    stream_id = pair.gateway.open_stream(GET, end_stream=False)
    pair.gateway.send_data(stream_id, pattern(0, 500))
    pair.gateway.send_trailers(stream_id, FIELDS)
    got = b""
    while not isinstance(pair.at_client[-1], Trailers):
        pair.settle()
        content = b"".join(e.data for e in pair.at_client if isinstance(e, Data))
        pair.client.release(stream_id, len(content) - len(got))
        got = content
    assert got == pattern(0, 500)


def test_a_stalled_stream_does_not_stop_its_neighbour() -> None:
    """Nobody reads the first one; a hundred windows of the second one pass."""
    pair = Pair.open(SMALL)
    stalled, moving = (pair.gateway.open_stream(GET, end_stream=False) for _ in range(2))
    pair.gateway.send_data(stalled, bytes(1000))
    pair.settle()
    for _ in range(100):
        pair.gateway.send_data(moving, bytes(SMALL.stream_window_bytes))
        pair.settle()
        pair.client.release(moving, SMALL.stream_window_bytes)
    total = sum(
        len(e.data) for e in pair.at_client if isinstance(e, Data) and e.stream_id == moving
    )
    assert total == 100 * SMALL.stream_window_bytes
    assert pair.client.statistics().held_bytes == SMALL.stream_window_bytes


def test_a_role_is_all_that_differs() -> None:
    """Both ends are the same class; only the gateway opens streams."""
    pair = Pair.open(SMALL)
    assert (pair.gateway.role, pair.client.role) == (Role.GATEWAY, Role.CLIENT)
    assert pair.gateway.peer == pair.client.peer == SMALL.hello(1)
