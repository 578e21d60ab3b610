"""A line that is longer than what one call looks at: the next calls go on where one has stopped."""

from __future__ import annotations

from typing import Any, Final

import pytest

from allocator import settings
from tests.scripts.ledger import MINUTE, Ledger
from tests.scripts.waiting import Waiting, ask, hear, wait

FEW: Final = {"WAITERS_LOOKED_MAX": 2}


@pytest.fixture
def full(pool: Ledger) -> Ledger:
    """Nothing is free; five wait, each for something else than the one before it."""
    pool.grant("cpu", {"cpu": 10}, ttl=0)
    pool.grant("memory", {"memory": 100}, ttl=0)
    return pool


def _again(pool: Ledger, one: Waiting) -> Any:
    """Asks again so late that it looks at the line."""
    pool.now += settings.LOOK_AGAIN_MS // 2
    return pool.allocate(one.line.again(), bounds=FEW)[0]


def test_a_waiter_behind_many_is_granted_by_those_who_ask_again(full: Ledger) -> None:
    """Each call looks at two more, with what those before them are short of."""
    some = [wait(full, f"w-{number}", {"cpu": 1 + number}) for number in range(5)]
    last, behind = wait(full, "last", {"memory": 5}), wait(full, "behind", {"cpu": 1, "memory": 1})
    full.release("memory", bounds=FEW)
    assert full.record("last") == {}
    words = [_again(full, some[0])[0] for _ in range(4)]
    assert words == ["waiting"] * 4
    assert "unclaimed_ttl_ms" in full.record("last")
    assert (_again(full, last)[0], _again(full, behind)[0]) == ("replayed", "waiting")


def test_those_whom_a_call_has_not_looked_at_may_compete(full: Ledger) -> None:
    """Who comes is refused; in a line that anybody may pass it is granted."""
    for number in range(4):
        wait(full, f"w-{number}", {"cpu": 1 + number})
    full.release("memory")
    line = full.want("new", {"memory": 1})
    assert full.allocate(line, bounds=FEW)[0][:2] == ["denied", "queued"]
    assert full.allocate(line.again())[0][0] == "granted"
    full.configure("change", promises="queue_policy=best_effort")
    assert full.allocate(full.want("newer", {"memory": 1}), bounds=FEW)[0][0] == "granted"


def test_a_grant_behind_many_counts_as_a_pass_of_the_first(full: Ledger) -> None:
    """After so many nobody behind is granted, either."""
    full.configure("change", promises="queue_policy=best_effort queue_passes_max=1")
    some = [wait(full, f"w-{number}", {"cpu": 1 + number}) for number in range(4)]
    last, later = wait(full, "last", {"memory": 5}), wait(full, "later", {"memory": 6})
    full.release("memory", bounds=FEW)
    for _ in range(4):
        _again(full, some[0])
    assert "unclaimed_ttl_ms" in full.record("last")
    assert (full.account["waiting_passes"], full.record("later")) == ("1", {})
    assert (_again(full, last)[0], _again(full, later)[0]) == ("replayed", "waiting")


def test_who_comes_before_those_that_are_left_is_not_passed_by_them(full: Ledger) -> None:
    """What it is short of is added to what an earlier call has noted."""
    for number in range(3):
        wait(full, f"w-{number}", {"cpu": 1 + number})
    behind = wait(full, "behind", {"memory": 50}, priority=-1)
    assert full.resize("memory", {"memory": 40}, bounds=FEW)[0] == "resized"
    first = full.want("first", {"memory": 90}, wait=MINUTE, priority=1)
    assert full.allocate(first, bounds=FEW)[0][:2] == ["waiting", 1]
    for _ in range(3):
        assert _again(full, behind)[0] == "waiting"
    assert full.waiting == ["first", "w-0", "w-1", "w-2", "behind"]


def test_in_a_uniform_line_one_entry_is_enough(full: Ledger) -> None:
    """Nobody behind the first can go where it cannot; a new request for something else is not held back by the rest."""
    some = [wait(full, f"w-{number}", {"cpu": 3}) for number in range(settings.WAITERS_LOOKED_MAX + 5)]
    full.release("memory")
    assert ask(full, full.want("new", {"memory": 1}))[0] == "granted"
    full.release("cpu")
    assert full.waiting == [one.line.id for one in some[3:]]
    assert hear(full, *some[:3]) == ["replayed"] * 3


def test_the_line_in_full_serves_as_many_as_fit(full: Ledger) -> None:
    """With the usual bound, and a line of this length."""
    for number in range(settings.WAITERS_LOOKED_MAX):
        wait(full, f"w-{number}", {"memory": 2 + number % 2})
    full.release("memory")
    assert len(full.waiting) == 0
    assert full.allocated("memory") == sum(2 + number % 2 for number in range(settings.WAITERS_LOOKED_MAX))


@pytest.mark.parametrize("taken", [10, 11])
def test_what_is_granted_meanwhile_may_make_those_before_short(full: Ledger, taken: int) -> None:
    """The first wants 50, and is not short of it, until somebody takes so much that less is left."""
    wait(full, "first", {"cpu": 1, "memory": 50})
    for number in range(2):
        wait(full, f"w-{number}", {"cpu": 2 + number})
    behind = wait(full, "behind", {"memory": 20})
    assert full.resize("memory", {"memory": 40}, bounds=FEW)[0] == "resized"
    line = full.want("high", {"memory": taken}, priority=1)
    assert full.allocate(line, bounds=FEW)[0][0] == "granted"
    assert _again(full, behind)[0] == ("waiting" if taken == 11 else "replayed")
