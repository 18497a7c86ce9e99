"""Hypothesis strategies for the octets that HTTP's grammar allows, part by part."""

from __future__ import annotations

from hypothesis import strategies as st

TCHARS = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
TEXT = b"\t" + bytes(range(0x20, 0x7F)) + bytes(range(0x80, 0x100))
VISIBLE = bytes(range(0x21, 0x7F))


def octets(allowed: bytes, *, min_size: int = 0, max_size: int = 20) -> st.SearchStrategy[bytes]:
    """Return octets from this set only."""
    return st.lists(st.sampled_from(allowed), min_size=min_size, max_size=max_size).map(bytes)


tokens = octets(TCHARS, min_size=1)
raw_values = octets(TEXT)  # as between a colon and its line's end
values = raw_values.map(lambda value: value.strip(b" \t"))
targets = octets(VISIBLE.replace(b"#", b"")).map(b"/".__add__)
