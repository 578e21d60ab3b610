"""Quotas: what a scope may take, what is kept for it, and what a limit refuses."""

from __future__ import annotations

import random
from typing import Any, Final

import pytest

from tests.scripts.ledger import Ledger, fields
from tests.scripts.quota_tree import Limit, Tree

NONE: Final = "-"


@pytest.fixture
def tree(ledger: Ledger) -> Ledger:
    """A pool of 10 CPUs; team-a has 6, of which it lends 2, alice of team-a at most 3; team-b has 4."""
    assert ledger.create({"cpu": 10, "memory": 100})[0] == "created"
    ledger.set_quota("team-a", {"cpu": (6, NONE, 2)})
    ledger.set_quota("team-a/alice", {"cpu": (3, 0, NONE)})
    ledger.set_quota("team-b", {"cpu": (4, 1, NONE)})
    return ledger


def quota(ledger: Ledger, scope: str) -> dict[str, str]:
    """What is stored of a scope."""
    found: dict[str, str] = ledger.client.hgetall(f"{ledger.keys.base}quota:{scope}")
    return found


def want(ledger: Ledger, identity: str, cpu: int, scope: str = "", **options: Any) -> Any:
    """One request, its reply."""
    return ledger.allocate(ledger.want(identity, {"cpu": cpu}, scope=scope, **options))[0]


def test_a_scope_and_those_above_it_are_charged_together(tree: Ledger) -> None:
    """And given back together."""
    assert want(tree, "a", 2, "team-a/alice")[0] == "granted"
    assert [quota(tree, one)["cpu.allocated"] for one in ("team-a/alice", "team-a")] == ["2", "2"]
    assert quota(tree, "team-a/alice")["allocations.allocated"] == "1000"
    assert tree.record("a")["account.1"] == "quota:team-a/alice"
    tree.release("a")
    assert [quota(tree, one)["cpu.allocated"] for one in ("team-a/alice", "team-a")] == ["0", "0"]
    assert quota(tree, "team-a")["allocations.allocated"] == "0"


def test_what_is_guaranteed_is_kept_from_others(tree: Ledger) -> None:
    """Team-a lends 2 of its 6: 4 are kept, and come out of what is kept as it takes them."""
    assert tree.account["cpu.kept"] == "4"
    reply = want(tree, "free", 7)
    assert reply == ["denied", "capacity_exceeded", "", "cpu", 7, 0, 10, [4]]
    assert want(tree, "free", 6)[0] == "granted"
    assert want(tree, "b", 1, "team-b")[:3] == ["denied", "capacity_exceeded", ""]
    assert want(tree, "a", 3, "team-a/alice")[0] == "granted"
    assert tree.account["cpu.kept"] == "1"


def test_a_limit_names_the_level_that_is_short(tree: Ledger) -> None:
    """The innermost one whose limit is met."""
    assert want(tree, "a", 4, "team-a/alice") == ["denied", "never_fits", "quota:team-a/alice", "cpu", 4, 0, 3]
    assert want(tree, "a", 2, "team-a/alice")[0] == "granted"
    assert want(tree, "b", 2, "team-a/alice") == ["denied", "capacity_exceeded", "quota:team-a/alice", "cpu", 2, 2, 3]
    assert want(tree, "c", 6, "team-b") == ["denied", "never_fits", "quota:team-b", "cpu", 6, 0, 5]


def test_allocations_are_counted_as_a_resource(tree: Ledger) -> None:
    """Two labs for alice, whatever they take."""
    tree.set_quota("team-a/alice", {"allocations": (2000, 0, NONE)})
    for name in ("a", "b"):
        assert want(tree, name, 1, "team-a/alice")[0] == "granted"
    reply = want(tree, "c", 1, "team-a/alice")
    assert reply == ["denied", "capacity_exceeded", "quota:team-a/alice", "allocations", 1000, 2000, 2000]
    tree.release("a")
    assert want(tree, "c", 1, "team-a/alice")[0] == "granted"


def test_an_unknown_scope_is_refused(tree: Ledger) -> None:
    """Also one whose parent is known."""
    assert want(tree, "a", 1, "team-a/bob") == ["unknown_scope", "team-a/bob"]
    assert tree.check({"cpu": 1}, scope="nobody") == ["unknown_scope", "nobody"]
    assert tree.allocated() == 0


def test_a_scope_that_the_live_record_has_not_is_a_conflict(tree: Ledger) -> None:
    """Text for text the same otherwise; nothing would be charged to that scope."""
    want(tree, "a", 1)
    assert want(tree, "a", 1, "team-b")[0] == "conflict"
    assert want(tree, "a", 1, "nobody")[0] == "conflict"
    assert want(tree, "a", 1)[0] == "existing"


def test_a_repeat_with_another_scope_is_a_conflict(tree: Ledger) -> None:
    """One that names none is not."""
    want(tree, "a", 1, "team-a/alice")
    assert want(tree, "a", 1, "team-b")[0] == "conflict"
    assert want(tree, "a", 1, "team-a/alice")[0] == "existing"
    assert want(tree, "a", 1)[0] == "existing"


def test_a_default_scope_is_charged_where_none_is_named(tree: Ledger) -> None:
    """And a pool may require one."""
    tree.configure("change", promises="default_scope=team-b")
    want(tree, "a", 1)
    assert tree.record("a")["account.1"] == "quota:team-b"
    tree.configure("change", promises="default_scope= requires_scope=1")
    assert want(tree, "b", 1) == ["scope_required"]
    assert tree.check({"cpu": 1}) == ["scope_required"]
    assert want(tree, "b", 1, "team-b")[0] == "granted"


@pytest.mark.overcommits
def test_lowering_ends_nothing_and_is_told(tree: Ledger) -> None:
    """The amount above the limit; a dry run says the same and changes nothing."""
    want(tree, "a", 3, "team-a/alice")
    before = tree.dump()
    reply = tree.set_quota("team-a/alice", {"cpu": (1, 0, NONE)}, dry_run=1)
    assert reply[2] == ["quota:team-a/alice", "cpu", 2]
    assert int(fields(reply[-1])["cpu.nominal"]) == 1
    tree.assert_untouched(before)
    assert tree.set_quota("team-a/alice", {"cpu": (1, 0, NONE)})[2] == ["quota:team-a/alice", "cpu", 2]
    assert tree.resize("a", {"cpu": 2})[0] == "resized"


def test_shares_and_guarantees_stay_within_those_above(tree: Ledger) -> None:
    """Each refusal names the resource, the level and the numbers; nothing changes."""
    before = tree.dump()
    assert tree.set_quota("team-a/bob", {"cpu": (7, 0, NONE)}) == ["above_parent", "cpu", "quota:team-a", 6]
    assert tree.set_quota("team-c", {"cpu": (11, 0, NONE)}) == ["above_parent", "cpu", "", 10]
    assert tree.set_quota("team-c", {"cpu": (7, NONE, 0)}) == ["over_guaranteed", "cpu", "", 11, 10]
    assert tree.set_quota("team-c", {"gpu": (1, NONE, NONE)}) == ["not_counted", "gpu"]
    assert tree.set_quota("team-a", {"cpu": (5, NONE, NONE)}, generation=9)[0] == "generation"
    tree.assert_untouched(before)


def test_a_quota_is_deleted_once_nothing_is_charged_to_it(tree: Ledger) -> None:
    """Nor is below it; what was kept for it is free."""
    want(tree, "a", 1, "team-a/alice")
    assert tree.delete_quota("team-a") == ["has_children", "team-a/alice"]
    assert tree.delete_quota("team-a/alice") == ["in_use", "allocations", 1000]
    tree.release("a")
    assert tree.delete_quota("team-a/alice") == ["deleted"]
    assert tree.delete_quota("team-a") == ["deleted"]
    assert tree.delete_quota("team-a") == ["absent"]
    assert tree.account["cpu.kept"] == "0"
    assert want(tree, "free", 10)[0] == "granted"


def test_a_move_charges_the_other_scope_or_nothing(tree: Ledger) -> None:
    """The pool's counters stay."""
    want(tree, "a", 3, "team-a/alice")
    assert tree.move("a", "team-b")[0] == "moved"
    assert (quota(tree, "team-b")["cpu.allocated"], quota(tree, "team-a")["cpu.allocated"]) == ("3", "0")
    assert "account.2" not in tree.record("a")
    want(tree, "b", 2, "team-b")
    want(tree, "c", 2, "team-a/alice")
    assert tree.move("c", "team-b")[:3] == ["denied", "capacity_exceeded", "quota:team-b"]
    assert tree.move("c", "")[-1] == [4], "what team-a does not use again is kept for it"
    tree.release("b")
    assert tree.move("c", "")[0] == "moved"
    assert "account.1" not in tree.record("c")
    assert tree.move("c", "nobody") == ["unknown_scope", "nobody"]
    assert tree.move("nothing", "team-b") == ["unknown"]


def test_the_list_is_in_order_and_in_pages(tree: Ledger) -> None:
    """A scope comes after those above it; a part of the tree begins with these."""
    reply = tree.list_quotas()
    assert reply[5::2] == ["team-a", "team-a/alice", "team-b"]
    assert reply[3] == ""
    first = tree.list_quotas(count=2)
    assert (first[5::2], first[3]) == (["team-a", "team-a/alice"], "team-a/alice")
    assert tree.list_quotas(cursor=first[3], count=2)[5::2] == ["team-b"]
    assert tree.list_quotas(scope="team-a/alice")[5::2] == ["team-a", "team-a/alice"]


def test_what_is_lost_of_a_scope_comes_back_with_its_holders(tree: Ledger) -> None:
    """An adopted allocation makes its scope again, without limits."""
    tree.adopt(tree.adopt_line("x", {"cpu": 2}, fence=tree.revision + 5, scope="team-z/zoe"), reason="lost")
    assert quota(tree, "team-z/zoe")["cpu.allocated"] == "2"
    assert quota(tree, "team-z")["allocations.allocated"] == "1000"


SCOPES: Final = ("a", "a/x", "a/y", "a/x/deep", "b", "b/z")


class Story:
    """Random steps, to the scripts and to the tree."""

    def __init__(self, ledger: Ledger, seed: int) -> None:
        self.ledger, self.dice = ledger, random.Random(seed)
        self.tree = Tree({"cpu": 40, "memory": 400})
        self.drawn = 0
        ledger.create(self.tree.capacity)

    def set_quota(self) -> None:
        dice, scope = self.dice, self.dice.choice(SCOPES)
        resource = dice.choice(("cpu", "memory", "allocations"))
        most = {"cpu": 20, "memory": 200, "allocations": 6000}[resource]
        # The deeper, the less: else hardly any guarantee would fit below another.
        least = most // 2 if "/" not in scope else 0
        nominal = dice.choice((None, *[dice.randint(least, most // (scope.count("/") + 1)) for _ in range(3)]))
        limit = Limit(
            nominal,
            dice.choice((None, 0, dice.randint(0, 2 * most // 5))),
            dice.choice((None, 0, dice.randint(0, nominal or most))),
        )
        words = tuple(NONE if one is None else one for one in (limit.nominal, limit.borrowing, limit.lending))
        reply = self.ledger.set_quota(scope, {resource: words})
        if reply[0] == "quota":
            parts = scope.split("/")
            for depth in range(1, len(parts) + 1):
                self.tree.limits.setdefault("/".join(parts[:depth]), {})
            self.tree.limits[scope][resource] = limit

    def allocate(self) -> None:
        self.drawn += 1
        scope = self.dice.choice(("", *self.tree.limits))
        amounts = {"cpu": self.dice.randint(1, 6), "memory": self.dice.randint(1, 60)}
        fits, key = self.tree.fits(scope, amounts), f"i{self.drawn}"
        assert (self.ledger.check(amounts, scope=scope)[0] == "fits") is fits
        reply = self.ledger.allocate(self.ledger.want(key, amounts, scope=scope, ttl=0))[0]
        assert (reply[0] == "granted") is fits, (scope, amounts, reply)
        if fits:
            self.tree.live[key] = (scope, amounts)

    def pick(self) -> str:
        return self.dice.choice(sorted(self.tree.live))

    def release(self) -> None:
        key = self.pick()
        assert self.ledger.release(key)[0][0] == "released"
        del self.tree.live[key]

    def resize(self) -> None:
        key, cpu = self.pick(), self.dice.randint(1, 6)
        scope, amounts = self.tree.live[key]
        growth = cpu - amounts["cpu"]
        fits = growth <= 0 or growth <= self.tree.available(scope, "cpu")
        assert (self.ledger.resize(key, {"cpu": cpu})[0] == "resized") is fits
        if fits:
            self.tree.live[key] = (scope, {**amounts, "cpu": cpu})

    def move(self) -> None:
        key, other = self.pick(), self.dice.choice(("", *self.tree.limits))
        was = self.tree.live.pop(key)
        fits = was[0] == other or self.tree.fits(other, was[1])
        assert (self.ledger.move(key, other)[0] == "moved") is fits
        self.tree.live[key] = (other if fits else was[0], was[1])

    def step(self) -> None:
        verbs = [self.set_quota, self.allocate, *([self.release, self.resize, self.move] if self.tree.live else [])]
        self.dice.choices(verbs, (2, 6, 3, 2, 2)[: len(verbs)])[0]()

    def keeps(self, scope: str) -> bool:
        """Whether something is kept at this level for those below it."""
        return any(self.tree.kept(scope, resource) for resource in self.tree.capacity)

    def compare(self) -> None:
        for resource in self.tree.capacity:
            kept = int(self.ledger.account.get(f"{resource}.kept", 0))
            assert kept == self.tree.kept("", resource), resource
            assert kept <= self.tree.capacity[resource], "more is guaranteed than there is"
        for scope in self.tree.limits:
            stored = quota(self.ledger, scope)
            for resource in ("cpu", "memory", "allocations"):
                assert int(stored.get(f"{resource}.allocated", 0)) == self.tree.allocated(scope, resource), scope
                assert int(stored.get(f"{resource}.kept", 0)) == self.tree.kept(scope, resource), (scope, resource)


def _tell(ledger: Ledger, seed: int, steps: int) -> set[str]:
    """The scopes that kept something for others below them; "" is the pool."""
    story, kept = Story(ledger, seed), set[str]()
    for at in range(steps):
        try:
            story.step()
            story.compare()
            kept |= {scope for scope in ("", "a") if story.keeps(scope)}
        except AssertionError as failure:
            failure.add_note(f"seed {seed}, step {at}")
            raise
    return kept


@pytest.mark.parametrize("seed", range(4))
def test_a_random_tree_is_the_recursive_sum(newest: Ledger, seed: int) -> None:
    """Each answer and each counter, after each step."""
    assert {"", "a"} <= _tell(newest, seed, 250), "nothing was guaranteed at two levels: the story has shown little"


def test_a_shorter_story_is_the_same_on_every_engine(ledger: Ledger) -> None:
    """The engines differ in their Lua and in their numbers."""
    _tell(ledger, 99, 60)
