"""Access tokens: who may create sessions where the daemon does not trust everybody.

Owns how a token is made, checked and named. The text of a token exists once, when it is made; the
store has its digest. Knows nothing of sessions and never reads a request.
"""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Final

from attrs import Factory, define, field

from wormkey.audit import DAEMON, OPERATOR, Actor, AuditEvent
from wormkey.config import Settings
from wormkey.errors import ConfigError, StoreError
from wormkey.session import digest_of
from wormkey.statefolder import LOCAL_TOKEN_FILE, TAKEN_TOKEN_FILE
from wormkey.store import Store, TokenNameTakenError, write_private
from wormkey.trail import Trail

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

TOKEN_BYTES: Final = 32  # 256 bits; the promise is 192
FIRST_TOKEN_NAME: Final = "first"  # noqa: S105 - a name
_TOKEN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}\Z")


def _nowhere(digest: bytes, used_at: datetime) -> None:
    """Keep nothing."""


@define(eq=False)
class Access:
    """The access tokens of one store. ``now`` is the wall clock, aware UTC.

    ``used`` keeps by its digest when a token was used last; it returns at once and never fails.
    """

    store: Store
    now: Callable[[], datetime]
    settings: Settings
    trail: Trail = field(default=Factory(lambda self: Trail(self.now), takes_self=True))
    used: Callable[[bytes, datetime], None] = _nowhere

    async def add(self, name: str, by: Actor = OPERATOR) -> str:
        """Make an access token and return its text, the only time it exists as text.

        Raises:
            ConfigError: the name is off the grammar or in use.
        """
        token = new_token()
        await self._put(name, token, by)
        return token

    async def _put(self, name: str, token: str, by: Actor) -> None:
        if _TOKEN_NAME.match(name) is None:
            raise ConfigError(f"token name {name!r}: use 1 to 64 letters, digits and . _ @ -")
        record = self.trail.record(AuditEvent.TOKEN_CREATED, by, token_name=name)
        digest = digest_of(token.encode("ascii"))
        try:
            await self.store.add_access_token(name, digest, record.at, audit=record)
        except TokenNameTakenError:
            raise ConfigError(
                f"a token named {name} exists; revoke it first or choose another name"
            ) from None
        self.trail.publish(record)
        log.info("access token created", extra={"token_name": name})

    async def revoke(self, name: str, by: Actor = OPERATOR) -> bool:
        """End an access token, sessions that it created live on; False if there is none.

        With the first one goes its copy for local clients, which opens nothing any more.
        """
        record = self.trail.record(AuditEvent.TOKEN_REVOKED, by, token_name=name)
        known = await self.store.revoke_access_token(name, audit=record)
        if known:
            self.trail.publish(record)
            log.info("access token revoked", extra={"token_name": name})
            if name == FIRST_TOKEN_NAME:
                _remove(self.settings.state_dir / LOCAL_TOKEN_FILE)
        return known

    async def check(self, bearer: bytes | None) -> str | None:
        """Return the name of the access token presented; None denies.

        The store is asked every time, so that a token added or revoked by another process
        counts at once; session creation is rare enough.
        """
        if not bearer:
            return None
        digest = digest_of(bearer)
        # Found by the digest: what timing could tell is a digest's prefix, useless without the
        # secret of 256 bits.
        name = await self.store.find_access_token(digest)
        if name is not None:
            self.used(digest, self.now())
        return name

    async def ensure_first(self) -> str | None:
        """In token mode without any token, make one named ``first`` and return its text.

        The text also goes to ``<state_dir>/local-token`` (0600), where a client of the same user
        on the same machine finds it without a login. None when there was nothing to do.

        Raises:
            StoreError: the store or the file cannot be written.
        """
        if self.settings.access != "token" or await self.store.list_access_tokens():
            return None
        token = new_token()
        # Before the store: a crash between the two leaves a stale file, written anew by the next
        # start, and not a token that nobody has.
        _write(self.settings.state_dir / LOCAL_TOKEN_FILE, token)
        await self._put(FIRST_TOKEN_NAME, token, DAEMON)
        return token

    async def take_first(self, token: str) -> None:
        """In token mode without any token, let this one be the first.

        Whoever passes it may pass it at each start: it is taken once in the life of a state
        folder, where its digest is noted, so that it stays revoked once it is.

        Raises:
            StoreError: the store or the note cannot be read or written.
        """
        if self.settings.access != "token":
            return
        digest = digest_of(token.encode("ascii"))
        note = self.settings.state_dir / TAKEN_TOKEN_FILE
        if await self.store.find_access_token(digest) is None:
            lasting = self.settings.store != "memory"
            if await self.store.list_access_tokens() or (lasting and _read(note) == digest.hex()):
                return
            await self._put(FIRST_TOKEN_NAME, token, DAEMON)
        # After the store: a crash between the two comes by here again.
        if _read(note) != digest.hex():
            _write(note, digest.hex())


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:  # the token is dead all the same
        log.warning("file not removed", extra={"file": str(path), "error": error.strerror})


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"cannot read {path}: {error}") from error


def _write(path: Path, text: str) -> None:
    try:
        write_private(path, text + "\n")
    except OSError as error:
        raise StoreError(
            f"cannot write {path}: {error.strerror}; make it writable or set --state-dir"
        ) from error


def principal_of(token_name: str) -> str:
    """Return what the sessions of an access token of this name are ``created_by``."""
    return f"token:{token_name}"


def new_token() -> str:
    """Return the text of a new access token."""
    # The prefix tells secret scanners what it is and keeps a leading - off command lines.
    return f"wk_{secrets.token_urlsafe(TOKEN_BYTES)}"
