"""begin_release and reconcile: allocations on their way out, and those that nobody has in truth."""

from __future__ import annotations

import pytest

from tests.scripts.ledger import MINUTE, T0, Ledger, Line, fields


def test_a_release_that_has_begun_keeps_the_charge_until_its_grace_is_over(pool: Ledger) -> None:
    """The workload is still shutting down."""
    pool.grant("a", {"cpu": 8}, ttl=10 * MINUTE)
    reply = pool.begin_release(pool.begin_release_line("a", 5000))[0]
    assert reply[0] == "releasing"
    assert fields(reply[1:])["releasing_ms"] == T0
    assert (pool.allocated(), pool.index("deadlines")) == (8, {"a": T0 + 5000})
    assert pool.kinds[-1] == "releasing"
    pool.now += 4999
    assert pool.allocate(pool.want("b", {"cpu": 8}))[0][0] == "denied"
    pool.now += 1
    assert pool.allocate(pool.want("b", {"cpu": 8}))[0][0] == "granted"


def test_it_ends_at_once_by_a_release(pool: Ledger) -> None:
    """That is what the grace is for."""
    pool.grant("a", {"cpu": 8})
    pool.begin_release(pool.begin_release_line("a", 5000))
    assert pool.release("a")[0][0] == "released"
    assert pool.allocated() == 0


def test_nobody_can_move_its_deadline(pool: Ledger) -> None:
    """Not a renewal, not the same request again, not another beginning, not a copy of this one."""
    pool.grant("a", {"cpu": 8})
    line = pool.begin_release_line("a", 5000)
    pool.begin_release(line)
    pool.now += 1000
    assert pool.renew("a")[0] == ["releasing"]
    assert pool.allocate(pool.want("a", {"cpu": 8}))[0][0] == "conflict"
    assert pool.begin_release(pool.begin_release_line("a", MINUTE))[0][0] == "releasing"
    assert pool.begin_release(line.again())[0][0] == "releasing"
    assert pool.index("deadlines") == {"a": T0 + 5000}


def test_a_pinned_one_gets_a_deadline(pool: Ledger) -> None:
    """It moves to the other index."""
    pool.grant("a", {"cpu": 1}, ttl=0)
    pool.begin_release(pool.begin_release_line("a", 5000))
    assert (pool.index("pinned"), pool.index("deadlines")) == ({}, {"a": T0 + 5000})


def test_another_grants_release_is_not_begun(pool: Ledger) -> None:
    """Fenced; and what is not there is unknown, also for a late copy once the id is granted anew."""
    fence = pool.grant("a", {"cpu": 1})
    before = pool.dump()
    assert pool.begin_release(pool.begin_release_line("a", 5000, fence=fence + 1))[0] == ["fenced", fence]
    line = pool.begin_release_line("b", 5000, repeated=1)
    pool.assert_untouched(before)
    assert pool.begin_release(line)[0] == ["unknown"]
    pool.grant("b", {"cpu": 1})
    assert pool.begin_release(line)[0] == ["unknown"]


@pytest.mark.parametrize("verb", ["begin_release", "renew"])
def test_who_was_told_that_it_is_releasing_does_nothing_to_a_later_grant(pool: Ledger, verb: str) -> None:
    """A copy of a repeated call travels on: it would end, or shorten, what another holder was told."""
    pool.grant("a", {"cpu": 8})
    pool.begin_release(pool.begin_release_line("a", 5000))
    if verb == "renew":
        line = pool.renew_line("a", ttl=1000, shorten=1)
        assert [pool.renew(line.again())[0] for _ in range(2)] == [["releasing"], ["releasing"]]
    else:
        line = pool.begin_release_line("a", 1000)
        assert [pool.begin_release(line.again())[0][0] for _ in range(2)] == ["releasing", "releasing"]
    pool.release("a")
    pool.grant("a", {"cpu": 8})
    before = pool.record("a")
    pool.run(verb, line)
    assert pool.record("a") == before


def test_an_id_is_clean_when_it_is_granted_anew(pool: Ledger) -> None:
    """No mark of the old one stays in the record of the new one."""
    pool.grant("a", {"cpu": 8})
    pool.begin_release(pool.begin_release_line("a", 5000))
    pool.now += MINUTE
    pool.grant("a", {"cpu": 8})
    assert "releasing_ms" not in pool.record("a")


@pytest.mark.parametrize(
    ("owner", "word"), [("team-a/x", "released"), ("team-a/*", "released"), ("team-a/", "kept"), ("team-b/*", "kept")]
)
def test_a_reconcile_releases_what_is_the_owners(pool: Ledger, owner: str, word: str) -> None:
    """Exactly, or by what owners begin with."""
    fence = pool.grant("a", {"cpu": 1}, owner="team-a/x")
    pool.now += 1
    assert pool.reconcile(("a", fence), owner=owner, as_of=T0 + 1)[0][0] == word
    assert pool.allocated() == (0 if word == "released" else 1)


def test_a_reconcile_looks_again_at_fence_and_age(pool: Ledger) -> None:
    """The id may have been granted anew since the listing."""
    fence = pool.grant("a", {"cpu": 1})
    before = pool.dump()
    assert pool.reconcile(("a", fence + 1), owner="owner", as_of=T0)[0] == ["fenced", fence]
    assert pool.reconcile(("a", fence), owner="owner", as_of=T0)[0] == ["kept"], "granted in that very millisecond"
    assert pool.reconcile(("a", fence), owner="owner", as_of=T0 + 1)[0] == ["future"]
    assert pool.reconcile(("b", fence), owner="owner", as_of=T0)[0] == ["unknown"]
    pool.assert_untouched(before)


def test_a_reconcile_may_be_repeated(pool: Ledger) -> None:
    """It is answered as the first time."""
    line = Line("a", pool.new_call(), (pool.grant("a", {"cpu": 1}),))
    pool.now += 1
    first = pool.run("reconcile", line, owner="owner", as_of_ms=T0 + 1)[0]
    assert first[0] == "released"
    assert pool.run("reconcile", line.again(), owner="owner", as_of_ms=T0 + 1)[0] == first
    assert pool.events[-1]["reason"] == "reconciled"
