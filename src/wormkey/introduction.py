"""How a front tells the server behind it who is asking, so that nobody else can.

Two fields: the sender's address, and a secret of this process that proves who wrote it. Pure.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final

from attrs import field, frozen

if TYPE_CHECKING:
    from collections.abc import Iterable

_PEER: Final = b"wormkey-peer"
_PROOF: Final = b"wormkey-proof"


@frozen
class Introduction:
    """The secret that the two share; it never leaves the process."""

    secret: bytes = field(repr=False)

    def of(self, peer: str) -> tuple[tuple[bytes, bytes], ...]:
        """Return the fields that introduce ``peer``, an address."""
        return (_PROOF, self.secret), (_PEER, peer.encode())

    def read(
        self, fields: Iterable[tuple[bytes, bytes]]
    ) -> tuple[str | None, list[tuple[bytes, bytes]]]:
        """Return who was introduced, None where nobody was, and the other fields.

        Names are in lower case, as ASGI has them.
        """
        rest = []
        peer: str | None = None
        proved = False
        for name, value in fields:
            if name == _PROOF:
                proved = hmac.compare_digest(value, self.secret)
            elif name == _PEER:
                peer = value.decode("ascii", "replace")
            else:
                rest.append((name, value))
        return (peer if proved else None), rest
