"""The node: what the listeners of one daemon share, as one frozen value.

Owns nothing and does nothing: it saves every handler a long row of parameters.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import datetime

from attrs import Factory, frozen

from wormkey.access import Access
from wormkey.changes import Changes
from wormkey.config import Settings
from wormkey.journal import Journal
from wormkey.metrics import Metrics
from wormkey.registry import Registry
from wormkey.routes.local import LocalRoutes
from wormkey.routing import PublicUrl
from wormkey.scopes import Drain
from wormkey.signing import KEY_BYTES, SigningKey
from wormkey.throttle import Throttles
from wormkey.tunnel import Tunnel


@frozen(kw_only=True)
class Node:
    """One daemon's shared parts. ``now`` is the wall clock, aware UTC."""

    settings: Settings
    registry: Registry
    access: Access
    journal: Journal
    routes: LocalRoutes
    public: PublicUrl
    edge_url: str
    now: Callable[[], datetime]
    drain: Drain
    version: str
    metrics: Metrics = Factory(Metrics)
    tunnels: set[Tunnel] = Factory(set)  # open ones, those that are going away too
    changes: Changes = Factory(lambda self: Changes(self.registry), takes_self=True)
    key: SigningKey = Factory(lambda: SigningKey(secrets.token_bytes(KEY_BYTES)))
    throttles: Throttles = Factory(lambda self: Throttles.of(self.settings), takes_self=True)
