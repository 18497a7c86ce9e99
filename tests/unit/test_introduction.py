"""introduction.py: only who knows the secret says who is asking."""

from __future__ import annotations

from wormkey.introduction import Introduction

OURS = Introduction(b"secret")
OTHER = (b"host", b"localhost")


def test_who_is_introduced_is_known_and_the_fields_are_gone() -> None:
    """Whatever else came stays, in order."""
    assert OURS.read([OTHER, *OURS.of("192.0.2.1"), OTHER]) == ("192.0.2.1", [OTHER, OTHER])


def test_nobody_introduces_himself() -> None:
    """Without the secret, with another one, or with half of it: nobody was introduced."""
    peer = (b"wormkey-peer", b"192.0.2.1")
    for proof in ([], [(b"wormkey-proof", b"other")], [(b"wormkey-proof", b"secre")]):
        assert OURS.read([peer, *proof, OTHER]) == (None, [OTHER])


def test_the_secret_is_not_shown() -> None:
    """Not even where a value is printed."""
    assert "secret'" not in repr(OURS)
