"""budget.py: what all strangers together may hold."""

from __future__ import annotations

from wormkey.budget import MIN_SHARE_BYTES, Budget


def test_new_viewers_are_refused_from_nine_tenths_on() -> None:
    """And let in again below eight: a crowd at the edge is not let in and out."""
    budget = Budget(1000)
    for held, changed, shedding in (
        (900, False, False),
        (901, True, True),
        (801, False, True),
        (800, True, False),
        (850, False, False),
    ):
        assert budget.look(held) is changed
        assert budget.shedding is shedding
        assert not budget.squeezing


def test_tunnels_give_streams_up_beyond_all_of_it() -> None:
    """Each to its share, never to less than a stream needs."""
    budget = Budget(1 << 30)
    assert budget.look((1 << 30) + 1)
    assert budget.squeezing
    assert budget.share_bytes(4) == 1 << 28
    assert budget.share_bytes(0) == 1 << 30
    assert budget.share_bytes(100_000) == MIN_SHARE_BYTES


def test_no_limit_is_no_bound() -> None:
    """0 switches it off, also while it sheds."""
    budget = Budget(1000)
    budget.look(5000)
    budget.limit_bytes = 0
    assert budget.look(1 << 40)
    assert (budget.shedding, budget.squeezing) == (False, False)
