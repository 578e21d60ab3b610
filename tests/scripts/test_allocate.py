"""allocate: grants, refusals in their order, boundaries."""

from __future__ import annotations

import pytest

from tests.scripts.ledger import AMOUNT_MAX, MINUTE, T0, Ledger, fields


def test_a_grant_says_fence_and_instants_and_charges_the_counters(pool: Ledger) -> None:
    """The whole effect of one call: reply, record, counters, index, event."""
    before = pool.revision
    line = pool.want("a", {"cpu": 4, "memory": 30}, owner="ns/lab", meta={"user": "x"})
    assert pool.allocate(line) == [["granted", before + 1, T0, T0 + MINUTE, "epoch-1"]]
    assert pool.record("a") == {
        "cpu.allocated": "4", "memory.allocated": "30", "owner": "ns/lab", "fence": str(before + 1), "call": line.call,
        "granted_ms": str(T0), "ttl_ms": str(MINUTE), "deadline_ms": str(T0 + MINUTE), "meta.user": "x",
    }  # fmt: skip
    assert (pool.allocated("cpu"), pool.allocated("memory"), pool.revision) == (4, 30, before + 1)
    assert (pool.index("deadlines"), pool.index("pinned")) == ({"a": T0 + MINUTE}, {})
    assert pool.events[-1] == {
        "kind": "granted", "id": "a", "owner": "ns/lab", "fence": str(before + 1), "cpu.allocated": "4",
        "memory.allocated": "30",
    }  # fmt: skip


def test_a_ttl_of_zero_pins(pool: Ledger) -> None:
    """Pinned allocations have no deadline, and are listed by when they were granted."""
    assert pool.allocate(pool.want("a", {"cpu": 1}, ttl=0))[0][2:] == [T0, 0, "epoch-1"]
    assert pool.record("a").keys() == {"cpu.allocated", "owner", "fence", "call", "granted_ms"}
    assert (pool.index("deadlines"), pool.index("pinned")) == ({}, {"a": T0})


@pytest.mark.parametrize(("asked", "granted"), [(9, True), (10, True), (11, False)])
def test_all_of_the_capacity_may_be_granted_and_not_one_unit_more(pool: Ledger, asked: int, granted: bool) -> None:
    """The boundary in an empty pool; what is above it can never fit."""
    reply = pool.allocate(pool.want("a", {"cpu": asked}))[0]
    assert reply[0] == "granted" if granted else reply == ["denied", "never_fits", "", "cpu", asked, 0, 10]


@pytest.mark.parametrize(("asked", "granted"), [(3, True), (4, True), (5, False)])
def test_what_is_left_may_be_granted_and_not_one_unit_more(pool: Ledger, asked: int, granted: bool) -> None:
    """The boundary in a pool of which something is taken."""
    pool.grant("a", {"cpu": 6})
    reply = pool.allocate(pool.want("b", {"cpu": asked}))[0]
    assert reply[0] == "granted" if granted else reply == ["denied", "capacity_exceeded", "", "cpu", asked, 6, 10]


def test_a_denial_changes_nothing(pool: Ledger) -> None:
    """Not even an event: a queue of retries must not flood the stream."""
    pool.grant("a", {"cpu": 6})
    before = pool.dump()
    for want in ({"cpu": 5}, {"cpu": 11}, {"disk": 1}, {"cpu": 1, "memory": 101}):
        assert pool.allocate(pool.want("b", want))[0][0] == "denied"
    pool.assert_untouched(before)


def test_a_request_is_granted_whole_or_not_at_all(pool: Ledger) -> None:
    """Where one resource is short the others are not charged either."""
    pool.grant("a", {"memory": 80})
    assert pool.allocate(pool.want("b", {"cpu": 1, "memory": 21})) == [
        ["denied", "capacity_exceeded", "", "memory", 21, 80, 100]
    ]
    assert (pool.allocated("cpu"), pool.allocated("memory")) == (0, 80)


def test_refusals_come_in_the_documented_order(ledger: Ledger) -> None:
    """Unknown resource, constraint, never fits, no room now: each hides those after it."""
    ledger.create({"cpu": 10, "gpu": 2000, "memory": 100}, whole="gpu")
    ledger.grant("a", {"memory": 60})
    everything = {"disk": 1, "gpu": 500, "cpu": 11, "memory": 50}
    seen = []
    for dropped in ("", "disk", "gpu", "cpu"):
        everything.pop(dropped, None)
        seen.append(ledger.allocate(ledger.want("b", everything))[0])
    assert seen == [
        ["denied", "unknown_resource", "", "disk", 1, 0, 0],
        ["denied", "constraint_violation", "", "gpu", 500, 0, 2000],
        ["denied", "never_fits", "", "cpu", 11, 0, 10],
        ["denied", "capacity_exceeded", "", "memory", 50, 60, 100],
    ]


def test_a_refusal_names_every_resource_that_fails_the_same_check(pool: Ledger) -> None:
    """Whoever asks again should not learn of the second shortage only then."""
    pool.grant("a", {"cpu": 8, "memory": 90})
    reply = pool.allocate(pool.want("b", {"cpu": 3, "memory": 11}))[0]
    assert reply == ["denied", "capacity_exceeded", "", "cpu", 3, 8, 10, "memory", 11, 90, 100]


@pytest.mark.parametrize(
    ("asked", "word"), [(999, "denied"), (1000, "granted"), (1001, "denied"), (1500, "denied"), (2000, "granted")]
)
def test_whole_units_only_means_multiples_of_a_thousand(ledger: Ledger, asked: int, word: str) -> None:
    """Half a device cannot be given."""
    ledger.create({"nvidia.com/gpu": 4000, "cpu": 4000}, whole="nvidia.com/gpu")
    assert ledger.allocate(ledger.want("a", {"nvidia.com/gpu": asked}))[0][0] == word
    assert ledger.allocate(ledger.want("b", {"cpu": asked}))[0][0] == "granted", (
        "the constraint is that resource's alone"
    )


def test_a_whole_unit_constraint_does_not_reach_a_resource_whose_name_contains_it(ledger: Ledger) -> None:
    """`gpu` is not `a.gpu`, and a dot in a name is no pattern."""
    ledger.create({"a.gpu": 4000, "gpu": 4000, "axgpu": 4000}, whole="a.gpu")
    for name, word in (("gpu", "granted"), ("axgpu", "granted"), ("a.gpu", "denied")):
        assert ledger.allocate(ledger.want(name, {name: 1500}))[0][0] == word


def test_a_capacity_of_zero_is_counted_and_never_fits(ledger: Ledger) -> None:
    """Zero is a capacity; a resource that the pool does not count has none."""
    ledger.create({"cpu": 0})
    assert ledger.allocate(ledger.want("a", {"cpu": 1})) == [["denied", "never_fits", "", "cpu", 1, 0, 0]]
    assert ledger.allocate(ledger.want("a", {"gpu": 1})) == [["denied", "unknown_resource", "", "gpu", 1, 0, 0]]


@pytest.mark.parametrize("name", ["cpu.capacity", "meta.x", "owner", "fence", "a.allocated", "call"])
def test_no_name_of_a_resource_collides_with_a_field(ledger: Ledger, name: str) -> None:
    """An amount is a field that ends in `.allocated` or `.capacity`, and no other field of ours does."""
    ledger.create({name: 5})
    ledger.grant("a", {name: 3}, meta={"owner": "m", "x": "y"})
    reply = ledger.get("a")
    assert fields(reply[1:])[f"{name}.allocated"] == "3"
    assert ledger.release("a")[0][0] == "released"


@pytest.mark.parametrize("amount", [AMOUNT_MAX, 10**15, 9 * 10**15 - 1, 4_503_599_627_370_497])
def test_amounts_stay_exact_up_to_the_largest_integer(ledger: Ledger, amount: int) -> None:
    """Stored and replied in full digits: a rounded byte is a wrong byte, and `1e+15` is nothing a person reads."""
    ledger.create({"memory": AMOUNT_MAX})
    ledger.grant("a", {"memory": amount})
    assert ledger.record("a")["memory.allocated"] == str(amount)
    assert ledger.account["memory.allocated"] == str(amount)
    assert ledger.events[-1]["memory.allocated"] == str(amount)
    left = AMOUNT_MAX - amount
    assert ledger.allocate(ledger.want("b", {"memory": left + 1}))[0] == [
        "denied", "capacity_exceeded", "", "memory", left + 1, amount, AMOUNT_MAX,
    ]  # fmt: skip
    if left:
        ledger.grant("b", {"memory": left})
        assert ledger.account["memory.allocated"] == str(AMOUNT_MAX)
    existing = ledger.allocate(ledger.want("a", {"memory": amount}))[0]
    assert (existing[0], int(fields(existing[1:])["memory.allocated"])) == ("existing", amount)
    assert ledger.release("a", "b")[0][0] == "released"
    assert ledger.account["memory.allocated"] == "0"


def test_two_that_together_overflow_the_largest_integer_do_not_fit(ledger: Ledger) -> None:
    """The sum is above 2^53-1, where a double is no longer exact: it is refused, not rounded."""
    ledger.create({"memory": AMOUNT_MAX})
    ledger.grant("a", {"memory": 1})
    assert ledger.allocate(ledger.want("b", {"memory": AMOUNT_MAX}))[0][:2] == ["denied", "capacity_exceeded"]


def test_each_grant_has_a_greater_fence_than_all_before_it(pool: Ledger) -> None:
    """Also over releases, resizes and batches; a stale holder is told apart by it."""
    fences = [pool.grant("a", {"cpu": 1}), pool.grant("b", {"cpu": 1})]
    pool.release("a")
    pool.resize("b", {"cpu": 2})
    fences.append(pool.grant("a", {"cpu": 1}))
    fences += [reply[1] for reply in pool.allocate(pool.want("c", {"cpu": 1}), pool.want("d", {"cpu": 1}))]
    assert fences == sorted(set(fences))


def test_the_clock_of_the_server_is_used_where_the_caller_names_no_instant(pool: Ledger) -> None:
    """0 asks the server; within a minute of what TIME says."""
    pool.now = 0
    _, _, granted_ms, deadline_ms, _ = pool.allocate(pool.want("a", {"cpu": 1}))[0]
    seconds, micros = pool.client.time()
    assert 0 <= seconds * 1000 + micros // 1000 - granted_ms < MINUTE
    assert deadline_ms == granted_ms + MINUTE
