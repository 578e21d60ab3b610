"""`ClientCollector`: counts what clients do, and shows it to Prometheus.

Counting costs a microsecond or two a call: a lock, a search in a row of buckets and two additions.  The text is made
when Prometheus scrapes; nothing is sent to the store for it.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Any, Final

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

from allocator._base import Client
from allocator._engine.execution.instrumentation import (
    ClientState,
    ObservedBatch,
    ObservedCall,
    ObservedRenewal,
    Observer,
)
from allocator._engine.fork_safety import reset_after_fork
from allocator.errors import AllocatorError
from allocator.metrics.bounds import CODES
from allocator.metrics.client_families import CLIENT_METRICS
from allocator.metrics.families import Family, GaugeMetricFamily

__all__ = ["ClientCollector"]

_CALLS: Final = "allocator_client_call_duration_seconds"
_OTHER: Final = "other"


class _Histogram:
    """The samples of one set of labels."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def buckets(self) -> list[tuple[str, float]]:
        names = [*map(str, self.bounds), "+Inf"]
        return list(zip(names, map(float, accumulate(self.counts)), strict=True))


class ClientCollector(Observer):
    """A collector of prometheus_client for what clients do: `REGISTRY.register(ClientCollector(allocator))`.

    It serves any number of clients, blocking and awaited, and adds up what they do.  It sends nothing.  Counters keep
    their values when a client is closed.  A forked child begins at zero, so that nothing is counted twice.
    """

    def __init__(self, *clients: Client[Any]) -> None:
        """Count what these clients do; `client.observe(collector)` adds another one."""
        self._clients: list[Callable[[], ClientState | None]] = []
        self.reset()
        reset_after_fork(self)
        for client in clients:
            client.observe(self)

    def reset(self) -> None:
        """Begin at zero, as a forked child does."""
        self._changing = threading.Lock()
        self._counters: dict[str, dict[tuple[str, ...], float]] = {
            one.name: {} for one in CLIENT_METRICS.values() if one.kind == "counter"
        }
        self._histograms: dict[str, dict[tuple[str, ...], _Histogram]] = {
            one.name: {} for one in CLIENT_METRICS.values() if one.kind == "histogram"
        }
        self._calls = self._histograms[_CALLS]

    # -- what is reported ----------------------------------------------------------------------------------------------

    def client_added(self, read: Callable[[], ClientState | None]) -> None:
        """Read its gauges as well from now on."""
        with self._changing:
            self._clients = [one for one in self._clients if one() is not None] + [read]

    def call_ended(self, call: ObservedCall) -> None:
        """Count the call, its duration, and its error."""
        with self._changing:
            histogram = self._calls.get((call.verb, call.outcome))  # the ordinary way of each call
            if histogram is None:
                self._observe(_CALLS, call.duration_s, call.verb, call.outcome)
            else:
                histogram.add(call.duration_s)
            if call.waited_s is not None:
                self._observe("allocator_client_wait_duration_seconds", call.waited_s, call.outcome)
            if call.error is not None and call.outcome != "denied":
                code = call.error.code if isinstance(call.error, AllocatorError) else type(call.error).__name__
                self._count("allocator_client_errors_total", 1, call.verb, code)

    def call_retried(self, call: ObservedCall, cause: str, delay_s: float) -> None:
        """Count the retry."""
        with self._changing:
            self._count("allocator_client_retries_total", 1, call.verb, cause)

    def batch_sent(self, batch: ObservedBatch) -> None:
        """Count the script call by its items."""
        with self._changing:
            self._observe("allocator_client_batch_items", batch.items, batch.script)

    def undos_changed(self, pool: str, change: str, count: int) -> None:
        """Count the undos."""
        with self._changing:
            self._count("allocator_client_undos_total", count, change)

    def lease_renewed(self, renewal: ObservedRenewal) -> None:
        """Count the renewal, and how old its lease was."""
        with self._changing:
            self._count("allocator_client_renewals_total", 1, renewal.outcome)
            if renewal.outcome in ("on_time", "late"):
                self._observe("allocator_client_renewal_age_ratio", renewal.age_s / renewal.ttl_s)

    def lease_lost(self, pool: str, code: str) -> None:
        """Count the loss."""
        with self._changing:
            self._count("allocator_client_leases_lost_total", 1, code)

    def _count(self, name: str, number: float, *labels: str) -> None:
        counters = self._counters[name]
        if labels not in counters and len(counters) >= CODES:
            labels = (*labels[:-1], _OTHER)
        counters[labels] = counters.get(labels, 0) + number

    def _observe(self, name: str, value: float, *labels: str) -> None:
        histogram = self._histograms[name].get(labels)
        if histogram is None:
            histogram = self._histograms[name][labels] = _Histogram(CLIENT_METRICS[name].bounds)
        histogram.add(value)

    # -- what is shown -------------------------------------------------------------------------------------------------

    def describe(self) -> Iterator[Family]:
        """The metrics, without a sample."""
        for one in CLIENT_METRICS.values():
            yield _FAMILIES[one.kind](one.name, one.help, labels=one.labels)

    def collect(self) -> Iterator[Family]:
        """What has been counted; no I/O."""
        gauges = self._gauges()
        with self._changing:
            made = [self._family(name, gauges) for name in CLIENT_METRICS]
        return iter(made)

    def _family(self, name: str, gauges: dict[str, dict[tuple[str, ...], float]]) -> Family:
        metric = CLIENT_METRICS[name]
        if metric.kind == "histogram":
            histogram = HistogramMetricFamily(name, metric.help, labels=metric.labels)
            for labels, one in self._histograms[name].items():
                histogram.add_metric(labels, one.buckets(), one.total)
            return histogram
        family: Family = _FAMILIES[metric.kind](name, metric.help, labels=metric.labels)
        for labels, value in (self._counters | gauges)[name].items():
            family.add_sample(name, dict(zip(metric.labels, labels, strict=True)), value)
        return family

    def _gauges(self) -> dict[str, dict[tuple[str, ...], float]]:
        states = [state for read in list(self._clients) if (state := read()) is not None]
        used = sum(one.connections_used for one in states)
        return {
            "allocator_client_undos_pending": {(): sum(one.undos for one in states)},
            "allocator_client_holds": {(): sum(one.holds for one in states)},
            "allocator_client_connections": {
                ("idle",): sum(one.connections for one in states) - used,
                ("used",): used,
            },
        }


_FAMILIES: Final[dict[str, Callable[..., Any]]] = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "histogram": HistogramMetricFamily,
}
