"""What a pool's promises cost an `allocate`: `python -m bench.promises` prints the table of docs/reliability.md.

One client, blocking, one call after the other, to a server with a replica on the same machine; rounds of all variants
alternate, and the ratio is that of the medians.  Loopback has no distance: what a replica far away costs is its round
trip.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from typing import Any, Final

from allocator import Allocator
from tests.support.servers import Engine, Server, engines
from tests.support.waiting import wait_until

ROUNDS: Final = 9
CALLS: Final = 100
ROUND_S: Final = 0.3
"""Seconds of a round at the most, so that what waits for a disk does not take the day."""

VARIANTS: Final[dict[str, dict[str, Any]]] = {
    "nothing": {},
    "recovery_grace": {"recovery_grace": 60, "max_ttl": 60},
    "replicated:1": {"durability": "replicated:1"},
    "fsynced": {"durability": "fsynced"},
    "fsynced+replicated:1": {"durability": "fsynced+replicated:1"},
}


def measure(engine: Engine, fsync: str) -> dict[str, float]:
    """Median microseconds of an allocate, by variant."""
    options = {"appendonly": "yes", "appendfsync": fsync, "repl-diskless-sync-delay": "0"}
    times: dict[str, list[float]] = {name: [] for name in VARIANTS}
    with (
        Server(engine, tcp=True, options=options) as primary,
        Server(engine, options={**options, "replicaof": f"127.0.0.1 {primary.port}"}) as replica,
    ):
        wait_until(lambda: replica.info("replication").get("master_link_status") == "up", timeout_s=10)
        with Allocator.from_url(primary.url) as client:
            for name, promises in VARIANTS.items():
                client.pools.create(_pool(name), {"cpu": 1_000_000}, **promises)
            for _ in range(ROUNDS):
                for name in VARIANTS:
                    times[name].append(_round(client, _pool(name)))
    return {name: statistics.median(found) for name, found in times.items()}


def _pool(name: str) -> str:
    return name.replace(":", "-").replace("+", "-").replace("_", "-")


def _round(client: Allocator, pool: str) -> float:
    spent: list[float] = []
    ends = time.perf_counter() + ROUND_S
    while len(spent) < CALLS and (not spent or time.perf_counter() < ends):
        began = time.perf_counter()
        one = client.options(pool=pool).allocate({"cpu": 1}, ttl=60)
        spent.append(time.perf_counter() - began)
        client.release(one)
    return 1e6 * statistics.median(spent)


def main() -> int:
    """Print the table."""
    argparse.ArgumentParser(prog="python -m bench.promises", description=__doc__).parse_args()
    newest = engines()[0]
    sys.stdout.write(f"| allocate on {newest}, of a pool that promises | everysec | always |\n|---|---|---|\n")
    found = {fsync: measure(newest, fsync) for fsync in ("everysec", "always")}
    for name in VARIANTS:
        cells = [f"{found[fsync][name]:.0f} us, {found[fsync][name] / found[fsync]['nothing']:.2f}" for fsync in found]
        sys.stdout.write(f"| {name} | {' | '.join(cells)} |\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
