"""What an owner changes while his session lives: the policy, who was removed, the pause.

Owns that changes are made one after the other, so that none starts from what another is about to
replace; that each is durable before it is in force; and that what it shuts out ends at once. Who
may ask for one is the caller's affair.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio
from attrs import define, evolve, field

from wormkey import policy
from wormkey.audit import Actor, AuditEvent
from wormkey.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wormkey.policy import Facts
    from wormkey.session import Session
    from wormkey.wishes import PolicyChange

MAX_KICKED: Final = 1_000  # ids of 16 characters; beyond it the one removed longest ago may return


@define(eq=False)
class Changes:
    """The changes of one daemon's sessions."""

    registry: Registry
    _changing: trio.Lock = field(factory=trio.Lock)  # each reads, then writes

    async def change_policy(self, session: Session, wish: PolicyChange, by: Actor) -> Session:
        """Change who may see a session; durable before this returns, seen by the next request.

        Raises:
            AdmissionError: 410 the session is over; 429 too many passwords wait to be hashed.
            StoreError: the store cannot take it; nothing changed.

        Cancellation: the change is made wholly or not at all.
        """
        password_hash = None
        if wish.password is not None:
            password_hash = await self.registry.passwords.hash_chosen(wish.password)
        async with self._changing:
            entry = self.registry.live(session)
            rules = wish.applied_to(entry.session.policy)
            changed = evolve(entry.session, policy=rules)
            if password_hash is not None or wish.unprotect:
                changed = evolve(changed, gate_hash=password_hash)
            record = self.registry.trail.record(
                AuditEvent.POLICY_CHANGED,
                by,
                changed,
                changed=", ".join(wish.names),
                public=rules.public,
            )
            changed = await self.registry.replace(entry, changed, record)
            entry.crowd.recheck(lambda facts: self._still_admits(changed, facts, password_hash))
            return changed

    async def kick(self, session: Session, viewer_ids: Sequence[str], by: Actor) -> Session:
        """Remove viewers for good: their next request, and what they have open, is refused.

        Raises:
            AdmissionError: 410 the session is over.
            StoreError: the store cannot take it; nothing changed.

        Cancellation: they are removed wholly or not at all.
        """
        async with self._changing:
            entry = self.registry.live(session)
            ids = [each for viewer_id in viewer_ids for each in entry.crowd.ids_of(viewer_id)]
            kept = [known for known in entry.session.kicked if known not in ids]
            kicked = tuple([*kept, *dict.fromkeys(ids)][-MAX_KICKED:])
            changed = evolve(entry.session, kicked=kicked)
            record = self.registry.trail.record(
                AuditEvent.VIEWER_KICKED, by, changed, viewers=" ".join(viewer_ids)
            )
            changed = await self.registry.replace(entry, changed, record)
            entry.crowd.remove(changed.kicked)
            return changed

    async def pause(self, session: Session, by: Actor, *, paused: bool) -> Session:
        """Hold back new requests, or take them again; what is open goes on.

        Raises:
            AdmissionError: 410 the session is over.
            StoreError: the store cannot take it; nothing changed.

        Cancellation: the change is made wholly or not at all.
        """
        async with self._changing:
            entry = self.registry.live(session)
            changed = evolve(entry.session, paused=paused)
            record = self.registry.trail.record(
                AuditEvent.POLICY_CHANGED, by, changed, paused=paused
            )
            return await self.registry.replace(entry, changed, record)

    def _still_admits(self, session: Session, facts: Facts, password_hash: str | None) -> bool:
        """Tell whether an open exchange would be admitted again; a new password is not known."""
        if password_hash is not None:
            facts = evolve(facts, knows_password=False)
        return isinstance(policy.admit(session, facts), policy.Admit)
