"""The opening handshake of a WebSocket, as the server of one must read it (RFC 6455 §4.2.1).

For the gateway's own WebSocket, the tunnel's. A viewer's handshake for an app is the app's affair.
"""

from __future__ import annotations

import binascii
from typing import TYPE_CHECKING, Final

from wormkey.errors import AdmissionError
from wormkey.fields import get, upgrade_offer

if TYPE_CHECKING:
    from wormkey.frames import RequestHead

VERSION: Final = b"13"
_KEY_BYTES: Final = 16


def check_opening(head: RequestHead, *, has_content: bool) -> None:
    """Accept a request that opens a WebSocket.

    Raises:
        AdmissionError: 400 it is none, or its key is no key; 426 in another version, with the one
            that is spoken (RFC 6455 §4.4, RFC 9110 §15.5.22).
    """
    offer = upgrade_offer(head.fields)
    if head.method != b"GET" or offer.lower() != b"websocket" or has_content:
        raise AdmissionError(400, "bad_request", "This address takes WebSocket handshakes only.")
    if get(head.fields, b"sec-websocket-version") != [VERSION]:
        spoken = ((b"Sec-WebSocket-Version", VERSION),)
        sentence = "This address takes WebSockets of version 13 only."
        raise AdmissionError(426, "websocket_version", sentence, fields=spoken)
    keys = get(head.fields, b"sec-websocket-key")
    if len(keys) != 1 or not _is_key(keys[0]):
        sentence = "A WebSocket handshake has one Sec-WebSocket-Key, of 16 bytes in base64."
        raise AdmissionError(400, "bad_request", sentence)


def _is_key(value: bytes) -> bool:
    try:
        return len(binascii.a2b_base64(value, strict_mode=True)) == _KEY_BYTES
    except binascii.Error:
        return False
