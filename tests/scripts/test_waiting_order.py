"""Who may pass whom in the line: the three policies, the limits of passing, quotas and their guarantees."""

from __future__ import annotations

from typing import Any

import pytest

from allocator import settings
from tests.scripts.accounts import key
from tests.scripts.ledger import MINUTE, Ledger
from tests.scripts.preempting import permit
from tests.scripts.waiting import ask, hear, wait


@pytest.fixture
def short(pool: Ledger) -> Ledger:
    """Of cpu 3 are free, of memory 50; `first` waits for 4 of cpu."""
    pool.grant("full", {"cpu": 7, "memory": 50}, ttl=0)
    wait(pool, "first", {"cpu": 4})
    return pool


def policy(pool: Ledger, name: str, **options: int) -> None:
    """Choose how the line may be passed."""
    words = [f"queue_policy={name}", *(f"queue_{option}={value}" for option, value in options.items())]
    assert pool.configure("change", promises=" ".join(words))[0] == "configured"


def request(pool: Ledger, resources: dict[str, int], **options: Any) -> Any:
    """The first words of the reply to a request that does not wait."""
    reply = ask(pool, pool.want(f"new-{next(pool.drawn)}", resources, **options))
    return reply[1] if reply[0] == "denied" else reply[0]


def test_who_competes_for_what_another_waits_for_is_refused(short: Ledger) -> None:
    """By default; the denial has the pool's numbers, and says that it is the line."""
    reply = ask(short, short.want("a", {"memory": 1, "cpu": 3}))
    assert reply == ["denied", "queued", "", "memory", 1, 50, 100, "cpu", 3, 7, 10]
    assert request(short, {"memory": 5}) == "granted"
    assert request(short, {"cpu": 4}) == "capacity_exceeded"


@pytest.mark.parametrize(("name", "cpu", "memory"), [
    ("contended", "queued", "granted"), ("best_effort", "granted", "granted"), ("strict", "queued", "queued"),
])  # fmt: skip
def test_a_policy_says_who_may_pass(short: Ledger, name: str, cpu: str, memory: str) -> None:
    """A new request that does not wait, and one that waits already."""
    policy(short, name)
    assert (request(short, {"cpu": 1}), request(short, {"memory": 1})) == (cpu, memory)
    line = short.want("m", {"memory": 40}, wait=MINUTE)
    assert ask(short, line)[0] == ("granted" if memory == "granted" else "waiting")


def test_nobody_is_passed_by_one_of_lower_priority_but_by_one_of_higher(short: Ledger) -> None:
    """The place of a request that does not wait is that of its priority."""
    assert request(short, {"cpu": 2}, priority=1) == "granted"
    assert request(short, {"cpu": 1}, priority=0) == "queued"
    assert request(short, {"cpu": 1}, priority=-1) == "queued"


def test_the_room_of_a_release_goes_to_those_who_wait_before_anybody_else(short: Ledger) -> None:
    """In order; one behind that fits does not have it, if one before it is short of it."""
    short.grant("small", {"memory": 5})
    second, third = wait(short, "second", {"cpu": 2}), wait(short, "third", {"memory": 60})
    short.release("small")
    assert short.waiting == ["first", "second", "third"]
    short.resize("full", {"cpu": 5})
    assert short.waiting == ["second", "third"]
    assert short.record("first")["unclaimed_ttl_ms"] == str(MINUTE)
    short.release("full")
    assert hear(short, second, third) == ["replayed", "replayed"]


def test_after_so_many_passes_room_is_kept_for_the_first(short: Ledger) -> None:
    """Each grant counts: of the line, and of those who come."""
    policy(short, "best_effort", passes_max=3)
    assert [request(short, {"memory": 1}) for _ in range(2)] == ["granted"] * 2
    wait(short, "second", {"memory": 49})
    short.resize("full", {"memory": 40})
    assert (short.waiting, short.account["waiting_passes"]) == (["first"], "3")
    assert request(short, {"memory": 1}) == "queued"
    assert request(short, {"memory": 1}, priority=1) == "granted", "it does not pass"


def test_a_batch_passes_no_more_often_than_single_calls(short: Ledger) -> None:
    """Its items count one after the other."""
    policy(short, "contended", passes_max=2)
    lines = [short.want(f"m-{number}", {"memory": 1}) for number in range(4)]
    assert [reply[0] for reply in short.allocate(*lines)] == ["granted", "granted", "denied", "denied"]


def test_passes_of_another_first_do_not_count(short: Ledger) -> None:
    """Who comes back with the same id is not who was passed."""
    policy(short, "contended", passes_max=2)
    assert [request(short, {"memory": 1}) for _ in range(2)] == ["granted"] * 2
    wait(short, "second", {"cpu": 5})
    short.withdraw("first")
    wait(short, "first", {"cpu": 4}, priority=1)
    assert [request(short, {"memory": 1}) for _ in range(3)] == ["granted", "granted", "queued"]


@pytest.mark.parametrize(("waited", "word"), [(19_999, "granted"), (20_000, "queued")])
def test_after_so_long_room_is_kept_for_the_first(pool: Ledger, waited: int, word: str) -> None:
    """It was passed, and could have been for ever."""
    policy(pool, "best_effort", wait_max_ms=20_000)
    pool.grant("full", {"cpu": 7}, ttl=0)
    first = wait(pool, "first", {"cpu": 4})
    assert hear(pool, first, by=10_000) == ["waiting"]
    pool.now += waited - 10_000
    assert request(pool, {"memory": 1}) == word


def test_a_growth_passes_as_a_request_of_priority_zero(short: Ledger) -> None:
    """It is refused where it competes, and says by how much it would grow; shrinking is not refused."""
    short.grant("other", {"memory": 1})
    assert short.resize("full", {"cpu": 8}) == ["denied", "queued", "", "cpu", 1, 7, 10]
    assert short.resize("full", {"cpu": 11})[:2] == ["denied", "never_fits"]
    assert short.resize("other", {"memory": 2})[0] == "resized"
    assert short.resize("full", {"cpu": 6})[0] == "resized"
    assert short.waiting == []


def test_a_growth_before_all_who_wait_is_granted(pool: Ledger) -> None:
    """Those have a lower priority."""
    pool.grant("full", {"cpu": 7}, ttl=0)
    wait(pool, "low", {"cpu": 4}, priority=-1)
    assert pool.resize("full", {"cpu": 8})[0] == "resized"


def test_an_atomic_batch_does_not_pass_either(short: Ledger) -> None:
    """All of it is refused; where it fits and does not compete, all of it is granted."""
    both = [short.want("x", {"memory": 1}), short.want("y", {"cpu": 1})]
    assert [reply[:2] for reply in short.allocate(*both, atomic=1)] == [["aborted", 2], ["denied", "queued"]]
    assert short.allocated("memory") == 50
    both = [short.want("x", {"memory": 1}), short.want("y", {"memory": 2})]
    assert [reply[0] for reply in short.allocate(*both, atomic=1)] == ["granted", "granted"]


def test_a_check_says_that_it_would_have_to_queue(short: Ledger) -> None:
    """What does not fit at all is short of capacity, as without a line."""
    assert short.check({"cpu": 1})[:2] == ["denied", "queued"]
    assert short.check({"cpu": 4})[:2] == ["denied", "capacity_exceeded"]
    assert short.check({"cpu": 11})[:2] == ["denied", "never_fits"]
    assert short.check({"memory": 1}) == ["fits"]


def test_a_replacement_takes_the_charge_of_another_and_passes_nobody(short: Ledger) -> None:
    """No capacity is taken."""
    fence = int(short.record("full")["fence"])
    line = short.want("next", {"cpu": 7, "memory": 50}, replaces=(fence, "full"))
    assert short.allocate(line)[0][0] == "granted"
    assert (short.waiting, short.record("full")) == (["first"], {})


def test_who_can_no_longer_fit_leaves_also_behind_others(short: Ledger) -> None:
    """Else it would hold back those behind it for what it can never have."""
    vain = wait(short, "vain", {"cpu": 2, "memory": 90})
    last = wait(short, "last", {"memory": 60})
    short.configure("change", {"memory": 80})
    short.resize("full", {"memory": 10})
    assert short.waiting == ["first"]
    assert [event["reason"] for event in short.events if event["kind"] == "withdrawn"] == ["it can never fit"]
    assert hear(short, last) == ["replayed"]
    assert ask(short, vain.line.again())[:2] == ["denied", "never_fits"]


def test_who_can_no_longer_fit_is_told_so_when_it_asks_again(pool: Ledger) -> None:
    """Also in a strict line, of which a call looks at nobody but the first."""
    policy(pool, "strict")
    pool.grant("full", {"memory": 50}, ttl=0)
    first, vain = wait(pool, "first", {"memory": 60}), wait(pool, "vain", {"memory": 90, "cpu": 10})
    pool.configure("change", {"memory": 80})
    assert hear(pool, first, by=2000) == ["waiting"]
    assert ask(pool, vain.line.again())[:2] == ["denied", "never_fits"]
    assert pool.waiting == ["first"]


# -- quotas ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def shared(pool: Ledger) -> Ledger:
    """Team a is guaranteed 4 of cpu, team b is limited to 5; others have taken the rest."""
    pool.set_quota("a", {"cpu": (4, "-", 0)})
    pool.set_quota("b", {"cpu": (5, 0, "-"), "allocations": (2000, 0, "-")})
    pool.grant("others", {"cpu": 6}, ttl=0)
    return pool


@pytest.mark.parametrize("name", ["contended", "strict"])
def test_what_a_guarantee_covers_passes_those_above(shared: Ledger, name: str) -> None:
    """They could not have it; what it does not cover competes with them."""
    policy(shared, name)
    wait(shared, "first", {"cpu": 1})
    assert request(shared, {"cpu": 3}, scope="a") == "granted"
    assert request(shared, {"cpu": 1}, scope="a") == "granted"
    assert request(shared, {"cpu": 1}, scope="a") == "capacity_exceeded"
    shared.release("others")
    assert shared.waiting == []
    wait(shared, "next", {"cpu": 6})
    assert request(shared, {"cpu": 1}, scope="a") == "queued"


def test_a_guarantee_that_a_waiter_counts_on_is_not_taken_by_others_of_its_scope(shared: Ledger) -> None:
    """It waits for what is above, and would lose what it has of its own."""
    wait(shared, "first", {"cpu": 5}, scope="a")
    assert request(shared, {"cpu": 1}, scope="a") == "queued"


def test_who_is_short_of_its_own_limit_holds_back_its_scope_alone(shared: Ledger) -> None:
    """The pool has room for the others."""
    shared.resize("others", {"cpu": 1})
    shared.grant("b-1", {"cpu": 4}, scope="b")
    wait(shared, "first", {"cpu": 2}, scope="b")
    assert request(shared, {"cpu": 1}, scope="b") == "queued"
    assert shared.resize("b-1", {"cpu": 5})[:2] == ["denied", "queued"]
    assert request(shared, {"cpu": 1}) == "granted"


def test_a_growth_is_no_further_allocation(shared: Ledger) -> None:
    """Who waits for a number of allocations holds back no growth of one."""
    shared.resize("others", {"cpu": 1})
    for name in ("b-1", "b-2"):
        shared.grant(name, {"cpu": 1}, scope="b")
    assert wait(shared, "first", {"cpu": 1}, scope="b").reply[3][2:4] == ["quota:b", "allocations"]
    assert shared.resize("b-1", {"cpu": 2})[0] == "resized"
    assert request(shared, {"memory": 1}, scope="b") == "capacity_exceeded"
    shared.release("b-2")
    assert shared.waiting == []


def test_a_scope_that_is_gone_ends_the_wait(shared: Ledger) -> None:
    """Its client is told so when it asks again, and its call is over."""
    waiter = wait(shared, "first", {"cpu": 5}, scope="b")
    assert shared.delete_quota("b")[0] == "deleted"
    assert ask(shared, waiter.line.again()) == ["unknown_scope", "b"]
    assert (shared.waiting, ask(shared, waiter.line.again())) == ([], ["withdrawn"])


def test_a_changed_limit_is_found_by_the_next_who_asks(shared: Ledger) -> None:
    """A change of limits wakes the first; the next call of anybody grants."""
    waiter, second = wait(shared, "first", {"cpu": 1}), wait(shared, "second", {"cpu": 1})
    shared.set_quota("a", {"cpu": (2, "-", 0)})
    assert shared.waiting == ["first", "second"]
    assert hear(shared, waiter, second) == ["replayed", "replayed"]


# -- other accounts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["", "b"])
def test_who_waits_for_a_node_holds_back_those_of_the_node(shared: Ledger, scope: str) -> None:
    """Also where it has a scope; a guarantee covers nothing of a node."""
    shared.client.hset(key(shared, "node:n1"), mapping={"generation": 1, "cpu.capacity": 3})
    shared.resize("others", {"cpu": 1})
    shared.grant("on-it", {"cpu": 2}, accounts=["node:n1"])
    waiter = wait(shared, "first", {"cpu": 2}, accounts=["node:n1"], scope=scope)
    assert request(shared, {"cpu": 1}, accounts=["node:n1"]) == "queued"
    assert request(shared, {"cpu": 1}, accounts=["node:n1"], scope="a") == "queued"
    assert request(shared, {"cpu": 1}) == "granted"
    shared.release("on-it")
    assert hear(shared, waiter) == ["replayed"]
    assert shared.record("first")["account.1"] == (f"quota:{scope}" if scope else "node:n1")


def test_who_is_silent_leaves_also_behind_one_that_asked_for_the_same(pool: Ledger) -> None:
    """It is not looked at again for room, but for its client."""
    pool.grant("full", {"cpu": 10}, ttl=0)
    pool.grant("some", {"memory": 1}, ttl=0)
    first = wait(pool, "first", {"cpu": 2})
    wait(pool, "other", {"cpu": 3})
    wait(pool, "silent", {"cpu": 2})
    pool.now += settings.WAITER_TTL_MS - 1
    ask(pool, first.line.again())
    pool.now += 1
    pool.release("some")
    assert pool.waiting == ["first"]


def test_what_victims_leave_is_kept_also_for_one_that_asks_for_the_same_as_the_first(pool: Ledger) -> None:
    """In a line that anybody may pass."""
    permit(pool, more="queue_policy=best_effort")
    pool.grant("low", {"cpu": 3}, priority=-5)
    pool.grant("rest", {"cpu": 6, "memory": 100})
    wait(pool, "first", {"cpu": 3})
    wait(pool, "preemptor", {"cpu": 3}, preempt=1)
    assert pool.waiter("preemptor")["victims"]
    wait(pool, "small", {"cpu": 1, "memory": 1})
    pool.resize("rest", {"cpu": 6, "memory": 50})
    assert pool.waiting == ["first", "preemptor", "small"]
