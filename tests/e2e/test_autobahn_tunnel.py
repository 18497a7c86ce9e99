"""The Autobahn cases against /tunnel: a peer that breaks RFC 6455 ends its own tunnel, no more."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from tests.support.autobahn import LONG, run_cases
from tests.support.origin import saying, start_origin
from tests.support.process import running_daemon
from tests.support.share import answers, create_session, share

if TYPE_CHECKING:
    from pathlib import Path

# What may be said of a text message, a frame off the protocol, or one that is too long.
CODES: Final = (None, 1000, 1002, 1003, 1007, 1009)
ECHOED: Final = "7.7."  # the peer closes with a code that it gets back (RFC 6455 §5.5.1)


async def _carry(source: trio.SocketStream, sink: trio.SocketStream) -> None:
    try:
        while data := await source.receive_some(1 << 16):
            await sink.send_all(data)
        await sink.send_eof()
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        await trio.aclose_forcefully(source)
        await trio.aclose_forcefully(sink)


async def _as_client(viewer: trio.SocketStream, *, port: int, token: str) -> None:
    """Make each handshake a tunnel client's: the cases' program can send no fields of its own."""
    head = b""
    while b"\r\n" not in head:
        head += await viewer.receive_some(1 << 16)
    line, _, rest = head.partition(b"\r\n")
    ours = b"Authorization: Bearer %b\r\nSec-WebSocket-Protocol: wormkey.v1\r\n" % token.encode()
    gateway = await trio.open_tcp_stream("127.0.0.1", port)
    async with viewer, gateway, trio.open_nursery() as nursery:
        await gateway.send_all(line + b"\r\n" + ours + rest)
        nursery.start_soon(_carry, viewer, gateway)
        nursery.start_soon(_carry, gateway, viewer)


async def test_no_case_hurts_anybody_but_its_own_tunnel(tmp_path: Path) -> None:
    """The endpoint carries no messages, so it echoes none; it closes with a code, or cuts.

    Meanwhile, and afterwards, another session's tunnel serves; the log names no failure of ours.
    """
    async with running_daemon(tmp_path) as daemon, trio.open_nursery() as nursery:
        origin = await start_origin(nursery, saying(b"hello"))
        healthy, _ = await share(nursery, daemon, origin.port)
        attacked = await create_session(daemon)
        relay = partial(_as_client, port=daemon.gateway[1], token=attacked["sessionToken"])
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, relay, [listener])
        url = f"ws://127.0.0.1:{listener.socket.getsockname()[1]}/tunnel"
        verdicts = await run_cases(url, tmp_path / "report", excluded=LONG, limit_s=120.0)
        assert len(verdicts) == 247
        strange = [verdict for verdict in verdicts if verdict.close_code not in CODES]
        assert [verdict for verdict in strange if not verdict.case.startswith(ECHOED)] == []
        assert any(verdict.close_code for verdict in verdicts)
        assert await answers(daemon, healthy)
        nursery.cancel_scope.cancel(reason="the cases are over")
    assert [line for line in daemon.process.err if "Traceback" in line or '"error"' in line] == []
