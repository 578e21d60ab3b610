"""A scrape, read back as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from allocator.metrics import PoolCollector

__all__ = ["Scrape", "scrape", "text_of"]


class Scrape:
    """The samples of one scrape."""

    def __init__(self, text: str) -> None:
        self.families = list(text_string_to_metric_families(text))
        self._samples = {
            (one.name, frozenset(one.labels.items())): one.value for family in self.families for one in family.samples
        }
        assert len(self._samples) == sum(len(family.samples) for family in self.families), "a sample is there twice"

    def get(self, name: str, **labels: str) -> float | None:
        """The value of one sample; None: it is absent."""
        return self._samples.get((f"allocator_{name}", frozenset(labels.items())))

    def labels(self, name: str, label: str) -> list[str]:
        """The values of a label of a metric, in the order of the text."""
        return [dict(labels)[label] for found, labels in self._samples if found == f"allocator_{name}"]

    def names(self) -> set[str]:
        """The metrics that have samples."""
        return {name for name, _ in self._samples}


def text_of(*collectors: PoolCollector) -> str:
    """What Prometheus is sent."""
    registry = CollectorRegistry()
    for one in collectors:
        registry.register(one)
    return generate_latest(registry).decode()


def scrape(client: Any, pools: Iterable[str] | None = None, **options: Any) -> Scrape:
    """One scrape of a new collector."""
    return Scrape(text_of(PoolCollector(client, pools, **options)))
