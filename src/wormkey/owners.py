"""The owner's browser: how it proves that it claimed a session, and to whom it may show what.

Two cookies: ``owner`` on the base host, which may act; ``pass`` on the tunnel's own host, which
sees past the rules and brings the bar, and can do nothing. A page of the tunnel meets the second
one only. Pure: whether a token may still be claimed is changes.py's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from wormkey.cookies import values_of
from wormkey.signing import SigningKey, base64url, own_cookie, own_cookie_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wormkey.session import Session

BROWSER_ID_BYTES: Final = 16
PASS_CODE_S: Final = 60.0  # a redirect takes a second; the code is of no use to who reads it later
_OWNER: Final = "owner"
_PASS: Final = "pass"  # noqa: S105 - a purpose
_CODE: Final = "pass code"
_CSRF: Final = "csrf"


def new_browser(random: bytes) -> bytes:
    """Return the name of a browser for BROWSER_ID_BYTES random bytes."""
    if len(random) != BROWSER_ID_BYTES:
        raise ValueError(f"new_browser takes {BROWSER_ID_BYTES} bytes, not {len(random)}")
    return base64url(random)


def owner_browser(
    key: SigningKey, session: Session, cookies: Sequence[bytes], scheme: bytes
) -> bytes | None:
    """Return the browser that the owner's cookie names; None without a valid one.

    ``cookies`` are the request's Cookie fields, sent to the base host.
    """
    values = values_of(own_cookie_name(f"{_OWNER}_{session.slug}", scheme), cookies)
    return _opened(key, _OWNER, session, values)


def pass_browser(
    key: SigningKey, session: Session, cookies: Sequence[bytes], scheme: bytes
) -> bytes | None:
    """Return the browser that the pass names; ``cookies`` were sent to the tunnel's host."""
    return _opened(key, _PASS, session, values_of(own_cookie_name(_PASS, scheme), cookies))


def _opened(
    key: SigningKey, purpose: str, session: Session, values: Sequence[bytes]
) -> bytes | None:
    about = session.session_id.encode()
    opened = (key.open(purpose, value, about) for value in values)
    return next((browser for browser in opened if browser is not None), None)


def owner_cookie(
    key: SigningKey, session: Session, browser: bytes, scheme: bytes, age_s: int
) -> bytes:
    """Return the Set-Cookie value for the base host.

    Lax: a link from the terminal or a chat is a navigation from elsewhere. What acts asks for more
    than the cookie.
    """
    value = key.seal(_OWNER, browser, session.session_id.encode())
    name = f"{_OWNER}_{session.slug}"
    return own_cookie(name, value, scheme, age_s=age_s)


def pass_cookie(
    key: SigningKey, session: Session, browser: bytes, scheme: bytes, age_s: int
) -> bytes:
    """Return the Set-Cookie value for the tunnel's host."""
    value = key.seal(_PASS, browser, session.session_id.encode())
    return own_cookie(_PASS, value, scheme, age_s=age_s)


def pass_code(key: SigningKey, session: Session, browser: bytes, now_s: float) -> bytes:
    """Return what the base host gives the browser to show at the tunnel's, once redirected."""
    value = b"%d-%b" % (int(now_s + PASS_CODE_S), browser)
    return key.seal(_CODE, value, session.session_id.encode())


def read_pass_code(key: SigningKey, session: Session, code: bytes, now_s: float) -> bytes | None:
    """Return the browser that a code of at most PASS_CODE_S ago names; else None."""
    value = key.open(_CODE, code, session.session_id.encode())
    if value is None:
        return None
    expires, _, browser = value.partition(b"-")
    return browser if int(expires) > now_s else None


def csrf_token(key: SigningKey, session: Session, browser: bytes) -> bytes:
    """Return what an owner's action must bring beside his cookie."""
    return key.tag(_CSRF, session.session_id.encode(), browser)


def is_csrf_token(key: SigningKey, session: Session, browser: bytes, token: bytes) -> bool:
    """Tell whether ``token`` is that; constant time."""
    return key.verify(token, _CSRF, session.session_id.encode(), browser)
