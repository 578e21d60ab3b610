"""Prometheus metrics of pools; it needs the extra `metrics`.

`PoolCollector` reads pools whenever it is scraped: one or two round trips for each, for any number of allocations.

::

    from prometheus_client import REGISTRY, start_http_server

    REGISTRY.register(PoolCollector(allocator))      # in a controller, beside its own metrics
    start_http_server(9893, "127.0.0.1")

`resource-allocator metrics` is the same as a program of its own.  docs/metrics.md has the names.
"""

from __future__ import annotations

from allocator.metrics.collector import PoolCollector
from allocator.metrics.families import METRICS, Metric

__all__ = ["METRICS", "Metric", "PoolCollector"]
