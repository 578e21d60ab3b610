"""What it costs to watch: a scrape of a large pool, a client that is observed, and `top` at rest."""

from __future__ import annotations

import importlib.util
import statistics
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from allocator import Allocator
from bench import top_at_rest
from bench.rows import LeftOut, Result, alternate, row
from bench.stage import CAPACITY, PATIENT, POOL, Sizes, Stage
from bench.verbs import OWNER, REQUEST, TTL_S, fill

SCRAPES: Final = 5
"""Scrapes of each pool in a round: the server's processor time has a resolution of microseconds, a scrape takes 100."""

SMALL: Final = "small"
"""A pool without an allocation, beside the large one."""


def require(module: str, extra: str) -> None:
    """Leave the row out where a package is missing.

    Raises:
        LeftOut: It is.
    """
    if importlib.util.find_spec(module) is None:
        raise LeftOut(f"{module} is not installed: it comes with the extra {extra}")


def _client(stage: Stage, pool: str = POOL) -> Allocator:
    return Allocator.from_url(stage.url, pool=pool, owner=OWNER, allow_eviction=True, **PATIENT)


@row(
    "scrape",
    "a scrape of a pool with 100,000 allocations: processor time of collector and server",
    at_least=50,
    aim=10,
    smaller_is_better=True,
    unit=" ms",
)
def scrape(stage: Stage, sizes: Sizes) -> Result:
    """The text for Prometheus is made, too.  An empty pool takes its turns beside it; the note has the quotient."""
    require("prometheus_client", "metrics")
    from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415 - of an extra

    from allocator.metrics import PoolCollector  # noqa: PLC0415

    stage.fresh()
    with _client(stage) as client:
        client.pools.create(SMALL, CAPACITY)
        fill(stage, Stage.EMPTY, sizes.stored)

        def spent_ms(pool: str) -> Callable[[], float]:
            registry = CollectorRegistry()
            registry.register(PoolCollector(client, [pool]))

            def measure() -> float:
                before = time.process_time(), stage.cpu_s()
                for _ in range(SCRAPES):
                    generate_latest(registry)
                after = time.process_time(), stage.cpu_s()
                return 1000 * (sum(after) - sum(before)) / SCRAPES

            return measure

        growth = alternate(sizes.rounds, ("large", "small"), large=spent_ms(POOL), small=spent_ms(SMALL))
    stage.fresh()
    large = growth.medians["large"]
    return Result(large, large, large, growth.medians, note=f"{growth.figure:.2f} times an empty pool")


@contextmanager
def _pairs(stage: Stage, observe: Callable[[Allocator], object] | None, pairs: int) -> Generator[Callable[[], float]]:
    """What makes pairs of allocate and release by a client, and returns how many a second of its processor time."""
    with _client(stage) as client:
        if observe is not None:
            observe(client)

        def measure() -> float:
            stage.fresh()
            client.release(client.allocate(REQUEST, ttl=TTL_S))  # the connection is there, and the scripts are known
            began = time.process_time()
            for _ in range(pairs):
                client.release(client.allocate(REQUEST, ttl=TTL_S))
            return pairs / (time.process_time() - began)

        yield measure


def _observed(stage: Stage, sizes: Sizes, observe: Callable[[Allocator], object]) -> Result:
    with ExitStack() as stack:
        variants: dict[str, Any] = {
            "observed": stack.enter_context(_pairs(stage, observe, sizes.pairs)),
            "plain": stack.enter_context(_pairs(stage, None, sizes.pairs)),
        }
        return alternate(sizes.rounds, ("observed", "plain"), **variants)


@row("observed", "allocate and release, client's CPU: with ClientCollector v. without", at_least=0.95, aim=0.97)
def observed(stage: Stage, sizes: Sizes) -> Result:
    """It counts each call and its duration under a lock."""
    require("prometheus_client", "metrics")
    from allocator.metrics import ClientCollector  # noqa: PLC0415 - of an extra

    return _observed(stage, sizes, ClientCollector)


@row("traced", "the same with OpenTelemetry's API, without a provider, v. without", at_least=0.85, aim=0.9)
def traced(stage: Stage, sizes: Sizes) -> Result:
    """What a library pays that is instrumented in a program which exports nothing."""
    require("opentelemetry", "otel")
    from allocator.telemetry import TelemetryObserver  # noqa: PLC0415 - of an extra

    observer = TelemetryObserver()
    return _observed(stage, sizes, lambda client: client.observe(observer))


@row("top", "top at rest, 50 allocations: part of a core", at_least=2, aim=0.5, smaller_is_better=True, unit=" %")
def top(stage: Stage, sizes: Sizes) -> Result:
    """Its process on a pseudo-terminal of 120 x 40, after it has settled."""
    require("textual", "tui")
    stage.fresh()
    fill(stage, Stage.EMPTY, top_at_rest.ALLOCATIONS)
    parts = [
        100 * top_at_rest.measure(stage.url, POOL, sizes.resting_s / 3, settles_s=sizes.settles_s)[0] for _ in range(3)
    ]
    stage.fresh()
    return Result(statistics.median(parts), min(parts), max(parts), {"percent of a core": statistics.median(parts)})
