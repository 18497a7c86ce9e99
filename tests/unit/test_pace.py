"""pace.py: slow is allowed for a while, and so is steady; dripping is not."""

from __future__ import annotations

import pytest

from wormkey.pace import GRACE_S, Pace


def test_the_beginning_may_be_as_slow_as_it_likes() -> None:
    """Nothing at all, for the whole grace."""
    pace = Pace(100)
    pace.add(GRACE_S, 0)
    assert not pace.too_slow
    pace.add(0.001, 0)
    assert pace.too_slow


@pytest.mark.parametrize(("rate", "slow"), [(99, True), (101, False)])
def test_what_counts_is_the_rate_behind_it(rate: int, slow: bool) -> None:
    """An hour of a steady rate, a little under and a little over."""
    pace = Pace(100)
    pace.add(GRACE_S, 0)
    for _ in range(3600):
        pace.add(1.0, rate)
    assert pace.too_slow is slow


def test_one_burst_pays_for_the_wait_behind_it() -> None:
    """A second's worth for each second."""
    pace = Pace(100)
    pace.add(0.1, 1000)
    pace.add(GRACE_S + 9.8, 0)
    assert not pace.too_slow
    pace.add(0.3, 0)
    assert pace.too_slow


def test_no_rate_is_no_bound() -> None:
    """0 allows a day of silence: the idle times are others' affair."""
    pace = Pace(0)
    pace.add(86_400, 0)
    assert not pace.too_slow
