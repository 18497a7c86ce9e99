"""A connection of http1_viewer.py or http1_origin.py over memory, and one over TCP."""

from __future__ import annotations

import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio
import trio.testing
import trustme
from attrs import field, frozen

from tests.support.link import Link

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

Memory = trio.StapledStream[trio.testing.MemorySendStream, trio.testing.MemoryReceiveStream]

LIMIT_S = 20.0  # nothing on a real socket may hang

TlsStream = trio.SSLStream[trio.SocketStream]


def memory_stream() -> Memory:
    """A stream whose peer is the test."""
    return trio.StapledStream(trio.testing.MemorySendStream(), trio.testing.MemoryReceiveStream())


@frozen
class MemoryPeer:
    """The far end of a stream in memory: puts octets in, takes octets out."""

    stream: Memory = field(factory=memory_stream)

    def send(self, octets: bytes) -> None:
        """Let the connection receive these octets."""
        self.stream.receive_stream.put_data(octets)

    def send_eof(self) -> None:
        """Let the connection receive the end."""
        self.stream.receive_stream.put_eof()

    def take(self) -> bytes:
        """Return what the connection has sent since the last look."""
        try:
            return bytes(self.stream.send_stream.get_data_nowait())
        except trio.WouldBlock:
            return b""


@asynccontextmanager
async def tcp_pair() -> AsyncIterator[tuple[trio.SocketStream, Link]]:
    """Our end and the peer's end of a TCP connection on loopback, closed within LIMIT_S."""
    with trio.fail_after(LIMIT_S):
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        async with listener:
            theirs = await trio.open_tcp_stream("127.0.0.1", listener.socket.getsockname()[1])
            ours = await listener.accept()
        link = Link(theirs)
        try:
            yield ours, link
        finally:
            await trio.aclose_forcefully(ours)
            await trio.aclose_forcefully(theirs)


@asynccontextmanager
async def tls_pair(*, server: bool) -> AsyncIterator[tuple[TlsStream, Link]]:
    """The same over TLS, with our end as the server or as the client."""
    authority = trustme.CA()
    presented = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(presented)
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)
    async with tcp_pair() as (ours, link):
        ends = (ours, link.stream) if server else (link.stream, ours)
        accepted = trio.SSLStream(ends[0], presented, server_side=True, https_compatible=server)
        dialled = trio.SSLStream(
            ends[1], trusted, server_hostname="localhost", https_compatible=not server
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accepted.do_handshake)
            nursery.start_soon(dialled.do_handshake)
        yield (accepted, Link(dialled)) if server else (dialled, Link(accepted))
