"""Units of a pool: what it gives out, the amounts that it grants, and how both are shown and changed."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from allocator import (
    AsyncAllocator,
    Denial,
    Insufficient,
    InvalidRequest,
    InvariantError,
    Limit,
    Pool,
    Request,
    ResourceUnits,
    Usage,
)
from tests.clients.conftest import Connect


async def test_a_pool_gives_out_what_its_units_say(client: AsyncAllocator) -> None:
    """Capacity 4, half a core reserved, half as much again of the rest."""
    pool = await client.pools.update(units={"cpu": ResourceUnits(reserved="500m", overcommit_permille=500)})
    assert (pool.capacity["cpu"], pool.limit["cpu"], pool.generation) == (4000, 5250, 2)
    assert pool.units == {"cpu": ResourceUnits("500m", 500)}
    assert pool.limit["memory"] == pool.capacity["memory"]
    await client.allocate({"cpu": 5}, ttl=60)
    usage = await client.pools.usage()
    row = usage.resources["cpu"]
    assert (row.capacity, row.reserved, row.limit, row.allocated, row.available) == (4000, 500, 5250, 5000, 250)
    assert (row.overcommit_permille, row.overcommitted, int(row.utilization)) == (500, False, 95)
    with pytest.raises(Insufficient) as caught:
        await client.allocate({"cpu": 1}, ttl=60)
    (short,) = caught.value.denial.shortages
    assert (short.capacity, short.allocated, short.available, short.short) == (5250, 5000, 250, 750)
    denial = await client.try_allocate({"cpu": "5251m"}, ttl=60)
    assert isinstance(denial, Denial)
    assert denial.code == "never_fits"


async def test_a_part_is_changed_without_the_others(client: AsyncAllocator) -> None:
    """None leaves it, 0 removes it; a quantity is written as it is shown."""
    await client.pools.update(units={"cpu": ResourceUnits(1, 100, "0.5", 2.0, Decimal("0.25"))})
    pool = await client.pools.update(units={"cpu": ResourceUnits(step=0), "memory": ResourceUnits(max_unit="4096Mi")})
    assert pool.units == {"cpu": ResourceUnits("1", 100, "500m", "2"), "memory": ResourceUnits(max_unit="4Gi")}
    assert (await client.pools.update(units=pool.units)).units == pool.units
    pool = await client.pools.update(
        None, {"cpu": 8}, units={"cpu": ResourceUnits(0, 0, 0, 0), "memory": ResourceUnits()}
    )
    assert pool.units == {"memory": ResourceUnits(max_unit="4Gi")}
    assert (pool.capacity["cpu"], pool.limit["cpu"]) == (8000, 8000)
    pool = await client.pools.update(remove=["memory"])
    assert pool.units == {}


async def test_a_pool_is_made_with_units(connect: Connect) -> None:
    """In one call; values travel with them."""
    client = connect(pool="made")
    units = {"cpu": ResourceUnits(2, 500, 1, 8, 1), "memory": ResourceUnits(reserved="4Gi", step="1Gi")}
    pool = await client.pools.create("made", {"cpu": 32, "memory": "128Gi"}, units=units)
    assert pool.limit == {"cpu": 45_000, "memory": 124 * 2**30}
    assert Pool.from_dict(json.loads(json.dumps(pool.to_dict()))) == pool
    assert pool.to_dict()["limit"]["cpu"] == {"quantity": "45", "amount": 45_000}
    assert pool.to_dict()["units"]["memory"]["step"] == "1Gi"
    usage = await client.pools.usage()
    assert Usage.from_dict(usage.to_dict()) == usage
    assert usage.to_dict()["resources"]["cpu"]["limit"] == {"quantity": "45", "amount": 45_000}


async def test_an_amount_outside_of_its_bounds_is_a_typed_refusal(client: AsyncAllocator) -> None:
    """It names the resource and the bounds, and no wait helps."""
    await client.pools.update(units={"cpu": ResourceUnits(min_unit=1, max_unit=3, step="500m")})
    with pytest.raises(Insufficient) as caught:
        await client.allocate({"cpu": "1250m", "memory": "1Gi"}, ttl=60)
    denial = caught.value.denial
    (short,) = denial.shortages
    assert (denial.code, denial.never, short.resource, short.requested) == ("unit_violation", True, "cpu", 1250)
    assert (short.min_unit, short.max_unit, short.step) == (1000, 3000, 500)
    assert str(denial) == ("outside the unit bounds: pool lab: cpu requested=1250m (min_unit=1 max_unit=3 step=500m)")
    assert Denial.from_dict(denial.to_dict()) == denial
    check = await client.check({"cpu": "500m"}, explain=True)
    assert check.denial is not None
    assert (check.fits, check.denial.never, check.fits_ms) == (False, True, None)
    outcomes = await client.allocate_many([Request({"cpu": 1}, 60), Request({"cpu": 4}, 60)])
    assert [bool(one) for one in outcomes] == [True, False]


async def test_a_resize_keeps_to_the_bounds(client: AsyncAllocator) -> None:
    """What is held is told beside what was asked for."""
    await client.pools.update(units={"cpu": ResourceUnits(min_unit=1, max_unit=3, step=1)})
    held = await client.allocate({"cpu": 2}, ttl=60)
    for cpu in ("2500m", "500m", 4):
        with pytest.raises(Insufficient) as caught:
            await client.resize(held, {"cpu": cpu})
        (short,) = caught.value.denial.shortages
        assert (caught.value.denial.code, short.held) == ("unit_violation", 2000)
        assert "(min_unit=1 max_unit=3 step=1)" in str(caught.value)
    assert (await client.resize(held, {"cpu": 1})).resources["cpu"] == 1000


async def test_units_that_a_pool_cannot_keep_are_refused(client: AsyncAllocator) -> None:
    """With the path of what is wrong; nothing has changed."""
    before = await client.pools.get()
    for field, units in (
        ("units.cpu.reserved", ResourceUnits(reserved="4001m")),
        ("units.cpu.min_unit", ResourceUnits(min_unit=3, max_unit=2)),
        ("units.cpu.min_unit", ResourceUnits(max_unit=1, step=2)),
    ):
        with pytest.raises(InvalidRequest) as caught:
            await client.pools.update(units={"cpu": units})
        assert caught.value.field == field
    with pytest.raises(InvalidRequest) as caught:
        await client.pools.update(None, {"memory": 2**50}, units={"memory": ResourceUnits(overcommit_permille=15_000)})
    assert caught.value.field == "units.memory.overcommit_permille"
    with pytest.raises(InvalidRequest, match="does not count 'disk'"):
        await client.pools.update(units={"disk": ResourceUnits(1)})
    assert await client.pools.get() == before


async def test_guarantees_are_measured_by_what_is_given_out(client: AsyncAllocator) -> None:
    """And a scope has as much available."""
    await client.pools.update(units={"cpu": ResourceUnits(reserved=1)})
    with pytest.raises(InvalidRequest, match="the share is above the 3 of the pool"):
        await client.quotas.set("team-a", {"cpu": Limit(4, 0, 0)})
    await client.quotas.set("team-a", {"cpu": Limit(2, 1, 0)})
    found = await client.quotas.get("team-a")
    assert found is not None
    assert found.resources["cpu"].available == 3000
    assert (await client.pools.usage()).resources["cpu"].available == 1000
    held = await client.allocate({"cpu": 1}, ttl=60)
    await client.pools.update(units={"cpu": ResourceUnits(max_unit="500m")})
    assert (await client.move(held, "team-a")).scope == "team-a"


async def test_other_units_are_said_or_changed(client: AsyncAllocator, caplog: pytest.LogCaptureFixture) -> None:
    """As another capacity is: with the words that change them, and what is not named is no difference."""
    caplog.set_level(logging.WARNING, "allocator")
    capacity, units = {"cpu": 4}, {"cpu": ResourceUnits(1, 500, max_unit=2)}
    await client.pools.create("lab", capacity, units=units)
    (told,) = [record.getMessage() for record in caplog.records if record.name == "allocator.pools"]
    assert "reserved of cpu=0,max_unit of cpu=0,overcommit_permille of cpu=0; that counts" in told
    assert "pool set lab --reserved cpu=1 --max cpu=2 --overcommit cpu=500" in told
    pool = await client.pools.create("lab", capacity, units=units, update=True)
    assert pool.units == {"cpu": ResourceUnits("1", 500, max_unit="2")}
    again = await client.pools.create("lab", capacity, units={"cpu": ResourceUnits("1000m", min_unit=0)}, update=True)
    assert again.generation == pool.generation


async def test_a_lost_pool_is_recovered_with_its_units(connect: Connect, redis_cli: Callable[..., Any]) -> None:
    """Its holders adopt what they have, whatever the bounds are, and above what is given out."""
    client = connect(pool="safe")
    made = await client.pools.create("safe", {"cpu": 4}, recovery_grace=60, new=True)
    held = [await client.allocate({"cpu": "1500m"}, ttl=50) for _ in range(2)]
    lost = await client.pools.update(units={"cpu": ResourceUnits(reserved=2, overcommit_permille=250, step=1)})
    assert (lost.limit["cpu"], lost.overcommitted) == (2500, ("cpu",))
    for key in ("pool", "deadlines", "ended", "events", *(f"allocation:{one.id}" for one in held)):
        redis_cli("DEL", f"allocator:{{safe}}:{key}")
    again = await client.pools.recover(Pool.from_dict(lost.to_dict()))
    assert (again.units, again.limit, again.capacity) == (lost.units, lost.limit, made.capacity)
    adopted = [await client.adopt(one) for one in held]
    assert [one.resources["cpu"] for one in adopted] == [1500, 1500]


async def test_an_audit_finds_a_limit_that_its_units_do_not_say(
    client: AsyncAllocator, redis_cli: Callable[..., Any]
) -> None:
    """And a repair sets it.  Units that cannot be read are an error, and never a refusal."""
    key = "allocator:{lab}:pool"
    await client.pools.update(units={"cpu": ResourceUnits(reserved=1)})
    redis_cli("HSET", key, "cpu.capacity", "4000")
    found = await client.maintenance.audit()
    assert [(one.kind, one.subject, one.detail) for one in found.findings] == [
        ("limit_drift", "cpu", "gives out 4, its units say 3")
    ]
    assert (await client.maintenance.audit(repair=True)).status == "repaired"
    denial = await client.try_allocate({"cpu": "3001m"}, ttl=60)
    assert isinstance(denial, Denial)
    assert denial.shortages[0].capacity == 3000
    redis_cli("HSET", key, "options", "units=cpu:1x::::")
    with pytest.raises(InvariantError, match="broken units"):
        await client.pools.get()
    found = await client.maintenance.audit()
    assert [(one.kind, one.subject) for one in found.findings] == [("broken_field", "options")]
    redis_cli("HSET", key, "options", "units=cpu:1000::::")
    redis_cli("HDEL", key, "cpu.total")
    found = await client.maintenance.audit()
    assert [(one.kind, one.subject) for one in found.findings] == [("no_total", "cpu")]
    assert (await client.pools.update(None, {"cpu": 4})).limit["cpu"] == 3000
    assert (await client.maintenance.audit()).status == "clean"
