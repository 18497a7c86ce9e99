"""What a configuration allows and probably does not mean, in sentences for the operator.

For ``wormkeyd check``, and for the log at the start and after a reload. Refuses nothing: sources.py
does that. Looks at the files that the settings name, and opens none.
"""

from __future__ import annotations

import ipaddress
import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wormkey.config import Settings


def warnings_of(settings: Settings) -> list[str]:
    """Return one sentence for each thing that is allowed and probably not meant."""
    return [*_open_door(settings), *_urls(settings), *_proxies(settings), *_files(settings)]


def _open_door(settings: Settings) -> Iterator[str]:
    public = [
        f"--{name} {address}"
        for name, address in (("control", settings.control), ("gateway", settings.gateway))
        if not address.loopback
    ]
    if settings.access != "open":
        return
    if public:
        where = " and ".join(public)
        yield f"with --access open, everyone who reaches {where} can create sessions"
    elif _elsewhere(settings.public_url):
        yield (
            f"with --access open and --public-url {settings.public_url}, everyone who reaches "
            f"--control {settings.control} through the web server in front can create sessions; "
            "say --access token"
        )


def _urls(settings: Settings) -> Iterator[str]:
    url = settings.public_url
    elsewhere = _elsewhere(url)
    if settings.routing == "path" and (elsewhere or not settings.gateway.loopback):
        yield (
            "with --routing path, the pages of all tunnels share one web origin: scripts of one "
            "can read what another keeps in the browser and act as its visitor; "
            "use --routing host unless everyone who shares something here trusts all the others"
        )
    if url is not None and elsewhere and urlsplit(url).scheme == "http":
        yield (
            f"with --public-url {url}, cookies, passwords and tokens cross the network in the "
            "clear; put a web server with TLS in front and write https"
        )


def _elsewhere(url: str | None) -> bool:
    """Tell whether a public URL names more than this machine."""
    return url is not None and not _local(urlsplit(url).hostname or "")


def _local(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _proxies(settings: Settings) -> Iterator[str]:
    for network in settings.trusted_proxies:
        if network.prefixlen == 0:
            yield (
                f"with --trusted-proxy {network}, everyone is believed about the address, host "
                "and scheme of his request; name the proxies in front and nobody else"
            )


def _files(settings: Settings) -> Iterator[str]:
    path = settings.audit_log
    if path is not None and not _appendable(path):
        yield (
            f"--audit-log {path} cannot be written by this user; "
            "make it or its folder writable, or choose another file"
        )


def _appendable(path: Path) -> bool:
    if path.exists():
        return not path.is_dir() and os.access(path, os.W_OK)
    return os.access(path.parent, os.W_OK | os.X_OK)
