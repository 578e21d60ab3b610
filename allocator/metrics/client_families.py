"""The metrics of clients by name: kind, labels, help, buckets.  docs/metrics.md has the same table; a test compares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["CLIENT_METRICS", "ClientMetric"]

_CALL_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""From a call on the same machine to the longest timeout."""

_WAIT_S: Final = (0.1, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0, 604_800.0)
"""Up to the longest wait, seven days."""

_ITEMS: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
"""Up to the largest batch."""

_AGE: Final = (0.1, 0.2, 0.34, 0.37, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""A renewal is due at a third, and its lease lapses at 0.9 at the latest."""


@dataclass(frozen=True, slots=True)
class ClientMetric:
    """One metric of a client."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()
    """The upper bounds of a histogram's buckets, without the last one, which is infinite."""

    @property
    def samples(self) -> tuple[str, ...]:
        """The names of its samples."""
        if self.kind == "histogram":
            return (f"{self.name}_bucket", f"{self.name}_count", f"{self.name}_sum")
        return (self.name,)


CLIENT_METRICS: Final = {
    one.name: one
    for one in (
        ClientMetric(
            "allocator_client_call_duration_seconds",
            "histogram",
            "How long calls took, retries included, time in line not.",
            ("verb", "outcome"),
            _CALL_S,
        ),
        ClientMetric(
            "allocator_client_errors_total",
            "counter",
            "Calls that failed, by the code; denials are none.",
            ("verb", "code"),
        ),
        ClientMetric(
            "allocator_client_retries_total", "counter", "Attempts that failed and were repeated.", ("verb", "cause")
        ),
        ClientMetric(
            "allocator_client_wait_duration_seconds",
            "histogram",
            "How long requests that waited were in line.",
            ("outcome",),
            _WAIT_S,
        ),
        ClientMetric(
            "allocator_client_batch_items", "histogram", "Items of each script call of a batch.", ("script",), _ITEMS
        ),
        ClientMetric(
            "allocator_client_undos_total",
            "counter",
            "Calls whose outcome no caller received: queued, then done or failed.",
            ("change",),
        ),
        ClientMetric("allocator_client_undos_pending", "gauge", "Calls that are queued to be undone."),
        ClientMetric("allocator_client_renewals_total", "counter", "Renewals of holds.", ("outcome",)),
        ClientMetric(
            "allocator_client_renewal_age_ratio",
            "histogram",
            "The part of the ttl that was over when a renewal was confirmed; due at a third, lost at 0.9.",
            (),
            _AGE,
        ),
        ClientMetric("allocator_client_leases_lost_total", "counter", "Leases that holds have lost.", ("code",)),
        ClientMetric("allocator_client_holds", "gauge", "Holds whose block runs."),
        ClientMetric(
            "allocator_client_connections", "gauge", "Open connections that serve calls: idle or used.", ("state",)
        ),
    )
}
