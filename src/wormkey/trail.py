"""The audit trail as the daemon leaves it: makes records, and hands them to who keeps them.

A record goes into the store together with what it tells of (``audit=`` of the store's calls), so
neither exists without the other. Here it is made, and afterwards published to whoever else wants
it: the audit log. What no call of the store carries is written behind.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from attrs import define

from wormkey.audit import Actor, AuditEvent, AuditRecord, Fact

if TYPE_CHECKING:
    from wormkey.session import Session


def _nowhere(record: AuditRecord) -> None:
    """Keep nothing."""


@define(eq=False)
class Trail:
    """Makes the daemon's audit records. ``now`` is the wall clock, aware UTC.

    ``publish`` takes a record that the store has already, ``behind`` one that it still has to
    get; both return at once and never fail.
    """

    now: Callable[[], datetime]
    publish: Callable[[AuditRecord], None] = _nowhere
    behind: Callable[[AuditRecord], None] = _nowhere

    def record(
        self, event: AuditEvent, by: Actor, session: Session | None = None, **detail: Fact
    ) -> AuditRecord:
        """Return a record of what ``by`` does now; it is not kept anywhere yet."""
        return AuditRecord(
            at=self.now(),
            event=event,
            actor=by.name,
            address=by.address,
            session_id=None if session is None else session.session_id,
            slug=None if session is None else session.slug,
            detail=detail,
        )
