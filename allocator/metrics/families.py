"""The metrics by name: labels and help.  docs/metrics.md has the same table; a test compares them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from allocator.distribution import install

try:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
    from prometheus_client.core import Metric as Family
except ModuleNotFoundError as error:
    message = f"allocator.metrics needs the package prometheus_client: {install('metrics')}"
    raise ModuleNotFoundError(message, name=error.name) from None

__all__ = ["METRICS", "Family", "GaugeMetricFamily", "Metric", "Samples", "describe"]

_AMOUNT: Final = ("pool", "resource", "unit")
_QUOTA: Final = ("pool", "scope", "resource", "unit")


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: a counter if its name ends in `_total`, else a gauge."""

    name: str
    help: str
    labels: tuple[str, ...] = ()


METRICS: Final = {
    one.name: one
    for one in (
        Metric("allocator_up", "1: each pool was read; 0: at least one was not."),
        Metric("allocator_build_info", "The version of the library that reads; always 1.", ("version",)),
        Metric("allocator_scrape_duration_seconds", "How long this reading of all pools took."),
        Metric("allocator_pools", "Pools that are read."),
        Metric("allocator_pools_left_out", "Pools under the prefix beyond the limit of pools, which are not read."),
        Metric("allocator_pool_up", "1: the pool was read; 0: it was not, and has no other metrics.", ("pool",)),
        Metric(
            "allocator_pool_error",
            "Why a pool, or with an empty name their list, was not read; always 1.",
            ("pool", "code"),
        ),
        Metric(
            "allocator_pool_info",
            "The pool's epoch and settings; always 1.",
            ("pool", "epoch", "durability", "queue_policy"),
        ),
        Metric("allocator_pool_state", "1: the pool is in this state; 0: it is not.", ("pool", "state")),
        Metric("allocator_pool_generation", "How often the pool was configured.", ("pool",)),
        Metric("allocator_pool_revision", "Grows with each change except renewals; jumps after lost data.", ("pool",)),
        Metric("allocator_pool_recovery_remaining_seconds", "Until the recovery ends; 0: none.", ("pool",)),
        Metric("allocator_pool_clock_offset_seconds", "The pool's time ahead of the server's clock.", ("pool",)),
        Metric("allocator_resource_capacity", "What there is.", _AMOUNT),
        Metric("allocator_resource_limit", "What may be given out.", _AMOUNT),
        Metric("allocator_resource_allocated", "What is charged, by due allocations too.", _AMOUNT),
        Metric("allocator_resource_kept", "What is guaranteed to scopes and not used.", _AMOUNT),
        Metric("allocator_resource_available", "What a request without a scope may have.", _AMOUNT),
        Metric(
            "allocator_resource_overcommitted", "Allocated above the limit, after it was lowered; 0: none.", _AMOUNT
        ),
        Metric("allocator_allocations", "Live allocations: with a deadline, or pinned.", ("pool", "kind")),
        Metric("allocator_allocations_due", "Allocations past their deadline, not yet reclaimed.", ("pool",)),
        Metric("allocator_deadline_overdue_seconds", "How long the earliest deadline is past; 0: none is.", ("pool",)),
        Metric("allocator_earliest_deadline_timestamp_seconds", "The earliest deadline; absent: none.", ("pool",)),
        Metric("allocator_oldest_pinned_age_seconds", "Age of the oldest pinned allocation; absent: none.", ("pool",)),
        Metric(
            "allocator_events_total",
            "Events of the pool, by their kind: granted, released, reclaimed and so on.",
            ("pool", "kind"),
        ),
        Metric(
            "allocator_denials_total",
            "Requests that were denied, by the code of the denial; a repeat counts again.",
            ("pool", "reason"),
        ),
        Metric("allocator_waiting", "Requests that wait in line.", ("pool",)),
        Metric("allocator_waiting_by_priority", "The same by priority, for the highest ones.", ("pool", "priority")),
        Metric(
            "allocator_oldest_wait_seconds",
            "How long the first in line of this priority has waited.",
            ("pool", "priority"),
        ),
        Metric("allocator_waiting_left_out", "Requests that wait with priorities beyond their limit.", ("pool",)),
        Metric("allocator_quota_allocated", "What is charged to the scope and those below it.", _QUOTA),
        Metric("allocator_quota_kept", "What is guaranteed to the scopes below it and not used.", _QUOTA),
        Metric("allocator_quota_available", "What a request of the scope may have; absent: any.", _QUOTA),
        Metric("allocator_quota_nominal", "The scope's share; absent: no limit of its own.", _QUOTA),
        Metric("allocator_quota_maximum", "The most that the scope may ever have; absent: what there is.", _QUOTA),
        Metric("allocator_quota_borrowed", "How far the scope is above its share; absent: it has none.", _QUOTA),
        Metric(
            "allocator_quota_lent", "What the scope lacks of its share, as others have it; absent: it has none.", _QUOTA
        ),
        Metric("allocator_quota_scopes", "Scopes of the pool.", ("pool",)),
        Metric("allocator_quota_scopes_left_out", "Scopes beyond the limit of scopes, without metrics.", ("pool",)),
        Metric("allocator_audit_status", "1: the result of the last audit; 0: another.", ("pool", "status")),
        Metric("allocator_audit_findings", "Violations that the last audit found.", ("pool",)),
        Metric("allocator_audit_timestamp_seconds", "When the last audit was made; absent: none was.", ("pool",)),
    )
}


def _family(one: Metric) -> CounterMetricFamily | GaugeMetricFamily:
    if one.name.endswith("_total"):
        return CounterMetricFamily(one.name, one.help, labels=one.labels)
    return GaugeMetricFamily(one.name, one.help, labels=one.labels)


def describe() -> dict[str, CounterMetricFamily | GaugeMetricFamily]:
    """The metrics of prometheus_client by name, without samples."""
    return {one.name: _family(one) for one in METRICS.values()}


class Samples:
    """The samples of one scrape, by metric."""

    def __init__(self) -> None:
        self._families = describe()

    def add(self, name: str, value: float, *labels: str) -> None:
        """Add one sample; the labels in the order of the table."""
        assert len(labels) == len(METRICS[name].labels), name
        self._families[name].add_metric(labels, value)

    def add_state(self, name: str, states: Iterable[str], state: str, pool: str) -> None:
        """Add a sample for each state: 1 for the present one."""
        for one in dict.fromkeys((*states, state)):
            self.add(name, float(one == state), pool, one)

    def __iter__(self) -> Iterator[Family]:
        return iter(self._families.values())
