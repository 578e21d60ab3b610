"""Preemption: who is taken, what it is told, and what becomes of the room."""

from __future__ import annotations

import pytest

from tests.scripts.ledger import MINUTE, T0, Ledger, contract, fields
from tests.scripts.preempting import GRACE, live, permit, preempted
from tests.scripts.waiting import ask, wait


@pytest.fixture
def full(pool: Ledger) -> Ledger:
    """A pool that permits preemption; its cpu is taken: `low` 4, `mid` 3 and `high` 3, of priorities -5, 0 and 5."""
    permit(pool)
    pool.grant("low", {"cpu": 4}, priority=-5)
    pool.grant("mid", {"cpu": 3})
    pool.grant("high", {"cpu": 3}, priority=5)
    return pool


def test_the_lowest_priority_is_taken_and_told_and_keeps_its_charge_for_the_grace(full: Ledger) -> None:
    """It is as if its release had begun: the event, the record, the answer to its renewal."""
    waiting = wait(full, "new", {"cpu": 2}, priority=1, preempt=1)
    record = full.record("low")
    assert preempted(full) == {"low"}
    assert (record["releasing_ms"], record["deadline_ms"], record["ttl_ms"]) == (str(T0), str(T0 + GRACE), str(GRACE))
    assert (record["priority"], record["preempted_by"]) == ("-5", "new")
    assert full.waiter("new")["victims"] == f"{record['fence']}:low"
    assert full.events[-1] == {
        "kind": "preempted", "id": "low", "owner": "owner", "fence": record["fence"], "cpu.allocated": "4",
        "reason": "by new",
    }  # fmt: skip
    full.now += 1000
    assert full.renew("low") == [["preempted", T0 + GRACE, GRACE - 1000, "new"]]
    assert full.allocated() == 10
    assert ask(full, waiting.line.again())[0] == "waiting"


def test_its_release_gives_the_room_to_the_waiter_at_once(full: Ledger) -> None:
    """Before the grace is over."""
    waiting = wait(full, "new", {"cpu": 2}, priority=1, preempt=1)
    assert full.release("low")[0][0] == "released"
    assert ask(full, waiting.line.again())[0] == "replayed"
    assert fields(ask(full, waiting.line.again())[1:])["priority"] == 1


def test_after_the_grace_the_room_is_the_waiters(full: Ledger) -> None:
    """The victim is reclaimed by whoever calls next."""
    waiting = wait(full, "new", {"cpu": 2}, priority=1, preempt=1)
    full.now += GRACE
    assert ask(full, waiting.line.again())[0] == "replayed"
    assert full.record("low") == {}
    assert full.renew("low") == [["unknown"]]


def test_without_a_grace_the_request_is_granted_in_the_same_call(full: Ledger) -> None:
    """The victim has ended."""
    permit(full, grace=0)
    line = full.want("new", {"cpu": 6}, priority=1, preempt=1, wait=MINUTE)
    assert ask(full, line)[0] == "replayed"
    assert (live(full), full.waiting) == ({"new", "high"}, [])
    kinds = [(one["kind"], one.get("id"), one.get("reason")) for one in full.events[-5:]]
    assert ("preempted", "low", "at once, by new") in kinds
    assert ("preempted", "mid", "at once, by new") in kinds
    assert ask(full, line.again())[0] == "replayed"


@pytest.mark.parametrize(("priority", "taken"), [(-5, set()), (-4, {"low"}), (0, {"low"}), (5, {"low"}), (6, {"low"})])
def test_only_strictly_lower_priorities_are_taken(full: Ledger, priority: int, taken: set[str]) -> None:
    """So no two can preempt each other in turn."""
    wait(full, "new", {"cpu": 1}, priority=priority, preempt=1)
    assert preempted(full) == taken


def test_nobody_is_taken_where_all_who_may_be_are_not_enough(full: Ledger) -> None:
    """The request waits."""
    wait(full, "new", {"cpu": 8}, priority=5, preempt=1)
    assert preempted(full) == set()
    wait(full, "other", {"cpu": 7}, priority=6, preempt=1)
    assert preempted(full) == {"low", "mid"}


def test_a_request_takes_nothing_that_does_not_say_so_or_where_the_pool_does_not_permit_it(pool: Ledger) -> None:
    """It waits as any other."""
    pool.grant("low", {"cpu": 10}, priority=-5)
    wait(pool, "a", {"cpu": 1}, priority=1, preempt=1)
    permit(pool)
    assert pool.repair()[2:4] == [1, "unranked"]
    wait(pool, "b", {"cpu": 1}, priority=1)
    assert preempted(pool) == set()


def test_of_one_priority_the_newest_is_taken(pool: Ledger) -> None:
    """And nobody who could be left out: the small ones do not help once the large one must go."""
    permit(pool)
    for name, cpu in (("old", 4), ("older", 4), ("small", 2)):
        pool.grant(name, {"cpu": cpu})
        pool.now += 1
    wait(pool, "a", {"cpu": 2}, priority=1, preempt=1)
    assert preempted(pool) == {"small"}
    assert pool.release("small")[0][0] == "released"
    wait(pool, "b", {"cpu": 4}, priority=1, preempt=1)
    assert preempted(pool) == {"older"}


def test_who_began_lately_is_protected(pool: Ledger) -> None:
    """To the millisecond."""
    permit(pool, protect=1000)
    pool.grant("a", {"cpu": 10})
    pool.now += 999
    assert pool.check({"cpu": 1}, priority=1, preempt=1)[3] == []
    pool.now += 1
    assert pool.check({"cpu": 1}, priority=1, preempt=1)[3] == ["a"]


def test_a_dry_run_names_the_victims_and_changes_nothing(full: Ledger) -> None:
    """As the request itself would take them."""
    before = full.dump()
    assert full.check({"cpu": 5}, priority=1, preempt=1)[3] == ["low", "mid"]
    assert full.check({"cpu": 5}, priority=1)[3] == []
    assert full.check({"cpu": 8}, priority=5, preempt=1)[3] == []
    assert full.check({"memory": 1}, priority=5, preempt=1) == ["fits"]
    full.assert_untouched(before)
    wait(full, "new", {"cpu": 5}, priority=1, preempt=1)
    assert preempted(full) == {"low", "mid"}
    # What is taken by now is nobody else's.
    assert full.check({"cpu": 5}, priority=1, preempt=1)[3] == []


def test_nobody_useless_is_taken(pool: Ledger) -> None:
    """What has nothing of the resource, and what is covered by a guarantee of its own scope."""
    pool.set_quota("team", {"cpu": (4, "-", 0)})
    permit(pool)
    pool.grant("memory", {"memory": 5}, priority=-9)
    pool.grant("covered", {"cpu": 4}, priority=-8, scope="team")
    pool.grant("other", {"cpu": 6}, priority=-7)
    assert pool.check({"cpu": 1}, priority=1, preempt=1)[3] == ["other"]
    assert pool.check({"cpu": 1}, priority=1, preempt=1, scope="team")[3] == ["covered"]


def test_scopes_that_borrow_are_taken_first_and_only_as_far_as_they_borrow(pool: Ledger) -> None:
    """Then the lowest priority."""
    pool.set_quota("team", {"cpu": (4, "-", "-")})
    permit(pool)
    pool.grant("free", {"cpu": 4}, priority=-9)
    for number in range(6):
        pool.grant(f"team{number}", {"cpu": 1}, scope="team")
        pool.now += 1
    assert pool.check({"cpu": 2}, priority=1, preempt=1)[3] == ["team5", "team4"]
    assert pool.check({"cpu": 3}, priority=1, preempt=1)[3] == ["free"]
    assert pool.check({"cpu": 6}, priority=1, preempt=1)[3] == ["team5", "team4", "free"]


def test_several_levels_that_are_short_are_all_relieved(pool: Ledger) -> None:
    """A scope at its limit, and a full pool: one of its own, and one of the others."""
    pool.set_quota("team", {"cpu": (4, 0, "-")})
    permit(pool)
    pool.grant("mine", {"cpu": 2}, scope="team")
    pool.grant("mine2", {"cpu": 1}, scope="team", priority=3)
    pool.grant("other", {"cpu": 7}, priority=1)
    assert pool.check({"cpu": 2}, priority=2, preempt=1, scope="team")[3] == ["mine"]
    assert pool.check({"cpu": 3}, priority=2, preempt=1, scope="team")[3] == ["mine", "other"]


def test_preempt_without_wait_breaks_the_contract(pool: Ledger) -> None:
    """Nothing is changed."""
    with contract("preempt is for a request that waits"):
        pool.allocate(pool.want("a", {"cpu": 1}, preempt=1))
    with contract("preempt is not 1"):
        pool.allocate(pool.want("a", {"cpu": 1}, preempt=2, wait=MINUTE))
    for text in ("1001", "-1001", "1.5", ""):
        with contract("priority"):
            pool.check({"cpu": 1}, priority=text)  # type: ignore[arg-type]


def test_the_pools_grace_is_half_a_minute_unless_it_says_otherwise(pool: Ledger) -> None:
    """The default."""
    permit(pool, grace=None)
    pool.grant("a", {"cpu": 10}, ttl=0)
    wait(pool, "b", {"cpu": 1}, priority=1, preempt=1)
    assert int(pool.record("a")["deadline_ms"]) == T0 + 30_000


def test_a_pool_that_permits_it_no_more_forgets_the_ranks(full: Ledger) -> None:
    """And has them again after a repair, once it permits it again."""
    full.configure("change", promises="preemption=")
    assert full.client.exists(f"{full.keys.base}priorities") == 0
    full.grant("later", {"memory": 1}, priority=7)
    full.release("low")
    permit(full)
    assert {full.audit()[8][at] for at in range(0, 9, 3)} == {"unranked"}
    assert full.repair()[2] == 3
    assert full.check({"cpu": 5}, priority=1, preempt=1)[3] == ["mid"]
