"""check: the answer that allocate would give, and when it will change."""

from __future__ import annotations

import random

import pytest

from tests.scripts.ledger import MINUTE, T0, Ledger, contract

SEEDS = range(200)


def _random_state(ledger: Ledger, seed: int) -> random.Random:
    """A pool with capacities, constraints, leases, pinned and due ones, drawn from the seed."""
    chooser = random.Random(seed)
    names = ["cpu", "memory", "gpu"][: chooser.randint(1, 3)]
    whole = chooser.choice(["-", "cpu", names[-1]])
    ledger.create({name: chooser.choice([0, 1000, 3000, 5000]) for name in names}, whole=whole)
    for n in range(chooser.randint(0, 8)):
        want = {name: chooser.choice([1, 500, 1000, 2000]) for name in names if chooser.random() < 0.7} or {
            names[0]: 1000
        }
        ledger.allocate(ledger.want(f"a{n}", want, ttl=chooser.choice([0, 1000, 2000, MINUTE])))
    ledger.now += chooser.choice([0, 999, 1000, 2000])
    return chooser


@pytest.mark.parametrize("part", range(8))
def test_check_and_allocate_give_the_same_verdict(newest: Ledger, part: int) -> None:
    """On 200 random states: the same word, the same code, the same numbers.  They share the code that decides."""
    for seed in SEEDS[part::8]:
        newest.client.flushall()
        chooser = _random_state(newest, seed)
        want = {
            name: chooser.choice([1, 500, 1000, 3000, 6000])
            for name in ("cpu", "memory", "gpu")
            if chooser.random() < 0.6
        } or {"cpu": 1000}
        checked = newest.check(want)
        granted = newest.allocate(newest.want("new", want))[0]
        if granted[0] == "granted":
            assert checked == ["fits"], f"seed {seed}"
        else:
            assert [checked[0], checked[1], *checked[6:]] == granted, f"seed {seed}"


def test_check_changes_nothing(pool: Ledger) -> None:
    """Not even what is past its deadline, which it counts as free."""
    pool.grant("due", {"cpu": 10})
    pool.now += MINUTE
    before = pool.dump()
    assert pool.check({"cpu": 10}) == ["fits"]
    pool.assert_untouched(before)


def test_a_denial_without_explanation_foresees_nothing(pool: Ledger) -> None:
    """0 stands for no instant."""
    pool.grant("a", {"cpu": 10})
    assert pool.check({"cpu": 1}) == ["denied", "capacity_exceeded", 0, [], 0, 0, "", "cpu", 1, 10, 10]


def test_an_explanation_names_the_deadline_by_which_enough_comes_back(pool: Ledger) -> None:
    """At the latest: if nobody renews and nobody else comes."""
    for n, ttl in enumerate((3000, 1000, 2000)):
        pool.grant(f"a{n}", {"cpu": 3}, ttl=ttl)
    assert pool.check({"cpu": 2}, explain=1) == [
        "denied",
        "capacity_exceeded",
        T0 + 1000,
        [],
        1,
        T0 + 1000,
        "",
        "cpu",
        2,
        9,
        10,
    ]
    assert pool.check({"cpu": 4}, explain=1)[2] == T0 + 1000
    assert pool.check({"cpu": 5}, explain=1)[2] == T0 + 2000
    assert pool.check({"cpu": 10}, explain=1)[2] == T0 + 3000


def test_what_is_pinned_is_foreseen_by_nobody(pool: Ledger) -> None:
    """No deadline makes it fit."""
    pool.grant("pinned", {"cpu": 5}, ttl=0)
    pool.grant("a", {"cpu": 5})
    assert pool.check({"cpu": 6}, explain=1)[2] == 0
    assert pool.check({"cpu": 5}, explain=1)[2] == T0 + MINUTE


@pytest.mark.parametrize("want", [{"disk": 1}, {"cpu": 11}])
def test_what_can_never_fit_has_no_instant(pool: Ledger, want: dict[str, int]) -> None:
    """However long one waits."""
    pool.grant("a", {"cpu": 5})
    assert pool.check(want, explain=1)[2] == 0


def test_an_explanation_looks_at_256_deadlines_and_no_further(newest: Ledger) -> None:
    """The bound of a reading."""
    newest.create({"cpu": 257})
    for start in (0, 100, 200):
        newest.allocate(*(newest.want(f"a{n}", {"cpu": 1}, ttl=1000 + n) for n in range(start, min(start + 100, 257))))
    assert newest.check({"cpu": 256}, explain=1)[2] == T0 + 1255
    assert newest.check({"cpu": 257}, explain=1)[2] == 0


@pytest.mark.parametrize(("due", "word"), [(256, "fits"), (257, "reclaim_first")])
def test_more_due_than_one_call_looks_at_is_behind(newest: Ledger, due: int, word: str) -> None:
    """Never a denial that is the artefact of a bound."""
    newest.create({"cpu": due})
    for start in (0, 100, 200):
        newest.allocate(*(newest.want(f"a{n}", {"cpu": 1}) for n in range(start, min(start + 100, due))))
    newest.now += MINUTE
    assert newest.check({"cpu": due}) == [word]


@pytest.mark.parametrize(
    ("ttl", "word"), [("", "fits"), (MINUTE, "fits"), (MINUTE + 1, "ttl_too_long"), (0, "ttl_too_long")]
)
def test_a_time_to_live_that_would_be_refused_is_told(pool: Ledger, ttl: int | str, word: str) -> None:
    """Where it is given; the word of `allocate`, before any other."""
    pool.configure("change", promises=f"max_ttl_ms={MINUTE}")
    reply = pool.check({"cpu": 1}, ttl_ms=ttl)
    assert reply[0] == word
    if ttl != "":
        granted = pool.allocate(pool.want("a", {"cpu": 1}, ttl=int(ttl)))[0]
        assert (granted == reply) is (word == "ttl_too_long")


def test_a_malformed_time_to_live_is_refused(pool: Ledger) -> None:
    """It is a text for the sake of the empty one only."""
    for malformed in ("x", "-1", "1.5", "nan"):
        with contract():
            pool.check({"cpu": 1}, ttl_ms=malformed)
