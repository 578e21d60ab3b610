"""The types of the blocking client, as its users' checkers see them."""
# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import assert_type

import redis

from allocator import (
    Allocation,
    AllocationConflict,
    AllocationLost,
    Allocator,
    Audit,
    Check,
    Denial,
    Event,
    Hold,
    Insufficient,
    Limit,
    Outcome,
    Pool,
    QueuePolicy,
    Quota,
    QuotaUsage,
    Reclaimed,
    Release,
    Renewal,
    Request,
    Resources,
    Usage,
    Waiter,
)


def makes_clients(ready: redis.Redis) -> None:
    assert_type(Allocator.from_url("redis://localhost"), Allocator)
    assert_type(Allocator.from_url(), Allocator)
    assert_type(Allocator(ready, pool="lab", owner="me", timeout=5.0), Allocator)
    with Allocator.from_url(pool="lab", allow_eviction=True) as client:
        assert_type(client, Allocator)
    assert_type(client.close(), None)
    Allocator(7)  # type: ignore[arg-type]
    Allocator.from_url("redis://localhost", "lab")  # type: ignore[call-arg]


def keeps_a_subclass(url: str) -> None:
    class Ours(Allocator):
        pass

    assert_type(Ours.from_url(url), Ours)
    with Ours.from_url(url) as client:
        assert_type(client, Ours)


def shapes_pools(client: Allocator) -> None:
    pool = client.pools.create("lab", {"cpu": 4, "memory": "8Gi", "gpu": Decimal(2)}, whole_units=["gpu"])
    assert_type(pool, Pool)
    assert_type(pool.capacity, Resources)
    assert_type(pool.overcommitted, tuple[str, ...])
    assert_type(client.pools.get(), Pool)
    assert_type(client.pools.list(), list[str])
    assert_type(client.pools.update(None, {"cpu": 1.5}, remove=("gpu",), strict=True, generation=1), Pool)
    assert_type(client.pools.upgrade(), Pool)
    assert_type(client.pools.delete("lab", force=True), bool)
    client.pools.delete("lab", True)  # type: ignore[call-arg]
    client.pools.create("lab", {"cpu": None})  # type: ignore[dict-item]


def limits(client: Allocator) -> None:
    quota = client.quotas.set("team-a", {"cpu": Limit(2, None, "500m"), "memory": "4Gi"}, generation=1, dry_run=True)
    assert_type(quota, Quota)
    assert_type(quota.resources["cpu"], QuotaUsage)
    assert_type(quota.resources["cpu"].nominal, int | None)
    assert_type(quota.over["team-a"], Resources)
    assert_type(client.quotas.get("team-a"), Quota | None)
    assert_type(client.quotas.tree(), dict[str, Quota])
    assert_type(client.quotas.list("team-a"), list[Quota])
    assert_type(client.quotas.delete("team-a"), bool)
    assert_type(client.move("a", None, fence=1), Allocation)
    assert_type(client.allocate({"cpu": 1}, ttl=60, scope="team-a").scope, str | None)
    assert_type(client.allocate({"cpu": 1}, ttl=None, max_lifetime=timedelta(hours=2)).ends_at, datetime | None)
    assert_type(client.quotas.set("team-a", weight=2), Quota)
    client.quotas.set()  # type: ignore[call-arg]
    client.move("a")  # type: ignore[call-arg]


def waits(client: Allocator) -> None:
    assert_type(client.allocate({"cpu": 1}, ttl=60, wait=timedelta(hours=1), priority=-5), Allocation)
    client.hold({"cpu": 1}, ttl=60, wait=0.5, priority=5)
    client.try_allocate({"cpu": 1}, ttl=60, wait=1)  # type: ignore[call-arg]
    client.allocate({"cpu": 1}, ttl=60, wait="1h")  # type: ignore[arg-type]
    waiter = client.queue.list(limit=5)[0]
    assert_type(waiter, Waiter)
    assert_type(waiter.denial, Denial | None)
    assert_type(waiter.start, datetime | None)
    assert_type(client.queue.withdraw("a"), bool)
    assert_type(client.pools.update(queue=QueuePolicy("strict", wait_max=timedelta(minutes=5))).queue, QueuePolicy)
    client.pools.update(queue="strict")  # type: ignore[arg-type]


def takes(client: Allocator) -> None:
    held = client.allocate({"cpu": "500m"}, ttl=60, id="a", owner="me", metadata={"k": "v"})
    assert_type(held, Allocation)
    assert_type(held.resources["cpu"], int)
    assert_type(held.fence, int)
    assert_type(held.deadline, datetime | None)
    assert_type(client.allocate(held.resources, ttl=timedelta(minutes=1)), Allocation)
    assert_type(client.allocate({"cpu": 1}, ttl=None), Allocation)
    client.allocate({"cpu": 1})  # type: ignore[call-arg]
    client.allocate({"cpu": 1}, ttl="60")  # type: ignore[arg-type]
    client.allocate({"cpu": 1}, 60)  # type: ignore[call-arg]


def may_be_refused(client: Allocator) -> None:
    outcome = client.try_allocate({"cpu": 1}, ttl=60)
    assert_type(outcome, Allocation | Denial)
    outcome.fence  # type: ignore[union-attr]  # noqa: B018
    if isinstance(outcome, Denial):
        assert_type(outcome.shortages[0].available, int)
    else:
        assert_type(outcome, Allocation)


def takes_many(client: Allocator) -> None:
    outcomes = client.allocate_many(
        [Request({"cpu": 1}, ttl=60), Request({"cpu": 1}, None, id="a")], atomic=True, wait=timedelta(minutes=1)
    )
    assert_type(outcomes, list[Outcome])
    match outcomes[0]:
        case Allocation() as granted:
            assert_type(granted, Allocation)
        case Denial() as denial:
            assert_type(denial, Denial)
        case AllocationConflict() | AllocationLost() as error:
            assert_type(error.id, str)
    Request({"cpu": 1})  # type: ignore[call-arg]


def keeps_and_gives_back(client: Allocator, held: Allocation) -> None:
    assert_type(client.renew(held), Renewal)
    assert_type(client.renew("a", ttl=60, fence=7, shorten=True).deadline, datetime | None)
    assert_type(client.renew_many([held, "a"]), list[Renewal])
    assert_type(client.resize(held, {"cpu": 0, "memory": "1Gi"}), Allocation)
    assert_type(client.options(pool="lab").release("a"), Release)
    assert_type(client.release_many(iter([held])), list[Release])
    client.renew(None)  # type: ignore[arg-type]


def holds(client: Allocator) -> None:
    with client.hold({"cpu": 1}, ttl=timedelta(minutes=1), exclusive=True, on_lost=lambda held: held.check()) as hold:
        assert_type(hold, Hold)
        assert_type(hold.allocation, Allocation)
        assert_type(hold.lost, bool)
        assert_type(hold.loss, AllocationLost | None)
        assert_type(hold.deadline, datetime | None)
        client.resize(hold.allocation, {"cpu": 2})
        hold.fence = 7  # type: ignore[misc]
    client.hold({"cpu": 1}, ttl=60, cancel=True)  # type: ignore[call-arg]
    client.hold({"cpu": 1})  # type: ignore[call-arg]


def looks(client: Allocator) -> None:
    check = client.check({"cpu": 1}, explain=True)
    assert_type(check, Check)
    assert_type(check.denial, Denial | None)
    assert_type(client.get("a"), Allocation | None)
    assert_type(client.list(owner="me", older_than=60), Iterator[Allocation])
    usage = client.pools.usage()
    assert_type(usage, Usage)
    assert_type(usage.resources["cpu"].utilization, float)
    events = client.events.list(limit=5)
    assert_type(events, list[Event])
    assert_type(events[0].at, datetime)


def keeps_it_clean(client: Allocator) -> None:
    assert_type(client.maintenance.reclaim(older_than=timedelta(days=1), include_live=True, limit=5), Reclaimed)
    assert_type(client.maintenance.audit(repair=True), Audit)
    assert_type(client.options(pool="other", owner="me", durability="fsynced", timeout=1, epoch=""), Allocator)


def reads_errors(client: Allocator) -> None:
    try:
        client.allocate({"cpu": 1}, ttl=60)
    except Insufficient as refused:
        assert_type(refused.denial, Denial)
        assert_type(refused.code, str)
        assert_type(refused.retry_after, float | None)


def cannot_change_what_it_was_given(held: Allocation) -> None:
    held.fence = 7  # type: ignore[misc]
    held.resources["cpu"] = 7  # type: ignore[index]
