"""What a browser calls itself, made short enough for a person: "Firefox on Linux".

Owns the reading of User-Agent (RFC 9110 §10.1.5). It is whatever the sender likes: a hint for the
eye, never for a decision. Pure.
"""

from __future__ import annotations

import re
from typing import Final

MAX_NAME_CHARS: Final = 40
_PRODUCT: Final = re.compile(r"[A-Za-z0-9._+-]+")
# The first that is found counts: later ones claim to be earlier ones.
_BROWSERS: Final = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
_SYSTEMS: Final = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)


def agent_name(user_agent: bytes) -> str:
    """Return a browser and its system, a program's own name, or "Unknown"."""
    text = user_agent.decode("latin-1")
    browser = next((name for mark, name in _BROWSERS if mark in text), "")
    if browser:
        system = next((name for mark, name in _SYSTEMS if mark in text), "")
        return f"{browser} on {system}" if system else browser
    product = _PRODUCT.match(text)
    return product[0][:MAX_NAME_CHARS] if product else "Unknown"
