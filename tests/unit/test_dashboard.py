"""deploy/grafana-dashboard.json: it asks for figures that exist, rightly, and leaves none out."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from wormkey.metrics import FIGURES, Figure

if TYPE_CHECKING:
    from collections.abc import Iterator

DASHBOARD: Any = json.loads(
    (Path(__file__).resolve().parents[2] / "deploy" / "grafana-dashboard.json").read_text("utf-8")
)
BY_NAME = {figure.name: figure for figure in FIGURES}
# What prometheus_client and Prometheus itself add, as far as the dashboard asks for it.
FOREIGN = {
    "up",
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
}
SELECTOR = re.compile(r"([a-z_]+)\{([^}]*)\}")  # every selector names at least the instance


def panels() -> Iterator[dict[str, Any]]:
    """Every panel that draws something."""
    return (panel for panel in DASHBOARD["panels"] if panel["type"] != "row")


QUERIES = [
    (panel["title"], target["expr"], target["legendFormat"])
    for panel in panels()
    for target in panel["targets"]
]


def figure_of(sample: str) -> Figure | None:
    """The figure that a sample's name belongs to; a histogram's samples have endings."""
    return BY_NAME.get(sample) or BY_NAME.get(re.sub(r"_(bucket|count|sum)$", "", sample))


@pytest.mark.parametrize(("title", "expression", "legend"), QUERIES)
def test_a_query_asks_for_what_is_there(title: str, expression: str, legend: str) -> None:
    """Names and labels are those of the table; counters by rate, histograms by bucket."""
    del title
    selectors = SELECTOR.findall(expression)
    assert selectors
    labels: set[str] = {"instance"}
    for sample, conditions in selectors:
        assert 'instance=~"$instance"' in conditions
        figure = figure_of(sample)
        if figure is None:
            assert sample in FOREIGN
            continue
        labels.add(figure.label)
        for label, value in re.findall(r'(\w+)="([^"]*)"', conditions):
            assert label == figure.label
            assert value in figure.values
        match figure.kind:
            case "counter":
                assert re.search(rf"\brate\({sample}\{{", expression)
            case "histogram":
                assert sample == f"{figure.name}_bucket"
                assert re.search(
                    rf"histogram_quantile\([0-9.]+, .* \(rate\({sample}\{{", expression
                )
            case "gauge":
                assert "rate(" not in expression
    for grouping in re.findall(r"by \(([^)]*)\)", expression):
        assert set(grouping.split(", ")) <= labels | {"le"}
    assert set(re.findall(r"\{\{(\w+)\}\}", legend)) <= labels
    assert expression.count("(") == expression.count(")")


def test_every_figure_is_drawn() -> None:
    """Whatever is counted has its place; the process's own figures are there beside."""
    asked = {sample for _, expression, _ in QUERIES for sample, _ in SELECTOR.findall(expression)}
    drawn = {figure.name for sample in asked if (figure := figure_of(sample)) is not None}
    assert drawn == set(BY_NAME)
    assert {sample for sample in asked if figure_of(sample) is None} == FOREIGN


def test_panels_lie_side_by_side() -> None:
    """Grafana's grid is 24 wide; no two panels cover the same place."""
    covered: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not covered & cells
        covered |= cells
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)


def test_whoever_imports_it_chooses_the_data_source() -> None:
    """No id of somebody's own Grafana is in it, and the list of daemons comes from a figure."""
    variables = {each["name"]: each for each in DASHBOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["instance"]["definition"] == "label_values(wormkey_build_info, instance)"
    for panel in panels():
        for source in (panel["datasource"], *(each["datasource"] for each in panel["targets"])):
            assert source == {"type": "prometheus", "uid": "${datasource}"}
