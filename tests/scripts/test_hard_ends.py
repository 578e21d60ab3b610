"""Hard ends: no call, no gap and no recovery lets an allocation live beyond grant + lifetime, and callers are told.

After each test the fixture compares every deadline in the records with their ends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.scripts.invariants import check_pool
from tests.scripts.ledger import MINUTE, T0, Ledger, contract, fields
from tests.scripts.ordinary import Way
from tests.scripts.test_budget import ONE_ACCOUNT, _count

SECOND = 1000
LIFETIME = 3 * MINUTE
END = T0 + LIFETIME
LONG = 10 * MINUTE


def told(reply: Any) -> tuple[str, int, int]:
    """The word, the deadline and the end in a reply with a record."""
    named = fields(reply[1:])
    return reply[0], int(named["deadline_ms"]), int(named["ends_ms"])


def stored(pool: Ledger, name: str = "deadline_ms") -> int:
    """A number in the record of `x`."""
    return int(pool.record("x")[name])


@pytest.fixture
def ending(pool: Ledger) -> Ledger:
    """A lease `x` of a minute, granted at T0, which ends three minutes later."""
    pool.grant("x", {"cpu": 2}, lifetime=LIFETIME)
    return pool


# -- grants ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ttl", "deadline"),
    [(MINUTE, T0 + MINUTE), (LIFETIME, END), (LONG, END), (0, END)],
    ids=["less", "same", "more", "0"],
)
def test_a_grant_has_the_earlier_of_both_as_its_deadline(pool: Ledger, ttl: int, deadline: int) -> None:
    """What is asked for without a time to live is a lease until the end."""
    reply = pool.allocate(pool.want("x", {"cpu": 2}, ttl=ttl, lifetime=LIFETIME))[0]
    assert reply[2:] == [T0, deadline, "epoch-1", "", "", END]
    assert (stored(pool), stored(pool, "ends_ms"), stored(pool, "ttl_ms")) == (deadline, END, ttl or LIFETIME)
    assert (pool.index("deadlines"), pool.index("pinned")) == ({"x": deadline}, {})
    assert told(["record", *pool.get("x")[1:]]) == ("record", deadline, END)


def test_without_a_lifetime_nothing_of_it_is_stored_or_said(pool: Ledger) -> None:
    """What every caller of today has."""
    reply = pool.allocate(pool.want("x", {"cpu": 2}))[0]
    assert len(reply) == 5
    assert "ends_ms" not in pool.record("x")
    assert len(pool.renew("x")[0]) == 3


@pytest.mark.parametrize("lifetime", ["-1", "1.5", "soon", "00", "9007199254740992"])
def test_what_is_no_lifetime_is_refused(pool: Ledger, lifetime: str) -> None:
    """And nothing is written."""
    before = pool.dump()
    with contract("lifetime_ms"):
        pool.allocate(pool.want("x", {"cpu": 2}, lifetime=lifetime))
    pool.assert_untouched(before)


def test_a_lifetime_is_named_once(pool: Ledger) -> None:
    """The second would be ignored."""
    line = pool.want("x", {"cpu": 2}, lifetime=LIFETIME, exclusive=True)
    words = [*line.words]
    words[words.index("exclusive") : words.index("exclusive") + 2] = ["lifetime_ms", 5]
    with contract("lifetime_ms"):
        pool.allocate(line.again(words=tuple(words), repeated=0))


def test_what_is_replaced_gives_its_charge_and_not_its_end(ending: Ledger) -> None:
    """The new allocation has what its own request says."""
    ending.now += MINUTE
    line = ending.want("y", {"cpu": 2}, lifetime=LIFETIME, replaces=(stored(ending, "fence"), "x"))
    assert ending.allocate(line)[0][7] == END + MINUTE
    assert ending.record("x") == {}


# -- renewals ----------------------------------------------------------------------------------------------------------


def test_a_renewal_is_cut_and_says_how_much_is_left(ending: Ledger) -> None:
    """It succeeds, as its holder still has the allocation."""
    ending.now = T0 + 50 * SECOND
    assert ending.renew("x")[0][2:] == [T0 + 110 * SECOND, "", END, 130 * SECOND]
    assert ending.renew(ending.renew_line("x", ttl=LONG))[0][2:] == [END, "", END, 130 * SECOND]
    assert (stored(ending), ending.index("deadlines")["x"]) == (END, END)
    assert stored(ending, "asserted_ms") == ending.now


def test_at_the_end_it_is_over_and_no_renewal_brings_it_back(ending: Ledger) -> None:
    """Though nobody has reclaimed it yet; a millisecond before it was live."""
    ending.now = END - 1
    assert ending.renew("x")[0][0] == "renewed"
    ending.now = END
    before = ending.dump()
    assert ending.renew("x")[0] == ["over", END]
    assert ending.renew(ending.renew_line("x", ttl=LONG, shorten=1))[0] == ["over", END]
    ending.assert_untouched(before)
    assert ending.reclaim()[2:] == ["x"]
    assert ending.events[-1]["reason"] == "end"
    assert ending.renew("x")[0] == ["unknown"]


def test_a_lease_that_is_over_by_its_deadline_first_is_reclaimed_for_that(ending: Ledger) -> None:
    """The event says which of both it was."""
    ending.now = T0 + MINUTE
    assert ending.reclaim()[2:] == ["x"]
    assert ending.events[-1]["reason"] == "deadline"


def test_a_deadline_that_was_brought_forward_is_extended_to_the_end_again(ending: Ledger) -> None:
    """`shorten` shortens below it, and never beyond."""
    ending.renew(ending.renew_line("x", ttl=LONG))
    assert ending.renew(ending.renew_line("x", ttl=5 * SECOND, shorten=1))[0][2] == T0 + 5 * SECOND
    assert ending.renew(ending.renew_line("x", ttl=LONG, shorten=1))[0][2] == END


@pytest.mark.parametrize("repeated", [0, 1])
def test_a_late_copy_of_a_renewal_that_found_it_over_does_not_shorten_a_later_grant(
    ending: Ledger, repeated: int
) -> None:
    """As after `unknown`; a call that was not repeated has no copy."""
    ending.now = END
    line = ending.renew_line("x", ttl=SECOND, shorten=1, repeated=repeated)
    assert ending.renew(line)[0][0] == "over"
    ending.grant("x", {"cpu": 1}, ttl=LONG)
    word = ending.renew(line)[0][0]
    assert word == ("unknown" if repeated else "renewed")
    assert (stored(ending) == END + LONG) is bool(repeated)


def test_a_batch_of_renewals_cuts_each_by_its_own_end(ending: Ledger) -> None:
    """One has an end, one has none, one is over."""
    ending.grant("y", {"cpu": 1})
    ending.grant("z", {"cpu": 1}, lifetime=SECOND)
    ending.now += SECOND
    replies = ending.renew(*(ending.renew_line(name, ttl=LONG) for name in "xyz"))
    assert [reply[0] for reply in replies] == ["renewed", "renewed", "over"]
    assert [reply[2] for reply in replies[:2]] == [END, ending.now + LONG]
    assert [len(reply) for reply in replies[:2]] == [6, 3]


# -- sharing, repeats, undo --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ttl", "lifetime"), [(LONG, 0), (0, 0), (MINUTE, LONG), (LONG, SECOND)])
def test_another_caller_gets_the_end_of_the_grant(ending: Ledger, ttl: int, lifetime: int) -> None:
    """It neither moves it nor brings one of its own; what it is told is the truth."""
    ending.now += 50 * SECOND
    reply = ending.allocate(ending.want("x", {"cpu": 2}, ttl=ttl, lifetime=lifetime))[0]
    deadline = min(ending.now + (ttl or LONG), END)
    assert told(reply) == ("existing", deadline, END)
    assert [int(text) for text in ending.record("x")["told"].split()] == [T0 + MINUTE, deadline]
    assert "pinned" not in ending.kinds


def test_a_grant_without_an_end_does_not_get_one(pool: Ledger) -> None:
    """Whoever shares it; its first caller was told nothing of it."""
    pool.grant("x", {"cpu": 2})
    reply = pool.allocate(pool.want("x", {"cpu": 2}, lifetime=SECOND))[0]
    assert reply[0] == "existing"
    assert "ends_ms" not in fields(reply[1:])


def test_a_repeat_after_the_deadline_is_extended_to_the_end_at_most(pool: Ledger) -> None:
    """And after the end it has ended, for good; what it charged is free."""
    line = pool.want("x", {"cpu": 2}, lifetime=90 * SECOND)
    pool.allocate(line)
    pool.now += 70 * SECOND
    assert told(pool.allocate(line.again())[0]) == ("replayed", T0 + 90 * SECOND, T0 + 90 * SECOND)
    pool.now = T0 + 90 * SECOND
    assert pool.allocate(line.again())[0] == ["ended", pool.now]
    assert (pool.record("x"), pool.allocated(), pool.events[-1]["reason"]) == ({}, 0, "end")
    assert pool.allocate(line.again())[0][0] == "ended"


@pytest.mark.parametrize("exclusive", [False, True])
def test_its_id_is_free_at_the_end(ending: Ledger, exclusive: bool) -> None:
    """The next grant has nothing of it, no end either."""
    ending.now = END
    reply = ending.allocate(ending.want("x", {"cpu": 3}, exclusive=exclusive))[0]
    assert reply[0] == "granted"
    assert "ends_ms" not in ending.record("x")
    assert ending.allocated() == 3


@pytest.mark.parametrize("atomic", [0, 1])
def test_two_items_of_one_id_share_one_end(pool: Ledger, atomic: int) -> None:
    """The record is not even written when the second meets it."""
    lines = (pool.want("x", {"cpu": 2}, lifetime=LIFETIME), pool.want("x", {"cpu": 2}, ttl=LONG))
    first, second = pool.allocate(*lines, atomic=atomic)
    assert (first[0], first[7]) == ("granted", END)
    assert told(second) == ("existing", END, END)
    pool.undo((lines[0].call, "x"))
    assert (stored(pool), stored(pool, "ends_ms")) == (END, END)


def test_an_atomic_batch_that_is_stopped_leaves_end_and_deadline(ending: Ledger) -> None:
    """Both that of what it met, and nothing of what it made."""
    before = {**ending.record("x")}
    lines = (ending.want("x", {"cpu": 2}, ttl=LONG), ending.want("y", {"cpu": 99}, lifetime=LIFETIME))
    assert [reply[0] for reply in ending.allocate(*lines, atomic=1)] == ["aborted", "denied"]
    assert ending.record("x") == before


@pytest.mark.parametrize("ttl", [LONG, 0])
def test_an_undo_leaves_what_the_others_were_told(pool: Ledger, ttl: int) -> None:
    """Never more than the end, and not less than before."""
    lines = [pool.want("x", {"cpu": 2}, lifetime=LIFETIME), pool.want("x", {"cpu": 2}, ttl=ttl)]
    for line in lines:
        pool.allocate(line)
        pool.now += SECOND
    assert stored(pool) == END
    pool.undo((lines[1].call, "x"))
    assert (stored(pool), stored(pool, "ends_ms")) == (T0 + MINUTE, END)
    again = pool.want("x", {"cpu": 2}, ttl=ttl)
    pool.allocate(again)
    pool.undo((lines[0].call, "x"))
    assert stored(pool) == END
    assert pool.renew("x")[0][2] == END


def test_an_undo_restores_nothing_beyond_the_end(ending: Ledger) -> None:
    """Not even where a record was damaged."""
    line = ending.want("x", {"cpu": 2})
    ending.allocate(line)
    ending.client.hset(ending.keys.record("x"), "told", f"{T0 + LONG} {T0 + MINUTE}")
    ending.undo((line.call, "x"))
    assert stored(ending) == END


# -- gaps, recoveries --------------------------------------------------------------------------------------------------


def gap(pool: Ledger, ends: int) -> None:
    """Nobody wrote to the pool from half a minute after T0 on; that is over now."""
    pool.client.hset(pool.key("pool"), mapping={"gap_from_ms": T0 + 30 * SECOND, "gap_to_ms": ends})
    pool.now = ends


def _reclaim(pool: Ledger) -> bool:
    return "x" in pool.reclaim()[2:]


def _make_room(pool: Ledger) -> bool:
    return bool(pool.allocate(pool.want("n", {"cpu": 9}, ttl=0))[0][0] == "granted")


def _ask_for_it(pool: Ledger) -> bool:
    return bool(pool.allocate(pool.want("x", {"cpu": 3}))[0][0] != "conflict")


WAYS: dict[str, Callable[[Ledger], bool]] = {"reclaim": _reclaim, "room": _make_room, "id": _ask_for_it}


@pytest.mark.parametrize("way", WAYS)
def test_a_gap_spares_a_lease_up_to_its_end(ending: Ledger, way: str) -> None:
    """Others rely on the end, and not on the deadline."""
    gap(ending, T0 + 170 * SECOND)
    assert not WAYS[way](ending)
    assert (stored(ending), ending.index("deadlines")["x"]) == (END, END)
    ending.now = END
    assert WAYS[way](ending)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("late", [0, LONG])
def test_a_gap_spares_nothing_that_is_over(ending: Ledger, way: str, late: int) -> None:
    """From the very instant of the end."""
    gap(ending, END + late)
    assert WAYS[way](ending)
    assert "deferred" not in ending.kinds
    assert "end" in {event.get("reason") for event in ending.events}


def test_a_gap_gives_each_of_several_callers_the_end_at_most(pool: Ledger) -> None:
    """So that an undo of one of them leaves no deadline beyond it."""
    lines = [pool.want("x", {"cpu": 2}, lifetime=LIFETIME), pool.want("x", {"cpu": 2}, ttl=2 * MINUTE)]
    pool.allocate(lines[0])
    pool.allocate(lines[1])
    gap(pool, T0 + 170 * SECOND)
    assert not _reclaim(pool)
    assert [int(text) for text in pool.record("x")["told"].split()] == [END, END]
    pool.undo((lines[0].call, "x"))
    assert stored(pool) == END


def test_a_recovery_spares_a_lease_up_to_its_end(ledger: Ledger) -> None:
    """Its deadline does not count meanwhile, as its renewal may be lost; its end does."""
    ledger.create({"cpu": 10}, promises=f"recovery_grace_ms={LONG} max_ttl_ms={MINUTE}")
    line = ledger.want("x", {"cpu": 2}, lifetime=90 * SECOND)
    ledger.allocate(line)
    assert ledger.allocate(ledger.want("n", {"cpu": 1}), mark=("epoch-1", ledger.revision + 5))[0][0] == "recovering"
    ledger.now += 80 * SECOND
    assert ledger.allocate(ledger.want("x", {"cpu": 2}))[0][0] == "existing"
    assert ledger.renew("x")[0][2:] == [T0 + 90 * SECOND, "", T0 + 90 * SECOND, 10 * SECOND]
    ledger.now += 10 * SECOND
    assert ledger.renew("x")[0][0] == "over"
    assert ledger.allocate(line.again())[0][0] == "ended"
    assert ledger.allocate(ledger.want("x", {"cpu": 2}))[0][0] == "recovering"
    assert ledger.allocated() == 0


# -- the other verbs ---------------------------------------------------------------------------------------------------


def test_what_is_adopted_keeps_its_end_and_its_deadline_is_cut(pool: Ledger) -> None:
    """After it nothing is adopted, by force neither; without a time to live it is a lease until then."""
    lines = [pool.adopt_line(name, {"cpu": 1}, fence=pool.revision + at, ttl=ttl, ends=END) for at, (name, ttl) in
             enumerate((("x", LONG), ("y", 0), ("z", MINUTE)), 1)]  # fmt: skip
    replies = pool.adopt(*lines, reason="a test")
    assert [told(reply) for reply in replies] == [("adopted", END, END)] * 2 + [("adopted", T0 + MINUTE, END)]
    assert {fields(reply[1:])["asserted_ms"] for reply in replies} == {T0}
    assert pool.index("pinned") == {}
    pool.now += MINUTE
    assert told(pool.adopt(lines[2], reason="a test")[0]) == ("existing", T0 + 2 * MINUTE, END)
    assert told(pool.adopt(lines[0], reason="a test")[0]) == ("existing", END, END)
    pool.now = END
    assert pool.adopt(lines[0], reason="a test")[0] == ["over", END]
    gone = pool.adopt_line("w", {"cpu": 1}, fence=pool.revision, ends=END)
    assert pool.adopt(gone, reason="a test")[0] == ["over", END]
    assert pool.record("w") == {}


def test_a_grace_ends_with_the_allocation(ending: Ledger) -> None:
    """And the holder is told so."""
    ending.now += 50 * SECOND
    reply = ending.begin_release(ending.begin_release_line("x", LONG))[0]
    assert told(reply) == ("releasing", END, END)
    assert ending.reconcile(("x", stored(ending, "fence")), owner="owner", as_of=T0 + 30 * SECOND) == [["kept"]]
    gap(ending, T0 + 170 * SECOND)
    assert not _reclaim(ending)
    ending.now = END
    assert _reclaim(ending)


def test_a_resize_leaves_the_end_as_it_is(ending: Ledger) -> None:
    """And the deadline."""
    assert told(ending.resize("x", {"cpu": 4})) == ("resized", T0 + MINUTE, END)


# -- pools, audits, costs ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ttl", "lifetime", "end"), [(0, 0, LIFETIME), (MINUTE, LONG, LIFETIME), (MINUTE, 5000, 5000)])
def test_a_pool_gives_no_longer_life_than_its_own(ledger: Ledger, ttl: int, lifetime: int, end: int) -> None:
    """What asks for more, or for none, gets that; what is live already is left alone."""
    ledger.create({"cpu": 10})
    ledger.grant("old", {"cpu": 1}, ttl=0)
    assert ledger.configure("change", promises=f"max_lifetime_ms={LIFETIME}")[0] == "configured"
    reply = ledger.allocate(ledger.want("x", {"cpu": 1}, ttl=ttl, lifetime=lifetime))[0]
    assert (reply[3], reply[7]) == (T0 + min(ttl or end, end), T0 + end)
    assert "deadline_ms" not in fields(ledger.allocate(ledger.want("old", {"cpu": 1}))[0][1:])


@pytest.mark.parametrize("where", ["record", "index", "pinned"])
def test_an_audit_finds_what_would_live_longer_and_a_repair_cuts_it(ending: Ledger, where: str) -> None:
    """Whichever of record and index is wrong as well."""
    key = ending.keys.record("x")
    if where == "pinned":
        ending.client.hdel(key, "ttl_ms", "deadline_ms")
        ending.client.zrem(ending.keys["deadlines"], "x")
        ending.client.zadd(ending.keys["pinned"], {"x": T0})
    else:
        ending.client.hset(key, "deadline_ms", T0 + LONG)
        if where == "record":
            ending.client.zadd(ending.keys["deadlines"], {"x": T0 + LONG})
    kinds = ["beyond_end"] if where != "index" else ["beyond_end", "wrong_instant"]
    assert ending.audit()[8][::3] == kinds
    assert ending.repair()[3::3] == kinds
    check_pool(ending.client, ending.keys)
    assert (stored(ending), ending.index("deadlines"), ending.index("pinned")) == (END, {"x": END}, {})


def test_a_hard_end_costs_no_command(real: Ledger) -> None:
    """Neither a grant nor a renewal."""
    line: Callable[[Ledger], Any] = lambda pool: pool.allocate(pool.want("a", {"cpu": 1000}, lifetime=LONG))[0]  # noqa: E731
    assert sorted(_count(real, Way(line, "granted")).elements()) == sorted(ONE_ACCOUNT["allocate"].split())
    renew = Way(lambda pool: pool.renew(pool.renew_line("a", ttl=2 * LONG))[0], "renewed", line)
    assert sorted(_count(real, renew).elements()) == sorted(ONE_ACCOUNT["renew"].split())
