"""Prometheus metrics of pools and of clients; it needs the extra `metrics`.

`PoolCollector` reads pools whenever it is scraped: one or two round trips for each, for any number of allocations.
`ClientCollector` counts what the clients of this process do, and sends nothing.

::

    from prometheus_client import REGISTRY, start_http_server

    REGISTRY.register(ClientCollector(allocator))    # in each controller, beside its own metrics
    REGISTRY.register(PoolCollector(allocator))      # in one of them
    start_http_server(9893, "127.0.0.1")

`resource-allocator metrics` is the same as a program of its own.  docs/metrics.md has the names.
"""

from __future__ import annotations

from allocator.metrics.families import METRICS, Metric  # isort: skip - the one that says what is missing
from allocator.metrics.client_collector import ClientCollector
from allocator.metrics.client_families import CLIENT_METRICS, ClientMetric
from allocator.metrics.collector import PoolCollector
from allocator.metrics.server_statistics import SERVER_METRICS

__all__ = [
    "CLIENT_METRICS",
    "METRICS",
    "SERVER_METRICS",
    "ClientCollector",
    "ClientMetric",
    "Metric",
    "PoolCollector",
]
