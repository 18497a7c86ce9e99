"""The password gate: a form asks once, a cookie remembers, scripts show the password themselves.

Owns the gate's cookie and the three ways in which a request can show the password. Pure: whether a
password is right is passwords.py's, since that takes a worker thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

from attrs import frozen

from wormkey.errors import AdmissionError
from wormkey.signing import SigningKey, own_cookie, own_cookie_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wormkey.session import Session

PARAMETER: Final = b"wormkey_password"
COOKIE_AGE_S: Final = 24 * 60 * 60  # then the form asks again
_PURPOSE: Final = "gate"


class PasswordWanted(AdmissionError):
    """The session's password is wanted; ``wrong`` tells whether another one was shown.

    ``target`` is where the viewer wants to go, as he spelled it; ``by_path`` tells the base host
    from the tunnel's own.
    """

    def __init__(self, session: Session, *, target: bytes, by_path: bool, wrong: bool) -> None:
        """The page that asks names the scheme by which scripts show the password (pages.py)."""
        sentence = "The password is not right." if wrong else "The owner protects this page."
        super().__init__(401, "password_required", sentence)
        self.session = session
        self.target = target
        self.by_path = by_path
        self.wrong = wrong


def cookie_name(session: Session, scheme: bytes) -> bytes:
    """Return the name of the cookie; a browser may hold those of several sessions by path."""
    return own_cookie_name(f"gate_{session.slug}", scheme)


def set_cookie(key: SigningKey, session: Session, scheme: bytes, now_s: float) -> bytes:
    """Return the Set-Cookie value for who has just shown the password, at wall time ``now_s``.

    It ends with the password, the session, or COOKIE_AGE_S.
    """
    expires = str(int(now_s) + COOKIE_AGE_S).encode("ascii")
    value = key.seal(_PURPOSE, expires, *_about(session))
    return own_cookie(f"gate_{session.slug}", value, scheme, age_s=COOKIE_AGE_S)


def opens(key: SigningKey, session: Session, values: Iterable[bytes], now_s: float) -> bool:
    """Tell whether one of these cookie values is the gate's, for the password of today."""
    for value in values:
        expires = key.open(_PURPOSE, value, *_about(session))
        if expires is not None and int(expires) > now_s:
            return True
    return False


def _about(session: Session) -> tuple[bytes, bytes]:
    return session.session_id.encode(), (session.gate_hash or "").encode()


@frozen
class Shown:
    """What a request shows: the password, and the target without it."""

    password: bytes
    target: bytes
    by_query: bool


def shown_in(target: bytes, authorization: list[bytes]) -> Shown | None:
    """Return the password that a request shows by its query or as a Bearer token, if any.

    The query's is cut out of the target, which stays as it is otherwise.
    """
    path, mark, query = target.partition(b"?")
    pairs = query.split(b"&") if mark else []
    found = [pair for pair in pairs if pair.partition(b"=")[0] == PARAMETER]
    if found:
        kept = [pair for pair in pairs if pair.partition(b"=")[0] != PARAMETER]
        rest = path + (b"?" + b"&".join(kept) if kept else b"")
        password = unquote_to_bytes(found[0].partition(b"=")[2].replace(b"+", b" "))
        return Shown(password, rest, by_query=True)
    if len(authorization) == 1:
        scheme, _, token = authorization[0].partition(b" ")
        if scheme.lower() == b"bearer" and token.strip(b" \t"):
            return Shown(token.strip(b" \t"), target, by_query=False)
    return None
