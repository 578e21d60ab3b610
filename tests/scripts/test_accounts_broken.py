"""Accounts whose counters are wrong: found, mended, and nobody's trouble but theirs who named them."""

from __future__ import annotations

import pytest

from tests.scripts.accounts import ALICE, NODE, TEAM_A, allocated, assert_charged, key, make
from tests.scripts.ledger import MINUTE, Ledger, broken
from tests.scripts.ordinary import TEAM


@pytest.fixture
def four(ledger: Ledger) -> Ledger:
    """A pool, the quotas of a person and of her team, a node."""
    make(ledger)
    return ledger


@pytest.mark.parametrize(("stored", "was"), [(5, "5"), (0, "0"), ("x", "no amount")])
def test_an_audit_finds_an_account_that_drifted_and_a_repair_mends_it(
    four: Ledger, stored: int | str, was: str
) -> None:
    """By what the records say that they took from it."""
    four.grant("a", {"cpu": 2}, accounts=TEAM)
    four.client.hset(key(four, TEAM_A), "cpu.allocated", stored)
    finding = ["account_drift", TEAM_A, f"cpu: allocated {was}, records 2"]
    assert four.audit()[8] == finding
    assert four.repair() == ["repaired", "0", 1, *finding]
    assert_charged(four, {"cpu": 2})
    assert four.audit()[4] == 0
    assert four.events[-1] == {
        "kind": "repaired",
        "id": TEAM_A,
        "reason": f"account_drift: cpu: allocated {was}, records 2",
    }


def test_an_audit_finds_what_an_account_counts_of_a_resource_that_no_record_took(four: Ledger) -> None:
    """It would be missing there for ever."""
    four.grant("a", {"cpu": 2}, accounts=TEAM)
    four.client.hset(key(four, NODE), "memory.allocated", 7)
    finding = ["account_drift", NODE, "memory: allocated 7, records 0"]
    assert four.audit()[8] == finding
    assert four.repair() == ["repaired", "0", 1, *finding]
    assert_charged(four, {"cpu": 2})


def test_an_account_that_is_gone_is_no_finding(four: Ledger) -> None:
    """Its records name it, and give back to the others."""
    four.grant("a", {"cpu": 2}, accounts=TEAM)
    four.client.delete(key(four, NODE))
    assert four.audit()[4] == 0
    four.release("a")


@pytest.mark.breaks_data
@pytest.mark.parametrize("verb", ["release", "resize", "allocate"])
def test_whoever_names_an_account_with_a_broken_counter_hears_of_it(four: Ledger, verb: str) -> None:
    """Before anything is written."""
    four.grant("a", {"cpu": 2}, accounts=TEAM)
    four.client.hset(key(four, TEAM_A), "cpu.allocated", "x")
    before = four.dump()
    with broken("(team-a|allocation a)"):
        match verb:
            case "release":
                four.release("a")
            case "resize":
                four.resize("a", {"cpu": 1})
            case _:
                four.allocate(four.want("b", {"memory": 1}, accounts=TEAM), four.want("c", {"cpu": 1}, accounts=TEAM))
    four.assert_untouched(before)


@pytest.mark.breaks_data
@pytest.mark.parametrize("stored", ["x", "1"])
def test_a_bystander_with_a_broken_account_leaves_the_index_and_fails_nobody(four: Ledger, stored: str) -> None:
    """Its charge stays in all accounts, for the audit."""
    four.grant("old", {"cpu": 2}, accounts=TEAM)
    four.client.hset(key(four, ALICE), "cpu.allocated", stored)
    four.now += MINUTE
    assert four.reclaim() == ["reclaimed", 0]
    assert four.events[-1]["kind"] == "broken"
    assert allocated(four, TEAM_A) == allocated(four, "") == {"cpu": 2}
    assert four.index("deadlines") == {}


@pytest.mark.breaks_data
def test_a_record_that_took_more_than_one_account_has_takes_back_from_none(four: Ledger) -> None:
    """All or none, here too."""
    four.grant("a", {"cpu": 2}, accounts=TEAM)
    four.client.hset(key(four, NODE), "cpu.allocated", 1)
    before = four.dump()
    with broken("took more than its account"):
        four.release("a")
    four.assert_untouched(before)
