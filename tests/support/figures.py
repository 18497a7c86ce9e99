"""The text of /metrics as prometheus_client's own parser reads it: nothing of the project's."""

from __future__ import annotations

from attrs import define
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families


@define
class Scrape:
    """One answer of /metrics."""

    families: dict[str, Metric]

    @classmethod
    def of(cls, text: bytes) -> Scrape:
        """Parse the text; a malformed line fails the test."""
        families = text_string_to_metric_families(text.decode())
        return cls({family.name: family for family in families})

    def value(self, sample: str, **labels: str) -> float:
        """Return the one sample of this name with exactly these labels."""
        found = [
            each.value
            for family in self.families.values()
            for each in family.samples
            if each.name == sample and each.labels == labels
        ]
        assert len(found) == 1, (sample, labels, found)
        return found[0]

    def total(self, sample: str) -> float:
        """Return the sum of all samples of this name."""
        return sum(
            each.value
            for family in self.families.values()
            for each in family.samples
            if each.name == sample
        )
