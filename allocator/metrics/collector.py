"""`PoolCollector`: reads pools when Prometheus scrapes.

A scrape costs one round trip for each pool, and one more for each that has scopes, for any number of allocations.
Pools, scopes and priorities are bounded; a gauge counts those that are left out.  A pool that cannot be read has no
metrics but `allocator_pool_up` 0 and the reason: nothing is told as zero, or as it was.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from allocator._sync.client import Allocator
from allocator.distribution import version
from allocator.errors import AllocatorError, BackendUnavailable, InvalidRequest
from allocator.metrics import bounds
from allocator.metrics.families import Family, Samples, describe
from allocator.metrics.readings import add_audit, add_quotas, add_usage
from allocator.metrics.server_statistics import read_statistics, server_families
from allocator.models.maintenance import Audit
from allocator.models.pools import Usage
from allocator.models.quotas import Quota
from allocator.settings import PAGE_RECORDS_MAX
from allocator.validation import batch, count, deadline_s, pool_name

__all__ = ["PoolCollector"]

_log: Final = logging.getLogger("allocator.metrics")


@dataclass(frozen=True, slots=True)
class _Reading:
    usage: Usage
    quotas: list[Quota]


class PoolCollector:
    """A collector of prometheus_client: `REGISTRY.register(PoolCollector(allocator))`.

    It may be scraped by several threads at once.  Nothing is sent before the first scrape.
    """

    def __init__(
        self,
        client: Allocator,
        pools: Iterable[str] | None = None,
        *,
        scopes: int = bounds.SCOPES,
        timeout: float = bounds.TIMEOUT_S,
        server: bool = False,
    ) -> None:
        """Read these pools.

        Args:
            client: A blocking client; the rights of an inspector are enough.  A program with an `AsyncAllocator` makes
                one beside it, for the thread that is scraped.
            pools: Their names, at most 100; None: the client's pool.
            scopes: Scopes of each pool that have metrics, 0 to 500, in the order of their names.
            timeout: Seconds that one scrape may take, at most 60.
            server: Also read how long the server ran scripts; one more round trip, in a cluster one for each pool.

        Raises:
            InvalidRequest: `field` is the argument that is wrong.
        """
        if not isinstance(client, Allocator):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidRequest(f"client: {type(client).__name__} is no Allocator", field="client")
        self._client = client
        self._scopes = count(scopes, "scopes", PAGE_RECORDS_MAX, 0)
        self._timeout_s = deadline_s(timeout, "timeout")
        self._pools: tuple[str, ...] = ()
        self._left_out = 0
        self._server = server
        self._failed: dict[str, str] = {}
        self._audits: dict[str, tuple[Audit, float]] = {}
        self._fault = ""
        own = client._defaults.pool.name  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        names = [own] if pools is None else pools
        self.read_pools(batch(names, "pools", bounds.POOLS_MAX))

    def read_pools(self, pools: Iterable[str]) -> None:
        """Read these pools from now on; of more than 100, the first by name."""
        names = sorted({pool_name(one) for one in pools})
        self._pools = tuple(names[: bounds.POOLS_MAX])
        self._left_out = len(names) - len(self._pools)
        self._fault = ""

    def report_fault(self, code: str) -> None:
        """Say that the names of the pools could not be read: `allocator_up` is 0 until `read_pools` is called."""
        self._fault = code

    def record_audit(self, audit: Audit) -> None:
        """Show the result of an audit of one of the pools, and when it was made: now."""
        self._audits[audit.pool] = (audit, time.time())

    @property
    def pools(self) -> tuple[str, ...]:
        """The pools that are read."""
        return self._pools

    @property
    def failures(self) -> dict[str, str]:
        """The pools that the last scrape has not read, and the codes of the errors."""
        return dict(self._failed)

    def describe(self) -> Iterator[Family]:
        """The metrics, without a reading: registering sends nothing."""
        return iter([*describe().values(), *(server_families({}) if self._server else ())])

    def collect(self) -> Iterator[Family]:
        """Read all pools."""
        began = time.monotonic()
        until = began + self._timeout_s
        pools, samples = self._pools, Samples()
        # Those that failed last time come last, so that a server that is away takes no time from the others.
        readings = {name: self._read(name, until) for name in sorted(pools, key=lambda one: one in self._failed)}
        for name in pools:
            self._add(samples, name, readings[name])
        self._tell(readings)
        if self._fault:
            samples.add("allocator_pool_error", 1, "", self._fault)
        whole = not self._fault and all(isinstance(one, _Reading) for one in readings.values())
        samples.add("allocator_up", float(whole))
        samples.add("allocator_build_info", 1, version())
        samples.add("allocator_pools", len(pools))
        samples.add("allocator_pools_left_out", self._left_out)
        read = [name for name in pools if self._server and isinstance(readings[name], _Reading)]
        statistics = read_statistics(read, lambda name: self._for(name, until))
        samples.add("allocator_scrape_duration_seconds", time.monotonic() - began)
        return iter([*samples, *(server_families(statistics) if self._server else ())])

    def _read(self, name: str, until: float) -> _Reading | AllocatorError:
        try:
            usage = self._for(name, until).pools.usage()
            if not usage.scopes or not self._scopes:
                return _Reading(usage, [])
            return _Reading(usage, self._for(name, until).quotas.list(limit=self._scopes))
        except AllocatorError as error:
            return error

    def _for(self, name: str, until: float) -> Allocator:
        """The client for one pool, with the time that is left for one call."""
        left_s = min(until - time.monotonic(), bounds.POOL_TIMEOUT_S)
        if left_s <= 0:
            raise BackendUnavailable("the time of the scrape was over before it was read", code="timeout")
        return self._client.options(pool=name, timeout=left_s, epoch="")

    def _add(self, samples: Samples, name: str, reading: _Reading | AllocatorError) -> None:
        samples.add("allocator_pool_up", float(isinstance(reading, _Reading)), name)
        if isinstance(reading, AllocatorError):
            samples.add("allocator_pool_error", 1, name, reading.code)
            return
        add_usage(samples, reading.usage)
        add_quotas(samples, name, reading.quotas, reading.usage.scopes)
        if name in self._audits:
            add_audit(samples, *self._audits[name])

    def _tell(self, readings: dict[str, _Reading | AllocatorError]) -> None:
        """Log each pool once that cannot be read, and once more when it can."""
        failed = {name: one.code for name, one in readings.items() if isinstance(one, AllocatorError)}
        before, self._failed = self._failed, failed
        for name, reading in readings.items():
            if isinstance(reading, AllocatorError) and before.get(name) != reading.code:
                _log.warning("pool %s is not read: %s", name, reading)
            elif name in before and name not in failed:
                _log.warning("pool %s is read again", name)
