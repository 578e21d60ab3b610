"""A request is charged to many accounts, all or none; its record names them, and what it took comes back to each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest

from tests.scripts.accounts import ALICE, CAPACITY, NODE, TEAM_A, allocated, assert_charged, key, make, named
from tests.scripts.ledger import MINUTE, Ledger, Line, contract, fields
from tests.scripts.ordinary import TEAM

REQUEST: Final = {"cpu": 2, "memory": 10}


@pytest.fixture
def four(ledger: Ledger) -> Ledger:
    """A pool of cpu 10, memory 100; within it a person's quota of cpu 4, her team's of 6, a node of 8."""
    make(ledger)
    return ledger


def _grant(ledger: Ledger, identity: str = "a", **options: Any) -> int:
    return ledger.grant(identity, REQUEST, accounts=TEAM, **options)


# -- charged -----------------------------------------------------------------------------------------------------------


def test_a_grant_charges_every_account_and_its_record_names_them(four: Ledger) -> None:
    """So that whoever ends it, even years later, knows where it is to come back."""
    _grant(four)
    assert_charged(four, REQUEST)
    assert named(four.record("a")) == list(TEAM)


def test_an_account_that_does_not_exist_is_neither_charged_nor_named(four: Ledger) -> None:
    """A quota may be given later: what was granted before is not its."""
    four.grant("a", REQUEST, accounts=("reservation:team-b/bob", TEAM_A, "reservation:team-b"))
    assert_charged(four, REQUEST, ("", TEAM_A))
    assert named(four.record("a")) == [TEAM_A]
    assert not four.client.exists(key(four, "reservation:team-b"), key(four, "reservation:team-b/bob"))


def test_a_record_names_no_account_where_none_of_them_exists(four: Ledger) -> None:
    """It is charged to the pool alone."""
    four.grant("a", REQUEST, accounts=("reservation:team-b/bob", "reservation:team-b"))
    assert named(four.record("a")) == []
    assert_charged(four, REQUEST, ("",))


def test_an_account_counts_a_resource_that_it_does_not_limit(four: Ledger) -> None:
    """Whoever limits it later wants to know what is in use."""
    four.grant("a", {"memory": 100}, accounts=(TEAM_A,))
    assert allocated(four, TEAM_A) == {"memory": 100}


@pytest.mark.overcommits
def test_more_than_its_lowered_capacity_keeps_an_account_from_growing_only(four: Ledger) -> None:
    """Nobody is evicted, and a request that does not touch the account is none of its business."""
    _grant(four)
    four.client.hset(key(four, ALICE), "cpu.capacity", 1)
    assert four.allocate(four.want("b", {"cpu": 1}, accounts=TEAM))[0] == [
        "denied",
        "capacity_exceeded",
        ALICE,
        "cpu",
        1,
        2,
        1,
    ]
    assert four.allocate(four.want("c", {"memory": 1}, accounts=TEAM))[0][0] == "granted"
    assert four.allocate(four.want("d", {"cpu": 1}, accounts=(TEAM_A,)))[0][0] == "granted"


# -- refused -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*TEAM, ""])
def test_the_account_that_is_short_is_named_and_none_is_charged(four: Ledger, name: str) -> None:
    """In numbers of that account."""
    capacity = CAPACITY.get(name, {"cpu": 10})["cpu"]
    four.grant("first", {"cpu": capacity - 1}, accounts=(name,) if name else ())
    if not name:
        four.client.hset(key(four, ALICE), "cpu.capacity", 100)
    before = four.dump()
    reply = four.allocate(four.want("a", REQUEST, accounts=TEAM))[0]
    assert reply == ["denied", "capacity_exceeded", name, "cpu", 2, capacity - 1, capacity]
    four.assert_untouched(before)


@pytest.mark.parametrize(("amount", "name"), [(5, ALICE), (7, ALICE), (11, ALICE)])
def test_of_several_that_are_short_the_innermost_is_named(four: Ledger, amount: int, name: str) -> None:
    """It is the one that its owner can do most about."""
    reply = four.allocate(four.want("a", {"cpu": amount}, accounts=TEAM))[0]
    assert reply == ["denied", "never_fits", name, "cpu", amount, 0, CAPACITY[name]["cpu"]]


def test_what_can_never_fit_in_an_outer_account_is_said_before_what_is_short_in_an_inner_one(four: Ledger) -> None:
    """To wait for it would be in vain."""
    four.grant("first", {"cpu": 4}, accounts=(ALICE,))
    reply = four.allocate(four.want("a", {"cpu": 1, "memory": 61}, accounts=TEAM))[0]
    assert reply == ["denied", "never_fits", NODE, "memory", 61, 0, 60]


def test_a_resource_must_be_counted_by_the_pool_itself(four: Ledger) -> None:
    """An account that knows it is not enough."""
    four.client.hset(key(four, ALICE), "disk.capacity", 5)
    reply = four.allocate(four.want("a", {"disk": 1}, accounts=TEAM))[0]
    assert reply == ["denied", "unknown_resource", "", "disk", 1, 0, 0]


# -- given back --------------------------------------------------------------------------------------------------------


def _lapse(ledger: Ledger) -> None:
    ledger.now += 2 * MINUTE


def _reconcile(ledger: Ledger, fence: int) -> Any:
    _lapse(ledger)
    return ledger.reconcile(("a", fence), owner="owner", as_of=ledger.now)[0]


def _reclaim(ledger: Ledger, _: int) -> Any:
    _lapse(ledger)
    return ledger.reclaim()


def _take_room(ledger: Ledger, _: int) -> Any:
    _lapse(ledger)
    reply = ledger.allocate(ledger.want("b", {"cpu": 4}, accounts=TEAM))[0]
    ledger.release("b")
    return reply


def _give_up(ledger: Ledger, fence: int) -> Any:
    ledger.grant("b", {"cpu": 1}, accounts=())
    reply = ledger.resize(ledger.resize_line("a", {"cpu": 0, "memory": 1}, fence=fence))
    ledger.release("a", "b")
    return reply


def _meet_lapsed(ledger: Ledger, _: int) -> Any:
    _lapse(ledger)
    reply = ledger.allocate(ledger.want("a", {"cpu": 1}))[0]
    assert named(ledger.record("a")) == []
    ledger.release("a")
    return reply


ENDINGS: Final[dict[str, tuple[str, Callable[[Ledger, int], Any]]]] = {
    "release": ("released", lambda ledger, fence: ledger.release(ledger.release_line("a", fence))[0]),
    "undo": ("undone", lambda ledger, _: ledger.undo((ledger.record("a")["call"], "a"))[0]),
    "reclaim": ("reclaimed", _reclaim),
    "reconcile": ("released", _reconcile),
    "an allocate that is short of room": ("granted", _take_room),
    "an allocate of a lapsed id": ("granted", _meet_lapsed),
    "resize": ("resized", _give_up),
}


@pytest.mark.parametrize("way", ENDINGS)
def test_whoever_ends_an_allocation_gives_back_to_every_account(four: Ledger, way: str) -> None:
    """Otherwise an account would fill up with what nobody has."""
    word, end = ENDINGS[way]
    assert end(four, _grant(four))[0] == word
    assert_charged(four, {})


def test_age_gives_back_what_is_pinned(four: Ledger) -> None:
    """By the same code, from the other index."""
    _grant(four, ttl=0)
    four.now += MINUTE
    assert four.reclaim(age=MINUTE) == ["reclaimed", 0, "a"]
    assert_charged(four, {})


def test_the_deletion_of_a_pool_gives_back_to_accounts(four: Ledger) -> None:
    """They may be kept when the pool is made again."""
    _grant(four)
    assert four.delete(force=1) == ["deleted"]
    assert_charged(four, {})


def test_an_account_that_is_gone_gets_nothing_back_and_holds_nobody_up(four: Ledger) -> None:
    """The others do."""
    _grant(four)
    four.client.delete(key(four, TEAM_A))
    assert four.release("a")[0][0] == "released"
    assert_charged(four, {})
    assert not four.client.exists(key(four, TEAM_A))


def test_room_is_made_in_the_account_that_is_short(four: Ledger) -> None:
    """The pool had enough: the quota had not."""
    four.grant("old", {"cpu": 3}, accounts=TEAM)
    four.now += MINUTE
    assert four.allocate(four.want("new", {"cpu": 4}, accounts=TEAM))[0][0] == "granted"
    assert_charged(four, {"cpu": 4})


def test_what_was_reclaimed_for_nothing_stays_reclaimed_in_every_account(four: Ledger) -> None:
    """A refusal after it is written like any other change."""
    four.grant("held", {"cpu": 3}, ttl=0, accounts=TEAM)
    four.grant("old", {"cpu": 1}, accounts=TEAM)
    four.now += MINUTE
    reply = four.allocate(four.want("new", {"cpu": 2}, accounts=TEAM))[0]
    assert reply == ["denied", "capacity_exceeded", ALICE, "cpu", 2, 3, 4]
    assert_charged(four, {"cpu": 3})


# -- resized -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("amount", [1, 3, 4])
def test_a_resize_changes_every_account_that_the_record_names(four: Ledger, amount: int) -> None:
    """Either way."""
    fence = _grant(four)
    assert four.resize(four.resize_line("a", {"cpu": amount}, fence=fence))[0] == "resized"
    assert_charged(four, {"cpu": amount, "memory": 10})


def test_a_growth_that_one_account_refuses_changes_nothing(four: Ledger) -> None:
    """Not even the accounts before it, nor the resources that had room."""
    _grant(four)
    four.grant("b", {"cpu": 3}, accounts=(TEAM_A,))
    before = four.dump()
    reply = four.resize("a", {"memory": 20, "cpu": 4})
    assert reply == ["denied", "capacity_exceeded", TEAM_A, "cpu", 2, 5, 6]
    four.assert_untouched(before)


def test_a_resize_takes_up_a_resource_in_every_account(four: Ledger) -> None:
    """One that the record did not have, and one that an account never counted."""
    four.grant("a", {"cpu": 2}, accounts=TEAM)
    assert four.resize("a", {"memory": 30})[0] == "resized"
    assert_charged(four, {"cpu": 2, "memory": 30})
    assert four.resize("a", {"cpu": 0})[0] == "resized"
    assert_charged(four, {"memory": 30})


@pytest.mark.overcommits
def test_a_resize_passes_where_it_does_not_grow_though_an_account_has_too_much(four: Ledger) -> None:
    """Whoever wants to shrink must be able to."""
    _grant(four)
    four.client.hset(key(four, ALICE), "cpu.capacity", 1)
    assert four.resize("a", {"memory": 20})[0] == "resized"
    assert_charged(four, {"cpu": 2, "memory": 20})
    four.resize("a", {"cpu": 1})
    assert_charged(four, {"cpu": 1, "memory": 20})


# -- met again ---------------------------------------------------------------------------------------------------------


def test_a_repeat_is_answered_with_the_accounts_and_charges_none_again(four: Ledger) -> None:
    """The record comes back as it stands."""
    line = four.want("a", REQUEST, accounts=TEAM)
    four.allocate(line)
    reply = four.allocate(line.again())[0]
    assert reply[0] == "replayed"
    assert named(fields(reply[1:])) == list(TEAM)
    assert_charged(four, REQUEST)


@pytest.mark.parametrize(
    ("accounts", "word"),
    [
        (TEAM, "existing"),
        (tuple(reversed(TEAM)), "existing"),
        ((*TEAM, "node:n2"), "existing"),
        (TEAM[1:], "conflict"),
        ((), "conflict"),
    ],
)
def test_another_caller_must_name_the_accounts_that_were_charged(
    four: Ledger, accounts: tuple[str, ...], word: str
) -> None:
    """One more that does not exist is no difference: it would not have been charged."""
    _grant(four)
    assert four.allocate(four.want("a", REQUEST, accounts=accounts))[0][0] == word
    assert_charged(four, REQUEST)


def test_a_renewal_leaves_all_accounts_alone(four: Ledger) -> None:
    """It charges nothing."""
    fence = _grant(four)
    four.now += 20
    before = {name: four.client.hgetall(key(four, name)) for name in TEAM}
    assert four.renew(four.renew_line("a", fence=fence))[0][0] == "renewed"
    assert {name: four.client.hgetall(key(four, name)) for name in TEAM} == before
    assert named(four.record("a")) == list(TEAM)


# -- batches -----------------------------------------------------------------------------------------------------------


def test_items_of_a_batch_see_what_those_before_them_took_from_an_account(four: Ledger) -> None:
    """Each is decided against running totals, of every account."""
    wants = [
        four.want(name, {"cpu": 3}, accounts=accounts)
        for name, accounts in (("a", TEAM), ("b", TEAM), ("c", (TEAM_A,)))
    ]
    replies = four.allocate(*wants)
    assert [reply[0] for reply in replies] == ["granted", "denied", "granted"]
    assert replies[1] == ["denied", "capacity_exceeded", ALICE, "cpu", 3, 3, 4]
    assert allocated(four, TEAM_A) == {"cpu": 6}
    assert allocated(four, NODE) == {"cpu": 3}


def test_a_gang_that_an_account_stops_writes_nothing(four: Ledger) -> None:
    """All or none: of the items, and of the accounts of each."""
    four.grant("first", {"cpu": 1}, accounts=TEAM)
    before = four.dump()
    replies = four.allocate(*(four.want(name, REQUEST, accounts=TEAM) for name in "abc"), atomic=1)
    assert replies == [["aborted", 2], ["denied", "capacity_exceeded", ALICE, "cpu", 2, 3, 4], ["aborted", 2]]
    four.assert_untouched(before)


def test_a_gang_never_fits_by_what_it_asks_of_that_account(four: Ledger) -> None:
    """Not by what its other items ask of others."""
    four.grant("first", {"cpu": 5})
    items = [four.want("a", {"cpu": 4}, accounts=(ALICE,)), four.want("b", {"cpu": 5}, accounts=(TEAM_A,))]
    assert four.allocate(*items, atomic=1) == [["aborted", 2], ["denied", "capacity_exceeded", "", "cpu", 5, 9, 10]]
    items = [four.want("a", {"cpu": 2}, accounts=(ALICE,)), four.want("b", {"cpu": 3}, accounts=(ALICE,))]
    assert four.allocate(*items, atomic=1) == [["aborted", 2], ["denied", "never_fits", ALICE, "cpu", 3, 2, 4]]


def test_a_gang_that_stops_keeps_what_it_reclaimed(four: Ledger) -> None:
    """That was due, whatever became of the gang."""
    four.grant("old", {"cpu": 2}, accounts=TEAM)
    four.now += MINUTE
    items = [four.want("a", {"cpu": 3}, accounts=TEAM), four.want("b", {"cpu": 1, "memory": 101}, accounts=TEAM)]
    assert [reply[0] for reply in four.allocate(*items, atomic=1)] == ["aborted", "denied"]
    assert_charged(four, {})


def test_a_batch_of_releases_gives_back_the_sum(four: Ledger) -> None:
    """Each account is written once, after all items."""
    for name in "ab":
        four.grant(name, {"cpu": 2, "memory": 5}, accounts=TEAM)
    four.grant("c", {"memory": 7}, accounts=(NODE,))
    assert [reply[0] for reply in four.release("a", "c", "b", "a")] == ["released", "released", "released", "unknown"]
    assert_charged(four, {})


# -- contract ----------------------------------------------------------------------------------------------------------


def _option(ledger: Ledger, *options: tuple[str, str]) -> Line:
    """An item with these options."""
    flat = [word for option in options for word in option]
    return Line("a", ledger.new_call(), ("owner", MINUTE, 1, 0, len(options), "cpu.allocated", 1, *flat))


@pytest.mark.parametrize(
    ("options", "declared", "match"),
    [
        ([("account", ALICE)], [], "keys do not match"),
        ([("account", ALICE)], [TEAM_A], "keys do not match"),
        ([("account", ALICE)], [ALICE, TEAM_A], "keys do not match"),
        ([("account", ALICE), ("account", TEAM_A)], [ALICE, ALICE], "keys do not match"),
        ([], [ALICE], "keys do not match"),
        ([("account", ALICE), ("account", ALICE)], [ALICE], "named twice"),
        ([("account", "pool")], ["pool"], "no name of an account"),
        ([("account", "node:")], ["node:"], "no name of an account"),
        ([("account", "allocation:b")], ["allocation:b"], "no name of an account"),
        ([("colour", "red")], [], "unknown option colour"),
        ([("exclusive", "0")], [], "exclusive is not 1"),
        ([("exclusive", "1"), ("exclusive", "1")], [], "exclusive is not 1, or named twice"),
        (
            [("account", f"node:n{at}") for at in range(17)],
            [f"node:n{at}" for at in range(17)],
            "options is no integer",
        ),
    ],
)
def test_options_that_break_the_contract_are_refused_before_anything_is_written(
    four: Ledger, options: list[tuple[str, str]], declared: list[str], match: str
) -> None:
    """Each by its name; every key is declared, as clusters want it."""
    before = four.dump()
    keys = [key(four, name) for name in declared]
    with contract(match):
        four.run("allocate", _option(four, *options), atomic=0, accounts=keys)
    four.assert_untouched(before)


def test_as_many_accounts_as_options_may_be_named(four: Ledger) -> None:
    """Sixteen."""
    names = [f"node:n{at}" for at in range(1, 17)]
    assert four.allocate(four.want("a", {"cpu": 1}, accounts=names))[0][0] == "granted"
    assert named(four.record("a")) == [NODE]
