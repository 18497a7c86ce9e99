"""An existing client's whole life against the daemon: create, serve, lose the daemon, come back."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import trio

from tests.support.origin import saying, start_origin
from tests.support.process import Daemon, running_daemon
from tests.support.v0 import V0Client, open_v0_client
from tests.support.viewer import open_viewer
from tests.support.world import call

if TYPE_CHECKING:
    from pathlib import Path

WISH = {"port": 5173, "authMode": "none", "expiresIn": "24h"}


async def _served(daemon: Daemon, made: dict[str, Any], client: V0Client) -> None:
    """Fetch the session's page by its public URL; the client must have been asked for it."""
    before = len(client.opened)
    viewer = await open_viewer(*daemon.gateway, b"localhost:%d" % daemon.gateway[1])
    try:
        answer = await viewer.exchange(b"/s/%s/page" % made["slug"].encode())
    finally:
        await viewer.aclose()
    assert (answer.status, answer.data) == (200, b"from the app")
    assert len(client.opened) == before + 1


async def test_an_existing_clients_whole_life(tmp_path: Path) -> None:
    """No access token, any 2xx, the answer's members; the same token after a daemon's death."""
    with trio.fail_after(40):
        async with trio.open_nursery() as nursery:
            origin = await start_origin(nursery, saying(b"from the app"))
            async with running_daemon(tmp_path, "--access", "open") as daemon:
                status, made = await call(daemon.control, "POST", "/sessions", body=WISH)
                assert 200 <= status < 300
                wanted = {"publicUrl", "edgeUrl", "sessionToken", "ownerUrl", "expiresAt"}
                assert wanted <= set(made)
                assert made["edgeUrl"] == f"ws://localhost:{daemon.gateway[1]}"
                edge = f"ws://127.0.0.1:{daemon.gateway[1]}"
                async with open_v0_client(edge, made["sessionToken"], origin.port) as client:
                    await client.ping()
                    await _served(daemon, made, client)
                await daemon.process.end(signal.SIGKILL)
            async with running_daemon(tmp_path, "--access", "open") as daemon:
                edge = f"ws://127.0.0.1:{daemon.gateway[1]}"
                async with open_v0_client(edge, made["sessionToken"], origin.port) as client:
                    await _served(daemon, made, client)
                    path = f"/sessions/{made['sessionId']}"
                    closed = await call(daemon.control, "DELETE", path, token=made["sessionToken"])
                    assert closed == (200, {"ok": True})
                    await client.ended.wait()
            nursery.cancel_scope.cancel(reason="the test is over")
