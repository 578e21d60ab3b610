"""Who made each change: `actor` of its event, where that is not the owner that the event names."""

from __future__ import annotations

import pytest

from tests.scripts.ledger import MINUTE, Ledger, contract

OPERATOR = "operator"


def _told(pool: Ledger) -> dict[str, tuple[str | None, str | None]]:
    """Of each kind the owner and the actor of its last event."""
    return {event["kind"]: (event.get("owner"), event.get("actor")) for event in pool.events}


def test_an_owner_who_changes_what_is_its_own_is_named_once(pool: Ledger) -> None:
    """The ordinary event has no more bytes than before there were actors."""
    pool.actor = "me"
    pool.allocate(pool.want("a", {"cpu": 1}, owner="me"))
    pool.release(pool.release_line("a"))
    told = _told(pool)
    assert (told["granted"], told["released"]) == (("me", None), ("me", None))


def test_an_unknown_actor_is_not_written(pool: Ledger) -> None:
    """A client that was given no owner says nothing of itself."""
    pool.allocate(pool.want("a", {"cpu": 1}, owner="me"))
    pool.release(pool.release_line("a"))
    assert not any("actor" in event for event in pool.events)


def test_somebody_else_is_named_beside_the_owner(pool: Ledger) -> None:
    """A grant on behalf of an owner, and a release of what another one has."""
    pool.actor = OPERATOR
    pool.allocate(pool.want("a", {"cpu": 1}, owner="me"))
    pool.release(pool.release_line("a"))
    told = _told(pool)
    assert (told["granted"], told["released"]) == (("me", OPERATOR), ("me", OPERATOR))


def test_a_lease_that_is_over_is_reclaimed_by_whoever_calls(pool: Ledger) -> None:
    """It follows from that call by itself; the event of its owner's own grant has no actor."""
    pool.actor = "me"
    pool.allocate(pool.want("a", {"cpu": 1}, ttl=MINUTE, owner="me"))
    pool.now += 2 * MINUTE
    pool.actor = "other"
    pool.reclaim()
    told = _told(pool)
    assert (told["granted"], told["reclaimed"]) == (("me", None), ("me", "other"))


def test_a_change_of_the_pool_names_its_actor(ledger: Ledger) -> None:
    """Its event names no owner."""
    ledger.actor = OPERATOR
    ledger.create({"cpu": 10})
    assert _told(ledger)["created"] == (None, OPERATOR)


@pytest.mark.parametrize("actor", ["x" * 513, "é" * 257])
def test_an_actor_has_the_bound_of_an_owner(pool: Ledger, actor: str) -> None:
    """What is longer breaks the contract before anything is written; 512 bytes do not."""
    before = pool.dump()
    pool.actor = actor
    with contract("actor"):
        pool.allocate(pool.want("a", {"cpu": 1}))
    pool.assert_untouched(before)
    pool.actor = "x" * 512
    assert pool.allocate(pool.want("a", {"cpu": 1}))[0][0] == "granted"
