"""Rates: so many in a minute, at once or spread, for each key, in a bounded table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wormkey.config import Settings
from wormkey.throttle import WINDOW_S, Throttle, Throttles, address_key


def test_a_burst_of_the_whole_limit_is_allowed_and_no_more() -> None:
    """The limit may be used up at once; the next waits for one share of the window."""
    throttle = Throttle(limit=6)
    assert [throttle.take("a", 100.0) for _ in range(6)] == [0.0] * 6
    assert throttle.take("a", 100.0) == pytest.approx(10.0)
    assert throttle.take("a", 109.0) == pytest.approx(1.0)
    assert throttle.take("a", 110.1) == 0.0
    assert throttle.take("a", 110.1) > 0


def test_keys_do_not_pay_for_each_other() -> None:
    """One who used up his share leaves the others theirs."""
    throttle = Throttle(limit=1)
    throttle.take("a", 0.0)
    assert throttle.take("a", 0.0) > 0
    assert throttle.take("b", 0.0) == 0.0


def test_looking_counts_nothing() -> None:
    """wait_s asks; only count and take use the rate."""
    throttle = Throttle(limit=1)
    assert [throttle.wait_s("a", 0.0) for _ in range(5)] == [0.0] * 5
    throttle.count("a", 0.0)
    assert throttle.wait_s("a", 0.0) == pytest.approx(WINDOW_S)


def test_a_flood_is_not_remembered_longer_than_a_window() -> None:
    """Whoever counted a thousand too many waits a window at most, not a thousand."""
    throttle = Throttle(limit=2)
    for _ in range(1000):
        throttle.count("a", 0.0)
    assert throttle.wait_s("a", 0.0) <= WINDOW_S
    assert throttle.take("a", WINDOW_S) == 0.0


def test_the_table_is_bounded_and_forgets_the_one_who_moved_longest_ago() -> None:
    """An attacker with many addresses fills a table of fixed size."""
    throttle = Throttle(limit=1, max_keys=2)
    for key in ("old", "new", "old", "newest"):
        throttle.count(key, 0.0)
    assert len(throttle) == 2
    assert throttle.wait_s("old", 0.0) > 0
    assert throttle.wait_s("new", 0.0) == 0.0


@given(
    limit=st.integers(1, 20),
    pauses=st.lists(st.floats(0, 30, allow_nan=False), max_size=100),
)
def test_no_window_holds_more_than_twice_the_limit(limit: int, pauses: list[float]) -> None:
    """However events are spread: a burst and what refills meanwhile, in any minute."""
    throttle, now, taken = Throttle(limit), 0.0, []
    for pause in pauses:
        now += pause
        if throttle.take("a", now) == 0.0:
            taken.append(now)
    for start in taken:
        assert sum(start <= time < start + WINDOW_S for time in taken) <= 2 * limit


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("loopback", "loopback"),
        ("unix", "unix"),
    ],
)
def test_an_ipv6_subscriber_is_one(address: str, key: str) -> None:
    """Who has an IPv6 address has a /64 of them; IPv4 addresses count one by one."""
    assert address_key(address) == key


def test_the_settings_set_each_rate() -> None:
    """Every option reaches the rate that it names."""
    rates = Throttles.of(
        Settings(max_session_creations=2, max_token_creations=3, max_auth_failures=4, max_misses=5)
    )
    limits = (rates.creations, rates.token_creations, rates.failures, rates.misses)
    assert [rate.limit for rate in limits] == [2, 3, 4, 5]
