"""renew: extends, never shortens unless asked, and tells a stale holder."""

from __future__ import annotations

import pytest

from tests.scripts.ledger import MINUTE, T0, Ledger


def test_a_lease_is_extended_by_its_own_ttl(pool: Ledger) -> None:
    """`ttl_ms` 0 is what the record says; record and index move together, and nothing else does."""
    fence = pool.grant("a", {"cpu": 1})
    revision, kinds = pool.revision, pool.kinds
    pool.now += 500
    assert pool.renew("a") == [["renewed", fence, T0 + 500 + MINUTE]]
    assert pool.index("deadlines") == {"a": T0 + 500 + MINUTE}
    assert pool.record("a")["deadline_ms"] == str(T0 + 500 + MINUTE)
    assert (pool.revision, pool.kinds) == (revision, kinds), "a renewal is no change of what is taken"


@pytest.mark.parametrize(("ttl", "deadline"), [(MINUTE - 1, MINUTE), (MINUTE, MINUTE), (MINUTE + 1, MINUTE + 1)])
def test_a_renewal_never_shortens(pool: Ledger, ttl: int, deadline: int) -> None:
    """The boundary: the deadline stays where a shorter one is asked for."""
    fence = pool.grant("a", {"cpu": 1})
    assert pool.renew(pool.renew_line("a", ttl=ttl)) == [["renewed", fence, T0 + deadline]]
    assert pool.index("deadlines") == {"a": T0 + deadline}


def test_a_renewal_keeps_the_record_s_ttl(pool: Ledger) -> None:
    """One long renewal does not make the next ones long: `ttl_ms` is what was granted."""
    pool.grant("a", {"cpu": 1})
    pool.renew(pool.renew_line("a", ttl=5 * MINUTE))
    assert pool.record("a")["ttl_ms"] == str(MINUTE)


def test_a_lease_may_be_shortened_on_demand(pool: Ledger) -> None:
    """With an event, a new revision, and the call remembered."""
    fence = pool.grant("a", {"cpu": 1})
    revision = pool.revision
    line = pool.renew_line("a", ttl=1000, shorten=1)
    assert pool.renew(line) == [["renewed", fence, T0 + 1000]]
    assert pool.index("deadlines") == {"a": T0 + 1000}
    assert pool.events[-1]["kind"] == "renewed"
    assert pool.events[-1]["reason"] == "shortened"
    assert pool.revision == revision + 1
    assert line.call in pool.index("ended")


def test_a_late_copy_does_not_shorten_again(pool: Ledger) -> None:
    """The holder has renewed since; the copy is answered with how things stand."""
    fence = pool.grant("a", {"cpu": 1})
    line = pool.renew_line("a", ttl=1000, shorten=1)
    pool.renew(line)
    pool.renew(pool.renew_line("a", ttl=5 * MINUTE))
    assert pool.renew(line) == [["renewed", fence, T0 + 5 * MINUTE]]
    assert pool.index("deadlines") == {"a": T0 + 5 * MINUTE}


def test_a_pinned_allocation_stays_pinned(pool: Ledger) -> None:
    """0 stands for no deadline; all that is written is when its holder was told that it is there."""
    fence = pool.grant("a", {"cpu": 1}, ttl=0)
    before = pool.record("a")
    pool.now += 5
    assert pool.renew("a") == [["renewed", fence, 0]]
    assert pool.renew(pool.renew_line("a", ttl=1000)) == [["renewed", fence, 0]]
    assert pool.record("a") == {**before, "asserted_ms": str(T0 + 5)}
    assert (pool.index("pinned"), pool.index("deadlines")) == ({"a": T0}, {})


def test_a_pinned_allocation_becomes_a_lease_where_shortening_was_asked_for(pool: Ledger) -> None:
    """Any deadline is shorter than none."""
    fence = pool.grant("a", {"cpu": 1}, ttl=0)
    assert pool.renew(pool.renew_line("a", ttl=1000, shorten=1)) == [["renewed", fence, T0 + 1000]]
    assert (pool.index("deadlines"), pool.index("pinned")) == ({"a": T0 + 1000}, {})
    assert pool.record("a")["ttl_ms"] == "1000"


def test_a_lease_past_its_deadline_is_renewed_while_nobody_took_it(pool: Ledger) -> None:
    """Its room had been given to nobody."""
    fence = pool.grant("a", {"cpu": 1})
    pool.now += 5 * MINUTE
    assert pool.renew("a") == [["renewed", fence, T0 + 6 * MINUTE]]
    assert pool.reclaim() == ["reclaimed", 0]


def test_a_lease_that_was_reclaimed_is_unknown(pool: Ledger) -> None:
    """A renewal grants nothing."""
    pool.grant("a", {"cpu": 1})
    pool.now += MINUTE
    pool.reclaim()
    before = pool.dump()
    assert pool.renew("a", "never") == [["unknown"], ["unknown"]]
    pool.assert_untouched(before)


def test_a_stale_holder_is_told_the_fence_of_the_newer_grant(pool: Ledger) -> None:
    """Its renewal is a no-op; the right fence, or none, renews."""
    old = pool.grant("a", {"cpu": 1})
    pool.release("a")
    new = pool.grant("a", {"cpu": 1})
    pool.now += 500
    before = pool.dump()
    assert pool.renew(pool.renew_line("a", fence=old)) == [["fenced", new]]
    pool.assert_untouched(before)
    assert pool.renew(pool.renew_line("a", fence=new))[0][0] == "renewed"


def test_the_items_of_a_batch_are_decided_each_on_its_own_and_in_order(pool: Ledger) -> None:
    """The same id twice: the second sees what the first did."""
    fence = pool.grant("a", {"cpu": 1})
    lines = [
        pool.renew_line("a", ttl=2 * MINUTE), pool.renew_line("x"), pool.renew_line("a", ttl=1000, shorten=1),
        pool.renew_line("a", ttl=3 * MINUTE),
    ]  # fmt: skip
    assert pool.renew(*lines) == [
        ["renewed", fence, T0 + 2 * MINUTE],
        ["unknown"],
        ["renewed", fence, T0 + 1000],
        ["renewed", fence, T0 + 3 * MINUTE],
    ]
    assert pool.index("deadlines") == {"a": T0 + 3 * MINUTE}


def test_a_pool_that_is_being_repaired_still_keeps_its_leases(pool: Ledger) -> None:
    """`offline` holds back grants; holders must not lose what they have."""
    pool.grant("a", {"cpu": 1})
    pool.configure("offline")
    assert pool.renew("a")[0][0] == "renewed"
    assert pool.allocate(pool.want("b", {"cpu": 1})) == [["offline"]]
    assert pool.release("a")[0][0] == "released"
