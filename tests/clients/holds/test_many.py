"""Thousands of leases of one process: how much of a core they take, and how they are spread."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

import pytest

from allocator import Allocator
from allocator._engine.leases.lease import Answer, Batch
from allocator._engine.leases.registry import RENEWERS
from allocator._engine.leases.renewer import LeaseRenewer, local_now
from tests.support.servers import Server
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

LEASES_MAX: Final = 10_000
CORE_SHARE: Final = 0.05
"""Of one core, for the threads that keep them."""


@pytest.fixture
def client(one_server: Server) -> Iterator[Allocator]:
    """A client of a pool with room for all of them."""
    with Allocator.from_url(one_server.url, pool="many") as client:
        client.pools.create("many", {"cpu": LEASES_MAX})
        yield client


class Watch:
    """What a renewer sends, and how much of a core it takes."""

    def __init__(self, renewer: LeaseRenewer) -> None:
        self.batches: list[int] = []
        self.seconds: Counter[int] = Counter()
        self._renewer = renewer
        self._settle = renewer._schedule.record
        renewer._schedule.record = self._record  # type: ignore[method-assign, assignment]
        self._began = local_now()
        self._cpu = self._used()

    def _record(self, batch: Batch, answers: Sequence[Answer], now: float, overdue_s: float) -> object:
        self.batches.append(len(batch.leases))
        self.seconds[int(now - self._began)] += len(batch.leases)
        return self._settle(batch, answers, now, overdue_s)

    def _used(self) -> float:
        """Seconds of a core that the renewer's threads have used so far."""
        clocks = [time.pthread_getcpuclockid(thread.ident or 0) for thread in self._renewer.threads]
        return sum(time.clock_gettime(clock) for clock in clocks)

    @property
    def core_share(self) -> float:
        """Of one core, since the watch began."""
        return (self._used() - self._cpu) / (local_now() - self._began)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("leases", "ttl_s"), [(600, 15.0), pytest.param(LEASES_MAX, 60.0, marks=pytest.mark.long)], ids=["600", "10000"]
)
def test_thousands_of_leases_are_renewed_by_a_fraction_of_a_core(
    client: Allocator, one_server: Server, leases: int, ttl_s: float, capsys: pytest.CaptureFixture[str]
) -> None:
    """Spread over the interval, and at most a hundred in a script call."""
    with contextlib.ExitStack() as held:
        holds = [held.enter_context(client.hold({"cpu": 1}, ttl=ttl_s)) for _ in range(leases)]
        (renewer,) = [one for one in RENEWERS._renewers.values() if one._pool.name == "many"]
        before = int(one_server.info("commandstats")["cmdstat_evalsha"].partition("calls=")[2].partition(",")[0])
        watch = Watch(renewer)
        wait_until(lambda: max(watch.seconds, default=0) > ttl_s / 3, timeout_s=120, message="an interval")
        share = watch.core_share
        calls = (
            int(one_server.info("commandstats")["cmdstat_evalsha"].partition("calls=")[2].partition(",")[0]) - before
        )
        whole = [watch.seconds[second] for second in range(1, int(ttl_s / 3))]
        mean = sum(whole) / len(whole)
        with capsys.disabled():
            print(
                f"\n{leases} leases of {ttl_s:.0f} s: {100 * share:.2f} % of a core, {mean:.0f} renewals a second "
                f"({min(whole)} to {max(whole)}), {sum(watch.batches) / len(watch.batches):.0f} in a script call "
                f"(at most {max(watch.batches)})"
            )
        assert not [hold for hold in holds if hold.lost]
        assert sum(watch.batches) >= leases
        assert max(watch.batches) <= 100
        assert calls <= len(watch.batches) + 1, "a batch is one script call"
        assert max(whole) <= 2 * mean
        assert share < CORE_SHARE
    assert not client.pools.usage().allocations
