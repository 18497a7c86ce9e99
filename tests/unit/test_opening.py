"""opening.py: what opens a tunnel's WebSocket, and what it is told otherwise."""

from __future__ import annotations

import pytest

from wormkey.errors import AdmissionError
from wormkey.frames import RequestHead
from wormkey.opening import check_opening

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
RIGHT = (
    (b"Connection", b"keep-alive, Upgrade"),
    (b"upgrade", b"WebSocket"),
    (b"Sec-WebSocket-Version", b"13"),
    (b"Sec-WebSocket-Key", KEY),
)


def head(changed: bytes = b"", *values: bytes, method: bytes = b"GET") -> RequestHead:
    """A handshake, with one of its fields left out, changed or repeated."""
    kept = [pair for pair in RIGHT if pair[0] != changed]
    return RequestHead(method, b"/tunnel", (*kept, *((changed, value) for value in values)))


def test_a_handshake_opens() -> None:
    """Names and the protocol have no case; Connection is a list."""
    check_opening(head(), has_content=False)


@pytest.mark.parametrize(
    ("wrong", "has_content"),
    [
        (head(method=b"POST"), False),
        (head(), True),
        (head(b"upgrade"), False),
        (head(b"upgrade", b"h2c"), False),
        (head(b"Connection"), False),
        (head(b"Sec-WebSocket-Key"), False),
        (head(b"Sec-WebSocket-Key", KEY, KEY), False),
        (head(b"Sec-WebSocket-Key", b"AAAA"), False),
        (head(b"Sec-WebSocket-Key", b"*" * 24), False),
        (head(b"Sec-WebSocket-Key", b""), False),
    ],
)
def test_what_is_no_handshake_is_refused(wrong: RequestHead, has_content: bool) -> None:
    """400; a key is sixteen bytes in base64, once."""
    with pytest.raises(AdmissionError) as caught:
        check_opening(wrong, has_content=has_content)
    assert (caught.value.status, caught.value.code) == (400, "bad_request")


@pytest.mark.parametrize("versions", [(), (b"8",), (b"14",), (b"13", b"13"), (b"13, 8",)])
def test_another_version_is_told_which_one_is_spoken(versions: tuple[bytes, ...]) -> None:
    """426 (RFC 6455 §4.4)."""
    with pytest.raises(AdmissionError) as caught:
        check_opening(head(b"Sec-WebSocket-Version", *versions), has_content=False)
    assert caught.value.status == 426
    assert caught.value.fields == ((b"Sec-WebSocket-Version", b"13"),)
