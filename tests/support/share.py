"""Sessions of a daemon that is a process, and their clients in this one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support.viewer import open_viewer
from tests.support.world import Connected, RunningClient, call, start_client

if TYPE_CHECKING:
    import trio

    from tests.support.messages import Response
    from tests.support.process import Daemon


async def create_session(daemon: Daemon, port: int = 1) -> dict[str, Any]:
    """Make a session in open mode; what the API answered."""
    status, made = await call(daemon.control, "POST", "/sessions", body={"port": port})
    assert status == 201, made
    session: dict[str, Any] = made
    return session


def start_client_of(
    nursery: trio.Nursery, daemon: Daemon, session: dict[str, Any], port: int
) -> RunningClient:
    """Start a session's client for the app at ``port``; it is not connected yet."""
    return start_client(
        nursery,
        edge_url=f"ws://127.0.0.1:{daemon.gateway[1]}",
        token=session["sessionToken"],
        target=str(port),
    )


async def share(
    nursery: trio.Nursery, daemon: Daemon, port: int
) -> tuple[dict[str, Any], RunningClient]:
    """Make a session for the app at ``port``; it, and its client, which is connected."""
    session = await create_session(daemon, port)
    client = start_client_of(nursery, daemon, session, port)
    await client.wait(Connected)
    return session, client


def authority_of(daemon: Daemon, session: dict[str, Any]) -> bytes:
    """The authority of a session's own host."""
    return f"{session['slug']}.localhost:{daemon.gateway[1]}".encode()


def addresses_of(daemon: Daemon) -> tuple[str, ...]:
    """The options by which another daemon listens where this one did."""
    control, gateway = daemon.control[1], daemon.gateway[1]
    return "--control", f"127.0.0.1:{control}", "--gateway", f"127.0.0.1:{gateway}"


async def visit(daemon: Daemon, session: dict[str, Any], target: bytes = b"/") -> Response:
    """Ask the session's URL once, on a connection of its own."""
    viewer = await open_viewer(*daemon.gateway, authority_of(daemon, session))
    try:
        return await viewer.exchange(target)
    finally:
        await viewer.aclose()


async def answers(daemon: Daemon, session: dict[str, Any], said: bytes = b"hello") -> bool:
    """Tell whether the session's URL leads to the app, which says ``said``."""
    answer = await visit(daemon, session)
    return answer.status == 200 and answer.data == said
