"""Muxes to talk to: one end fed with frames by hand, or two ends joined in step."""

from __future__ import annotations

import pytest
from attrs import define, field

from wormkey import wire, wire0
from wormkey.errors import ErrorCode, RemoteProtocolError
from wormkey.frames import Event, Frame, Hello, RequestHead, ResponseHead, StreamId
from wormkey.inbox import MuxLimits
from wormkey.mux import Mux, Role

KIB = 1024
ONE, TWO = StreamId(1), StreamId(2)
GET = RequestHead(b"GET", b"/", ())
POST = RequestHead(b"POST", b"/", ())
OK = ResponseHead(200, ((b"X-A", b"1"),))
EARLY = ResponseHead(103, ())
LIMITS = MuxLimits()
ROOMY = Hello(
    stream_window_bytes=256 * KIB,
    tunnel_window_bytes=32 * KIB * KIB,
    max_streams=1024,
)


def feed(mux: Mux, *frames: Frame) -> list[Event]:
    """Let a Mux receive these frames, in one message or, in v0, in one each."""
    if mux.version:
        return mux.receive(b"".join(map(wire.encode, frames)))
    return [event for frame in frames for event in mux.receive(wire0.encode0(frame))]


def messages(mux: Mux) -> list[bytes]:
    """Take all messages that can leave now."""
    taken = []
    while message := mux.next_message():
        taken.append(message)
    return taken


def sent(mux: Mux) -> list[Frame]:
    """Take all frames that can leave now."""
    decoder = wire.Decoder() if mux.version else wire0.Decoder0()
    return [frame for message in messages(mux) for frame in decoder.feed(message)]


def one_end(
    role: Role, limits: MuxLimits = LIMITS, *, peer: Hello = ROOMY, version: int = 1
) -> Mux:
    """A Mux whose HELLO is out and whose peer has said ``peer``."""
    mux = Mux(role, limits, version=version)
    if version:
        feed(mux, peer)
    sent(mux)
    return mux


def gateway(limits: MuxLimits = LIMITS, peer: Hello = ROOMY) -> Mux:
    """A gateway's end with nothing open."""
    return one_end(Role.GATEWAY, limits, peer=peer)


def client(limits: MuxLimits = LIMITS, peer: Hello = ROOMY) -> Mux:
    """A client's end with nothing open."""
    return one_end(Role.CLIENT, limits, peer=peer)


def ends_the_tunnel(mux: Mux, *frames: Frame) -> ErrorCode:
    """The code with which these frames end the whole tunnel."""
    with pytest.raises(RemoteProtocolError) as caught:
        feed(mux, *frames)
    return caught.value.code


@define(eq=False)
class Pair:
    """Two ends of a tunnel; what each one's events were, in order."""

    gateway: Mux
    client: Mux
    at_gateway: list[Event] = field(factory=list)
    at_client: list[Event] = field(factory=list)

    @classmethod
    def open(cls, limits: MuxLimits = LIMITS, *, version: int = 1) -> Pair:
        """Join two ends with these limits and let them say HELLO."""
        ends = (Mux(role, limits, version=version) for role in (Role.GATEWAY, Role.CLIENT))
        pair = cls(*ends)
        pair.settle()
        return pair

    def settle(self) -> None:
        """Carry messages both ways until neither end has one."""
        while self.gateway.wants_to_write or self.client.wants_to_write:
            if message := self.gateway.next_message():
                self.at_client += self.client.receive(message)
            if message := self.client.next_message():
                self.at_gateway += self.gateway.receive(message)
