"""What accepts from the daemon's listening sockets, and can pause: the API servers, the gateway.

Pausing is for a hand-over: the sockets stay open, so the kernel keeps who comes meanwhile, for this
process or the next one. Owns no socket and no policy; nursery.py says where the tasks live.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import trio
from attrs import define, field

from wormkey.accepting import accept_waiting, serve_connections
from wormkey.admin import make_admin_app
from wormkey.control import serve_app, serve_control
from wormkey.facts import Facts
from wormkey.gateway import Gateway
from wormkey.node import Node

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


@define(eq=False)
class ApiServers:
    """The control plane and the admin socket, as tasks of ``nursery``."""

    nursery: trio.Nursery
    node: Node
    facts: Facts
    control: Sequence[trio.SocketListener]
    admin: Sequence[trio.SocketListener]
    max_control: int  # connections of the control plane
    _stop: trio.Event = field(factory=trio.Event)
    _ended: list[trio.Event] = field(factory=list)

    async def resume(self) -> None:
        """Serve; returns when both accept.

        Cancellation: what was started is the nursery's to cancel.
        """
        self._stop = trio.Event()
        await self._start(self._serve_control)
        if self.admin:
            app = make_admin_app(self.node, self.facts.as_json)
            settings = self.node.settings
            await self._start(partial(serve_app, app, settings, self.admin, self._stop.wait))

    async def _serve_control(self, *, task_status: trio.TaskStatus[None]) -> None:
        await serve_control(
            self.node,
            self.control,
            self._stop.wait,
            max_connections=self.max_control,
            task_status=task_status,
        )

    async def _start(self, serve: Callable[..., Awaitable[None]]) -> None:
        ended = trio.Event()

        async def run(*, task_status: trio.TaskStatus[Any]) -> None:
            try:
                await serve(task_status=task_status)
            finally:
                ended.set()

        self._ended.append(ended)
        await self.nursery.start(run)

    def stop(self) -> None:
        """Take no more calls; those under way are answered, for a few seconds at most."""
        self._stop.set()

    async def pause(self) -> None:
        """Stop, and wait until the last call is answered. Cancellation: waits only."""
        self.stop()
        while self._ended:
            await self._ended[-1].wait()
            self._ended.pop()


@define(eq=False)
class Accepting:
    """The gateway's accept loop, a task of ``nursery``; its connections are ``handlers``' tasks."""

    nursery: trio.Nursery
    viewers: Gateway
    listeners: Sequence[trio.SocketListener]
    handlers: trio.Nursery
    _scope: trio.CancelScope = field(factory=trio.CancelScope)
    _ended: trio.Event = field(factory=trio.Event)

    async def resume(self) -> None:
        """Accept; returns when the listeners are read.

        Cancellation: what was started is the nursery's to cancel.
        """
        self._scope, self._ended = trio.CancelScope(), trio.Event()
        await self.nursery.start(self._accept, self._scope, self._ended)

    async def pause(self) -> None:
        """Stop accepting; who was accepted is served. Cancellation: waits only."""
        self._scope.cancel(reason="the gateway accepts nobody for now")
        await self._ended.wait()

    def take_waiting(self) -> None:
        """Serve who connected before the listeners close; call it after pause()."""
        accept_waiting(
            self.listeners,
            self.viewers.serve_connection,
            self.handlers,
            user_timeout_s=self.viewers.node.settings.write_idle_timeout_s,
        )

    async def _accept(
        self,
        scope: trio.CancelScope,
        ended: trio.Event,
        *,
        task_status: trio.TaskStatus[None],
    ) -> None:
        node = self.viewers.node
        try:
            with scope:
                await serve_connections(
                    self.listeners,
                    self.viewers.serve_connection,
                    self.handlers,
                    limit=self.viewers.seats.limit,
                    make_room=self.viewers.seats.make_room,
                    user_timeout_s=lambda: node.settings.write_idle_timeout_s,
                    task_status=task_status,
                )
        finally:
            ended.set()
