"""The checks of the class must be able to fail: each is shown something that breaks a promise."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from allocator import Allocator, Denial, Limit, Quota, QuotaUsage, Resources, Shortage
from allocator.apps.demo.students_class import Told, maxima_of
from allocator.apps.demo.students_plan import CLASS, GPU, Plan
from allocator.apps.demo.students_report import Report, percentile
from allocator.apps.demo.students_sight import COULD_GO_MAX_S, Reading, Sight, could_go, wrong_in
from allocator.apps.demo.watch import Seen
from allocator.models.queue import Waiter
from allocator.testing import memory_allocator

CAPACITY = Resources.capacity({"cpu": 8})


@pytest.fixture
def pool() -> Iterator[Allocator]:
    """A pool of 8 cores: team `a` has 4 and is guaranteed 2, team `b` has 4 and may borrow 4."""
    with memory_allocator({"cpu": 8}) as allocator:
        allocator.quotas.set("class", {"cpu": 8})
        allocator.quotas.set("class/a", {"cpu": Limit(4, 2, 2), "allocations": 3})
        allocator.quotas.set("class/b", {"cpu": Limit(4, 4)})
        allocator.allocate({"cpu": 6}, ttl=60, id="lab", scope="class/b")
        yield allocator
        allocator.release("lab")
        assert allocator.maintenance.audit()


def changed(tree: dict[str, Quota], scope: str, **change: Any) -> dict[str, Quota]:
    """A tree with other numbers of cores in a scope."""
    row = dataclasses.replace(tree[scope].resources["cpu"], **change)
    return {**tree, scope: dataclasses.replace(tree[scope], resources={**tree[scope].resources, "cpu": row})}


def test_a_sound_tree_has_nothing_wrong(pool: Allocator) -> None:
    """One team borrows all that the other does not keep."""
    tree = pool.quotas.tree()
    assert tree["class/b"].resources["cpu"].borrowed == 2000
    assert wrong_in(tree, CAPACITY) == []


@pytest.mark.parametrize(
    ("scope", "change", "part"),
    [
        ("class/b", {"allocated": 9000}, "class/b: 9000 of cpu is above its limit 8000"),
        ("class/b", {"allocated": 5000}, "class: 6000 of cpu is allocated, and 5000 in the scopes below it"),
        ("class/a", {"available": 1000}, "class/a: 1000 of cpu is available, less than its guarantee"),
        ("class", {"kept": 3000}, "class: 9000 of cpu is more than there is"),
    ],
)
def test_a_broken_tree_is_noticed(pool: Allocator, scope: str, change: dict[str, int], part: str) -> None:
    """Above a limit, a sum that is wrong, a guarantee that was given away, more than there is."""
    assert part in wrong_in(changed(pool.quotas.tree(), scope, **change), CAPACITY)


def waiter(position: int, code: str, *shortages: Shortage, scope: str = "class/a", **more: Any) -> Waiter:
    """Somebody in line who asks for one core."""
    return Waiter(
        id=f"lab-{position}",
        pool="test",
        position=position,
        owner=more.pop("owner", "student"),
        priority=0,
        resources=more.pop("resources", Resources.request({"cpu": 1})),
        since_ms=1,
        scope=scope,
        denial=Denial(code, "test", shortages),
    )


POOL_CPU = Shortage("cpu", 1000, 8000, 8000)
POOL_GPU = Shortage(GPU, 1000, 1000, 1000)
TEAM_CPU = Shortage("cpu", 1000, 4000, 4000, "quota", "class/a")


@pytest.mark.parametrize(
    ("line", "free"),
    [
        ([], []),
        ([waiter(1, "queued")], ["lab-1"]),
        ([waiter(1, "capacity_exceeded", POOL_CPU)], []),
        ([waiter(1, "capacity_exceeded", POOL_CPU), waiter(2, "queued")], []),
        ([waiter(1, "capacity_exceeded", POOL_GPU), waiter(2, "queued")], ["lab-2"]),
        ([waiter(1, "capacity_exceeded", TEAM_CPU), waiter(2, "queued")], []),
        ([waiter(1, "queued"), waiter(2, "capacity_exceeded", POOL_CPU), waiter(3, "queued")], ["lab-1"]),
    ],
)
def test_who_could_go_is_who_fits_and_takes_nothing_that_others_before_lack(
    line: list[Waiter], free: list[str]
) -> None:
    """So a line that is not served is noticed, and one that waits for its turn is not blamed."""
    assert could_go(line) == free


def test_only_who_could_go_for_long_was_left_in_line(pool: Allocator) -> None:
    """A request that is granted a moment later was not left; one that is short again in between neither."""
    usage, tree, sight = pool.pools.usage(), pool.quotas.tree(), Sight()
    free, short = [waiter(1, "queued")], [waiter(1, "capacity_exceeded", POOL_CPU)]
    for at_s, line in ((0.0, free), (0.9, short), (1.0, free), (1.0 + COULD_GO_MAX_S, free)):
        sight.add(Reading(usage, tree, line), CAPACITY, at_s)
    assert sight.idle == []
    sight.add(Reading(usage, tree, free), CAPACITY, 1.1 + COULD_GO_MAX_S)
    assert sight.idle == ["lab-1"]
    assert sight.longest_idle_s == pytest.approx(1.1)
    assert sight.readings == 5
    assert sight.longest_line == 1
    assert sight.borrowed_peak == {"class/b": 2000}


def test_a_priority_lab_that_is_not_first_is_noticed(pool: Allocator) -> None:
    """Its place is the first in each reading of the line."""
    sight = Sight()
    for position in (1, 2):
        line = [waiter(position, "capacity_exceeded", POOL_CPU, owner="instructor")]
        sight.add(Reading(pool.pools.usage(), pool.quotas.tree(), line), CAPACITY, 0.0)
    assert sight.passed == ["lab-2 was number 2"]


def test_the_sum_of_what_students_were_told_is_compared_at_each_level() -> None:
    """A student may have two labs: the third that it is told of is one too many, whatever the ledger says."""
    plan = Plan(12, 3.0, 1)
    told = Told(maxima_of(plan))
    student, lab = plan.students[0], Resources.request({"cpu": 1})
    assert told.maxima["", "cpu"] == told.maxima[CLASS, "cpu"] == 12_000
    assert told.maxima[student.team.scope, "cpu"] == 3000
    told.begin(student.scope, lab)
    told.begin(student.scope, lab)
    told.end(student.scope, lab)
    told.begin(student.scope, lab)
    assert told.over == []
    told.begin(student.scope, lab)
    assert told.over == [f"students of {student.scope} had 3 of allocations"]
    told.begin(plan.students[1].scope, lab)
    assert told.over[1:] == [f"students of {student.team.scope} had 4000 of cpu"]
    assert told.running == 4


def report(*, told: Told | None = None, sight: Sight | None = None, seen: Seen | None = None, **more: Any) -> Report:
    """The report of a run in which two labs were granted."""
    plan = Plan(12, 3.0, 1)
    if told is None:
        told = Told({}, asked=3, granted=2, gave_up=1, priority_wait_s=0.5)
        told.at_once = {"team-4": True, "team-5": True, "team-6": True}
        told.waits_s = {"a": 0.5, "b": 0.0}
    if seen is None:
        seen = Seen(readings=5, audits=1, from_line={"a"})
        seen.events.update({"granted": 2, "released": 2})
    terms = {"server": "s", "pool": "p", "seconds": 3.0, "leaks": 0, "waiting": 0, "audit": "clean", "problems": ()}
    return Report.of(plan, told, sight or Sight(), seen, **{**terms, **more})


def test_the_report_of_a_sound_run() -> None:
    """It fits a narrow terminal, and says each promise."""
    found = report()
    assert found.ok
    assert found.to_json()["ok"] is True
    for width in (60, 80):
        lines = found.lines(width)
        assert max(map(len, lines)) <= width
        assert sum(line.startswith("kept ") for line in lines) == 7
        assert lines[-1] == "verdict   every promise kept"


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"sight": Sight(wrong=["class/a: too much"])}, "class/a: too much"),
        ({"sight": Sight(idle=["lab-1"])}, "lab-1 could have gone"),
        ({"sight": Sight(passed=["lab was number 2"])}, "lab was number 2"),
        ({"audit": "drift"}, "the audit is not clean: drift"),
        ({"leaks": 2}, "2 allocations or charges are left"),
        ({"waiting": 3}, "3 requests are in line at the end"),
        ({"problems": ["the server is away"]}, "the server is away"),
        ({"told": Told({}, over=["students had 3"])}, "students had 3"),
        ({"told": Told({}, late=["lab waited 9 s"])}, "lab waited 9 s"),
        ({"told": Told({}, errors=["lab: lost"])}, "1 calls failed; the first: lab: lost"),
        ({"told": Told({})}, "the priority lab was never granted"),
        ({"told": Told({}, priority_wait_s=60.0)}, "the priority lab waited 60.0 s"),
        ({"told": Told({}, at_once={"team-4": False})}, "a team did not get what it was guaranteed"),
        ({"told": Told({}, asked=3)}, "the labs do not add up"),
        ({"seen": Seen(over_allocations=["cpu: 9 of 8", "cpu: 9 of 8"])}, "cpu: 9 of 8 (and 1 more)"),
        ({"seen": Seen(drift=["wrong cpu"])}, "drift while it ran: wrong cpu"),
    ],
)
def test_each_broken_promise_is_in_the_verdict(change: dict[str, Any], part: str) -> None:
    """A check that cannot fail says nothing."""
    found = report(**change)
    assert not found.ok
    assert part in "; ".join(found.problems)
    assert "BROKEN: " in "\n".join(found.lines())


def test_events_that_do_not_add_up_are_noticed() -> None:
    """A grant that neither ended nor is there was lost."""
    seen = Seen()
    seen.events.update({"granted": 2, "released": 1})
    assert "the events do not add up" in "; ".join(report(seen=seen).problems)


def test_sums_are_no_evidence_where_a_lease_was_reclaimed() -> None:
    """A machine that stood still has students who do not know yet that their lease is over."""
    seen = Seen()
    seen.events.update({"granted": 2, "released": 1, "reclaimed": 1})
    told = Told({}, over=["students had 3"])
    assert "students had 3" not in "; ".join(report(seen=seen, told=told).problems)


@pytest.mark.parametrize("size", [6, 12, 13, 60, 240])
def test_a_plan_is_the_same_for_the_same_seed_and_its_limits_are_possible(size: int) -> None:
    """Any size of a class: six teams, and limits that the pool accepts."""
    plan, same, other = Plan(size, 30.0, 1), Plan(size, 30.0, 1), Plan(size, 30.0, 2)
    first = plan.students[-1]
    visits = list(itertools.islice(plan.visits(first), 40))
    assert visits == list(itertools.islice(same.visits(first), 40))
    assert visits != list(itertools.islice(other.visits(first), 40))
    assert {student.team for student in plan.students} == set(plan.teams)
    assert len({student.name for student in plan.students}) == size
    with memory_allocator(plan.capacity) as allocator:
        for scope, limits in plan.limits().items():
            allocator.quotas.set(scope, limits)
        assert allocator.check(plan.priority_lab().resources, scope="class/staff")
        assert allocator.check(plan.first_lab().resources, scope=first.scope)
        held = allocator.allocate(plan.priority_lab().resources, ttl=60, scope="class/staff")
        assert all(allocator.check(plan.first_lab().resources, scope=team.scope) for team in plan.teams)
        allocator.release(held)
        assert allocator.maintenance.audit()


def test_percentiles_are_values_that_were_measured() -> None:
    """The least that so many do not exceed."""
    assert percentile([], 50) == 0.0
    assert [percentile([1.0, 2.0, 3.0, 4.0], share) for share in (0, 25, 50, 75, 95, 100)] == [1, 1, 2, 3, 4, 4]


def test_a_scope_without_a_row_counts_as_nothing() -> None:
    """Of a student who has never had a lab the tree has no cores."""
    row = QuotaUsage(0, 0, 1000, 1000, 0, None)
    tree = {
        "class": Quota("class", "test", 1, {"cpu": row}),
        "class/a": Quota("class/a", "test", 1, {}),
    }
    assert wrong_in(tree, CAPACITY) == []
