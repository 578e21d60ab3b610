"""Who was told of an allocation, and what of that an undone call leaves (docs/guarantees.md, *Verb by verb*)."""

from __future__ import annotations

import pytest

from tests.scripts.ledger import MINUTE, T0, Ledger, Line, fields

SECOND = 1000


def tell(pool: Ledger, *ttls: int) -> list[Line]:
    """`x` is granted to the first caller, and a second apart the others are told of it: with these ttls, 0 pins."""
    lines = [pool.want("x", {"cpu": 2}, ttl=ttl) for ttl in ttls]
    words: list[str] = []
    for line in lines:
        words.append(pool.allocate(line)[0][0])
        pool.now += SECOND
    assert words == ["granted", *["existing"] * (len(ttls) - 1)]
    return lines


def undo(pool: Ledger, *lines: Line) -> list[str]:
    """The words for these calls, undone in one call."""
    return [reply[0] for reply in pool.undo(*((line.call, line.id) for line in lines))]


def numbers(pool: Ledger, name: str) -> list[int]:
    """A field of `x` with a number for each caller."""
    return [int(part) for part in pool.record("x")[name].split()]


# -- the record --------------------------------------------------------------------------------------------------------


def test_a_record_names_three_calls_and_a_star_for_all_others(pool: Ledger) -> None:
    """The oldest are forgotten first, and one number of each kind stands for them."""
    calls = [line.call for line in tell(pool, *[MINUTE] * 3)]
    assert pool.record("x")["call"] == " ".join(calls)
    for _ in range(2):
        line = pool.want("x", {"cpu": 2})
        pool.allocate(line)
        calls.append(line.call)
        assert pool.record("x")["call"] == " ".join(["*", *calls[-3:]])
        assert [len(numbers(pool, name)) for name in ("ttls", "told")] == [4, 4]


def test_a_call_that_is_forgotten_for_a_younger_one_is_over(pool: Ledger) -> None:
    """A late copy of it must not be granted once the allocation has ended."""
    lines = tell(pool, *[MINUTE] * 5)
    before = pool.dump()
    assert [pool.allocate(line.again())[0][0] for line in lines[:2]] == ["ended", "ended"]
    pool.assert_untouched(before)
    pool.release("x")
    assert [pool.allocate(line)[0][0] for line in lines] == ["ended"] * 5


def test_a_record_says_what_each_caller_asked_for_and_was_told(pool: Ledger) -> None:
    """In the order of the calls; 0 is for ever.  A single caller's are the record's own."""
    tell(pool, MINUTE)
    assert not pool.record("x").keys() & {"ttls", "told", "asserted_ms"}
    pool.allocate(pool.want("x", {"cpu": 2}, ttl=5 * MINUTE))
    pool.now += SECOND
    pool.allocate(pool.want("x", {"cpu": 2}, ttl=0))
    assert numbers(pool, "ttls") == [MINUTE, 5 * MINUTE, 0]
    assert numbers(pool, "told") == [T0 + MINUTE, T0 + SECOND + 5 * MINUTE, 0]
    assert pool.record("x")["asserted_ms"] == str(pool.now)


def test_only_the_call_that_made_it_is_told_that_it_did(pool: Ledger) -> None:
    """The others hear again what they heard the first time."""
    lines = tell(pool, *[MINUTE] * 3)
    assert [pool.allocate(line.again())[0][0] for line in lines] == ["replayed", "existing", "existing"]
    assert pool.record("x")["call"] == " ".join(line.call for line in lines), "nobody is in it twice"


def test_a_call_whose_id_is_part_of_another_s_is_another_call(pool: Ledger) -> None:
    """Either way round, and in the midst."""
    for call in ("b-10", "b-1", "10"):
        pool.allocate(pool.want("x", {"cpu": 2}, call=call))
    assert pool.record("x")["call"] == "b-10 b-1 10"
    assert pool.undo(("b", "x"), ("0", "x")) == [["absent"], ["absent"]]


@pytest.mark.parametrize("callers", [2, 3, 4])
def test_all_calls_of_an_allocation_that_ends_have_ended(pool: Ledger, callers: int) -> None:
    """A late copy of any that is known is granted nothing, and the star is no call."""
    lines = tell(pool, *[MINUTE] * callers)
    pool.release("x")
    assert [pool.allocate(line)[0][0] for line in lines[-3:]] == ["ended"] * min(callers, 3)
    assert not [call for call in pool.index("ended") if call == "*" or " " in call]


def test_an_adopted_allocation_is_nobody_s_call(ledger: Ledger) -> None:
    """The star stands for whoever adopted it; another caller comes beside it."""
    ledger.create({"cpu": 10})
    ledger.adopt(ledger.adopt_line("x", {"cpu": 2}, fence=ledger.revision + 5), reason="by hand")
    assert ledger.record("x")["call"] == "*"
    line = ledger.want("x", {"cpu": 2})
    ledger.allocate(line)
    assert ledger.record("x")["call"] == f"* {line.call}"
    assert undo(ledger, line) == ["left"]
    ledger.release("x")
    assert "*" not in ledger.index("ended")


@pytest.mark.parametrize("end", ["release", "reclaim", "again"])
@pytest.mark.parametrize("callers", [2, 4])
def test_all_calls_of_what_was_on_its_way_out_have_ended_with_it(pool: Ledger, callers: int, end: str) -> None:
    """Their terms went when the release began, and their ids did not."""
    lines = tell(pool, *[MINUTE] * callers)
    pool.begin_release(pool.begin_release_line("x", SECOND))
    if end != "release":
        pool.now += MINUTE
    if end == "again":
        pool.grant("x", {"cpu": 3})
    else:
        pool.reclaim() if end == "reclaim" else pool.release("x")
    assert [pool.allocate(line)[0][0] for line in lines[-3:]] == ["ended"] * min(callers, 3)
    assert not [call for call in pool.index("ended") if call == "*" or " " in call]


# -- undo --------------------------------------------------------------------------------------------------------------


def test_the_fourth_caller_does_not_make_the_first_one_s_end(pool: Ledger) -> None:
    """Its call is forgotten, and that it has it is not."""
    lines = tell(pool, *[MINUTE] * 4)
    assert undo(pool, *lines[1:]) == ["left"] * 3
    assert (pool.record("x")["call"], pool.allocated()) == ("*", 2)


@pytest.mark.parametrize(("longest", "deadline"), [(5 * MINUTE, T0 + SECOND + 5 * MINUTE), (0, None)])
def test_what_forgotten_callers_were_told_still_counts(pool: Ledger, longest: int, deadline: int | None) -> None:
    """The latest of it, also of one who comes to the others later."""
    lines = tell(pool, MINUTE, longest, *[10 * SECOND] * 3)
    assert undo(pool, *lines[2:]) == ["left"] * 3
    assert pool.index("deadlines").get("x") == deadline
    assert pool.record("x").get("ttl_ms") == (str(longest) if longest else None)


@pytest.mark.parametrize("second", [5 * MINUTE, 10 * SECOND, 0])
@pytest.mark.parametrize("first", [MINUTE, 0])
def test_what_an_undone_call_changed_goes_with_it(pool: Ledger, first: int, second: int) -> None:
    """Its pin, its time to live and its deadline: the record is as the first caller was told."""
    one, other = tell(pool, first, second)
    assert undo(pool, other) == ["left"]
    record = pool.record("x")
    assert (record["call"], record.get("ttl_ms")) == (one.call, str(first) if first else None)
    assert not record.keys() & {"ttls", "told"}
    assert (pool.index("deadlines"), pool.index("pinned")) == (
        ({"x": T0 + MINUTE}, {}) if first else ({}, {"x": T0})
    )  # fmt: skip


@pytest.mark.parametrize(("second", "deadline"), [(5 * MINUTE, T0 + SECOND + 5 * MINUTE), (0, None)])
def test_what_a_later_caller_was_told_does_not_go_with_the_first(
    pool: Ledger, second: int, deadline: int | None
) -> None:
    """It is not the order that counts."""
    one, other = tell(pool, MINUTE, second)
    assert undo(pool, one) == ["left"]
    assert (pool.record("x")["call"], pool.index("deadlines").get("x")) == (other.call, deadline)


def test_a_lease_that_was_told_of_a_pin_stays_pinned(pool: Ledger) -> None:
    """Who shares what is pinned is told that it has no deadline, whatever it asked for."""
    one, _ = tell(pool, 0, MINUTE)
    assert undo(pool, one) == ["left"]
    assert pool.index("pinned") == {"x": T0}


def test_of_those_left_a_pin_lasts_longest(pool: Ledger) -> None:
    """0 is for ever, not less than any deadline."""
    lines = tell(pool, MINUTE, 0, 5 * MINUTE)
    assert undo(pool, lines[2]) == ["left"]
    assert (pool.index("pinned"), pool.index("deadlines")) == ({"x": T0}, {})
    assert undo(pool, lines[1]) == ["left"]
    assert (pool.index("pinned"), pool.index("deadlines")) == ({}, {"x": T0 + MINUTE})


def test_of_those_left_the_longest_ttl_stays(pool: Ledger) -> None:
    """A renewal gives each of them what it asked for at least."""
    lines = tell(pool, MINUTE, 5 * MINUTE, 10 * MINUTE)
    undo(pool, lines[2])
    assert pool.record("x")["ttl_ms"] == str(5 * MINUTE)
    assert pool.index("deadlines") == {"x": T0 + SECOND + 5 * MINUTE}


def test_a_repeat_was_told_of_the_record_as_it_stood(pool: Ledger) -> None:
    """What it heard last is what it believes, not what it heard first."""
    one, other = tell(pool, MINUTE, 5 * MINUTE)
    told = fields(pool.allocate(one.again())[0][1:])["deadline_ms"]
    assert undo(pool, other) == ["left"]
    assert pool.index("deadlines") == {"x": told} == {"x": T0 + SECOND + 5 * MINUTE}


@pytest.mark.parametrize("verb", ["renew", "adopt"])
def test_what_a_renewal_told_outlives_another_caller(pool: Ledger, verb: str) -> None:
    """Nobody knows which of them has renewed."""
    _, other = tell(pool, MINUTE, MINUTE)
    if verb == "renew":
        assert pool.renew("x")[0][2] == pool.now + MINUTE
    else:
        fence = int(pool.record("x")["fence"])
        assert pool.adopt(pool.adopt_line("x", {"cpu": 2}, fence=fence), reason="by hand")[0][0] == "existing"
    assert undo(pool, other) == ["left"]
    assert pool.index("deadlines") == {"x": pool.now + MINUTE}


def test_what_an_adoption_told_outlives_another_caller_where_it_moved_nothing(pool: Ledger) -> None:
    """The deadline that it was told was the other caller's doing."""
    _, other = tell(pool, MINUTE, 5 * MINUTE)
    deadlines = pool.index("deadlines")
    pool.adopt(pool.adopt_line("x", {"cpu": 2}, fence=int(pool.record("x")["fence"])), reason="by hand")
    assert undo(pool, other) == ["left"]
    assert pool.index("deadlines") == deadlines


def test_what_a_second_adoption_told_outlives_another_caller(pool: Ledger) -> None:
    """The star has been there since the first."""
    _, other = tell(pool, MINUTE, MINUTE)
    line = pool.adopt_line("x", {"cpu": 2}, fence=int(pool.record("x")["fence"]))
    for _ in range(2):
        pool.now += SECOND
        assert pool.adopt(line.again(call=pool.new_call()), reason="by hand")[0][0] == "existing"
    assert undo(pool, other) == ["left"]
    assert pool.index("deadlines") == {"x": pool.now + MINUTE}


def test_an_undone_call_is_over_for_its_copies(pool: Ledger) -> None:
    """Where others have the allocation, too."""
    _, other = tell(pool, MINUTE, MINUTE)
    undo(pool, other)
    before = pool.dump()
    assert pool.allocate(other)[0][0] == "ended"
    pool.assert_untouched(before)


@pytest.mark.parametrize("callers", [2, 3])
def test_an_undo_does_not_move_what_is_on_its_way_out(pool: Ledger, callers: int) -> None:
    """Its deadline is the grace's, and what was told before is gone."""
    lines = tell(pool, MINUTE, *[5 * MINUTE] * (callers - 1))
    pool.begin_release(pool.begin_release_line("x", 5 * SECOND))
    assert not pool.record("x").keys() & {"ttls", "told", "gap_ms"}
    deadline = pool.now + 5 * SECOND
    for line in lines[1:]:
        pool.now += SECOND
        assert undo(pool, line) == ["left"]
        assert pool.index("deadlines") == {"x": deadline}
    assert undo(pool, lines[0]) == ["undone"]


# -- a lease under somebody else's pin ---------------------------------------------------------------------------------


def test_a_lease_that_another_caller_pinned_is_renewed_beneath(pool: Ledger) -> None:
    """The record stays pinned; the reply has the lease's deadline, and that is what an undo of the pin leaves."""
    _, pin = tell(pool, 10 * SECOND, 0)
    reply = pool.renew("x")[0]
    assert reply[2] == pool.now + 10 * SECOND
    assert (pool.index("pinned"), numbers(pool, "told")) == ({"x": T0}, [reply[2], 0])
    assert undo(pool, pin) == ["left"]
    assert pool.index("deadlines") == {"x": reply[2]}


def test_what_all_callers_have_pinned_is_renewed_to_no_deadline(pool: Ledger) -> None:
    """The reply says 0."""
    tell(pool, 0, 0)
    assert pool.renew(pool.renew_line("x", ttl=MINUTE))[0][2] == 0
    assert pool.index("pinned") == {"x": T0}


def test_a_shorter_renewal_that_names_no_ttl_does_not_end_another_s_pin(pool: Ledger) -> None:
    """It is a lease's: whose it is, and when it ends, says what was told."""
    _, pin = tell(pool, 10 * SECOND, 0)
    assert pool.renew(pool.renew_line("x", shorten=1))[0][0] == "renewed"
    assert (pool.index("pinned"), pool.index("deadlines")) == ({"x": T0}, {})
    assert undo(pool, pin) == ["left"]
    assert pool.index("deadlines") == {"x": pool.now + 10 * SECOND}


# -- a repeat of what has lapsed ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("caller", [0, 1])
def test_a_repeat_of_what_has_lapsed_is_told_of_a_deadline_ahead(pool: Ledger, caller: int) -> None:
    """Nobody took it back: the caller has it again, for as long as it asked."""
    line = tell(pool, MINUTE, 30 * SECOND)[caller]
    pool.now = T0 + 2 * MINUTE
    ttl = (MINUTE, 30 * SECOND)[caller]
    reply = pool.allocate(line.again())[0]
    assert (reply[0], fields(reply[1:])["deadline_ms"]) == (("replayed", "existing")[caller], pool.now + ttl)
    assert pool.index("deadlines") == {"x": pool.now + ttl}


def test_a_repeat_that_asks_for_no_end_pins_what_has_lapsed(pool: Ledger) -> None:
    """Its pin was gone with a release that had begun, or an undo; here by hand."""
    (line,) = tell(pool, MINUTE)
    pool.now = T0 + 2 * MINUTE
    again = Line(line.id, line.call, ("owner", 0, *line.words[2:]), repeated=1)
    assert pool.allocate(again)[0][0] == "replayed"
    assert (pool.index("pinned"), pool.index("deadlines")) == ({"x": T0}, {})


def test_a_repeat_of_what_has_lapsed_on_its_way_out_moves_nothing(pool: Ledger) -> None:
    """It ends, whoever wants it."""
    (line,) = tell(pool, MINUTE)
    pool.begin_release(pool.begin_release_line("x", 5 * SECOND))
    deadlines = pool.index("deadlines")
    pool.now += MINUTE
    assert pool.allocate(line.again())[0][0] == "replayed"
    assert pool.index("deadlines") == deadlines


# -- when somebody was last told ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("ttl", [MINUTE, 0])
@pytest.mark.parametrize("how", ["existing", "replayed", "renewed", "adopted"])
def test_a_reconcile_keeps_what_somebody_was_told_at_or_after_the_listing(pool: Ledger, how: str, ttl: int) -> None:
    """Strictly older goes: an answer in the very millisecond may be later than the listing."""
    line = pool.want("x", {"cpu": 2}, ttl=ttl)
    fence = pool.allocate(line)[0][1]
    pool.now += SECOND
    told = pool.now
    if how == "existing":
        pool.allocate(pool.want("x", {"cpu": 2}, ttl=SECOND))
    elif how == "replayed":
        pool.allocate(line.again())
    elif how == "renewed":
        pool.renew(pool.renew_line("x", ttl=ttl))
    else:
        pool.adopt(pool.adopt_line("x", {"cpu": 2}, fence=fence, ttl=ttl), reason="by hand")
    pool.now += SECOND
    if how != "renewed" or ttl:
        for as_of in (told - 1, told):
            assert pool.reconcile(("x", fence), owner="owner", as_of=as_of)[0] == ["kept"]
    assert pool.reconcile(("x", fence), owner="owner", as_of=told + 1)[0][0] == "released"


# -- what is on its way out --------------------------------------------------------------------------------------------


def test_a_grace_is_no_longer_than_the_longest_ttl(ledger: Ledger) -> None:
    """Or it would outlive a recovery."""
    ledger.create({"cpu": 10}, promises=f"max_ttl_ms={MINUTE}")
    ledger.grant("x", {"cpu": 2}, ttl=SECOND)
    before = ledger.dump()
    assert ledger.begin_release(ledger.begin_release_line("x", MINUTE + 1))[0] == ["ttl_too_long", MINUTE]
    ledger.assert_untouched(before)
    assert ledger.begin_release(ledger.begin_release_line("x", MINUTE))[0][0] == "releasing"


def test_a_live_lease_is_shared_for_no_longer_than_the_longest_ttl(ledger: Ledger) -> None:
    """Another caller would keep it beyond a recovery, or for ever."""
    ledger.create({"cpu": 10}, promises=f"max_ttl_ms={MINUTE}")
    ledger.grant("x", {"cpu": 2})
    before = ledger.dump()
    for ttl in (MINUTE + 1, 0):
        assert ledger.allocate(ledger.want("x", {"cpu": 2}, ttl=ttl))[0] == ["ttl_too_long", MINUTE]
    ledger.assert_untouched(before)
    assert ledger.allocate(ledger.want("x", {"cpu": 2}, ttl=MINUTE))[0][0] == "existing"


# -- gangs that stop ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pins", [False, True])
@pytest.mark.parametrize("callers", [1, 2, 4])
def test_a_gang_that_stops_leaves_no_trace_of_who_asked(pool: Ledger, callers: int, pins: bool) -> None:
    """Named twice, extended, pinned: a member that lives is as it was, a moment later, too."""
    lines = tell(pool, *[MINUTE] * callers)
    before = pool.dump()
    wants = [pool.want("x", {"cpu": 2}, ttl=ttl) for ttl in (2 * MINUTE, 0 if pins else 3 * MINUTE)]
    gang = [*wants, lines[-1].again(), pool.want("y", {"cpu": 9})]
    assert [reply[0] for reply in pool.allocate(*gang, atomic=1)] == ["aborted"] * 3 + ["denied"]
    pool.assert_untouched(before)


def test_a_gang_that_stops_leaves_a_member_as_it_was_where_something_else_is_written(pool: Ledger) -> None:
    """What was reclaimed for it stays so, and makes the call write."""
    tell(pool, 10 * MINUTE)
    pool.grant("due", {"cpu": 1}, ttl=SECOND)
    pool.now += MINUTE
    before = pool.record("x")
    gang = [pool.want("x", {"cpu": 2}, ttl=0), pool.want("n", {"cpu": 8}), pool.want("y", {"cpu": 9})]
    assert [reply[0] for reply in pool.allocate(*gang, atomic=1)] == ["aborted", "aborted", "denied"]
    assert (pool.record("x"), pool.record("n"), pool.allocated()) == (before, {}, 2)
    assert pool.allocate(*gang[:2])[1][0] == "granted"
