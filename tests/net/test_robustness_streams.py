"""What happens to a stream that somebody else closes at a bad moment."""

from __future__ import annotations

import os
import socket

import pytest
import trio

from wormkey.transport import receive


async def test_a_stream_closed_while_it_waits_never_reads_from_its_successor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A descriptor's number is another connection's as soon as it is free."""
    left, right = socket.socketpair()
    left.setblocking(False)
    stream = trio.SocketStream(trio.socket.from_stdlib_socket(left))
    number = left.fileno()
    theirs, other = socket.socketpair()

    async def wait_readable(_: int) -> None:
        # What one turn of the scheduler may hold: readable, closed, and the number taken again.
        await trio.lowlevel.checkpoint()
        stream.socket.close()
        assert os.dup2(theirs.fileno(), number) == number
        other.send(b"not for you")

    monkeypatch.setattr(trio.lowlevel, "wait_readable", wait_readable)
    with right, theirs, other:
        try:
            with pytest.raises(trio.ClosedResourceError):
                await receive(stream, 100)
            assert theirs.recv(100) == b"not for you"
        finally:
            os.close(number)
