"""Whose word counts about where a request came from: trusted proxies, read from the nearest on.

Owns the reading of X-Forwarded-* values and of addresses in them. Who is trusted is the
operator's list; nothing that another peer claims gets here. And how much further a request may go.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Final, TypeAlias

from attrs import evolve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wormkey.frames import RequestHead

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_WITH_PORT: Final = re.compile(rb"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::[0-9]{1,5})?")


def last(values: Sequence[bytes]) -> bytes:
    """Return the last element of the last field's list, which the nearest proxy wrote; or b""."""
    return values[-1].rpartition(b",")[2].strip(b" \t") if values else b""


def is_trusted(peer: str, networks: Sequence[Network]) -> bool:
    """Tell whether the peer's address is one of the operator's own proxies."""
    address = parse_address(peer.encode())
    return address is not None and any(address in network for network in networks)


def viewer_address(forwarded_for: Sequence[bytes], peer: str, networks: Sequence[Network]) -> str:
    """Return the address that a request came from, as far as trusted proxies vouch for it.

    The X-Forwarded-For values are read from their end, past every trusted proxy, up to the first
    address that only its sender vouches for.
    """
    hops = b",".join(forwarded_for).split(b",")
    while hops and is_trusted(peer, networks):
        address = parse_address(hops.pop())
        if address is None:
            break
        peer = str(address)
    return peer


def parse_address(text: bytes) -> Address | None:
    """Parse an address as X-Forwarded-For holds it, with or without a port; None if it is none.

    An IPv4 address mapped into IPv6, as a dual-stack listener shows it, is that IPv4 address.
    """
    text = text.strip(b" \t")
    with_port = _WITH_PORT.fullmatch(text)
    if with_port is not None:
        text = with_port[1] or with_port[2]
    try:
        address = ipaddress.ip_address(text.decode("ascii"))
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def forwards_left(head: RequestHead) -> int | None:
    """Return how many more times an OPTIONS request may be forwarded; None where nothing limits it.

    The field binds OPTIONS and TRACE alone, and TRACE goes nowhere (RFC 9110 §7.6.2).
    """
    if head.method != b"OPTIONS":
        return None
    values = [value for name, value in head.fields if name.lower() == b"max-forwards"]
    if len(values) != 1 or not values[0].isdigit():
        return None
    return int(values[0][:9])


def count_down(head: RequestHead) -> RequestHead:
    """Return an OPTIONS request as it goes on: one forwarding less is left to it."""
    if not (left := forwards_left(head)):
        return head
    kept = tuple([pair for pair in head.fields if pair[0].lower() != b"max-forwards"])
    return evolve(head, fields=(*kept, (b"Max-Forwards", b"%d" % (left - 1))))
