"""Keeps what strangers hold in this process within the memory budget (--memory-budget).

Owns the look, four times a second, and the record of an episode. What to do is budget.py's; the
gateway refuses viewers by it, and each tunnel gives streams up by the share that it is told.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import trio
from attrs import Factory, define, field

from wormkey.budget import TUNNEL_BYTES, Budget
from wormkey.node import Node

if TYPE_CHECKING:
    from wormkey.frames import Event
    from wormkey.tunnel import Tunnel

logger = logging.getLogger(__name__)

LOOK_S: Final = 0.25  # so much later at most is too much noticed


@define(eq=False)
class Relief:
    """One gateway's; ``viewers_bytes`` tells what its connections and held requests cost."""

    node: Node
    viewers_bytes: Callable[[], int]
    budget: Budget = field(
        init=False,
        default=Factory(
            lambda self: Budget(self.node.settings.memory_budget_bytes), takes_self=True
        ),
    )

    async def run(self) -> None:
        """Look again and again. Cancellation: stops looking."""
        while True:
            await trio.sleep(LOOK_S)
            self.look()

    def look(self) -> None:
        """Count once, and tell the tunnels what they may hold."""
        tunnels, budget = self.node.tunnels, self.budget
        budget.limit_bytes = self.node.settings.memory_budget_bytes
        held_bytes = self.viewers_bytes() + len(tunnels) * TUNNEL_BYTES
        held_bytes += sum(_held_by(tunnel) for tunnel in tunnels if tunnel.open_streams)
        squeezed = budget.squeezing
        changed = budget.look(held_bytes)
        if budget.squeezing or squeezed:
            share_bytes = budget.share_bytes(len(tunnels)) if budget.squeezing else 0
            for tunnel in tunnels:
                tunnel.mux.inbox.squeeze(share_bytes)
                _relieve(tunnel)
        if changed and budget.shedding:
            extra = {"held_bytes": held_bytes, "budget_bytes": budget.limit_bytes}
            logger.warning("memory is short: new viewers are refused", extra=extra)
        elif changed:
            logger.info("memory suffices again", extra={"held_bytes": held_bytes})


def _held_by(tunnel: Tunnel) -> int:
    """What a tunnel's streams hold here: content of both directions, and heads."""
    held = tunnel.mux.statistics()
    return held.held_bytes + held.queued_bytes + tunnel.mux.inbox.head_bytes


def _relieve(tunnel: Tunnel) -> None:
    """Give up what nobody reads now: who has no window left sends nothing that would do it."""
    events: list[Event] = []
    tunnel.mux.relieve(events)
    for event in events:
        tunnel.dispatch(event)
    if events:
        tunnel.wake_writer()
