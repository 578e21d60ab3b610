"""A grant from the line that its caller has not asked for yet: others renew, share, adopt or undo it meanwhile."""

from __future__ import annotations

import pytest

from allocator import settings
from tests.scripts.ledger import MINUTE, T0, Ledger, Line, fields
from tests.scripts.test_recovery import GRACE, mark
from tests.scripts.waiting import ask, wait

CLAIM = settings.GRANT_CLAIM_MS
SECOND = 1000


def granted(pool: Ledger, ttl: int) -> Line:
    """`a` is granted from the line, and its caller does not know of it: what it sent."""
    pool.grant("full", {"cpu": 10})
    one = wait(pool, "a", {"cpu": 10}, ttl=ttl)
    assert pool.release("full")[0][0] == "released"
    assert pool.record("a")["unclaimed_ttl_ms"] == str(ttl)
    return one.line


def deadline(pool: Ledger) -> int:
    return int(pool.record("a")["deadline_ms"])


def lose(pool: Ledger) -> None:
    """The pool learns of a fence that it does not know, and recovers."""
    assert pool.allocate(pool.want("x", {"cpu": 1}), mark=mark(pool))[0][0] == "recovering"


@pytest.fixture
def guarded(ledger: Ledger) -> Ledger:
    """A pool of cpu 10 with a recovery grace, on each store."""
    assert ledger.create({"cpu": 10}, promises=f"recovery_grace_ms={GRACE}")[0] == "created"
    return ledger


@pytest.mark.parametrize("after", [0, SECOND])
@pytest.mark.parametrize("ttl", [0, MINUTE])
def test_whoever_renewed_it_by_its_id_keeps_what_it_was_told(pool: Ledger, ttl: int, after: int) -> None:
    """Its caller asked for less: its room would be granted to others while the reply to the renewal still counts."""
    line = granted(pool, 4 * SECOND)
    pool.now += after
    told = pool.renew(pool.renew_line("a", ttl=ttl))[0][2]
    assert told >= T0 + CLAIM
    pool.now += SECOND
    reply = ask(pool, line.again())
    assert (reply[0], fields(reply[1:])["deadline_ms"]) == ("replayed", told)
    assert pool.record("a")["ttl_ms"] == str(4 * SECOND)


def test_a_renewal_for_its_own_time_is_for_what_its_caller_asked_for(pool: Ledger) -> None:
    """Not for the time to claim it, which is of no concern to a holder."""
    granted(pool, 10 * MINUTE)
    assert pool.renew("a")[0][2] == T0 + 10 * MINUTE


def test_a_claim_that_was_lost_with_data_is_adopted(guarded: Ledger) -> None:
    """Its holder was told of it, and asks no more with the call that waited: its time to live is the holder's."""
    granted(guarded, MINUTE)
    fence = int(guarded.record("a")["fence"])
    lose(guarded)
    guarded.now += SECOND
    reply = guarded.adopt(guarded.adopt_line("a", {"cpu": 10}, fence=fence, ttl=MINUTE))[0]
    assert (reply[0], fields(reply[1:])["deadline_ms"]) == ("existing", guarded.now + MINUTE)
    assert "unclaimed_ttl_ms" not in guarded.record("a")
    assert guarded.record("a")["ttls"].split()[0] == str(MINUTE)


def test_a_claim_without_an_end_that_was_lost_is_adopted(guarded: Ledger) -> None:
    """Who has it pinned never renews it, so it must not lapse with the time to claim it."""
    granted(guarded, 0)
    fence = int(guarded.record("a")["fence"])
    lose(guarded)
    assert guarded.adopt(guarded.adopt_line("a", {"cpu": 10}, fence=fence, ttl=0))[0][0] == "existing"
    assert (list(guarded.index("pinned")), guarded.index("deadlines")) == (["a"], {})
    assert "unclaimed_ttl_ms" not in guarded.record("a")


def test_one_that_is_on_its_way_out_keeps_its_end_when_it_is_adopted(guarded: Ledger) -> None:
    """As any other."""
    granted(guarded, 0)
    guarded.begin_release(guarded.begin_release_line("a", 3 * SECOND))
    fence = int(guarded.record("a")["fence"])
    lose(guarded)
    assert guarded.adopt(guarded.adopt_line("a", {"cpu": 10}, fence=fence, ttl=0))[0][0] == "existing"
    assert deadline(guarded) == T0 + 3 * SECOND


@pytest.mark.parametrize("ttl", [0, 10 * MINUTE])
def test_its_caller_has_it_though_it_was_renewed_in_a_recovery(guarded: Ledger, ttl: int) -> None:
    """`*` stands before the call that waited, whose time to live begins all the same."""
    line = granted(guarded, ttl)
    lose(guarded)
    assert guarded.renew("a")[0][0] == "renewed"
    assert guarded.record("a")["call"] == f"* {line.call}"
    assert ask(guarded, line.again())[0] == "existing"
    record = guarded.record("a")
    assert "unclaimed_ttl_ms" not in record
    assert record.get("deadline_ms") == (str(T0 + ttl) if ttl else None)


def test_an_undone_wait_that_was_renewed_in_a_recovery_is_claimed_by_nobody(guarded: Ledger) -> None:
    """Who renewed it has it."""
    line = granted(guarded, MINUTE)
    lose(guarded)
    guarded.renew("a")
    assert guarded.undo((line.call, "a")) == [["left"]]
    assert "unclaimed_ttl_ms" not in guarded.record("a")


def test_a_wait_that_is_forgotten_for_younger_calls_is_claimed_by_nobody(pool: Ledger) -> None:
    """Else nobody could ever preempt it."""
    line = granted(pool, MINUTE)
    for _ in range(3):
        assert ask(pool, pool.want("a", {"cpu": 10}, ttl=5 * MINUTE))[0] == "existing"
    assert line.call not in pool.record("a")["call"]
    assert "unclaimed_ttl_ms" not in pool.record("a")
    assert ask(pool, line.again())[0] == "ended"
