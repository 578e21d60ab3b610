"""Units: what a pool gives out of its capacity."""

from __future__ import annotations

import random
from typing import Any, Final

import pytest

from tests.scripts.ledger import AMOUNT_MAX, MINUTE, Ledger, broken, contract
from tests.scripts.quota_tree import Limit, Tree
from tests.scripts.unit_rules import NONE, PARTS, Model, setting, units, want

SEEDS: Final = range(60)


# -- what is given out -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("capacity", "reserved", "overcommit", "limit"),
    [
        (10, 0, 0, 10),
        (10, 4, 0, 6),
        (10, 0, 500, 15),
        (10, 3, 500, 10),
        (7, 0, 1, 7),
        (999, 0, 1, 999),
        (1000, 0, 1, 1001),
        (10, 10, 500, 0),
        (10, 0, 15_000, 160),
        (AMOUNT_MAX, AMOUNT_MAX - 1, 15_000, 16),
        (AMOUNT_MAX // 16, 0, 15_000, AMOUNT_MAX // 16 * 16),
        (8_000_000_000_000_999, 0, 125, 9_000_000_000_001_123),
    ],
)
def test_the_limit_is_exact(ledger: Ledger, capacity: int, reserved: int, overcommit: int, limit: int) -> None:
    """(capacity - reserved) * (1000 + overcommit) / 1000, rounded down, also where a product has 60 bits."""
    assert limit == (capacity - reserved) * (1000 + overcommit) // 1000
    ledger.create({"cpu": capacity}, promises=units(cpu=(reserved, overcommit, 0, 0, 0)))
    assert ledger.account["cpu.capacity"] == str(limit)
    if limit:
        assert want(ledger, "all", limit)[0] == "granted"
    assert want(ledger, "more", 1)[0] == "denied"


def test_random_limits_are_exact(newest: Ledger) -> None:
    """Compared with integers of any length."""
    chooser = random.Random(11)
    newest.create({"cpu": 1})
    for _ in range(300):
        capacity = chooser.randrange(2 ** chooser.randint(1, 53))
        reserved, more = chooser.randint(0, capacity), chooser.choice([0, 1, 333, 999, chooser.randint(0, 15_000)])
        limit = (capacity - reserved) * (1000 + more) // 1000
        reply = newest.configure("change", {"cpu": capacity}, promises=units(cpu=(reserved, more, 0, 0, 0)))
        assert reply[0] == ("configured" if limit <= AMOUNT_MAX else "units"), (capacity, reserved, more)
        if reply[0] == "configured":
            assert newest.account["cpu.capacity"] == str(limit), (capacity, reserved, more)


def test_what_has_expired_makes_room_up_to_the_limit(pool: Ledger) -> None:
    """And no further."""
    setting(pool, cpu=(0, 500, 0, 0, 0))
    pool.grant("due", {"cpu": 10}, ttl=1000)
    pool.grant("live", {"cpu": 5}, ttl=MINUTE)
    pool.now += 2000
    assert pool.check({"cpu": 10}) == ["fits"]
    assert want(pool, "a", 11)[:2] == ["denied", "capacity_exceeded"]
    assert want(pool, "a", 10)[0] == "granted"


def test_a_denial_has_the_limit_in_numbers(pool: Ledger) -> None:
    """And more than it never fits."""
    setting(pool, cpu=(2, 500, 0, 0, 0))
    assert want(pool, "a", 13) == ["denied", "never_fits", "", "cpu", 13, 0, 12]
    assert want(pool, "a", 12)[0] == "granted"
    assert want(pool, "b", 1) == ["denied", "capacity_exceeded", "", "cpu", 1, 12, 12]
    assert pool.check({"cpu": 1}) == ["denied", "capacity_exceeded", 0, [], 0, 0, "", "cpu", 1, 12, 12]


@pytest.mark.overcommits
def test_lowering_what_is_given_out_evicts_nobody(pool: Ledger) -> None:
    """What shrinks, and what asks for another resource, is granted."""
    pool.grant("a", {"cpu": 10})
    assert setting(pool, cpu=(4, 0, 0, 0, 0))[0] == "configured"
    assert pool.allocated() == 10
    assert want(pool, "b", 1)[:2] == ["denied", "capacity_exceeded"]
    assert pool.resize("a", {"cpu": 9})[0] == "resized"
    assert pool.allocate(pool.want("b", {"memory": 1}))[0][0] == "granted"


def test_a_strict_change_does_not_lower_below_what_is_allocated(pool: Ledger) -> None:
    """Neither by what is reserved nor by less overcommit."""
    setting(pool, cpu=(0, 1000, 0, 0, 0))
    pool.grant("a", {"cpu": 15})
    before = pool.dump()
    reply = pool.configure("change", strict=1, promises=units(cpu=(NONE, 400, NONE, NONE, NONE)))
    assert reply == ["in_use", "cpu", 15]
    assert pool.configure("change", {"cpu": 7}, strict=1) == ["in_use", "cpu", 15]
    pool.assert_untouched(before)
    assert pool.configure("change", strict=1, promises=units(cpu=(NONE, 500, NONE, NONE, NONE)))[0] == "configured"


def test_another_capacity_keeps_the_units(pool: Ledger) -> None:
    """And units that are removed give the capacity back."""
    setting(pool, cpu=(2, 500, 0, 0, 2))
    pool.configure("change", {"cpu": 20})
    assert (pool.account["cpu.capacity"], pool.account["cpu.total"]) == ("27", "20")
    setting(pool, cpu=(0, NONE, NONE, NONE, NONE))
    assert (pool.account["cpu.capacity"], pool.account["options"]) == ("30", "units=cpu::500:::2")
    setting(pool, cpu=(0, 0, 0, 0, 0))
    assert pool.account["cpu.capacity"] == "20"
    assert not {"cpu.total", "options"} & pool.account.keys()


def test_units_stand_beside_the_other_options(pool: Ledger) -> None:
    """Each is changed without the others, and a capacity with its units in one call."""
    pool.configure("change", promises="max_ttl_ms=60000")
    setting(pool, memory=(0, 0, 0, 50, 0))
    reply = pool.configure("change", {"gpu": 4}, promises=f"{units(gpu=(1, 0, 0, 0, 0))} max_ttl_ms=")
    assert reply[0] == "configured"
    assert pool.account["options"] == "units=gpu:1::::,memory::::50:"
    assert (pool.account["gpu.capacity"], pool.account["gpu.total"]) == ("3", "4")
    assert pool.configure("change", remove=["memory"])[0] == "configured"
    assert pool.account["options"] == "units=gpu:1::::"
    assert pool.configure("change", remove=["gpu"])[0] == "configured"
    assert not {"gpu.total", "options"} & pool.account.keys()


@pytest.mark.parametrize(
    ("rules", "reply"),
    [
        ({"cpu": (11, 0, 0, 0, 0)}, ["units", "cpu", "reserved"]),
        ({"cpu": (0, 0, 5, 4, 0)}, ["units", "cpu", "bounds"]),
        ({"cpu": (0, 0, 5, 7, 4)}, ["units", "cpu", "bounds"]),
        ({"cpu": (0, 0, 0, 3, 4)}, ["units", "cpu", "bounds"]),
        ({"cpu": (0, 0, AMOUNT_MAX, 0, AMOUNT_MAX - 1)}, ["units", "cpu", "bounds"]),
        ({"gpu": (1, 0, 0, 0, 0)}, ["not_counted", "gpu"]),
        ({"memory": (1, 0, 0, 0, 0), "gpu": (0, 0, 0, 0, 0)}, ["not_counted", "gpu"]),
    ],
)
def test_units_that_cannot_be_kept_are_refused(pool: Ledger, rules: dict[str, Any], reply: list[str]) -> None:
    """As a whole, and a late copy of the call stays refused."""
    before = pool.dump()
    assert setting(pool, **rules) == reply
    pool.assert_untouched(before)
    assert pool.configure("change", promises=units(**rules), call="late", repeated=1) == reply
    pool.configure("change", {"cpu": 50, "gpu": 50}, promises=units(cpu=(0, 0, 0, 9, 0)))
    assert pool.configure("change", promises=units(**rules), call="late", repeated=1)[0] in ("generation", "units")
    assert pool.account["options"] == "units=cpu::::9:"


def test_a_capacity_that_is_less_than_what_is_reserved_is_refused(pool: Ledger) -> None:
    """With other units it is taken."""
    setting(pool, cpu=(4, 0, 0, 0, 0))
    assert pool.configure("change", {"cpu": 3}) == ["units", "cpu", "reserved"]
    assert pool.configure("change", {"cpu": 3}, promises=units(cpu=(3, 0, 0, 0, 0)))[0] == "configured"
    assert want(pool, "a", 1) == ["denied", "never_fits", "", "cpu", 1, 0, 0]


def test_more_than_can_be_counted_is_refused(ledger: Ledger) -> None:
    """A limit is an exact amount."""
    most = AMOUNT_MAX // 16 + 1
    assert ledger.create({"cpu": most}, promises=units(cpu=(0, 15_000, 0, 0, 0))) == ["units", "cpu", "limit"]
    assert not ledger.account
    assert ledger.create({"cpu": most}, promises=units(cpu=(0, 14_000, 0, 0, 0)))[0] == "created"


@pytest.mark.parametrize("text", ["cpu", "cpu:1:2:3:4", "cpu:x::::", "cpu::15001:::", "cpu:-1::::", "cpu:1.5::::"])
def test_units_that_no_client_sends_are_an_error(pool: Ledger, text: str) -> None:
    """And nothing is written."""
    before = pool.dump()
    with contract("units"):
        pool.configure("change", promises=f"units={text}")
    pool.assert_untouched(before)


def test_a_gang_is_measured_by_the_limit(pool: Ledger) -> None:
    """Twelve of ten with an overcommit, and no more."""
    setting(pool, cpu=(2, 500, 0, 0, 0))
    items = [pool.want("a", {"cpu": 6}), pool.want("b", {"cpu": 7})]
    assert pool.allocate(*items, atomic=1)[1] == ["denied", "never_fits", "", "cpu", 7, 6, 12]
    items = [pool.want("a", {"cpu": 6}), pool.want("b", {"cpu": 6})]
    assert [reply[0] for reply in pool.allocate(*items, atomic=1)] == ["granted", "granted"]


def test_no_more_is_guaranteed_than_is_given_out(pool: Ledger) -> None:
    """A share, too, is bounded by the limit, and not by the capacity."""
    setting(pool, cpu=(4, 0, 0, 0, 0))
    assert pool.set_quota("team", {"cpu": (7, 0, 0)}) == ["above_parent", "cpu", "", 6]
    assert pool.set_quota("team", {"cpu": (6, 0, 1)})[0] == "quota"
    assert pool.set_quota("other", {"cpu": (2, 0, 0)}) == ["over_guaranteed", "cpu", "", 7, 6]
    setting(pool, cpu=(0, 1000, 0, 0, 0))
    assert pool.set_quota("other", {"cpu": (15, 0, 0)})[0] == "quota"
    assert pool.set_quota("other", {"cpu": (16, 0, 0)})[0] == "over_guaranteed"
    assert want(pool, "free", 1)[0] == "denied"


@pytest.mark.overcommits
def test_a_guarantee_is_kept_where_less_is_given_out(pool: Ledger) -> None:
    """What is left of the limit without it is less than nothing, so the scope has a part of its guarantee only."""
    pool.set_quota("team", {"cpu": (6, 0, 0)})
    pool.grant("a", {"cpu": 4})
    assert setting(pool, cpu=(3, 0, 0, 0, 0))[0] == "configured"
    assert want(pool, "b", 1) == ["denied", "capacity_exceeded", "", "cpu", 1, 4, 7, [6]]
    assert want(pool, "b", 3, scope="team")[0] == "granted"
    assert want(pool, "c", 1, scope="team")[:3] == ["denied", "capacity_exceeded", ""]


# -- broken data -------------------------------------------------------------------------------------------------------


def test_a_repair_sets_the_limit_from_the_total(pool: Ledger) -> None:
    """And counts what it found; the counters are repaired with it."""
    setting(pool, cpu=(2, 500, 0, 0, 0))
    pool.grant("a", {"cpu": 3})
    pool.client.hset(pool.key("pool"), mapping={"cpu.capacity": 10, "cpu.allocated": 5})
    reply = pool.repair()
    assert (reply[0], reply[2]) == ("repaired", 2)
    assert reply[6:9] == ["limit_drift", "cpu", "gives out 10, its units say 12"]
    assert (pool.account["cpu.capacity"], pool.allocated()) == ("12", 3)
    assert pool.repair()[2] == 0


def test_a_repair_by_pages_sets_the_limit(pool: Ledger) -> None:
    """With the sums that its caller took."""
    setting(pool, cpu=(2, 0, 0, 0, 0))
    pool.client.hset(pool.key("pool"), "cpu.capacity", 9)
    assert pool.repair("totals", revision=pool.revision)[2] == 1
    assert pool.account["cpu.capacity"] == "8"


@pytest.mark.breaks_data
def test_a_repair_does_not_give_out_what_broken_units_reserve(pool: Ledger) -> None:
    """It cannot know how much that was; the owner sets the units again."""
    setting(pool, cpu=(2, 0, 0, 0, 0))
    pool.client.hset(pool.key("pool"), "options", "units=cpu:2x::::")
    assert pool.repair()[2] == 0
    assert pool.account["cpu.capacity"] == "8"
    assert setting(pool, cpu=(3, 0, 0, 0, 0))[0] == "configured"
    assert (pool.account["cpu.capacity"], pool.account["options"]) == ("7", "units=cpu:3::::")


@pytest.mark.breaks_data
def test_units_of_a_capacity_that_is_no_amount_are_not_computed(pool: Ledger) -> None:
    """Its owner gives it again."""
    pool.client.hset(pool.key("pool"), "cpu.capacity", "many")
    with broken("cpu.capacity"):
        setting(pool, cpu=(2, 0, 0, 0, 0))
    assert pool.configure("change", {"cpu": 10}, promises=units(cpu=(2, 0, 0, 0, 0)))[0] == "configured"
    assert want(pool, "a", 8)[0] == "granted"


# -- a model -----------------------------------------------------------------------------------------------------------


def _rule(chooser: random.Random) -> dict[str, int]:
    return {
        "reserved": chooser.choice([0, 0, 1, 5, 30]),
        "overcommit": chooser.choice([0, 0, 1, 250, 500, 1999]),
        "least": chooser.choice([0, 0, 2, 3, 9]),
        "most": chooser.choice([0, 0, 6, 8, 12]),
        "step": chooser.choice([0, 0, 2, 3, 4]),
    }


def _verdict(reply: Any) -> str:
    """`granted`, `unit_violation`, or `refused`."""
    if reply[0] == "denied":
        return "unit_violation" if reply[1] == "unit_violation" else "refused"
    return str(reply[0])


def _story(ledger: Ledger, seed: int) -> None:
    """Fifty calls, each compared with the model."""
    chooser = random.Random(seed)
    model = Model({"cpu": 20, "memory": 24}, tree=Tree({"cpu": 20, "memory": 24}, {"": {}}))
    ledger.create(model.totals)
    for scope, limit in (("a", Limit(8, None, 3)), ("a/b", Limit(4, 2, 1)), ("c", Limit(6, 3, None))):
        parts = (limit.nominal, limit.borrowing, limit.lending)
        ledger.set_quota(scope, {"cpu": tuple(NONE if part is None else part for part in parts)})  # type: ignore[dict-item]
        model.tree.limits[scope] = {"cpu": limit}
    del model.tree.limits[""]
    for at in range(50):
        where = f"seed {seed}, call {at}"
        match chooser.choice(["allocate"] * 3 + ["resize", "release", "configure"]):
            case "configure":
                name, rule = chooser.choice(["cpu", "memory"]), _rule(chooser)
                reply = setting(ledger, **{name: tuple(rule[part] for part in PARTS)})
                assert reply[0] == model.configure(name, rule), where
            case "release" if model.tree.live:
                gone = chooser.choice(sorted(model.tree.live))
                ledger.release(gone)
                del model.tree.live[gone]
            case "resize" if model.tree.live:
                _resize(ledger, model, chooser, where)
            case _:
                scope, wanted = chooser.choice(["", "a", "a/b", "c"]), _wanted(chooser)
                reply = ledger.allocate(ledger.want(f"x{at}", wanted, scope=scope))[0]
                assert _verdict(reply) == model.request(scope, wanted), where
                if reply[0] == "granted":
                    model.tree.live[f"x{at}"] = (scope, wanted)
    for resource in model.totals:
        assert ledger.allocated(resource) == model.tree.allocated("", resource)


def _wanted(chooser: random.Random) -> dict[str, int]:
    wanted = {name: chooser.randint(1, 12) for name in ("cpu", "memory") if chooser.random() < 0.7}
    return wanted or {"cpu": chooser.randint(1, 12)}


def _resize(ledger: Ledger, model: Model, chooser: random.Random, where: str) -> None:
    identity = chooser.choice(sorted(model.tree.live))
    scope, held = model.tree.live[identity]
    name, amount = chooser.choice(["cpu", "memory"]), chooser.randint(1, 12)
    after = {**held, name: amount}
    reply = ledger.resize(identity, {name: amount})
    if model.breaks(name, amount, held.get(name, 0)):
        assert _verdict(reply) == "unit_violation", where
        return
    growth = amount - held.get(name, 0)
    fits = growth <= 0 or growth <= model.tree.available(scope, name)
    assert _verdict(reply) == ("resized" if fits else "refused"), where
    if fits:
        model.tree.live[identity] = (scope, after)


@pytest.mark.overcommits
@pytest.mark.parametrize("part", range(4))
def test_random_stories_agree_with_a_model(newest: Ledger, part: int) -> None:
    """The tree of quotas over what is given out, and bounds by trial of every amount."""
    for seed in SEEDS[part::4]:
        newest.client.flushall()
        _story(newest, seed)
