"""The store that forgets: everything in dictionaries, for tests and throw-away runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, evolve, field

from wormkey.audit import AuditRecord
from wormkey.session import Session
from wormkey.store import AccessToken, SlugTakenError, TokenNameTakenError
from wormkey.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from wormkey.store import Batch


@define(eq=False)
class MemoryStore:
    """A Store in memory. Nothing is durable; nothing blocks, no method is a checkpoint."""

    _sessions: dict[str, Session] = field(factory=dict, repr=False)
    _slugs: dict[str, str] = field(factory=dict, repr=False)
    _usage: dict[str, Usage] = field(factory=dict, repr=False)
    _tokens: dict[bytes, AccessToken] = field(factory=dict, repr=False)
    _audit: list[AuditRecord] = field(factory=list, repr=False)

    async def load_sessions(self) -> Sequence[Session]:
        """Return every session that is kept, ended ones too."""
        return list(self._sessions.values())

    async def put_session(
        self, session: Session, *, replacing: str | None = None, audit: AuditRecord | None = None
    ) -> None:
        """Add or replace a session; a closing that is stored already stays."""
        holder = self._slugs.get(session.slug)
        if holder is not None and holder not in {session.session_id, replacing}:
            raise SlugTakenError(session.slug)
        if replacing is not None:
            self._delete(replacing)
        old = self._sessions.get(session.session_id)
        if old is not None and old.closed_at is not None:
            session = evolve(session, closed_at=old.closed_at)
        self._sessions[session.session_id] = session
        self._slugs[session.slug] = session.session_id
        self._trace(audit)

    def _trace(self, audit: AuditRecord | None) -> None:
        if audit is not None:
            self._audit.append(audit)

    async def close_session(
        self, session_id: str, closed_at: datetime, *, audit: AuditRecord | None = None
    ) -> None:
        """Mark a session as closed; an earlier closing stays."""
        session = self._sessions.get(session_id)
        if session is not None and session.closed_at is None:
            self._sessions[session_id] = evolve(session, closed_at=closed_at)
            self._trace(audit)

    async def close_sessions_of(
        self, created_by: str, closed_at: datetime, *, audit: AuditRecord | None = None
    ) -> Sequence[str]:
        """Close what a principal created and what lives at ``closed_at``; return their ids."""
        found = [
            session
            for session in self._sessions.values()
            if session.created_by == created_by and session.remaining_s(closed_at) > 0
        ]
        for session in found:
            self._sessions[session.session_id] = evolve(session, closed_at=closed_at)
            if audit is not None:
                self._trace(evolve(audit, session_id=session.session_id, slug=session.slug))
        return [session.session_id for session in found]

    async def delete_ended(self, before: datetime) -> int:
        """Delete the sessions that were closed or expired before ``before``; return how many."""
        ended = [key for key, session in self._sessions.items() if session.ended_at < before]
        for session_id in ended:
            self._delete(session_id)
        return len(ended)

    def _delete(self, session_id: str) -> None:
        session = self._sessions.pop(session_id, None)
        if session is not None:
            del self._slugs[session.slug]
            self._usage.pop(session_id, None)

    async def add_access_token(
        self, name: str, digest: bytes, created_at: datetime, *, audit: AuditRecord | None = None
    ) -> None:
        """Add an access token by the SHA-256 of its secret."""
        if any(token.name == name for token in self._tokens.values()):
            raise TokenNameTakenError(name)
        self._tokens[digest] = AccessToken(name=name, created_at=created_at)
        self._trace(audit)

    async def list_access_tokens(self) -> Sequence[AccessToken]:
        """Return all access tokens, oldest first."""
        return sorted(self._tokens.values(), key=lambda token: (token.created_at, token.name))

    async def revoke_access_token(self, name: str, *, audit: AuditRecord | None = None) -> bool:
        """Delete an access token; False if there is none of this name."""
        found = [digest for digest, token in self._tokens.items() if token.name == name]
        for digest in found:
            del self._tokens[digest]
            self._trace(audit)
        return bool(found)

    async def find_access_token(self, digest: bytes) -> str | None:
        """Return the name of the token with this digest."""
        token = self._tokens.get(digest)
        return None if token is None else token.name

    async def write_behind(self, batch: Batch) -> None:
        """Take the newest values and the loose traces."""
        for session_id, usage in batch.usage.items():
            if session_id in self._sessions:
                self._usage[session_id] = usage
        for digest, used_at in batch.token_uses.items():
            token = self._tokens.get(digest)
            if token is not None:
                self._tokens[digest] = evolve(token, last_used_at=used_at)
        self._audit.extend(batch.audit)

    async def load_usage(self) -> Mapping[str, Usage]:
        """Return what each session has carried so far."""
        return {key: self._usage.get(key, Usage()) for key in self._sessions}

    async def read_audit(self, limit: int) -> Sequence[AuditRecord]:
        """Return the newest traces, the newest first."""
        return self._audit[::-1][:limit]

    async def trim_audit(self, keep: int) -> None:
        """Forget all traces but the newest ``keep``."""
        del self._audit[: max(0, len(self._audit) - keep)]

    async def aclose(self) -> None:
        """Do nothing: there is nothing to flush."""
