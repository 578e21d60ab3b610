"""Units: the amounts that one allocation may have."""

from __future__ import annotations

import pytest

from tests.scripts.ledger import MINUTE, Ledger
from tests.scripts.ordinary import TEAM, make_accounts
from tests.scripts.unit_rules import NONE, setting, units, want


@pytest.fixture
def bounded(ledger: Ledger) -> Ledger:
    """A pool of 100 CPUs, given out from 4 to 20, in steps of 4; memory as it comes."""
    ledger.create({"cpu": 100, "memory": 100}, promises=units(cpu=(0, 0, 4, 20, 4)))
    return ledger


@pytest.mark.parametrize("cpu", [1, 2, 3, 6, 10, 19, 21, 24])
def test_an_amount_outside_of_its_bounds_never_fits(bounded: Ledger, cpu: int) -> None:
    """The reply names the resource and its bounds; a check says the same."""
    assert want(bounded, "a", cpu) == ["denied", "unit_violation", "", "cpu", cpu, 0, 100, [4, 20, 4]]
    assert bounded.check({"cpu": cpu}) == ["denied", "unit_violation", 0, [], 0, 0, "", "cpu", cpu, 0, 100, [4, 20, 4]]


@pytest.mark.parametrize("cpu", [4, 8, 12, 16, 20])
def test_an_amount_within_its_bounds_is_granted(bounded: Ledger, cpu: int) -> None:
    """The bounds are among them."""
    assert bounded.check({"cpu": cpu}) == ["fits"]
    assert want(bounded, "a", cpu)[0] == "granted"


def test_what_is_not_asked_for_is_not_tested(bounded: Ledger) -> None:
    """The least amount is of those who want any."""
    bounded.grant("a", {"memory": 1})


def test_each_bound_stands_alone(ledger: Ledger) -> None:
    """0 in a denial is none."""
    rules = {"a": (0, 0, 3, 0, 0), "b": (0, 0, 0, 3, 0), "c": (0, 0, 0, 0, 3)}
    ledger.create(dict.fromkeys("abcd", 10), promises=units(**rules))
    reply = ledger.allocate(ledger.want("x", {"a": 2, "b": 4, "c": 4, "d": 1}))[0]
    assert reply[:3] == ["denied", "unit_violation", ""]
    assert reply[3:] == ["a", 2, 0, 10, "b", 4, 0, 10, "c", 4, 0, 10, [3, 0, 0, 0, 3, 0, 0, 0, 3]]
    ledger.grant("x", {"a": 10, "b": 1, "c": 9, "d": 1})


def test_bounds_are_checked_after_what_is_counted_and_before_what_is_free(ledger: Ledger) -> None:
    """The first check that fails is the reason."""
    ledger.create({"cpu": 10, "gpu": 2000}, whole="gpu", promises=units(cpu=(0, 0, 0, 8, 0), gpu=(0, 0, 2000, 0, 0)))
    assert ledger.allocate(ledger.want("a", {"cpu": 9, "disk": 1}))[0][1] == "unknown_resource"
    assert ledger.allocate(ledger.want("a", {"cpu": 9, "gpu": 500}))[0][1] == "constraint_violation"
    assert ledger.allocate(ledger.want("a", {"cpu": 11, "gpu": 2000}))[0][1] == "unit_violation"
    assert ledger.allocate(ledger.want("a", {"cpu": 8, "gpu": 4000}))[0][1] == "never_fits"


@pytest.mark.parametrize(("cpu", "refused"), [(6, True), (2, True), (24, True), (12, False), (4, False), (0, False)])
def test_a_resize_keeps_to_the_bounds(bounded: Ledger, cpu: int, refused: bool) -> None:
    """Growing and shrinking; 0 gives it up."""
    bounded.grant("a", {"cpu": 8, "memory": 5})
    line = bounded.resize_line("a", {"cpu": cpu})
    reply = bounded.resize(line)
    if refused:
        assert reply == ["denied", "unit_violation", "", "cpu", cpu - 8, 8, 100, [4, 20, 4]]
        assert bounded.resize(line.again()) == reply
        assert bounded.allocated() == 8
    else:
        assert reply[0] == "resized"
        assert bounded.allocated() == cpu


def test_a_resize_of_another_resource_does_not_test_this_one(bounded: Ledger) -> None:
    """Bounds that came later concern what changes."""
    bounded.grant("a", {"cpu": 8, "memory": 5})
    setting(bounded, cpu=(0, 0, 16, 20, 5))
    assert bounded.resize("a", {"cpu": 8, "memory": 50})[0] == "resized"
    assert bounded.resize("a", {"cpu": 12})[:2] == ["denied", "unit_violation"]


def test_what_is_above_the_largest_amount_may_shrink(bounded: Ledger) -> None:
    """It comes nearer; the step counts."""
    bounded.grant("a", {"cpu": 20})
    setting(bounded, cpu=(0, 0, 0, 8, 4))
    assert bounded.resize("a", {"cpu": 14})[:2] == ["denied", "unit_violation"]
    assert bounded.resize("a", {"cpu": 16})[0] == "resized"
    assert bounded.resize("a", {"cpu": 20})[:2] == ["denied", "unit_violation"]


def test_a_refused_shrink_stays_refused(bounded: Ledger) -> None:
    """Also once the bounds are gone: a late copy changes nothing."""
    bounded.grant("a", {"cpu": 8})
    line = bounded.resize_line("a", {"cpu": 6}).again()
    assert bounded.resize(line)[1] == "unit_violation"
    setting(bounded, cpu=(0, 0, 0, 0, 0))
    assert bounded.resize(line) == ["denied", "capacity_exceeded", "", "cpu", -2, 8, 100]
    assert bounded.allocated() == 8


def test_an_adoption_takes_what_runs_as_it_is(bounded: Ledger) -> None:
    """Whatever the bounds are now, and above the limit."""
    bounded.client.hset(bounded.key("pool"), mapping={"options": "recovery_grace_ms=60000 units=cpu:::4:20:4"})
    bounded.client.hset(bounded.key("pool"), mapping={"run_id": "another", "recovering_until_ms": bounded.now + MINUTE})
    assert bounded.adopt(bounded.adopt_line("a", {"cpu": 7}, fence=5))[0][0] == "adopted"
    assert bounded.allocated() == 7
    assert bounded.renew("a")[0][0] == "renewed"


def test_a_replacement_takes_the_amounts_as_they_are(bounded: Ledger) -> None:
    """It is the charge of another, which ends."""
    fence = bounded.grant("a", {"cpu": 8})
    setting(bounded, cpu=(0, 0, 0, 4, 0))
    assert want(bounded, "b", 8, replaces=(fence, "a"))[0] == "granted"
    assert bounded.allocated() == 8


def test_a_repeat_is_answered_whatever_the_bounds_are_now(bounded: Ledger) -> None:
    """And so is another caller of a live id."""
    line = bounded.want("a", {"cpu": 8})
    bounded.allocate(line)
    setting(bounded, cpu=(0, 0, 0, 4, 0))
    assert bounded.allocate(line.again())[0][0] == "replayed"
    assert want(bounded, "a", 8)[0] == "existing"


# -- batches, scopes, moves --------------------------------------------------------------------------------------------


def test_bounds_are_of_each_request_of_a_gang(bounded: Ledger) -> None:
    """Not of their sum; one that breaks them stops all."""
    items = [bounded.want(name, {"cpu": 16}) for name in "abc"]
    assert [reply[0] for reply in bounded.allocate(*items, atomic=1)] == ["granted"] * 3
    more = [bounded.want("d", {"cpu": 4}), bounded.want("e", {"cpu": 2}), bounded.want("f", {"cpu": 4})]
    assert bounded.allocate(*more, atomic=1) == [
        ["aborted", 2], ["denied", "unit_violation", "", "cpu", 2, 52, 100, [4, 20, 4]], ["aborted", 2],
    ]  # fmt: skip
    assert bounded.allocated() == 48
    assert [reply[0] for reply in bounded.allocate(*[bounded.want(f"g{n}", {"cpu": n}) for n in (4, 5, 8)])] == [
        "granted", "denied", "granted",
    ]  # fmt: skip


def test_bounds_concern_requests_of_scopes(bounded: Ledger) -> None:
    """They are checked before any quota is, and what is kept for others is told before them."""
    bounded.set_quota("team", {"cpu": (60, 0, 0)})
    bounded.set_quota("other", {"cpu": (12, 0, NONE)})
    assert want(bounded, "a", 6, scope="team") == ["denied", "unit_violation", "", "cpu", 6, 0, 100, [4, 20, 4]]
    assert want(bounded, "a", 6, scope="other") == ["denied", "unit_violation", "", "cpu", 6, 0, 100, [60], [4, 20, 4]]
    assert want(bounded, "a", 16, scope="other")[1:3] == ["never_fits", "quota:other"]
    assert want(bounded, "a", 8, scope="team")[0] == "granted"
    assert bounded.resize("a", {"cpu": 10})[1:3] == ["unit_violation", ""]
    assert bounded.resize("a", {"cpu": 6})[1:3] == ["unit_violation", ""]
    assert bounded.resize("a", {"cpu": 12})[0] == "resized"


def test_a_refused_amount_is_charged_nowhere(bounded: Ledger) -> None:
    """Neither to the other accounts of its charge, which were charged before the pool refused it."""
    make_accounts(bounded)
    items = [bounded.want("a", {"memory": 5, "cpu": 6}, accounts=TEAM), bounded.want("b", {"cpu": 8}, accounts=TEAM)]
    refused, granted = bounded.allocate(*items)
    assert refused == ["denied", "unit_violation", "", "cpu", 6, 0, 100, [4, 20, 4]]
    assert granted[0] == "granted"
    for name in TEAM:
        account = bounded.client.hgetall(f"{bounded.keys.base}{name}")
        assert (account["cpu.allocated"], account["memory.allocated"]) == ("8", "0")


def test_a_move_keeps_the_amounts(bounded: Ledger) -> None:
    """So bounds that came later do not stop it, into a scope or out of one."""
    bounded.grant("a", {"cpu": 8})
    bounded.set_quota("team", {"cpu": (16, 0, NONE)})
    setting(bounded, cpu=(0, 0, 0, 4, 0))
    assert bounded.move("a", "team")[0] == "moved"
    assert bounded.move("a", "")[0] == "moved"
