"""Viewers' passwords: hashed in worker threads, few at a time, and remembered once right.

Owns how slow checks are bounded. What is compared with what stands in policy.py. Knows no request;
of sessions it needs the hash and the name.
"""

from __future__ import annotations

import hmac
import secrets
from typing import TYPE_CHECKING, Final, TypeVar, TypeVarTuple

import trio
from attrs import define, field, frozen

from wormkey import policy, throttle
from wormkey.errors import AdmissionError
from wormkey.throttle import Throttle

if TYPE_CHECKING:
    from collections.abc import Callable

    from wormkey.session import Session

HASH_THREADS: Final = 2  # scrypt takes 16 MiB and a core for about 0.2 s each
MAX_WAITING_HASHES: Final = 32  # beyond it a guesser only fills memory: 429

DEFAULT_TRIES: Final = 10  # config.Settings.max_password_tries

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


@frozen
class _Check:
    """What is compared: of which kind, for which session, stored and shown."""

    kind: str
    session_id: str
    stored: str = field(repr=False)
    shown: bytes = field(repr=False)


@define(eq=False)
class Passwords:
    """Hashes and checks the passwords of one daemon's sessions.

    ``tries`` bounds wrong ones, by address and session.
    """

    tries: Throttle = field(factory=lambda: Throttle(DEFAULT_TRIES))
    _hashing: trio.CapacityLimiter = field(factory=lambda: trio.CapacityLimiter(HASH_THREADS))
    _waiting: int = 0
    _proof_key: bytes = field(factory=lambda: secrets.token_bytes(32), repr=False)
    _proofs: dict[tuple[str, str], bytes] = field(factory=dict, repr=False)

    async def hash_chosen(self, password: str) -> str:
        """Return what is stored of a password that a person chose.

        Raises:
            AdmissionError: 429 when too many hashes wait already.
        """
        salt = secrets.token_bytes(policy.SALT_BYTES)
        return await self._hash(policy.hash_chosen, password, salt)

    async def check_basic(self, session: Session, authorization: bytes, address: str) -> bool:
        """Tell whether a viewer's Authorization field holds the session's user and password.

        Raises:
            AdmissionError: 429 after too many wrong ones from this address for this session, or
                when too many checks wait already.
        """
        stored = session.password_hash
        if not stored or policy.parse_basic(authorization) is None:
            return False
        check = _Check("basic", session.session_id, stored, authorization)
        return await self._check(check, address, lambda: policy.check_basic(session, authorization))

    async def check_gate(self, session: Session, password: bytes, address: str) -> bool:
        """Tell whether this is the password that the session's form asks for.

        Raises:
            AdmissionError: as ``check_basic``.
        """
        stored = session.gate_hash
        if not stored or not password:
            return False
        check = _Check("gate", session.session_id, stored, password)
        return await self._check(check, address, lambda: policy.verify_password(password, stored))

    async def _check(self, check: _Check, address: str, is_right: Callable[[], bool]) -> bool:
        """Check once in a worker thread; what was right answers at once, until it changes.

        A keyed digest of it is remembered, never the thing itself.
        """
        proof = hmac.digest(self._proof_key, check.stored.encode() + b"\n" + check.shown, "sha256")
        known = self._proofs.get((check.session_id, check.kind))
        if known is not None and hmac.compare_digest(known, proof):
            return True
        key = f"{throttle.address_key(address)} {check.session_id}"
        wait_s = self.tries.ask(key, trio.current_time())
        if wait_s:
            raise throttle.too_many("too many wrong passwords came from your address", wait_s)
        right = await self._hash(is_right) if policy.is_slow(check.stored) else is_right()
        if right:
            self._proofs[check.session_id, check.kind] = proof
        else:
            self.tries.count(key, trio.current_time())
        return right

    def forget(self, session_id: str) -> None:
        """Remember nothing of a session that is over."""
        for kind in ("basic", "gate"):
            self._proofs.pop((session_id, kind), None)

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
