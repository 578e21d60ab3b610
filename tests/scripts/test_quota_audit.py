"""What a quota stores beside its limits: right after each change, and found and mended where it is wrong."""

from __future__ import annotations

import random
from typing import Any, Final

import pytest

from tests.scripts.ledger import Ledger
from tests.scripts.quota_tree import UNLIMITED, Limit, Tree

NONE: Final = "-"


@pytest.fixture
def teams(ledger: Ledger) -> Ledger:
    """Team a has 6 CPUs and guarantees 2 to alice; team b has 4 at most."""
    assert ledger.create({"cpu": 10, "memory": 100})[0] == "created"
    ledger.set_quota("a", {"cpu": (6, NONE, NONE)})
    ledger.set_quota("a/alice", {"cpu": (2, 1, 0)})
    ledger.set_quota("b", {"cpu": (3, 1, NONE)})
    return ledger


def key(ledger: Ledger, scope: str) -> str:
    return f"{ledger.keys.base}quota:{scope}" if scope else str(ledger.keys["pool"])


def stored(ledger: Ledger, scope: str, field: str) -> Any:
    return ledger.client.hget(key(ledger, scope), field)


def want(ledger: Ledger, identity: str, cpu: int, scope: str = "") -> Any:
    return ledger.allocate(ledger.want(identity, {"cpu": cpu}, scope=scope))[0]


DAMAGE: Final = {
    "plain with a lending limit": ("a/alice", "plain", "1", "quota_drift", "plain 1, by the limits 0"),
    "plain above a guarantee": ("a", "plain", "1", "quota_drift", "plain 1, by the limits 0"),
    "too much": ("b", "cpu.capacity", "9", "quota_drift", "cpu.capacity 9, by the limits 4"),
    "no number": ("b", "cpu.capacity", "x", "quota_drift", "cpu.capacity no amount, by the limits 4"),
    "no bound": ("b", "cpu.capacity", None, "quota_drift", "cpu.capacity absent, by the limits 4"),
    "bound": ("a", "cpu.capacity", "6", "quota_drift", "cpu.capacity 6, by the limits absent"),
    "promise": ("a", "cpu.guaranteed", "0", "guarantee_drift", "cpu.guaranteed 0, by the limits 2"),
    "promise of the pool": ("", "cpu.guaranteed", "7", "guarantee_drift", "cpu.guaranteed 7, by the limits 2"),
    "promise of nothing": ("b", "memory.guaranteed", "5", "guarantee_drift", "memory.guaranteed 5, by the limits 0"),
}  # fmt: skip
"""The scope, the field and its wrong value; the finding."""


@pytest.mark.parametrize("how", DAMAGE)
def test_what_contradicts_the_limits_is_found_and_mended(teams: Ledger, how: str) -> None:
    """In one call, and in the pages of a pool that is too large for one."""
    scope, field, value, kind, detail = DAMAGE[how]
    right = stored(teams, scope, field)
    for mode in ("all", "pinned"):
        if value is None:
            teams.client.hdel(key(teams, scope), field)
        else:
            teams.client.hset(key(teams, scope), field, value)
        finding = [kind, f"quota:{scope}" if scope else "pool", detail]
        assert teams.audit(mode)[8] == finding
        assert teams.repair(mode) == ["repaired", "0", 1, *finding]
        assert (stored(teams, scope, field) or "0") == (right or "0")
        assert teams.audit()[4] == 0
    assert want(teams, "x", 5, "b")[:3] == ["denied", "never_fits", "quota:b"]


def test_both_are_mended_where_a_parent_has_lost_all_that_it_knew(teams: Ledger) -> None:
    """What it promises, and that it is not plain."""
    teams.client.hset(key(teams, "a"), mapping={"plain": "1", "cpu.guaranteed": "0", "cpu.kept": "0"})
    reply = teams.repair()
    assert reply[3::3] == ["guarantee_drift", "quota_drift", "kept_drift"]
    assert teams.audit()[4] == 0


def test_a_pool_that_does_not_know_that_it_keeps_something_learns_it(teams: Ledger) -> None:
    """Else it would give out what is guaranteed."""
    options = teams.account["options"]
    teams.client.hset(teams.keys["pool"], "options", " ".join(word for word in options.split() if word != "keeps=1"))
    finding = ["guarantee_drift", "pool", "it does not know that it keeps something"]
    assert teams.repair()[3:] == finding
    assert want(teams, "x", 9)[0] == "denied"


@pytest.mark.breaks_data
def test_nothing_is_concluded_from_a_limit_that_is_no_amount(teams: Ledger) -> None:
    """Neither its capacity nor what is promised above it is changed; who sets the limit again mends it."""
    teams.client.hset(key(teams, "a/alice"), "cpu.lending_limit", "x")
    teams.client.hset(key(teams, "b"), "cpu.borrowing_limit", "x")
    kept = [finding for finding in teams.repair()[3::3] if finding != "kept_drift"]
    assert kept == ["quota_drift", "quota_drift"]
    assert (stored(teams, "b", "cpu.capacity"), stored(teams, "a", "cpu.guaranteed")) == ("4", "2")


def test_a_parent_is_plain_until_something_is_guaranteed_below_it(teams: Ledger) -> None:
    """From that call on it keeps it; and a scope whose limit is set later is not plain from then on."""
    teams.set_quota("b/one", {})
    assert (stored(teams, "b", "plain"), stored(teams, "b/one", "plain")) == ("1", "1")
    teams.set_quota("b/one", {"cpu": (3, NONE, 0)})
    assert (stored(teams, "b", "plain"), stored(teams, "b/one", "plain")) == ("0", "0")
    assert want(teams, "x", 2, "b")[:3] == ["denied", "capacity_exceeded", "quota:b"]
    assert want(teams, "x", 3, "b/one")[0] == "granted"


def test_an_adopted_grant_may_take_what_an_earlier_one_did_not(teams: Ledger) -> None:
    """Its scope is plain and was read for the earlier one alone."""
    teams.grant("x", {"cpu": 2}, scope="b")
    later = teams.adopt_line("x", {"cpu": 1, "memory": 5}, fence=teams.revision + 5, scope="b")
    assert teams.adopt(later, reason="lost")[0][0] == "adopted"
    assert [stored(teams, "b", f"{name}.allocated") for name in ("cpu", "memory", "allocations")] == ["1", "5", "1000"]


SCOPES: Final = ("a", "a/x", "a/x/deep", "a/y", "b")


class Story:
    """Random changes of limits, to the scripts and to the tree."""

    def __init__(self, ledger: Ledger, seed: int) -> None:
        self.ledger, self.dice = ledger, random.Random(seed)
        self.tree = Tree({"cpu": 40, "memory": 400})
        self.slow: set[str] = set()
        ledger.create(self.tree.capacity)

    def set(self) -> None:
        scope, resource = self.dice.choice(SCOPES), self.dice.choice(("cpu", "memory", "allocations"))
        most = 20 // (scope.count("/") + 1)
        limit = Limit(*(self.dice.choice((None, None, 0, self.dice.randint(1, most))) for _ in range(3)))
        nominal, borrowing, lending = (
            NONE if one is None else one for one in (limit.nominal, limit.borrowing, limit.lending)
        )
        if self.ledger.set_quota(scope, {resource: (nominal, borrowing, lending)})[0] == "quota":
            parts = scope.split("/")
            for depth in range(1, len(parts) + 1):
                self.tree.limits.setdefault("/".join(parts[:depth]), {})
                self.slow.discard("/".join(parts[:depth]))
            self.tree.limits[scope][resource] = limit

    def delete(self) -> None:
        scope = self.dice.choice(SCOPES)
        if self.ledger.delete_quota(scope)[0] == "deleted":
            del self.tree.limits[scope]
            self.slow = {one for one in {*self.slow, *self.tree.limits} if scope.startswith(f"{one}/")}

    def promised(self, scope: str, resource: str) -> int:
        return sum(
            max(self.tree.limit(child, resource).guaranteed, self.promised(child, resource))
            for child in self.tree.children(scope)
        )

    def is_plain(self, scope: str) -> bool:
        limits = self.tree.limits[scope]
        count = limits.get("allocations", Limit())
        return not (
            any(limit.lending is not None for limit in limits.values())
            or count.nominal is not None
            or count.borrowing is not None
            or any(self.promised(scope, resource) for resource in ("cpu", "memory", "allocations"))
        )

    def compare(self) -> None:
        assert self.ledger.audit()[8] == []
        for scope, limits in self.tree.limits.items():
            # One below which a guarantee was deleted may stay as it was: it is only slower.
            plain = stored(self.ledger, scope, "plain") == "1"
            assert plain == self.is_plain(scope) or (scope in self.slow and not plain), scope
            for resource, limit in limits.items():
                most = None if limit.borrowing is None else min((limit.nominal or 0) + limit.borrowing, UNLIMITED)
                text = stored(self.ledger, scope, f"{resource}.capacity")
                assert (None if text is None else int(text)) == most, (scope, resource)
        for scope in ("", *self.tree.limits):
            for resource in ("cpu", "memory", "allocations"):
                text = stored(self.ledger, scope, f"{resource}.guaranteed")
                assert int(text or 0) == self.promised(scope, resource), (scope, resource)


@pytest.mark.parametrize("seed", range(3))
def test_after_each_change_of_a_random_tree_all_that_follows_is_right(newest: Ledger, seed: int) -> None:
    """And the audit, which computes it anew, finds nothing."""
    story, seen = Story(newest, seed), set[tuple[bool, bool]]()
    for at in range(150):
        story.dice.choices((story.set, story.delete), (4, 1))[0]()
        try:
            story.compare()
        except AssertionError as failure:
            failure.add_note(f"seed {seed}, step {at}")
            raise
        seen |= {(story.is_plain(scope), scope in story.slow) for scope in story.tree.limits}
    assert len(seen) == 4, "plain and not, with and without a deletion below"
