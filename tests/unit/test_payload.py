"""payload.py: what is read is what is there, and not an octet more."""

from __future__ import annotations

import pytest

from wormkey.errors import RemoteProtocolError
from wormkey.frames import MAX_FIELDS
from wormkey.payload import Payload


def test_parts_come_in_order() -> None:
    """Numbers are big-endian, a text has its length before it, the rest is what is left."""
    payload = Payload(b"\x01\x02\x00\x00\x00\x03\x00\x02hirest")
    assert (payload.u16(), payload.u32(), payload.text()) == (0x0102, 3, b"hi")
    assert payload.more()
    assert payload.rest(4) == b"rest"
    assert not payload.more()
    payload.done()


@pytest.mark.parametrize(
    ("octets", "method"),
    [(b"\x00", "u16"), (b"\x00\x00\x00", "u32"), (b"\x00\x03ab", "text"), (b"\x00\x01", "fields")],
)
def test_what_is_too_short_is_refused(octets: bytes, method: str) -> None:
    """A part that says more than there is."""
    with pytest.raises(RemoteProtocolError, match="shorter"):
        getattr(Payload(octets), method)()


def test_fields_end_the_payload() -> None:
    """Nothing follows them; their last text does not reach over the end."""
    octets = b"\x00\x01\x00\x01a\x00\x02bc"
    assert Payload(octets).fields() == ((b"a", b"bc"),)
    with pytest.raises(RemoteProtocolError, match="left over"):
        Payload(octets + b"x").fields()
    with pytest.raises(RemoteProtocolError, match="shorter"):
        Payload(octets[:-1]).fields()


def test_limits() -> None:
    """A rest that is too long, fields that are too many."""
    with pytest.raises(RemoteProtocolError, match="over 3 bytes"):
        Payload(b"rest").rest(3)
    with pytest.raises(RemoteProtocolError, match="fields"):
        Payload((MAX_FIELDS + 1).to_bytes(2, "big")).fields()
