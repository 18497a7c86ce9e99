"""What an owner changes while his session lives: the policy, passwords, the pause, whose it is.

Owns that changes are made one after the other, so that none starts from what another is about to
replace; that each is durable before it is in force; and that what it shuts out ends at once. Who
may ask for one is the caller's affair.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final

import trio
from attrs import define, evolve, field

from wormkey import owners, policy
from wormkey.audit import Actor, AuditEvent
from wormkey.errors import AdmissionError
from wormkey.registry import PASSWORD_BYTES, SECRET_BYTES, Registry, gone
from wormkey.session import digest_of, matches_digest

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from wormkey.policy import Facts
    from wormkey.routes.local import Entry
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
            forgotten = {} if password_hash is None else {"knows_password": False}
            self._recheck(entry, changed, **forgotten)
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

    async def rotate_password(self, session: Session, by: Actor) -> tuple[Session, str]:
        """Give a session a new password, generated; return it, the only time it exists as text.

        It is the one that the form asks for, or HTTP Basic's where that is all that protects the
        page. Whoever came in by the old one is out at once.

        Raises:
            AdmissionError: 410 the session is over.
            StoreError: the store cannot take it; nothing changed.

        Cancellation: the change is made wholly or not at all.
        """
        password = secrets.token_urlsafe(PASSWORD_BYTES)
        stored = policy.hash_generated(password)
        async with self._changing:
            entry = self.registry.live(session)
            basic = entry.session.gate_hash is None and entry.session.auth_mode == "basic"
            changed = (
                evolve(entry.session, password_hash=stored)
                if basic
                else evolve(entry.session, gate_hash=stored)
            )
            record = self.registry.trail.record(
                AuditEvent.PASSWORD_ROTATED, by, changed, kind="basic" if basic else "form"
            )
            changed = await self.registry.replace(entry, changed, record)
            self._recheck(entry, changed, **{"authenticated" if basic else "knows_password": False})
            return changed, password

    async def refresh(self, session_ids: Collection[str]) -> None:
        """Take up what another process has changed of these sessions, or ended.

        Raises:
            StoreError: the store cannot be read.

        Cancellation: between two sessions.
        """
        stored = await self.registry.store.load_sessions()
        for session in (each for each in stored if each.session_id in session_ids):
            async with self._changing:
                entry = self.registry.routes.find_id(session.session_id)
                if entry is None or entry.ended:
                    continue
                old = entry.session
                entry.session = session
                if session.closed_at is not None:
                    self.registry.end(session, "the session was closed")
                    continue
                entry.crowd.remove(session.kicked)
                forgotten = {}
                if session.password_hash != old.password_hash:
                    forgotten["authenticated"] = False
                if session.gate_hash != old.gate_hash:
                    forgotten["knows_password"] = False
                self._recheck(entry, session, **forgotten)

    # ── whose it is ─────────────────────────────────────────────────────────────────────────

    async def claim(
        self, session: Session, token: bytes, known: bytes | None, by: Actor
    ) -> tuple[Session, bytes]:
        """Make a browser the owner's, for the owner's link; return its name.

        ``known`` is the browser that an owner's valid cookie names. The owner token serves the
        first browser that shows it, and owners' browsers again; a one-time code serves once.

        Raises:
            AdmissionError: 401 the token is neither; 403 another browser claimed it; 410 the
                session is over.
            StoreError: the store cannot take it; nothing is claimed.

        Cancellation: it is claimed wholly or not at all.
        """
        async with self._changing:
            entry = self.registry.live(session)
            current = entry.session
            by_code = matches_digest(token, current.claim_digest or b"")
            if not (by_code or current.accepts_owner_token(token)):
                raise AdmissionError(
                    401,
                    "unauthorized",
                    "This link's token is not valid any more, or never was.",
                    fields=((b"WWW-Authenticate", b"Bearer"),),
                )
            if not by_code and current.claimed_by is not None:
                if known is None:
                    sentence = "Another browser has claimed this link; ask for a new one."
                    raise AdmissionError(403, "already_claimed", sentence)
                return current, known
            browser = known or owners.new_browser(secrets.token_bytes(owners.BROWSER_ID_BYTES))
            changed = evolve(
                current,
                claimed_by=current.claimed_by or digest_of(browser),
                claim_digest=None if by_code else current.claim_digest,
            )
            record = self.registry.trail.record(
                AuditEvent.SESSION_CLAIMED, by, changed, link="one-time" if by_code else "first"
            )
            changed = await self.registry.replace(entry, changed, record)
            if entry.ended:
                raise gone(entry.session)
            return changed, browser

    async def new_link(self, session: Session, by: Actor) -> str:
        """Return a code that makes one more browser the owner's; an earlier unused one ends.

        Raises:
            AdmissionError: 410 the session is over.
            StoreError: the store cannot take it; nothing changed.

        Cancellation: there is a new code or there is none; an earlier one may have ended.
        """
        code = secrets.token_urlsafe(SECRET_BYTES)
        async with self._changing:
            entry = self.registry.live(session)
            changed = evolve(entry.session, claim_digest=digest_of(code.encode("ascii")))
            record = self.registry.trail.record(AuditEvent.LINK_MADE, by, changed)
            await self.registry.replace(entry, changed, record)
            return code

    def _recheck(self, entry: Entry, session: Session, **forgotten: Any) -> None:  # noqa: ANN401
        """End what would not be admitted again; what is ``forgotten`` counts no more."""

        def admits(facts: Facts) -> bool:
            verdict = policy.admit(session, evolve(facts, **forgotten))
            return isinstance(verdict, policy.Admit)

        entry.crowd.recheck(admits)
