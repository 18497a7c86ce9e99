"""Who comes in at the gateway: a connection's far end, and whether his request may use a session.

Owns the steps from a slug to an admitted request: the session lives, the credentials fit, the
policy agrees, and names that nobody has are not tried without end. Every refusal is an
AdmissionError. Never touches the store and never waits for a client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
from attrs import frozen

from wormkey import fields, forwarded, policy, throttle
from wormkey.errors import AdmissionError
from wormkey.registry import gone
from wormkey.session import SessionState

if TYPE_CHECKING:
    from wormkey.frames import RequestHead
    from wormkey.node import Node
    from wormkey.routes.local import Entry
    from wormkey.routing import ToTunnel


@frozen
class Caller:
    """Who is at the other end of a connection: his address, and whether the operator trusts it."""

    peer: str
    trusted: bool

    @classmethod
    def of(cls, node: Node, peer: str) -> Caller:
        """Return the caller whose connection comes from this address."""
        return cls(peer, forwarded.is_trusted(peer, node.settings.trusted_proxies))

    def viewer_address(self, node: Node, head: RequestHead | None) -> str:
        """Return the address that a request came from, as far as trusted proxies vouch for it."""
        if not self.trusted or head is None:
            return self.peer
        values = fields.get(head.fields, b"x-forwarded-for")
        return forwarded.viewer_address(values, self.peer, node.settings.trusted_proxies)


async def admit_viewer(node: Node, head: RequestHead, route: ToTunnel, caller: Caller) -> Entry:
    """Return the session's entry if this request may use it now.

    Raises:
        AdmissionError: 404 nobody has the name, 429 after too many such; 410 the session is over;
            401, 403 its owner's rules say no.

    Cancellation: nothing is counted as wrong.
    """
    entry = node.routes.find(route.slug)
    if entry is None and route.by == "cookie":  # of a session long gone: the path names nobody
        raise AdmissionError(404, "not_found", "There is nothing here.")
    if entry is None:
        _count_miss(node, caller.viewer_address(node, head))
        raise AdmissionError(404, "unknown_session", "No tunnel has this name.")
    session = entry.session
    if entry.ended or session.state(node.now()) is not SessionState.LIVE:
        raise gone(session)
    credentials = fields.get(head.fields, b"authorization")
    authorization = credentials[0] if len(credentials) == 1 else None
    authenticated = session.auth_mode == "none" or await node.registry.passwords.check(
        session, authorization
    )
    verdict = policy.admit(
        session, target=route.target, authenticated=authenticated, active_viewers=0
    )
    match verdict:
        case policy.Challenge():
            if credentials:  # a browser's first request has none
                node.metrics.failed_authentications["viewer"] += 1
            raise AdmissionError(
                401,
                "credentials_required",
                "This page wants a user name and a password.",
                fields=(policy.challenge_field(session),),
            )
        case policy.Refuse(status, code, message):
            raise AdmissionError(status, code, message)
        case policy.Admit():
            return entry


def _count_miss(node: Node, address: str) -> None:
    sentence = "Too many names that nobody has were asked for from your address"
    throttle.take(node.throttles.misses, address, trio.current_time(), sentence)
