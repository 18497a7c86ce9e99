"""The registry: the only place where sessions are made, checked and ended.

Joins the store (what survives) and the routes (what viewers find). A session is in the store
before anyone is told of it, and out of the routes before its tunnel closes. Secrets are made
here, leave once as text in ``Created``, and are never logged. Never reads a request.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from attrs import Factory, define, evolve, field, frozen

from wormkey import policy
from wormkey.audit import DAEMON, Actor, AuditEvent, AuditRecord
from wormkey.config import Settings
from wormkey.errors import AdmissionError, ErrorCode
from wormkey.passwords import Passwords
from wormkey.routes.local import Entry, LocalRoutes
from wormkey.session import (
    ENDED_GRACE_S,
    SLUG_RANDOM_BYTES,
    Session,
    SessionState,
    digest_of,
    expiry_of,
    make_slug,
    split_session_token,
)
from wormkey.store import SlugTakenError, Store
from wormkey.throttle import Throttle
from wormkey.trail import Trail
from wormkey.usage import Meter, Usage

if TYPE_CHECKING:
    from wormkey.wishes import NewSession

log = logging.getLogger(__name__)

Role: TypeAlias = Literal["owner", "client"]

SECRET_BYTES: Final = 32  # 256 bits; the promise is 192
PASSWORD_BYTES: Final = 18  # 144 bits, 24 characters; the promise is 128
SLUG_TRIES: Final = 8  # two equal slugs of 40 random bits are rare, nine in a row are a bug
_BEARER_FIELD: Final = ((b"WWW-Authenticate", b"Bearer"),)


@frozen(kw_only=True)
class Created:
    """A new session with its secrets, the only time they exist as text."""

    session: Session
    session_token: str = field(repr=False)
    owner_token: str = field(repr=False)
    username: str | None = None
    password: str | None = field(default=None, repr=False)


@define(eq=False)
class Registry:
    """Sessions of one daemon. ``now`` is the wall clock, aware UTC."""

    store: Store
    routes: LocalRoutes
    now: Callable[[], datetime]
    settings: Settings
    trail: Trail = field(default=Factory(lambda self: Trail(self.now), takes_self=True))
    passwords: Passwords = field(
        default=Factory(
            lambda self: Passwords(Throttle(self.settings.max_password_tries)), takes_self=True
        )
    )

    # ── life ────────────────────────────────────────────────────────────────────────────────

    async def load(self) -> int:
        """Fill the routes from the store at start; return how many sessions are live.

        Raises:
            StoreError: the store cannot be read.
        """
        now = self.now()
        oldest = now - timedelta(seconds=ENDED_GRACE_S)
        usage = await self.store.load_usage()
        for session in await self.store.load_sessions():
            if session.state(now) is SessionState.LIVE:
                entry = self.routes.add(session)
            elif session.ended_at > oldest:
                entry = self.routes.add_ended(session)
            else:
                continue
            entry.meter = Meter.resume(usage.get(session.session_id, Usage()))
        return len(self.routes)

    async def create(self, wish: NewSession, by: Actor) -> Created:
        """Make a session, durable in the store before this returns.

        ``by`` is the principal; a name whose session has ended goes to the same
        principal again at once, to others after the grace.

        Raises:
            AdmissionError: 409 ``name_taken``; 429 when too many passwords wait to be hashed.
            StoreError: the store cannot take it.

        Cancellation: the session exists wholly or not at all.
        """
        session_secret = secrets.token_urlsafe(SECRET_BYTES)
        owner_token = secrets.token_urlsafe(SECRET_BYTES)
        password = wish.password
        password_hash = None
        if wish.auth_mode == "basic":
            if password is None:
                password = secrets.token_urlsafe(PASSWORD_BYTES)
                password_hash = policy.hash_generated(password)
            else:
                password_hash = await self.passwords.hash_chosen(password)
        gate_hash = None
        if wish.gate_password is not None:
            gate_hash = await self.passwords.hash_chosen(wish.gate_password)
        now = self.now()
        session = Session(
            session_id=secrets.token_hex(16),
            slug=wish.name or make_slug(secrets.token_bytes(SLUG_RANDOM_BYTES)),
            created_at=now,
            expires_at=expiry_of(now, wish.expires_in_s),
            port=wish.port,
            auth_mode=wish.auth_mode,
            username=wish.username,
            password_hash=password_hash,
            session_token_digest=digest_of(session_secret.encode("ascii")),
            owner_token_digest=digest_of(owner_token.encode("ascii")),
            policy=wish.policy,
            gate_hash=gate_hash,
            created_by=by.name,
        )
        session, record = await self._put_new(session, by, named=wish.name is not None)
        self.routes.add(session)  # no checkpoint since the store took it
        self.trail.publish(record)
        log.info("session created", extra={"session": session.session_id, "slug": session.slug})
        return Created(
            session=session,
            session_token=f"{session.slug}.{session_secret}",
            owner_token=owner_token,
            username=session.username,
            password=password,
        )

    async def _put_new(
        self, session: Session, by: Actor, *, named: bool
    ) -> tuple[Session, AuditRecord]:
        """Store a new session under a free slug, drawing other slugs while the name is free."""
        for _ in range(SLUG_TRIES):
            try:
                replacing = self._reclaimed(session) if named else None
                record = self.trail.record(
                    AuditEvent.SESSION_CREATED,
                    by,
                    session,
                    expires_at=session.expires_at.isoformat(timespec="seconds"),
                    auth_mode=session.auth_mode,
                )
                await self.store.put_session(session, replacing=replacing, audit=record)
            except SlugTakenError:
                if named:
                    break
                session = evolve(session, slug=make_slug(secrets.token_bytes(SLUG_RANDOM_BYTES)))
            else:
                return session, record
        raise AdmissionError(409, "name_taken", f"the name {session.slug} is taken; choose another")

    def _reclaimed(self, session: Session) -> str | None:
        """Return the id of the ended session whose slug the same principal takes again."""
        entry = self.routes.find(session.slug)
        if entry is None:
            return None
        self._end_if_expired(entry, self.now())
        if not entry.ended or entry.session.created_by != session.created_by:
            raise SlugTakenError(session.slug)
        return entry.session.session_id

    async def close(self, session: Session, by: Actor) -> None:
        """End a session for good: first in the store, then its tunnel with SESSION_CLOSED.

        Raises:
            StoreError: the store cannot take it; the session lives on.
        """
        entry = self.routes.find_id(session.session_id)
        if entry is None or entry.ended:
            return
        closed_at = self.now()
        record = self.trail.record(AuditEvent.SESSION_CLOSED, by, session)
        await self.store.close_session(session.session_id, closed_at, audit=record)
        self.trail.publish(record)
        self.end(evolve(entry.session, closed_at=closed_at), "the session was closed")
        log.info("session closed", extra={"session": session.session_id, "slug": session.slug})

    def end(self, session: Session, detail: str) -> None:
        """Let nobody find a session that is over; ``detail`` is what its client is told."""
        upstream = self.routes.end(session)
        self.passwords.forget(session.session_id)
        if upstream is not None:
            upstream.close(ErrorCode.SESSION_CLOSED, detail)

    async def close_created_by(self, principal: str, by: Actor) -> int:
        """End every live session of a principal, such as ``token:laptop``; return how many.

        Raises:
            StoreError: the store cannot take it; those not reached yet live on.

        Cancellation: between two sessions.
        """
        found = [
            entry.session
            for entry in self.routes.entries()
            if entry.session.created_by == principal
        ]
        for session in found:
            await self.close(session, by)
        return len(found)

    # ── changes ─────────────────────────────────────────────────────────────────────────────

    def live(self, session: Session) -> Entry:
        """Return the entry of a session that lives.

        Raises:
            AdmissionError: 404 it is unknown; 410 it is over.
        """
        entry = self.routes.find_id(session.session_id)
        if entry is None:
            raise _unknown()
        self._end_if_expired(entry, self.now())
        if entry.ended:
            raise gone(entry.session)
        return entry

    async def replace(self, entry: Entry, session: Session, record: AuditRecord) -> Session:
        """Put a changed session in the place of the one it was; return the one in force.

        Raises:
            StoreError: the store cannot take it; nothing changed.

        Cancellation: the change is made wholly or not at all.
        """
        await self.store.put_session(session, audit=record)
        self.trail.publish(record)
        if not entry.ended:  # closed meanwhile: the store kept that, and so do the routes
            entry.session = session  # no checkpoint since the store took it
            entry.ring()
        return entry.session

    def expire(self, now: datetime) -> int:
        """End every session whose time is over at ``now``, tunnels included; return how many."""
        return sum(self._end_if_expired(entry, now) for entry in self.routes.entries())

    def _end_if_expired(self, entry: Entry, now: datetime) -> bool:
        session = entry.session
        if entry.ended or session.state(now) is SessionState.LIVE:
            return False
        self.end(session, "the session expired")
        self.trail.behind(self.trail.record(AuditEvent.SESSION_EXPIRED, DAEMON, session))
        log.info("session expired", extra={"session": session.session_id, "slug": session.slug})
        return True

    async def sweep(self, now: datetime) -> int:
        """Expire, then forget what ended longer ago than the grace; return how many were deleted.

        Raises:
            StoreError: the store cannot do it; the routes are swept all the same.
        """
        self.expire(now)
        before = now - timedelta(seconds=ENDED_GRACE_S)
        for entry in self.routes.ended_entries():
            if entry.session.ended_at <= before:
                self.routes.remove(entry.session.slug)
        return await self.store.delete_ended(before)

    # ── who may do what ─────────────────────────────────────────────────────────────────────

    def authenticate_tunnel(self, token: bytes | None) -> Session:
        """Return the live session that a tunnel's token opens.

        Raises:
            AdmissionError: 401 ``bad_token``; 410 ``session_closed`` or ``session_expired`` for
                the right token of a session that is over.
        """
        parts = split_session_token(token or b"")
        entry = None if parts is None else self.routes.find(parts[0])
        if entry is None or token is None or not entry.session.accepts_session_token(token):
            raise _denied("the session token is not valid")
        self._end_if_expired(entry, self.now())
        if entry.ended:
            raise gone(entry.session)
        return entry.session

    def authorize(self, session_id: str, bearer: bytes | None) -> tuple[Session, Role]:
        """Return the session, live or ended, for one of its two tokens, and whose that is.

        Raises:
            AdmissionError: 401 ``unauthorized``; 404 ``unknown_session`` (only to who shows some
                token; ids are 128 random bits).
        """
        if bearer is None:
            raise _denied("a session token or owner token of this session is needed")
        entry = self.routes.find_id(session_id)
        if entry is None:
            raise _unknown()
        as_tunnel = entry.session.accepts_session_token(bearer)
        as_owner = entry.session.accepts_owner_token(bearer)
        if not (as_tunnel or as_owner):
            raise _denied("the token is not one of this session's")
        self._end_if_expired(entry, self.now())
        return entry.session, "owner" if as_owner else "client"

    def authorize_owner(self, slug: str, bearer: bytes | None) -> Session:
        """Return the session of the slug for its owner token only, live or ended.

        Raises:
            AdmissionError: 401 ``unauthorized``; 404 ``unknown_session``.
        """
        if bearer is None:
            raise _denied("the owner token of this session is needed")
        entry = self.routes.find(slug)
        if entry is None:
            raise _unknown()
        if not entry.session.accepts_owner_token(bearer):
            raise _denied("the token is not this session's owner token")
        self._end_if_expired(entry, self.now())
        return entry.session


def gone(session: Session) -> AdmissionError:
    """Return the 410 that says how this session ended."""
    if session.closed_at is not None:
        return AdmissionError(410, "session_closed", "the session was closed")
    return AdmissionError(410, "session_expired", "the session has expired")


def _denied(message: str) -> AdmissionError:
    return AdmissionError(401, "unauthorized", message, fields=_BEARER_FIELD)


def _unknown() -> AdmissionError:
    return AdmissionError(404, "unknown_session", "there is no such session")
