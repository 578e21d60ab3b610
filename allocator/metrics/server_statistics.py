"""How long servers ran scripts, from their own statistics.  docs/metrics.md has the same table; a test compares."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from prometheus_client.core import CounterMetricFamily

from allocator._engine.operations.server_statistics import ScriptStatistics, script_statistics
from allocator._engine.transport.target import ClusterTarget
from allocator._sync.client import Allocator
from allocator.errors import AllocatorError
from allocator.metrics.client_families import ClientMetric
from allocator.metrics.families import Family, GaugeMetricFamily

__all__ = ["SERVER_METRICS", "read_statistics", "server_families"]

SERVER_METRICS: Final = {
    one.name: one
    for one in (
        ClientMetric(
            "allocator_server_statistics",
            "gauge",
            "1: the server of this pool showed its statistics; 0: the user may not read them.",
            ("pool",),
        ),
        ClientMetric(
            "allocator_server_script_calls_total",
            "counter",
            "Script calls that the server of this pool ran since it started, of all its users.",
            ("pool", "command"),
        ),
        ClientMetric(
            "allocator_server_script_seconds_total",
            "counter",
            "How long it ran them, without the time in its queue and in the network.",
            ("pool", "command"),
        ),
    )
}

Statistics = dict[str, tuple[ScriptStatistics, ...] | None]


def read_statistics(pools: Iterable[str], connect: Callable[[str], Allocator]) -> Statistics:
    """The statistics by pool: of the first one, as the others have the same server; in a cluster of each."""
    found: Statistics = {}
    for name in pools:
        try:
            client = connect(name)
            pool = client._defaults.pool  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
            found[name] = client._run(script_statistics(pool), "")  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        except AllocatorError:
            continue  # the reading of the pool says why
        if not isinstance(client._target, ClusterTarget):  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
            break
    return found


def server_families(statistics: Statistics) -> Iterator[Family]:
    """The metrics; without statistics they have no samples."""
    shown, calls, seconds = SERVER_METRICS.values()
    up = GaugeMetricFamily(shown.name, shown.help, labels=shown.labels)
    ran = CounterMetricFamily(calls.name, calls.help, labels=calls.labels)
    took = CounterMetricFamily(seconds.name, seconds.help, labels=seconds.labels)
    for pool, found in statistics.items():
        up.add_metric((pool,), float(found is not None))
        for one in found or ():
            ran.add_metric((pool, one.command), one.calls)
            took.add_metric((pool, one.command), one.seconds)
    yield from (up, ran, took)
