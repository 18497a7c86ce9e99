"""What keeps tunnels apart in a browser where they share a host: by path, /s/<slug>/.

Owns which fields of an app's answer reach beyond its own path, and the policy under which such a
page runs where tunnels have hosts of their own. Pure; docs/decisions has the
reasons.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from wormkey.frames import Fields

# A page on the base host shares its origin with every other tunnel: these reach beyond one page.
_ORIGIN_WIDE: Final = frozenset(
    {
        b"alt-svc",
        b"clear-site-data",
        b"nel",
        b"report-to",
        b"strict-transport-security",
    }
)
_WORKERS: Final = b"service-worker-allowed"
_PLAIN: Final = re.compile(rb"(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._~-]*)+")  # no dots, no escapes
# Without allow-same-origin the page has an origin that is nobody's: it runs, and cannot act as the
# base host's page, where the owners' cookies are.
SANDBOX: Final = (
    b"Content-Security-Policy",
    b"sandbox allow-downloads allow-forms allow-modals allow-popups allow-scripts",
)


def asks_for_worker(fields: Fields) -> bool:
    """Tell whether a browser wants a script to install as a service worker (its §4.2 field).

    Where the script lies is what it may rule over: from /sw.js that is every tunnel by path.
    """
    return any(name.lower() == b"service-worker" for name, _ in fields)


def is_origin_wide(name: bytes, value: bytes, prefix: bytes) -> bool:
    """Tell whether a field (name in lower case) of a page under ``prefix`` reaches beyond that.

    ``prefix`` is ``/s/<slug>``; b"" for a page that has none and yet is on the base host.
    """
    if name != _WORKERS:
        return name in _ORIGIN_WIDE
    path = value.strip(b" \t")
    inside = prefix != b"" and path.startswith(prefix + b"/")
    return not (inside and _PLAIN.fullmatch(path))
