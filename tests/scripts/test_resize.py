"""resize: all of a change or nothing."""

from __future__ import annotations

import pytest

from tests.scripts.ledger import MINUTE, Ledger, fields


def test_a_resize_changes_what_is_named_and_leaves_the_rest(pool: Ledger) -> None:
    """Record, counters, event; fence, deadline and metadata stay."""
    fence = pool.grant("a", {"cpu": 4, "memory": 50}, meta={"k": "v"})
    before = pool.record("a")
    reply = pool.resize("a", {"cpu": 6})
    assert reply[0] == "resized"
    told = {name: str(value) for name, value in fields(reply[1:]).items()}
    assert told == {"epoch": "epoch-1", "durability": "", **pool.record("a")}
    assert pool.record("a") == {**before, "cpu.allocated": "6"}
    assert (pool.allocated("cpu"), pool.allocated("memory")) == (6, 50)
    assert pool.events[-1] == {
        "kind": "resized", "id": "a", "owner": "owner", "fence": str(fence), "cpu.allocated": "6",
        "memory.allocated": "50",
    }  # fmt: skip


@pytest.mark.parametrize(("wanted", "word"), [(5, "resized"), (6, "resized"), (7, "denied")])
def test_growth_stops_at_the_capacity(pool: Ledger, wanted: int, word: str) -> None:
    """The boundary; a denial counts only the growth, and writes nothing."""
    pool.grant("a", {"cpu": 4})
    pool.grant("b", {"cpu": 4})
    before = pool.dump()
    reply = pool.resize("a", {"cpu": wanted})
    assert reply[0] == word
    if word == "denied":
        assert reply == ["denied", "capacity_exceeded", "", "cpu", 3, 8, 10]
        pool.assert_untouched(before)


def test_refusals_come_in_the_documented_order(ledger: Ledger) -> None:
    """As in allocate."""
    ledger.create({"cpu": 10, "gpu": 2000, "memory": 100}, whole="gpu")
    ledger.grant("full", {"memory": 60})
    ledger.grant("a", {"cpu": 1})
    everything = {"disk": 1, "gpu": 500, "cpu": 11, "memory": 50}
    seen = []
    for dropped in ("", "disk", "gpu", "cpu"):
        everything.pop(dropped, None)
        seen.append(ledger.resize("a", everything)[:2])
    assert seen == [
        ["denied", "unknown_resource"], ["denied", "constraint_violation"], ["denied", "never_fits"],
        ["denied", "capacity_exceeded"],
    ]  # fmt: skip


def test_zero_gives_a_resource_up_and_its_field_goes(pool: Ledger) -> None:
    """No field of 0 stays behind."""
    pool.grant("a", {"cpu": 4, "memory": 50})
    assert pool.resize("a", {"memory": 0})[0] == "resized"
    assert "memory.allocated" not in pool.record("a")
    assert (pool.allocated("cpu"), pool.allocated("memory")) == (4, 0)


def test_a_new_resource_is_added(pool: Ledger) -> None:
    """And charged."""
    pool.grant("a", {"cpu": 4})
    pool.resize("a", {"memory": 7})
    assert (pool.record("a")["cpu.allocated"], pool.record("a")["memory.allocated"]) == ("4", "7")
    assert pool.allocated("memory") == 7


def test_giving_up_what_one_has_not_changes_nothing_of_it(pool: Ledger) -> None:
    """Zero of a resource that the record does not have, or the pool does not count, is no request."""
    pool.grant("a", {"cpu": 4})
    assert pool.resize("a", {"memory": 0, "disk": 0})[0] == "resized"
    assert pool.record("a").keys() & {"memory.allocated", "disk.allocated"} == set()


def test_nothing_left_is_refused(pool: Ledger) -> None:
    """Whoever wants nothing releases."""
    pool.grant("a", {"cpu": 4, "memory": 1})
    before = pool.dump()
    assert pool.resize("a", {"cpu": 0, "memory": 0}) == ["empty"]
    pool.assert_untouched(before)


def test_more_than_32_resources_are_refused(ledger: Ledger) -> None:
    """A record is bounded as a request is."""
    ledger.create({f"r{n}": 5 for n in range(32)})
    ledger.grant("a", {f"r{n}": 1 for n in range(32)})
    ledger.client.hset(ledger.keys["pool"], mapping={"r32.capacity": 5, "r32.allocated": 0})
    assert ledger.resize("a", {"r32": 1}) == ["too_many"]
    assert ledger.resize("a", {"r32": 1, "r0": 0})[0] == "resized"


@pytest.mark.overcommits
def test_a_shrink_passes_while_the_pool_is_overcommitted(pool: Ledger) -> None:
    """It is what an operator asks the holders for; a resource that does not grow is not checked."""
    pool.grant("a", {"cpu": 6, "memory": 10})
    pool.grant("b", {"cpu": 4})
    pool.configure("change", {"cpu": 5})
    assert pool.resize("a", {"cpu": 5})[0] == "resized", "still above the capacity, and less than before"
    assert pool.resize("a", {"cpu": 5, "memory": 20})[0] == "resized", "what grows is another resource"
    assert pool.resize("a", {"cpu": 6})[:2] == ["denied", "never_fits"]
    assert pool.allocated() == 9


@pytest.mark.overcommits
def test_a_shrink_passes_where_fractions_are_no_longer_allowed(ledger: Ledger) -> None:
    """Whole units are asked of what grows."""
    ledger.create({"gpu": 4000})
    ledger.grant("a", {"gpu": 2500})
    ledger.configure("change", whole="gpu")
    assert ledger.resize("a", {"gpu": 1500})[0] == "resized"
    assert ledger.resize("a", {"gpu": 2500})[:2] == ["denied", "constraint_violation"]
    assert ledger.resize("a", {"gpu": 2000})[0] == "resized"


def test_a_stale_holder_s_resize_is_a_no_op_that_says_so(pool: Ledger) -> None:
    """The fence of a newer grant of the id."""
    old = pool.grant("a", {"cpu": 4})
    pool.release("a")
    new = pool.grant("a", {"cpu": 4})
    before = pool.dump()
    assert pool.resize(pool.resize_line("a", {"cpu": 1}, fence=old)) == ["fenced", new]
    pool.assert_untouched(before)
    assert pool.resize(pool.resize_line("a", {"cpu": 1}, fence=new))[0] == "resized"


def test_an_allocation_that_is_not_there_is_unknown(pool: Ledger) -> None:
    """And is not made."""
    before = pool.dump()
    assert pool.resize("a", {"cpu": 1}) == ["unknown"]
    pool.assert_untouched(before)


def test_a_late_copy_cannot_undo_a_later_resize(pool: Ledger) -> None:
    """It is answered with the allocation as it stands."""
    pool.grant("a", {"cpu": 1})
    line = pool.resize_line("a", {"cpu": 4})
    pool.resize(line)
    pool.resize("a", {"cpu": 2})
    before = pool.dump()
    reply = pool.resize(line)
    assert (reply[0], int(fields(reply[1:])["cpu.allocated"])) == ("resized", 2)
    pool.assert_untouched(before)


def test_a_repeated_denial_is_over_and_stays_a_denial(pool: Ledger) -> None:
    """A copy must not grow it later; and who asks a third time must not hear that it was resized."""
    pool.grant("a", {"cpu": 4})
    pool.grant("b", {"cpu": 6})
    line = pool.resize_line("a", {"cpu": 5}, repeated=1)
    assert pool.resize(line) == ["denied", "capacity_exceeded", "", "cpu", 1, 10, 10]
    pool.release("b")
    before = pool.dump()
    assert pool.resize(line)[:2] == ["denied", "capacity_exceeded"]
    pool.assert_untouched(before)


def test_a_repeated_resize_of_nothing_is_over(pool: Ledger) -> None:
    """The id may be granted anew while a copy still travels: the copy must not change that one."""
    line = pool.resize_line("a", {"cpu": 5}, repeated=1)
    assert pool.resize(line) == ["unknown"]
    pool.grant("a", {"cpu": 1})
    before = pool.dump()
    pool.resize(line)
    pool.assert_untouched(before)


def test_a_pinned_allocation_is_resized_in_place(pool: Ledger) -> None:
    """It stays pinned."""
    pool.grant("a", {"cpu": 1}, ttl=0)
    index = pool.index("pinned")
    assert pool.resize("a", {"cpu": 2})[0] == "resized"
    assert (pool.index("pinned"), pool.index("deadlines")) == (index, {})


def test_an_allocation_past_its_deadline_may_be_resized_while_nobody_took_it(pool: Ledger) -> None:
    """Its deadline stays where it is."""
    pool.grant("a", {"cpu": 1})
    index = pool.index("deadlines")
    pool.now += 2 * MINUTE
    assert pool.resize("a", {"cpu": 2})[0] == "resized"
    assert pool.index("deadlines") == index
