"""The same stack with nothing on it: what trio, trio-websocket and the kernel cost by themselves.

A tunnel that checks nothing, knows no sessions and keeps no records. It carries small requests as
Wormkey does: one WebSocket, a child task of the tunnel for each stream at both ends, connections
to the origin that are kept, frames that are ready joined into one message. Heads are told apart
by their empty line, content by the digits of Content-Length, no more. What the daemon and its
client cost above this is ours; what this costs beside `ssh -R` no care on our side takes away.

    bare.py gateway VIEWERS TUNNEL
    bare.py client TUNNEL ORIGIN

The client waits for the gateway; viewers are served once it is there.
"""

from __future__ import annotations

import contextlib
import sys
from struct import Struct
from typing import TYPE_CHECKING, Final

import trio
from attrs import define, field
from trio_websocket import WebSocketConnection, WebSocketRequest, open_websocket, serve_websocket

if TYPE_CHECKING:
    from collections.abc import Callable

READ_BYTES: Final = 65536
END: Final = b"\r\n\r\n"
HEADER: Final = Struct("!II")  # stream, length
BURST_BYTES: Final = 65536


@define(eq=False)
class Link:
    """Frames over one WebSocket, with one writer that joins what is ready."""

    socket: WebSocketConnection
    ready: list[bytes] = field(factory=list)
    writer: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot)

    def put(self, stream: int, data: bytes) -> None:
        """Queue a frame."""
        self.ready.append(HEADER.pack(stream, len(data)) + data)
        self.writer.unpark()

    async def write(self) -> None:
        """Send what is queued, again and again."""
        while True:
            if not self.ready:
                await self.writer.park()
            message, self.ready = b"".join(self.ready), []
            await self.socket.send_message(message)

    async def read(self, deliver: Callable[[int, bytes], None]) -> None:
        """Give each frame to ``deliver``."""
        while True:
            message = await self.socket.get_message()
            assert isinstance(message, bytes)
            at = 0
            while at < len(message):
                stream, length = HEADER.unpack_from(message, at)
                at += HEADER.size + length
                deliver(stream, message[at - length : at])


@define(eq=False)
class Waiting:
    """A stream whose answer has not come."""

    event: trio.Event = field(factory=trio.Event)
    answer: bytes = b""


async def whole(transport: trio.abc.ReceiveStream, held: bytes) -> bytes:
    """Read until a head and its content are there; b"" at the end of the stream."""
    while END not in held:
        data = await transport.receive_some(READ_BYTES)
        if not data:
            return b""
        held += data
    head = held[: held.index(END) + 4].lower()
    _, said, rest = head.partition(b"content-length:")
    size = len(head) + (int(rest[: rest.index(b"\r\n")]) if said else 0)
    while len(held) < size:
        held += await transport.receive_some(READ_BYTES)
    return held


async def gateway(viewers: int, tunnel: int) -> None:
    """Carry viewers' requests into the one tunnel."""
    waiting: dict[int, Waiting] = {}
    links: list[tuple[Link, trio.Nursery]] = []
    last, ready = 0, trio.Event()

    def deliver(stream: int, answer: bytes) -> None:
        found = waiting.pop(stream)
        found.answer = answer
        found.event.set()

    async def serve_tunnel(request: WebSocketRequest) -> None:
        async with trio.open_nursery() as nursery:
            link = Link(await request.accept())
            links.append((link, nursery))
            ready.set()
            nursery.start_soon(link.write)
            await link.read(deliver)

    async def carry(link: Link, viewer: trio.SocketStream, head: bytes, done: trio.Event) -> None:
        nonlocal last
        last += 1
        own = waiting[last] = Waiting()
        link.put(last, head)
        await own.event.wait()
        with contextlib.suppress(trio.BrokenResourceError):
            await viewer.send_all(own.answer)
        done.set()

    async def serve_viewer(viewer: trio.SocketStream) -> None:
        with contextlib.suppress(trio.BrokenResourceError):  # the load ends by a reset
            while head := await whole(viewer, b""):
                link, nursery = links[0]
                done = trio.Event()
                nursery.start_soon(carry, link, viewer, head, done)
                await done.wait()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_websocket, serve_tunnel, "127.0.0.1", tunnel, None)
        await ready.wait()
        await trio.serve_tcp(serve_viewer, viewers, host="127.0.0.1")


async def reached(port: int) -> trio.SocketStream:
    """Connect to a port that is about to listen."""
    with trio.fail_after(10):
        while True:
            with contextlib.suppress(OSError):
                return await trio.open_tcp_stream("127.0.0.1", port)
            await trio.sleep(0.05)


async def client(tunnel: int, origin: int) -> None:
    """Carry the tunnel's requests to the origin."""
    idle: list[trio.SocketStream] = []

    await (await reached(tunnel)).aclose()
    async with (
        trio.open_nursery() as nursery,
        open_websocket("127.0.0.1", tunnel, "/", use_ssl=False) as socket,
    ):
        link = Link(socket)

        async def serve(stream: int, head: bytes) -> None:
            connection = idle.pop() if idle else await trio.open_tcp_stream("127.0.0.1", origin)
            await connection.send_all(head)
            link.put(stream, await whole(connection, b""))
            idle.append(connection)

        nursery.start_soon(link.write)
        await link.read(lambda stream, head: nursery.start_soon(serve, stream, head))


def main() -> int:
    """Run one end until it is killed."""
    role, one, other = sys.argv[1:]
    trio.run({"gateway": gateway, "client": client}[role], int(one), int(other))
    return 0


if __name__ == "__main__":
    sys.exit(main())
