"""The planted bugs of metrics: what a scrape reads, and what it says of a pool that it has not read."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

METRICS: Final = (
    Mutant(
        "line of one priority", "pools/read_pool.lua",
        "first = last + 1", "break",
        "those of lower priorities starve unseen", "test_readers",
    ),
    Mutant(
        "priorities off by one", "pools/read_pool.lua",
        "limits.PRIORITY_MAX - math.floor(found[2] / span)", "limits.PRIORITY_MAX - math.ceil(found[2] / span)",
        "waiters are counted in no priority", "test_readers",
    ),
    Mutant(
        "latest deadline", "pools/read_pool.lua",
        "redis.call('ZRANGE', index, 0, 0, 'WITHSCORES')", "redis.call('ZRANGE', index, -1, -1, 'WITHSCORES')",
        "nobody learns that cleanup does not run", "test_readers",
    ),
    Mutant(
        "down told as up", "allocator/metrics/collector.py",
        'samples.add("allocator_up", float(whole))', 'samples.add("allocator_up", 1.0)',
        "a server that is away wakes nobody", "programs/metrics/test_collector",
    ),
    Mutant(
        "unknown pools told as none", "allocator/metrics/collector.py",
        "self._fault = code", "self._fault = str()",
        "an exporter that cannot list the pools looks like one that has none", "programs/metrics/test_collector",
    ),
    Mutant(
        "an error ends the scrape", "allocator/metrics/collector.py",
        "        except AllocatorError as error:\n            return error",
        "        except ValueError as error:\n            raise error",
        "one deleted pool hides all others", "programs/metrics/test_collector",
    ),
    Mutant(
        "scopes without a bound", "allocator/_engine/operations/quotas.py",
        "return [tree.quota(one) for one in names[:limit]]", "return [tree.quota(one) for one in names]",
        "twenty thousand scopes are a million series", "clients/test_quotas",
    ),
    Mutant(
        "scopes left out uncounted", "allocator/metrics/readings.py",
        "max(0, scopes - len(quotas))", "0",
        "nobody learns that a team is not shown", "programs/metrics/test_collector",
    ),
)  # fmt: skip
