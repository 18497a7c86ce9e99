"""Usage: sums that only grow, and the mark that says they changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from wormkey.usage import Meter, Usage

NOW = datetime(2030, 1, 2, tzinfo=UTC)


def test_meter_adds_up() -> None:
    """Each addition counts, and the moment is the latest one."""
    meter = Meter()
    assert not meter.dirty
    meter.add(NOW, requests=1, received_bytes=2)
    meter.add(NOW + timedelta(seconds=1), sent_bytes=3)
    assert meter.dirty
    assert meter.snapshot() == Usage(
        requests=1, received_bytes=2, sent_bytes=3, last_seen_at=NOW + timedelta(seconds=1)
    )


def test_meter_goes_on_after_a_restart() -> None:
    """What was stored is the beginning, and is not written again before something moves."""
    before = Usage(requests=5, received_bytes=6, sent_bytes=7, last_seen_at=NOW)
    meter = Meter.resume(before)
    assert not meter.dirty
    assert meter.snapshot() == before
    meter.add(NOW, requests=1)
    assert meter.snapshot().requests == 6


def test_clock_that_jumps_back_moves_nothing_back() -> None:
    """The last moment seen stays the latest."""
    meter = Meter.resume(Usage(last_seen_at=NOW))
    meter.add(NOW - timedelta(days=1), requests=1)
    assert meter.snapshot() == Usage(requests=1, last_seen_at=NOW)


def test_snapshot_leaves_the_mark() -> None:
    """Looking is not writing: whoever wrote lowers the mark."""
    meter = Meter()
    meter.add(NOW, requests=1)
    meter.snapshot()
    assert meter.dirty


def test_meter_has_no_other_members() -> None:
    """There is one for every session: it is small and holds nothing else."""
    with pytest.raises(AttributeError):
        Meter().more = 1  # type: ignore[attr-defined]


def test_sums_are_passed_on_and_taken_back() -> None:
    """Another process goes on with the sums; if it fails, they and what came since are here."""
    meter = Meter.resume(Usage(requests=5, received_bytes=6, sent_bytes=7, last_seen_at=NOW))
    meter.pass_on()
    meter.add(NOW + timedelta(seconds=1), requests=1, sent_bytes=2)
    meter.take_back()
    assert meter.dirty
    assert meter.snapshot() == Usage(
        requests=6, received_bytes=6, sent_bytes=9, last_seen_at=NOW + timedelta(seconds=1)
    )
    meter.take_back()  # only once
    assert meter.snapshot().requests == 6


def test_what_is_taken_is_counted_once() -> None:
    """A heir adds what it is given; the giver starts from nothing."""
    giver, heir = Meter(), Meter.resume(Usage(requests=10, last_seen_at=NOW))
    giver.add(NOW - timedelta(days=1), requests=2, received_bytes=3, sent_bytes=4)
    heir.include(giver.take())
    assert not giver.dirty
    assert giver.snapshot() == Usage(last_seen_at=NOW - timedelta(days=1))
    assert heir.dirty
    assert heir.snapshot() == Usage(requests=12, received_bytes=3, sent_bytes=4, last_seen_at=NOW)
    heir.include(Usage(last_seen_at=NOW + timedelta(days=1)))
    assert heir.snapshot().last_seen_at == NOW + timedelta(days=1)
