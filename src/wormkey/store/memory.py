"""The store that forgets: everything in dictionaries, for tests and throw-away runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, evolve, field

from wormkey.session import Session
from wormkey.store import AccessToken, SlugTakenError, TokenNameTakenError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime


@define(eq=False)
class MemoryStore:
    """A Store in memory. Nothing is durable; nothing blocks, no method is a checkpoint."""

    _sessions: dict[str, Session] = field(factory=dict, repr=False)
    _slugs: dict[str, str] = field(factory=dict, repr=False)
    _tokens: dict[bytes, AccessToken] = field(factory=dict, repr=False)

    async def load_sessions(self) -> Sequence[Session]:
        """Return every session that is kept, ended ones too."""
        return list(self._sessions.values())

    async def put_session(self, session: Session, *, replacing: str | None = None) -> None:
        """Add or replace a session."""
        holder = self._slugs.get(session.slug)
        if holder is not None and holder not in {session.session_id, replacing}:
            raise SlugTakenError(session.slug)
        if replacing is not None:
            self._delete(replacing)
        self._sessions[session.session_id] = session
        self._slugs[session.slug] = session.session_id

    async def close_session(self, session_id: str, closed_at: datetime) -> None:
        """Mark a session as closed; an earlier closing stays."""
        session = self._sessions.get(session_id)
        if session is not None and session.closed_at is None:
            self._sessions[session_id] = evolve(session, closed_at=closed_at)

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

    async def add_access_token(self, name: str, digest: bytes, created_at: datetime) -> None:
        """Add an access token by the SHA-256 of its secret."""
        if any(token.name == name for token in self._tokens.values()):
            raise TokenNameTakenError(name)
        self._tokens[digest] = AccessToken(name=name, created_at=created_at)

    async def list_access_tokens(self) -> Sequence[AccessToken]:
        """Return all access tokens, oldest first."""
        return sorted(self._tokens.values(), key=lambda token: (token.created_at, token.name))

    async def revoke_access_token(self, name: str) -> bool:
        """Delete an access token; False if there is none of this name."""
        found = [digest for digest, token in self._tokens.items() if token.name == name]
        for digest in found:
            del self._tokens[digest]
        return bool(found)

    async def find_access_token(self, digest: bytes) -> str | None:
        """Return the name of the token with this digest."""
        token = self._tokens.get(digest)
        return None if token is None else token.name

    async def touch_access_token(self, digest: bytes, used_at: datetime) -> None:
        """Note when a token was used last."""
        token = self._tokens.get(digest)
        if token is not None:
            self._tokens[digest] = evolve(token, last_used_at=used_at)

    async def aclose(self) -> None:
        """Do nothing: there is nothing to flush."""
