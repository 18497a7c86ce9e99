"""metrics.py: counting is exact at every bound, and the table keeps Prometheus's conventions."""

from __future__ import annotations

import re

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wormkey.metrics import (
    ANSWER_BUCKETS,
    FIGURES,
    LAG_BUCKETS,
    ROUND_TRIP_BUCKETS,
    STORE_BUCKETS,
    Figure,
    Histogram,
    Metrics,
    status_class,
)
from wormkey.pages import ERRORS

# What a label may hold would be anything, if a peer's words could become one.
LABELS = {"version", "status", "reason", "what", "rate", "operation"}


@pytest.mark.parametrize(
    ("seconds", "counts"),
    [
        (0.0, [1, 0, 0]),
        (0.1, [1, 0, 0]),  # le means less or equal
        (0.100001, [0, 1, 0]),
        (1.0, [0, 1, 0]),
        (1.1, [0, 0, 1]),
        (1e9, [0, 0, 1]),
    ],
)
def test_a_time_goes_into_the_bucket_whose_bound_it_does_not_exceed(
    seconds: float, counts: list[int]
) -> None:
    """A time that is equal to a bound belongs to it."""
    histogram = Histogram((0.1, 1.0))
    histogram.observe(seconds)
    assert histogram.counts == counts
    assert histogram.sum_s == seconds


@given(st.lists(st.floats(min_value=0, max_value=1000)))
def test_buckets_add_up(times: list[float]) -> None:
    """Each cumulative count is how many times were at most the bound; +Inf has them all."""
    histogram = Histogram(ANSWER_BUCKETS)
    for seconds in times:
        histogram.observe(seconds)
    assert histogram.count == len(times)
    assert histogram.sum_s == pytest.approx(sum(times))
    for bound, count in histogram.cumulative():
        assert count == sum(seconds <= float(bound) for seconds in times)
    assert histogram.cumulative()[-1] == ("+Inf", len(times))


@pytest.mark.parametrize("bounds", [ANSWER_BUCKETS, ROUND_TRIP_BUCKETS, LAG_BUCKETS, STORE_BUCKETS])
def test_bounds_rise_and_are_few(bounds: tuple[float, ...]) -> None:
    """Bisection needs the order; each bound is one more series for each label's value."""
    assert list(bounds) == sorted(set(bounds))
    assert len(bounds) <= 15


@pytest.mark.parametrize(
    ("status", "name"),
    [(0, "none"), (101, "1xx"), (200, "2xx"), (308, "3xx"), (404, "4xx"), (599, "5xx")],
)
def test_a_status_has_its_class(status: int, name: str) -> None:
    """No answer has a class of its own."""
    assert status_class(status) == name


def test_a_status_that_no_class_has_is_a_failure_of_the_origin() -> None:
    """RFC 9110 §15: treat it as 5xx."""
    assert status_class(999) == "5xx"


def test_each_operation_of_the_store_has_its_histogram() -> None:
    """One name, one histogram, from its first time on."""
    metrics = Metrics()
    for seconds in (0.002, 0.2):
        metrics.observe_store("put_session", seconds)
    metrics.observe_store("close_session", 0.002)
    assert {name: each.count for name, each in metrics.store.items()} == {
        "put_session": 2,
        "close_session": 1,
    }


@pytest.mark.parametrize("figure", FIGURES, ids=lambda each: each.name)
def test_a_figure_keeps_the_conventions(figure: Figure) -> None:
    """Names: prefix, base unit, _total for counters alone; few labels, no person's word in one."""
    assert re.fullmatch(r"wormkey_[a-z]+(_[a-z]+)*", figure.name)
    assert figure.name.endswith("_total") is (figure.kind == "counter")
    assert figure.name.endswith("_seconds") is (figure.kind == "histogram")
    assert not re.search(r"_(ms|milliseconds|kb|kib|mb|minutes|count|sum|bucket)\b", figure.name)
    assert re.fullmatch(r"[A-Z0-9].*[^.\n]", figure.help)
    assert figure.label in LABELS | {""}
    assert len(set(figure.values)) == len(figure.values)
    assert figure.label or not figure.values


def test_the_table_and_the_counters_are_the_same_set() -> None:
    """Nothing is counted that nobody can see; nothing is shown that nobody counts."""
    sources = [figure.source for figure in FIGURES if figure.source]
    assert sorted(sources) == sorted(each.name for each in attrs.fields(Metrics))
    names = [figure.name for figure in FIGURES]
    assert len(set(names)) == len(names)


def test_every_refusal_of_the_gateway_has_its_series_from_the_start() -> None:
    """An alert on a rate sees the very first one."""
    [refusals] = [figure for figure in FIGURES if figure.source == "refusals"]
    assert set(refusals.values) == set(ERRORS)
    for figure in FIGURES:
        if figure.label == "reason":
            assert set(figure.values) <= set(ERRORS) | {"viewer_left"}
