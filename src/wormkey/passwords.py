"""Viewers' passwords: hashed in worker threads, few at a time, and remembered once right.

Owns how slow checks are bounded. What is compared with what stands in policy.py. Knows no request;
of sessions it needs the hash and the name.
"""

from __future__ import annotations

import hmac
import secrets
from typing import TYPE_CHECKING, Final, TypeVar, TypeVarTuple

import trio
from attrs import define, field

from wormkey import policy
from wormkey.errors import AdmissionError

if TYPE_CHECKING:
    from collections.abc import Callable

    from wormkey.session import Session

HASH_THREADS: Final = 2  # scrypt takes 16 MiB and a core for about 0.2 s each
MAX_WAITING_HASHES: Final = 32  # beyond it a guesser only fills memory: 429

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


@define(eq=False)
class Passwords:
    """Hashes and checks the passwords of one daemon's sessions."""

    _hashing: trio.CapacityLimiter = field(factory=lambda: trio.CapacityLimiter(HASH_THREADS))
    _waiting: int = 0
    _proof_key: bytes = field(factory=lambda: secrets.token_bytes(32), repr=False)
    _proofs: dict[str, bytes] = field(factory=dict, repr=False)

    async def hash_chosen(self, password: str) -> str:
        """Return what is stored of a password that a person chose.

        Raises:
            AdmissionError: 429 when too many hashes wait already.
        """
        salt = secrets.token_bytes(policy.SALT_BYTES)
        return await self._hash(policy.hash_chosen, password, salt)

    async def check(self, session: Session, authorization: bytes | None) -> bool:
        """Tell whether a viewer's Authorization field holds the session's user and password.

        A chosen password costs a worker thread once; then a keyed digest of the field that was
        right answers at once, until the password changes or the session is forgotten.

        Raises:
            AdmissionError: 429 when too many checks wait already.
        """
        stored = session.password_hash
        if authorization is None or not stored:
            return False
        if not policy.is_slow(stored):
            return policy.check_basic(session, authorization)
        if policy.parse_basic(authorization) is None:
            return False
        proof = hmac.digest(self._proof_key, stored.encode() + b"\n" + authorization, "sha256")
        known = self._proofs.get(session.session_id)
        if known is not None and hmac.compare_digest(known, proof):
            return True
        right = await self._hash(policy.check_basic, session, authorization)
        if right:
            self._proofs[session.session_id] = proof
        return right

    def forget(self, session_id: str) -> None:
        """Remember nothing of a session that is over."""
        self._proofs.pop(session_id, None)

    async def _hash(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run a slow hash in one of HASH_THREADS worker threads."""
        if self._waiting >= MAX_WAITING_HASHES:
            raise AdmissionError(
                429,
                "too_many_requests",
                "too many passwords are being checked; try again in a few seconds",
                fields=((b"Retry-After", b"5"),),
            )
        self._waiting += 1
        try:
            return await trio.to_thread.run_sync(function, *args, limiter=self._hashing)
        finally:
            self._waiting -= 1
