"""The option `replaces` of `allocate`: a grant takes the charge of another allocation, which ends with it."""

from __future__ import annotations

from typing import Final

import pytest

from tests.scripts.accounts import ALICE, TEAM_A, assert_charged, make, named
from tests.scripts.ledger import MINUTE, Ledger, Line, contract
from tests.scripts.ordinary import TEAM

ALL: Final = {"cpu": 10, "memory": 100}


def _take_over(ledger: Ledger, fence: int, **options: object) -> Line:
    return ledger.want("lab", ALL, **{"replaces": (fence, "kept"), "owner": "lab-owner", "ttl": 0, **options})


def test_a_full_pool_grants_what_replaces_an_allocation_of_the_same_amounts(pool: Ledger) -> None:
    """Under another id, owner and time to live, with a fence and a call of its own."""
    fence = pool.grant("kept", ALL, meta={"for": "check"})
    reply = pool.allocate(_take_over(pool, fence, meta={"for": "lab"}))[0]
    assert reply[0] == "granted"
    assert reply[1] > fence
    assert pool.record("kept") == {}
    record = pool.record("lab")
    assert (record["owner"], record["meta.for"], "deadline_ms" in record) == ("lab-owner", "lab", False)
    assert int(pool.account["cpu.allocated"]) == 10


def test_the_events_say_what_was_released_and_why(pool: Ledger) -> None:
    """Who reads the stream sees one end and one grant."""
    fence = pool.grant("kept", ALL)
    pool.allocate(_take_over(pool, fence))
    released, granted = [entry for _, entry in pool.client.xrange(pool.key("events"))][-2:]
    assert (released["kind"], released["id"], released["reason"]) == ("released", "kept", "replaced by lab")
    assert (granted["kind"], granted["id"]) == ("granted", "lab")


def test_a_retry_gets_the_grant_again_and_a_late_copy_of_the_replaced_grant_nothing(pool: Ledger) -> None:
    """The reply was lost; or a copy of the first call arrives after all."""
    first = pool.want("kept", ALL)
    fence = pool.allocate(first)[0][1]
    line = _take_over(pool, fence)
    pool.allocate(line)
    assert pool.allocate(line.again())[0][0] == "replayed"
    assert pool.allocate(first.again())[0][0] == "ended"
    assert int(pool.account["cpu.allocated"]) == 10


def test_one_that_is_past_its_deadline_is_replaced_until_it_is_reclaimed(pool: Ledger) -> None:
    """As it is renewed: nothing was granted in its place."""
    fence = pool.grant("kept", ALL)
    pool.now += 2 * MINUTE
    assert pool.allocate(_take_over(pool, fence))[0][0] == "granted"


@pytest.mark.parametrize("gone", ["released", "granted anew", "never there"])
def test_without_it_the_request_is_decided_as_any_other(pool: Ledger, gone: str) -> None:
    """Full is full; and another grant of that id stays."""
    fence = pool.grant("kept", ALL)
    if gone == "never there":
        fence += 7
    else:
        pool.release("kept")
        pool.grant("kept" if gone == "granted anew" else "other", ALL)
    assert pool.allocate(_take_over(pool, fence))[0][:2] == ["denied", "capacity_exceeded"]
    assert int(pool.account["cpu.allocated"]) == 10


def test_one_of_other_amounts_stays_and_the_request_is_charged(pool: Ledger) -> None:
    """Only what is the same can change hands without a look at the capacity."""
    fence = pool.grant("kept", {"cpu": 4})
    for identity, amounts in (("less", {"cpu": 3}), ("other", {"memory": 4})):
        assert pool.allocate(pool.want(identity, amounts, replaces=(fence, "kept")))[0][0] == "granted"
    assert pool.allocate(pool.want("more", {"cpu": 5}, replaces=(fence, "kept")))[0][0] == "denied"
    assert pool.record("kept")
    assert (int(pool.account["cpu.allocated"]), int(pool.account["memory.allocated"])) == (7, 4)


def test_a_live_id_is_returned_and_the_replaced_allocation_ends(pool: Ledger) -> None:
    """The reconcile that was repeated has asked twice for room, and needs it once."""
    pool.grant("lab", {"cpu": 2}, owner="lab-owner")
    fence = pool.grant("kept", {"cpu": 2})
    line = pool.want("lab", {"cpu": 2}, owner="lab-owner", replaces=(fence, "kept"))
    assert pool.allocate(line)[0][0] == "existing"
    assert pool.record("kept") == {}
    assert int(pool.account["cpu.allocated"]) == 2


def test_a_conflict_and_a_refused_time_to_live_replace_nothing(pool: Ledger) -> None:
    """A call that grants nothing changes nothing."""
    pool.grant("lab", {"cpu": 2}, owner="another")
    fence = pool.grant("kept", {"cpu": 2})
    assert pool.allocate(pool.want("lab", {"cpu": 2}, replaces=(fence, "kept")))[0][0] == "conflict"
    pool.configure("change", promises=f"max_ttl_ms={MINUTE}")
    assert pool.allocate(pool.want("new", {"cpu": 2}, ttl=0, replaces=(fence, "kept")))[0][0] == "ttl_too_long"
    assert pool.record("kept")


@pytest.mark.overcommits
def test_a_lowered_capacity_does_not_take_what_was_promised(pool: Ledger) -> None:
    """The charge is there already; it only changes its holder."""
    fence = pool.grant("kept", ALL)
    pool.configure("change", {"cpu": 1})
    assert pool.allocate(_take_over(pool, fence))[0][0] == "granted"


def test_of_two_items_that_replace_one_allocation_the_first_gets_it(pool: Ledger) -> None:
    """In one call: the charge is given once."""
    fence = pool.grant("kept", ALL)
    second = pool.want("second", ALL, replaces=(fence, "kept"))
    replies = pool.allocate(_take_over(pool, fence), second)
    assert [reply[0] for reply in replies] == ["granted", "denied"]
    assert int(pool.account["cpu.allocated"]) == 10


def test_what_an_earlier_item_returned_or_a_later_one_asks_for_is_decided_in_order(pool: Ledger) -> None:
    """Returned, replaced, and granted anew, all in one call."""
    fence = pool.grant("kept", {"cpu": 4})
    lab = pool.want("lab", {"cpu": 4}, replaces=(fence, "kept"))
    replies = pool.allocate(pool.want("kept", {"cpu": 4}), lab, pool.want("kept", {"cpu": 4}))
    assert [reply[0] for reply in replies] == ["existing", "granted", "granted"]
    assert int(pool.account["cpu.allocated"]) == 8


def test_every_account_keeps_the_charge(ledger: Ledger) -> None:
    """A quota that is full grants it too."""
    make(ledger)
    fence = ledger.grant("kept", {"cpu": 4}, accounts=TEAM)
    line = ledger.want("lab", {"cpu": 4}, accounts=TEAM, replaces=(fence, "kept"))
    assert ledger.allocate(line)[0][0] == "granted"
    assert_charged(ledger, {"cpu": 4})
    assert named(ledger.record("lab")) == list(TEAM)


def test_one_that_other_accounts_are_charged_for_stays(ledger: Ledger) -> None:
    """Room in the pool is none in a quota."""
    make(ledger)
    fence = ledger.grant("kept", {"cpu": 4}, accounts=(ALICE,))
    plain = ledger.want("lab", {"cpu": 4}, replaces=(fence, "kept"))
    of_team = ledger.want("lab-team", {"cpu": 4}, accounts=(TEAM_A,), replaces=(fence, "kept"))
    assert [reply[0] for reply in ledger.allocate(plain, of_team)] == ["granted", "denied"]
    assert ledger.record("kept")


@pytest.mark.parametrize(
    "value", ["", "7", "7:", ":kept", "0:kept", "x:kept", "-1:kept", "99999999999999999:kept", "7:n"]
)
def test_a_malformed_option_is_refused_and_nothing_is_written(pool: Ledger, value: str) -> None:
    """Also an item that would replace itself."""
    before = pool.dump()
    line = pool.want("n", {"cpu": 1}, replaces=(7, "kept"))
    with contract():
        pool.allocate(Line(line.id, line.call, (*line.words[:-1], value)))
    pool.assert_untouched(before)


def test_in_an_atomic_batch_twice_in_an_item_or_without_its_key_it_is_refused(pool: Ledger) -> None:
    """A batch that stops half-way could not give it back."""
    line = pool.want("n", {"cpu": 1}, replaces=(7, "kept"))
    twice = Line(line.id, line.call, (*line.words[:4], 2, *line.words[5:], *line.words[-2:]))
    before = pool.dump()
    with contract():
        pool.allocate(line, atomic=1)
    with contract():
        pool.allocate(twice)
    with contract():
        pool.run("allocate", line, atomic=0)
    pool.assert_untouched(before)


def test_a_lapsed_lease_that_cannot_be_replaced_is_reclaimed_for_the_room(pool: Ledger) -> None:
    """It has other amounts: the request is decided as without the option, and takes what has expired."""
    fence = pool.grant("kept", {"cpu": 10}, ttl=1000)
    pool.now += 2000
    assert pool.allocate(pool.want("n", {"cpu": 3}, replaces=(fence, "kept")))[0][0] == "granted"
    assert not pool.record("kept")
