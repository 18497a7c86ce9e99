"""The daemon's figures as Prometheus reads them: metrics.FIGURES, filled and written as text.

The only module that knows prometheus_client, and nobody imports it before somebody asks for
/metrics. Reads, counts nothing. What is live is looked up here, at the moment of the question.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from attrs import frozen
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from wormkey.metrics import FIGURES, Figure, Histogram
from wormkey.node import Node

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


def expose(node: Node) -> tuple[bytes, str]:
    """Return the figures of now, and the content type of that text.

    It is the text that every Prometheus reads, whatever the request accepts (format 0.0.4).
    """
    registry = CollectorRegistry()
    registry.register(Figures(node))
    ProcessCollector(registry=registry)
    encode, content_type = choose_encoder("")
    return encode(registry), content_type


@frozen(eq=False)  # a registry keeps collectors by identity
class Figures(Collector):
    """One daemon's figures as a collector: one family for each line of the table."""

    node: Node

    def collect(self) -> Iterator[Metric]:
        """Return the families, in the order of the table."""
        for figure in FIGURES:
            yield (
                _histograms(figure, self.node)
                if figure.kind == "histogram"
                else _numbers(figure, self.node)
            )


def _numbers(figure: Figure, node: Node) -> Metric:
    family = (CounterMetricFamily if figure.kind == "counter" else GaugeMetricFamily)(
        figure.name, figure.help, labels=_labels(figure)
    )
    read = _READ.get(figure.name)
    value: int | dict[str, int] = read(node) if read else getattr(node.metrics, figure.source)
    if isinstance(value, int):
        family.add_metric([], value)
    else:
        for label, number in (dict.fromkeys(figure.values, 0) | value).items():
            family.add_metric([label], number)
    return family


def _histograms(figure: Figure, node: Node) -> Metric:
    family = HistogramMetricFamily(figure.name, figure.help, labels=_labels(figure))
    value: Histogram | dict[str, Histogram] = getattr(node.metrics, figure.source)
    if isinstance(value, Histogram):
        family.add_metric([], value.cumulative(), value.sum_s)
    else:
        for label, histogram in value.items():
            family.add_metric([label], histogram.cumulative(), histogram.sum_s)
    return family


def _labels(figure: Figure) -> list[str]:
    return [figure.label] if figure.label else []


# ── what is read when somebody asks ─────────────────────────────────────────────────────────


def _tunnels(node: Node) -> dict[str, int]:
    return Counter(str(tunnel.version) for tunnel in node.tunnels)


def _throttled(node: Node) -> dict[str, int]:
    rates = node.throttles
    return {
        "creations": rates.creations.refused,
        "token_creations": rates.token_creations.refused,
        "failures": rates.failures.refused,
        "misses": rates.misses.refused,
    }


_READ: Final[Mapping[str, Callable[[Node], int | dict[str, int]]]] = {
    "wormkey_build_info": lambda node: {node.version: 1},
    "wormkey_sessions": lambda node: len(node.routes),
    "wormkey_tunnels": _tunnels,
    "wormkey_streams": lambda node: sum(tunnel.open_streams for tunnel in node.tunnels),
    "wormkey_held_requests": lambda node: sum(each.waiting for each in node.routes.entries()),
    "wormkey_throttled_total": _throttled,
}
