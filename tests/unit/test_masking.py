"""The C mask against the text of RFC 6455 §5.3, and in wsproto's place."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st
from wsproto import frame_protocol

from wormkey import masking

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

KEYS = st.binary(min_size=4, max_size=4)


def masked(data: bytes, key: bytes) -> bytes:
    """RFC 6455 §5.3, word for word: octet i of the data XOR octet i modulo 4 of the key."""
    return bytes(octet ^ key[i % 4] for i, octet in enumerate(data))


def pieces(data: bytes, cuts: list[int]) -> Iterator[bytes]:
    """The data cut at these places."""
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, end in itertools.pairwise(places):
        yield data[start:end]


@given(st.binary(max_size=300), KEYS, st.lists(st.integers(0, 300), max_size=6))
def test_a_frame_masked_in_pieces_is_masked_as_the_rfc_says(
    data: bytes, key: bytes, cuts: list[int]
) -> None:
    """The key goes on where the last piece ended, wherever the pieces are cut."""
    masker = masking.CMasker(key)
    assert b"".join(masker.process(piece) for piece in pieces(data, cuts)) == masked(data, key)


@given(st.binary(max_size=300), KEYS)
def test_masking_twice_gives_the_data_back(data: bytes, key: bytes) -> None:
    """What one end masks the other unmasks with the same key."""
    assert masking.CMasker(key).process(masking.CMasker(key).process(data)) == data


def test_the_c_mask_takes_wsprotos_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """After install(), wsproto makes our masker for each frame."""
    monkeypatch.setattr(frame_protocol, "XorMaskerSimple", object())
    assert masking.install()
    assert frame_protocol.XorMaskerSimple is masking.CMasker  # type: ignore[comparison-overlap]


def test_without_the_c_function_wsprotos_own_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """A platform without a compiled wheel is slower, not broken."""
    own = frame_protocol.XorMaskerSimple
    monkeypatch.setattr(masking, "apply_mask", None)
    assert not masking.install()
    assert frame_protocol.XorMaskerSimple is own
