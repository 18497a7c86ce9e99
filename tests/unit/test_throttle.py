"""Rates: so many in a minute, at once or spread, for each key, in a bounded table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wormkey.config import Settings
from wormkey.errors import AdmissionError
from wormkey.throttle import WINDOW_S, Throttle, Throttles, address_key, check, take


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
        ("127.0.0.1", "loopback"),
        ("127.8.8.8", "loopback"),
        ("::1", "loopback"),
        ("loopback", "loopback"),
        ("unix", "unix"),
    ],
)
def test_an_ipv6_subscriber_is_one(address: str, key: str) -> None:
    """Who has an IPv6 address has a /64 of them; IPv4 addresses count one by one.

    This machine is one too, so that both listeners count it under the same key.
    """
    assert address_key(address) == key


def test_what_is_refused_is_counted() -> None:
    """A refusal counts, whether the caller takes or asks; a look and a permission do not."""
    throttle = Throttle(limit=1)
    assert throttle.ask("a", 0.0) == 0.0
    throttle.take("a", 0.0)
    assert throttle.wait_s("a", 0.0) > 0
    assert throttle.refused == 0
    assert throttle.take("a", 0.0) > 0
    assert throttle.ask("a", 0.0) == throttle.wait_s("a", 0.0)
    assert throttle.refused == 2


def test_taking_refuses_with_429_and_the_time_to_wait() -> None:
    """In whole seconds, rounded up; the address's own key is what counts."""
    throttle = Throttle(limit=1)
    take(throttle, "2001:db8::1", 0.0, "Too much")
    with pytest.raises(AdmissionError, match=r"^Too much; try again in 60 s$") as caught:
        take(throttle, "2001:db8::2", 0.5, "Too much")
    assert (caught.value.status, caught.value.code) == (429, "too_many_requests")
    assert caught.value.fields == ((b"Retry-After", b"60"),)


def test_checking_refuses_like_taking_and_counts_nothing() -> None:
    """Who only checks leaves the share as it is."""
    throttle = Throttle(limit=1)
    for _ in range(3):
        check(throttle, "192.0.2.1", 0.0, "Too much")
    take(throttle, "192.0.2.1", 0.0, "Too much")
    with pytest.raises(AdmissionError, match="Too much"):
        check(throttle, "192.0.2.1", 0.0, "Too much")


def test_the_settings_set_each_rate() -> None:
    """Every option reaches the rate that it names."""
    rates = Throttles.of(
        Settings(max_session_creations=2, max_token_creations=3, max_auth_failures=4, max_misses=5)
    )
    limits = (rates.creations, rates.token_creations, rates.failures, rates.misses)
    assert [rate.limit for rate in limits] == [2, 3, 4, 5]


def test_changed_limits_count_at_once_for_those_who_are_known() -> None:
    """A reload neither forgets who used up his rate nor keeps him at the old one."""
    rates = Throttles.of(Settings(max_misses=2))
    for _ in range(2):
        assert rates.misses.take("a", 0.0) == 0
    assert rates.misses.take("a", 0.0) > 0
    rates.apply(Settings(max_misses=60, max_auth_failures=7))
    assert rates.failures.limit == 7
    assert rates.misses.wait_s("a", 0.0) == pytest.approx(1.0)
    rates.apply(Settings(max_misses=1))
    assert rates.misses.wait_s("a", 59.0) == pytest.approx(1.0)
