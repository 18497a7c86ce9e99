"""The node: what the listeners of one daemon share.

Owns which settings count at the moment; does nothing else. It saves every handler a long row of
parameters. Who needs a setting reads it from here when the thing begins that it bounds (a
connection, a tunnel, an exchange, a call), and keeps no copy beyond that thing's end.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

import trio
from attrs import Factory, define

from wormkey.access import Access
from wormkey.changes import Changes
from wormkey.config import Settings
from wormkey.fields import ViewerFacts, behind_proxy, get
from wormkey.forwarded import is_trusted
from wormkey.hardening import strict_transport
from wormkey.journal import Journal
from wormkey.keepalive import Pulse
from wormkey.metrics import Metrics
from wormkey.registry import Registry
from wormkey.routes.local import LocalRoutes
from wormkey.routing import PublicUrl
from wormkey.scopes import Drain, Turnstile
from wormkey.signing import KEY_BYTES, SigningKey
from wormkey.throttle import Throttles
from wormkey.tunnel import Tunnel

if TYPE_CHECKING:
    from wormkey.frames import Fields


@define(kw_only=True, eq=False)
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
    handshakes: Counter[str] = Factory(Counter)  # under way, by session
    turnstile: Turnstile = Factory(Turnstile)  # into the costly part of a handshake
    pulse: Pulse = Factory(Pulse)  # of all tunnels
    tunnels: set[Tunnel] = Factory(set)  # open ones, those that are going away too
    changes: Changes = Factory(lambda self: Changes(self.registry), takes_self=True)
    key: SigningKey = Factory(lambda: SigningKey(secrets.token_bytes(KEY_BYTES)))
    gateway_port: int | None = None  # the real one; None where there is none
    started: trio.Event = Factory(trio.Event)  # set when both listeners accept
    throttles: Throttles = Factory(lambda self: Throttles.of(self.settings), takes_self=True)

    def strict_fields(self, peer: str, received: Fields) -> Fields:
        """Return Strict-Transport-Security where a request came by https, as far as is known.

        A trusted proxy tells. From others the public URL's scheme counts for its host and the names
        under it, as it does for what apps are told (X-Forwarded-Proto); who came by plain http all
        the same ignores the field.
        """
        public = self.public
        if public.scheme != b"https":
            return ()
        trusted = is_trusted(peer, self.settings.trusted_proxies)
        host = (get(received, b"host") or [b""])[0]
        scheme = b"http" if trusted else public.scheme_of(host)
        facts = ViewerFacts(peer=peer, scheme=scheme, authority=host, trusted=trusted)
        said = behind_proxy(received, facts)
        return strict_transport((public.scheme, public.port), said.scheme, said.authority)

    def apply(self, settings: Settings) -> None:
        """Take changed settings: what begins from now on goes by them.

        No checkpoint: nobody sees some of them changed and others not.

        Raises:
            ConfigError: the public URL cannot be used; nothing has changed.
        """
        public = PublicUrl.parse(settings.public_url_at(self.gateway_port))
        self.settings = settings
        self.registry.settings = settings
        self.access.settings = settings
        self.public = public
        self.edge_url = settings.edge_url_at(self.gateway_port)
        self.throttles.apply(settings)
        self.registry.passwords.tries.limit = settings.max_password_tries
        self.journal.apply(settings)
