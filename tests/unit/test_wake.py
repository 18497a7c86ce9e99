"""A sleep of this machine is told from time that passes."""

from __future__ import annotations

from attrs import define

from wormkey.wake import SLEPT_S, Wake, sleep_clock


@define
class Clock:
    """A clock that a test sets."""

    now: float

    def __call__(self) -> float:
        """Return the time that was set."""
        return self.now


def test_time_awake_is_no_sleep() -> None:
    """Both clocks go on together, however long and whatever they began at."""
    total, awake = Clock(5000.0), Clock(7.0)
    wake = Wake(total, awake)
    total.now += 86_400
    awake.now += 86_400
    assert not wake.slept_s()


def test_a_sleep_is_told_once() -> None:
    """The time that only one clock counted is the sleep; it is not told again."""
    total, awake = Clock(5000.0), Clock(7.0)
    wake = Wake(total, awake)
    total.now += 61
    awake.now += 1
    assert wake.slept_s() == 60
    assert not wake.slept_s()


def test_a_nap_does_not_count() -> None:
    """Neither one nor several add up to a sleep; going back is none."""
    total, awake = Clock(0.0), Clock(0.0)
    wake = Wake(total, awake)
    for _ in range(5):
        total.now += SLEPT_S - 1
        assert not wake.slept_s()
    total.now -= 100
    assert not wake.slept_s()


def test_the_clocks_of_this_machine_agree_while_it_is_awake() -> None:
    """By default two real clocks are compared, and a test runs on a machine that is awake."""
    assert sleep_clock() > 0
    assert not Wake().slept_s()
