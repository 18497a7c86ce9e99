"""The audit trail's vocabulary: what happened, who did it, from where, to which session.

Owns the closed list of events and the one form of a record. Pure: no clock, no file, no store.
A record is written once and never changed. Secrets never enter one: tokens are told by their
names, passwords by the fact that they changed.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, TypeAlias

from attrs import field, frozen

Fact: TypeAlias = str | int | bool | None


class AuditEvent(enum.StrEnum):
    """What is worth a trace; a name that was released keeps its meaning for ever."""

    SESSION_CREATED = "session.created"
    SESSION_CLOSED = "session.closed"
    SESSION_EXPIRED = "session.expired"
    SESSION_CLAIMED = "session.claimed"
    LINK_MADE = "link.made"
    POLICY_CHANGED = "policy.changed"
    VIEWER_KICKED = "viewer.kicked"
    PASSWORD_ROTATED = "password.rotated"  # noqa: S105 - the name of an event
    TOKEN_CREATED = "token.created"  # noqa: S105 - as above
    TOKEN_REVOKED = "token.revoked"  # noqa: S105 - as above
    DAEMON_STARTED = "daemon.started"
    DAEMON_STOPPED = "daemon.stopped"
    CONFIG_RELOADED = "config.reloaded"


@frozen
class Actor:
    """Who does something: a name such as ``token:laptop``, ``owner`` or ``operator``; from where.

    ``address`` is None for what this machine does by itself.
    """

    name: str
    address: str | None = None


DAEMON: Final = Actor("daemon")
OPERATOR: Final = Actor("operator")


@frozen(kw_only=True)
class AuditRecord:
    """One trace. ``at`` is aware UTC; ``actor`` is a principal such as ``token:laptop``.

    ``address`` is the peer's address where a peer asked for it. ``detail`` holds what else is
    needed to understand the event, never a secret.
    """

    at: datetime
    event: AuditEvent
    actor: str
    address: str | None = None
    session_id: str | None = None
    slug: str | None = None
    detail: Mapping[str, Fact] = field(factory=dict)

    def as_json(self) -> dict[str, object]:
        """Return the record with the names that log records have; every member is there."""
        moment = self.at.astimezone(UTC).isoformat(timespec="microseconds")
        return {
            "time": moment.replace("+00:00", "Z"),
            "event": self.event.value,
            "actor": self.actor,
            "address": self.address,
            "session": self.session_id,
            "slug": self.slug,
            "detail": dict(self.detail),
        }

    def line(self) -> str:
        """Return the record as one line of JSON in ASCII, whatever its texts hold."""
        return json.dumps(self.as_json()) + "\n"
