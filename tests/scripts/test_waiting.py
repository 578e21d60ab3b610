"""The line: a request that waits is put there, is asked for again, and is granted by the call that frees the room."""

from __future__ import annotations

import pytest

from allocator import settings
from tests.scripts.items import Line
from tests.scripts.ledger import MINUTE, T0, Ledger, contract, fields
from tests.scripts.waiting import ask, wait

HEARD = settings.WAITER_TTL_MS
CLAIM = settings.GRANT_CLAIM_MS
LOOK_AGAIN = settings.LOOK_AGAIN_MS


@pytest.fixture
def full(pool: Ledger) -> Ledger:
    """A pool whose cpu is taken, by `full`."""
    pool.grant("full", {"cpu": 10}, ttl=0)
    return pool


def test_a_request_that_does_not_fit_takes_a_place_and_is_told_why(full: Ledger) -> None:
    """The reply, the entry, the place, the event; nothing is charged."""
    revision = full.revision
    line = full.want("a", {"cpu": 3, "memory": 5}, owner="ns/lab", meta={"user": "x"}, wait=MINUTE, ttl=7000)
    refusal = ["denied", "capacity_exceeded", "", "cpu", 3, 10, 10]
    assert full.allocate(line) == [["waiting", 1, HEARD, refusal]]
    assert full.waiting == ["a"]
    assert full.waiter("a") == {
        "owner": "ns/lab", "call": line.call, "priority": "0", "since_ms": str(T0), "heard_ms": str(T0),
        "until_ms": str(T0 + MINUTE), "ttl_ms": "7000", "requested.cpu": "3", "requested.memory": "5", "meta.user": "x",
    }  # fmt: skip
    assert full.events[-1] == {"kind": "waiting", "id": "a", "reason": "capacity_exceeded"}
    assert (full.revision, full.allocated("memory"), full.record("a")) == (revision, 0, {})


def test_a_request_that_fits_does_not_wait(pool: Ledger) -> None:
    """It is granted as without `wait`, and leaves nothing of a line."""
    assert pool.allocate(pool.want("a", {"cpu": 1}, wait=MINUTE, priority=3))[0][0] == "granted"
    assert (pool.waiting, "options" in pool.account) == ([], False)


@pytest.mark.parametrize("asked", [{"cpu": 11}, {"disk": 1}])
def test_a_request_that_can_never_fit_does_not_wait(full: Ledger, asked: dict[str, int]) -> None:
    """Neither where the line is empty nor where it is not."""
    for name in ("b", "c"):
        reply = full.allocate(full.want("a", asked, wait=MINUTE))[0]
        assert reply[:2] in (["denied", "never_fits"], ["denied", "unknown_resource"])
        wait(full, name, {"cpu": 1})
    assert full.waiting == ["b", "c"]


def test_the_next_deadline_says_when_to_ask_again(pool: Ledger) -> None:
    """It is the earliest instant at which something changes by itself."""
    pool.grant("full", {"cpu": 10}, ttl=7000)
    assert wait(pool, "a", {"cpu": 1}).reply[2] == 7000


def test_asking_again_keeps_the_place_and_is_heard(full: Ledger) -> None:
    """The entry says when, and until when the client waits; positions are those of the line."""
    first, second = wait(full, "a", {"cpu": 3}), wait(full, "b", {"cpu": 2})
    full.now += 4000
    assert [full.allocate(one.again())[0][:2] for one in (second.line, first.line)] == [["waiting", 2], ["waiting", 1]]
    assert full.waiting == ["a", "b"]
    assert (full.waiter("a")["since_ms"], full.waiter("a")["heard_ms"]) == (str(T0), str(T0 + 4000))
    assert full.waiter("a")["until_ms"] == str(T0 + 4000 + MINUTE)
    assert full.kinds.count("waiting") == 2


def test_the_higher_priority_stands_before_and_arrivals_in_order(full: Ledger) -> None:
    """From -1000 to 1000."""
    for name, priority in (("a", 0), ("low", -1000), ("b", 0), ("high", 1000), ("mid", 1), ("low2", -1000)):
        wait(full, name, {"cpu": 1}, priority=priority)
    assert full.waiting == ["high", "mid", "a", "b", "low", "low2"]
    assert full.waiter("low")["priority"] == "-1000"


def test_who_frees_room_grants_it_in_order_and_the_callers_learn_of_it(full: Ledger) -> None:
    """A record with the time to claim it; when its caller asks, what it asked for begins."""
    first = wait(full, "a", {"cpu": 6}, ttl=MINUTE, meta={"k": "v"})
    second = wait(full, "b", {"cpu": 5}, ttl=MINUTE)
    third = wait(full, "c", {"cpu": 4}, ttl=0)
    assert full.release("full")[0][0] == "released"
    assert (full.waiting, full.allocated()) == (["b"], 6) or full.waiting == ["b", "c"]
    assert full.waiting == ["b", "c"], "c competes for what b is short of"
    record = full.record("a")
    assert (record["unclaimed_ttl_ms"], record["deadline_ms"]) == (str(MINUTE), str(T0 + CLAIM))
    assert (record["meta.k"], record["owner"], record["call"]) == ("v", "owner", first.line.call)
    assert full.events[-1] == {
        "kind": "granted", "id": "a", "owner": "owner", "fence": record["fence"], "cpu.allocated": "6",
        "reason": "waited",
    }  # fmt: skip
    full.now += 9000
    told = full.allocate(first.line.again())[0]
    assert told[0] == "replayed"
    assert fields(told[1:])["deadline_ms"] == full.now + MINUTE
    assert "unclaimed_ttl_ms" not in full.record("a")
    assert full.record("a")["ttl_ms"] == str(MINUTE)
    assert full.release("a")[0][0] == "released"
    assert full.waiting == []
    for one, pinned in ((second, False), (third, True)):
        assert full.allocate(one.line.again())[0][0] == "replayed"
        assert ("deadline_ms" not in full.record(one.line.id)) == pinned
    assert full.index("pinned") == {"c": T0 + 9000}
    assert "options" not in full.account


def test_a_grant_that_nobody_claims_lapses_and_its_room_goes_to_the_next(full: Ledger) -> None:
    """Its caller is gone; if it is not, it is told that its call has ended."""
    gone, after = wait(full, "a", {"cpu": 10}), wait(full, "b", {"cpu": 10})
    full.release("full")
    full.now += HEARD - 1
    assert full.allocate(after.line.again())[0][0] == "waiting"
    full.now += 1
    assert full.allocate(after.line.again())[0][0] == "replayed"
    assert full.record("a") == {}
    assert full.allocate(gone.line.again())[0][0] == "ended"
    assert full.allocated() == 10


def test_a_waiter_that_is_not_heard_leaves(full: Ledger) -> None:
    """At the instant itself; who asks again after that stands at the end."""
    silent, heard = wait(full, "a", {"cpu": 2}), wait(full, "b", {"cpu": 2})
    full.now += HEARD - 1
    assert full.allocate(heard.line.again())[0][1] == 2
    full.now += 1
    # Another has just looked, so this one does not, but who is silent counts as gone.
    full.allocate(heard.line.again())
    assert full.waiting == ["a", "b"]
    full.now += LOOK_AGAIN - 1
    assert full.allocate(heard.line.again())[0][1] == 1
    assert full.events[-1] == {"kind": "withdrawn", "id": "a", "reason": "its client is silent"}
    assert full.allocate(silent.line.again())[0][:2] == ["waiting", 2]
    assert full.waiting == ["b", "a"]


def test_who_was_silent_and_asks_again_takes_a_new_place(full: Ledger) -> None:
    """Also where it was the only one: its entry stands, with what it asks for now."""
    silent = wait(full, "a", {"cpu": 2}, meta={"old": "x"})
    full.now += HEARD
    reply = full.allocate(silent.line.again(words=full.want("a", {"memory": 1, "cpu": 3}, wait=MINUTE).words))[0]
    assert reply[:2] == ["waiting", 1]
    assert (full.waiting, full.waiter("a")["since_ms"]) == (["a"], str(full.now))
    assert "meta.old" not in full.waiter("a")
    full.release("full")
    assert full.allocate(silent.line.again())[0][0] == "replayed"


def test_another_call_for_an_id_that_waits_is_a_conflict(full: Ledger) -> None:
    """Whether or not it would wait itself; not once the first is silent."""
    wait(full, "a", {"cpu": 2}, owner="me")
    for other in (full.want("a", {"cpu": 2}, wait=MINUTE), full.want("a", {"memory": 1})):
        assert full.allocate(other) == [["conflict_waiting", "me"]]
    full.now += HEARD
    after = wait(full, "a", {"cpu": 2}, owner="you")
    assert (after.reply[1], full.waiter("a")["owner"], full.waiting) == (1, "you", ["a"])


def test_the_last_try_is_granted_or_leaves_the_line(full: Ledger) -> None:
    """The denial; later copies of the call, with or without `wait`, do nothing."""
    first, second = wait(full, "a", {"cpu": 2}), wait(full, "b", {"cpu": 2})
    assert ask(full, first.without_wait())[:2] == ["denied", "capacity_exceeded"]
    assert full.waiting == ["b"]
    assert full.events[-1]["kind"] == "withdrawn"
    for copy in (first.line.again(), first.without_wait().again()):
        assert full.allocate(copy) == [["withdrawn"]]
    full.release("full")
    assert full.allocate(first.line.again()) == [["withdrawn"]]
    assert full.allocate(second.without_wait())[0][0] == "replayed"
    assert full.allocate(second.line.again())[0][0] == "replayed"
    assert full.allocated() == 2


def test_a_last_try_that_leaves_lets_those_behind_it_go(full: Ledger) -> None:
    """They competed for what it was short of."""
    full.resize("full", {"cpu": 7})
    first = wait(full, "a", {"cpu": 4})
    second = wait(full, "b", {"cpu": 3})
    assert second.reply[3][:2] == ["denied", "queued"]
    assert ask(full, first.without_wait())[0] == "denied"
    assert full.waiting == []
    assert full.allocate(second.line.again())[0][0] == "replayed"


def test_an_undone_call_leaves_the_line_and_lets_those_behind_it_go(full: Ledger) -> None:
    """Late copies of it are told that it has ended."""
    full.resize("full", {"cpu": 7})
    first, second = wait(full, "a", {"cpu": 4}), wait(full, "b", {"cpu": 3})
    assert full.undo((first.line.call, "a")) == [["absent"]]
    assert (full.waiting, full.allocate(first.line.again())[0][0]) == ([], "ended")
    assert full.allocate(second.line.again())[0][0] == "replayed"


def test_an_undo_of_another_call_leaves_the_waiter_where_it_is(full: Ledger) -> None:
    """The id is the same, the call is not."""
    first = wait(full, "a", {"cpu": 4})
    assert full.undo(("another", "a")) == [["absent"]]
    assert full.allocate(first.line.again())[0][0] == "waiting"


def test_the_undo_of_a_grant_that_nobody_claimed_gives_its_room_to_the_next(full: Ledger) -> None:
    """The cancelled caller does not know that it was granted."""
    first, second = wait(full, "a", {"cpu": 10}), wait(full, "b", {"cpu": 10})
    full.release("full")
    assert full.undo((first.line.call, "a")) == [["undone"]]
    assert full.allocate(second.line.again())[0][0] == "replayed"
    assert full.allocate(first.line.again())[0][0] == "ended"


def test_a_withdrawn_id_leaves_and_its_caller_is_told(full: Ledger) -> None:
    """Once; a repeat of the withdrawal gets the same answer, and those behind go."""
    full.resize("full", {"cpu": 7})
    first, second = wait(full, "a", {"cpu": 4}), wait(full, "b", {"cpu": 3})
    assert full.withdraw("a", call="w") == [["withdrawn"]]
    assert full.withdraw("a", call="w", repeated=1) == [["withdrawn"]]
    assert full.allocate(first.line.again()) == [["withdrawn"]]
    assert full.allocate(second.line.again())[0][0] == "replayed"
    assert full.withdraw("a", "b", "c") == [["absent"]] * 3


def test_a_withdrawal_that_found_nobody_finds_nobody_later(full: Ledger) -> None:
    """A late copy of it must not withdraw another request."""
    assert full.withdraw("a", call="w", repeated=1) == [["absent"]]
    wait(full, "a", {"cpu": 4})
    assert full.withdraw("a", call="w", repeated=1) == [["absent"]]
    assert full.waiting == ["a"]
    assert full.withdraw("a", "a") == [["withdrawn"], ["absent"]]


def test_a_full_line_refuses(full: Ledger) -> None:
    """With its limit; those who stand in it are heard."""
    full.configure("change", promises="queue_length_max=2")
    first = wait(full, "a", {"cpu": 1})
    wait(full, "b", {"cpu": 1})
    assert full.allocate(full.want("c", {"cpu": 1}, wait=MINUTE)) == [["queue_full", 2]]
    assert full.allocate(first.line.again())[0][0] == "waiting"
    full.withdraw("b")
    assert wait(full, "c", {"cpu": 1}).reply[1] == 2


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("wait", "0"), ("wait", "-1"), ("wait", "1.5"), ("wait", ""), ("wait", "x"),
        ("wait", str(settings.WAIT_MAX_MS + 1)), ("priority", "1001"), ("priority", "-1001"), ("priority", "x"),
        ("priority", "1.0"), ("priority", ""), ("priority", "+1"),
    ],
)  # fmt: skip
def test_a_wait_and_a_priority_are_integers_in_their_bounds(full: Ledger, option: str, value: str) -> None:
    """Nothing is changed by what is not."""
    before = full.dump()
    with contract(option):
        full.allocate(Line("a", "c", ("owner", 0, 1, 0, 1, "cpu.allocated", 1, option, value)))
    full.assert_untouched(before)


def test_a_wait_is_not_for_what_replaces(full: Ledger) -> None:
    """Its charge is there already."""
    before = full.dump()
    with contract("wait"):
        full.allocate(full.want("a", {"cpu": 1}, wait=MINUTE, replaces=(int(full.record("full")["fence"]), "full")))
    full.assert_untouched(before)


def test_a_wait_for_the_longest_time_is_taken(full: Ledger) -> None:
    """A week."""
    assert wait(full, "a", {"cpu": 1}, ms=settings.WAIT_MAX_MS).reply[0] == "waiting"
