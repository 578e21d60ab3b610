"""Holders in a recovery: what they assert stays theirs, whatever else the store has forgotten."""

from __future__ import annotations

import pytest

from tests.scripts.ledger import MINUTE, T0, Ledger, fields
from tests.scripts.test_recovery import GRACE, GUARDED, is_recovering, mark


@pytest.fixture
def guarded(ledger: Ledger) -> Ledger:
    """A pool of cpu 10 with a recovery grace, on each store."""
    assert ledger.create({"cpu": 10}, promises=GUARDED)[0] == "created"
    return ledger


def test_an_earlier_grant_in_the_place_of_a_lease_means_that_the_later_one_was_lost(guarded: Ledger) -> None:
    """The id was released and granted anew, and the store went back to before that: the holder of today adopts."""
    earlier = guarded.grant("a", {"cpu": 4})
    later = earlier + 3
    renewal = guarded.renew_line("a", fence=later, epoch="epoch-1", known=T0 + MINUTE)
    assert guarded.renew(renewal)[0] == ["missing", GRACE]
    assert guarded.adopt(guarded.adopt_line("a", {"cpu": 6}, fence=later))[0][0] == "adopted"
    assert (guarded.record("a")["fence"], guarded.allocated()) == (str(later), 6)
    assert guarded.renew(renewal)[0][0] == "renewed"
    assert guarded.renew(guarded.renew_line("a", fence=earlier, epoch="epoch-1"))[0] == ["fenced", later]


@pytest.mark.parametrize(("epoch", "ended"), [("", False), ("epoch-1", True)])
def test_a_holder_whose_own_grant_has_ended_is_fenced_by_an_earlier_one(
    guarded: Ledger, epoch: str, ended: bool
) -> None:
    """Or who does not say of which pool it is."""
    earlier = guarded.grant("a", {"cpu": 4})
    later = earlier + 3
    if ended:
        guarded.client.zadd(guarded.keys["ended"], {f"fence:{later}": T0})
    renewal = guarded.renew_line("a", fence=later, epoch=epoch, known=T0 + MINUTE)
    assert guarded.renew(renewal)[0] == ["fenced", earlier]
    assert not is_recovering(guarded)


@pytest.mark.parametrize("way", ["renew", "adopt"])
@pytest.mark.parametrize("callers", [1, 2, 4])
def test_an_undo_does_not_end_what_another_holder_has_asserted_in_a_recovery(
    guarded: Ledger, way: str, callers: int
) -> None:
    """The store has lost that this holder's call was told of it, and knows only those of others."""
    lines = [guarded.want("x", {"cpu": 10}) for _ in range(callers)]
    replies = guarded.allocate(*lines)
    fence = replies[0][1]
    guarded.now += 1000
    assert guarded.allocate(guarded.want("y", {"cpu": 1}), mark=mark(guarded))[0][0] == "recovering"
    if way == "renew":
        told = guarded.renew(guarded.renew_line("x", fence=fence))[0][2]
    else:
        told = fields(guarded.adopt(guarded.adopt_line("x", {"cpu": 10}, fence=fence))[0][1:])["deadline_ms"]
    undone = guarded.undo(*((line.call, "x") for line in lines))
    assert ["undone"] not in undone
    assert guarded.index("deadlines") == {"x": told}
    guarded.now = told - 1
    assert guarded.allocate(guarded.want("y", {"cpu": 1}))[0][0] != "granted"


def test_a_copy_that_found_no_pool_shortens_nothing_once_it_is_undone(pool: Ledger) -> None:
    """The pool is made again and its holder adopts; its client undoes what was refused, for the script left no mark."""
    fence = pool.grant("x", {"cpu": 2})
    pool.client.flushall()
    line = pool.renew_line("x", fence=fence, ttl=1000, shorten=1, epoch="epoch-1")
    assert pool.renew(line.again())[0] == ["pool_lost"]
    pool.undo((line.call, "x"))
    pool.configure("recover", {"cpu": 10}, new_epoch="epoch-1", floor=fence, promises=GUARDED)
    assert pool.adopt(pool.adopt_line("x", {"cpu": 2}, fence=fence))[0][0] == "adopted"
    assert pool.renew(line)[0][0] == "renewed"
    assert pool.index("deadlines") == {"x": T0 + MINUTE}
