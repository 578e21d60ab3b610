"""Several items in one call, where somebody waits: each is decided after those before it."""

from __future__ import annotations

import pytest

from allocator import settings
from tests.scripts.ledger import MINUTE, Ledger, fields
from tests.scripts.waiting import ask, hear, wait

CLAIM = settings.GRANT_CLAIM_MS


@pytest.fixture
def full(pool: Ledger) -> Ledger:
    """A pool whose cpu is taken, by `full`."""
    pool.grant("full", {"cpu": 10}, ttl=0)
    return pool


def words(replies: list[list[object]]) -> list[object]:
    return [reply[0] for reply in replies]


def test_waits_of_one_batch_stand_in_its_order_and_by_priority(full: Ledger) -> None:
    """Each is told the position that it has then."""
    lines = [full.want(name, {"cpu": 2}, wait=MINUTE, priority=priority) for name, priority in
             (("a", 0), ("b", 5), ("c", 0), ("d", 5))]  # fmt: skip
    assert [reply[:2] for reply in full.allocate(*lines)] == [
        ["waiting", 1], ["waiting", 1], ["waiting", 3], ["waiting", 2],
    ]  # fmt: skip
    assert full.waiting == ["b", "d", "a", "c"]


def test_the_same_item_twice_waits_once(full: Ledger) -> None:
    """And another call for its id is a conflict already in the same batch."""
    line, other = full.want("a", {"cpu": 2}, wait=MINUTE), full.want("a", {"cpu": 2}, wait=MINUTE)
    assert words(full.allocate(line, line.again(), other)) == ["waiting", "waiting", "conflict_waiting"]
    assert full.waiting == ["a"]


def test_a_wait_and_its_last_try_in_one_batch_leave_nothing(full: Ledger) -> None:
    """Neither an entry nor a field of the line; a late copy is told."""
    line = full.want("a", {"cpu": 2}, wait=MINUTE)
    last = full.want("a", {"cpu": 2}, call=line.call)
    assert words(full.allocate(line, last, line.again())) == ["waiting", "denied", "withdrawn"]
    assert (full.waiting, full.waiter("a")) == ([], {})
    assert not [name for name in full.account if name.startswith("waiting") and name != "waiting_count"]
    assert full.kinds[-2:] == ["waiting", "withdrawn"]


def test_a_new_wait_behind_a_last_try_that_leaves_is_granted_in_the_same_call(full: Ledger) -> None:
    """Nobody waits while there is room."""
    full.resize("full", {"cpu": 7})
    first = wait(full, "a", {"cpu": 4})
    second = full.want("b", {"cpu": 3}, wait=MINUTE)
    assert words(full.allocate(second, first.without_wait())) == ["waiting", "denied"]
    assert full.waiting == []
    assert ask(full, second.again())[0] == "replayed"


def test_an_id_leaves_and_comes_back_in_one_call(full: Ledger) -> None:
    """With another call and other amounts: of the first entry nothing is left."""
    first, other = wait(full, "a", {"cpu": 2}, meta={"old": "x"}), wait(full, "b", {"cpu": 1})
    again = full.want("a", {"memory": 5, "cpu": 4}, wait=MINUTE, owner="you", priority=3)
    assert words(full.allocate(first.without_wait(), again)) == ["denied", "waiting"]
    assert full.waiting == ["a", "b"]
    entry = full.waiter("a")
    assert (entry["owner"], entry["requested.memory"], "meta.old" in entry) == ("you", "5", False)
    assert ask(full, first.line.again()) == ["withdrawn"]
    full.release("full")
    assert words(full.allocate(again.again(), other.line.again())) == ["replayed", "replayed"]


def test_an_id_leaves_comes_back_and_leaves_in_one_call(full: Ledger) -> None:
    """The stored entry goes, too."""
    first = wait(full, "a", {"cpu": 2})
    again = full.want("a", {"cpu": 4}, wait=MINUTE)
    last = full.want("a", {"cpu": 4}, call=again.call)
    assert words(full.allocate(first.without_wait(), again, last)) == ["denied", "waiting", "denied"]
    assert (full.waiting, full.waiter("a")) == ([], {})


def test_clients_that_ask_again_in_one_batch_are_told_their_positions(full: Ledger) -> None:
    """Without those who have left before, in this call."""
    some = [wait(full, name, {"cpu": amount}) for name, amount in (("a", 1), ("b", 2), ("c", 3), ("d", 4))]
    replies = full.allocate(some[1].without_wait(), some[3].line.again(), some[0].line.again(), some[2].line.again())
    assert [reply[:2] for reply in replies[1:]] == [["waiting", 3], ["waiting", 1], ["waiting", 2]]


def test_positions_in_a_uniform_line_do_not_count_who_has_left(full: Ledger) -> None:
    """Of which only the first is looked at."""
    some = [wait(full, f"w-{number}", {"cpu": 1}) for number in range(6)]
    replies = full.allocate(some[3].without_wait(), some[5].line.again())
    assert replies[1][:2] == ["waiting", 5]


def test_one_release_grants_to_several(full: Ledger) -> None:
    """As many as fit; their fences are in their order."""
    some = [wait(full, f"w-{number}", {"cpu": 4}) for number in range(3)]
    full.release("full")
    assert full.waiting == ["w-2"]
    fences = [int(full.record(f"w-{number}")["fence"]) for number in range(2)]
    assert fences == sorted(fences)
    replies = full.allocate(*(one.line.again() for one in some))
    assert words(replies) == ["replayed", "replayed", "waiting"]


def test_a_grant_to_a_waiter_may_lapse_and_be_asked_for_in_one_batch(full: Ledger) -> None:
    """Who asks first has it: it is extended; its room is not for the next."""
    gone, after = wait(full, "a", {"cpu": 10}), wait(full, "b", {"cpu": 10})
    full.release("full")
    full.now += CLAIM - 1
    assert hear(full, after) == ["waiting"]
    full.now += 1
    assert words(full.allocate(gone.line.again(), after.line.again())) == ["replayed", "waiting"]
    assert full.record("a")["deadline_ms"] == str(full.now + MINUTE)


def test_several_undos_in_one_call(full: Ledger) -> None:
    """Of a grant, of a wait, of a call that is unknown."""
    some = [wait(full, name, {"cpu": 10}) for name in ("a", "b", "c")]
    full.release("full")
    calls = [(one.line.call, one.line.id) for one in some[:2]]
    assert full.undo(*calls, ("unknown", "c")) == [["undone"], ["absent"], ["absent"]]
    assert hear(full, some[2]) == ["replayed"]


def test_others_may_share_a_grant_before_its_caller_knows(full: Ledger) -> None:
    """Each keeps what it was told; what the first asked for begins when it asks again."""
    first = wait(full, "a", {"cpu": 10}, ttl=5 * MINUTE)
    full.release("full")
    full.now += 1000
    other = full.want("a", {"cpu": 10}, ttl=MINUTE)
    assert ask(full, other)[0] == "existing"
    assert full.record("a")["deadline_ms"] == str(full.now + MINUTE)
    full.now += 1000
    told = fields(ask(full, first.line.again())[1:])
    assert told["deadline_ms"] == full.now + 5 * MINUTE
    assert full.undo((other.call, "a")) == [["left"]]
    record = full.record("a")
    assert (record["ttl_ms"], record["deadline_ms"]) == (str(5 * MINUTE), str(full.now + 5 * MINUTE))
    assert "unclaimed_ttl_ms" not in record


@pytest.mark.parametrize("ttl", [0, 1000])
def test_a_shared_grant_whose_first_caller_is_undone_is_that_of_the_other(full: Ledger, ttl: int) -> None:
    """Nobody claims it any more: neither is it pinned, nor does its deadline come earlier."""
    first = wait(full, "a", {"cpu": 10}, ttl=ttl)
    full.release("full")
    other = full.want("a", {"cpu": 10}, ttl=MINUTE)
    assert ask(full, other)[0] == "existing"
    assert full.undo((first.line.call, "a")) == [["left"]]
    full.now += 500
    assert ask(full, other.again())[0] == "replayed"
    record = full.record("a")
    assert (record["ttl_ms"], record["deadline_ms"]) == (str(MINUTE), str(full.now - 500 + MINUTE))
    assert "unclaimed_ttl_ms" not in record


def test_a_pinned_wait_that_is_shared_is_pinned_once_it_is_known(full: Ledger) -> None:
    """Until then the lease of the other holds it."""
    first = wait(full, "a", {"cpu": 10}, ttl=0)
    full.release("full")
    ask(full, full.want("a", {"cpu": 10}, ttl=MINUTE))
    assert full.index("pinned") == {}
    assert hear(full, first) == ["replayed"]
    assert list(full.index("pinned")) == ["a"]


def test_another_request_for_a_grant_that_is_not_known_yet(full: Ledger) -> None:
    """With other amounts, or exclusively, it is a conflict."""
    wait(full, "a", {"cpu": 10})
    full.release("full")
    assert ask(full, full.want("a", {"cpu": 9}, wait=MINUTE))[0] == "conflict"
    assert ask(full, full.want("a", {"cpu": 10}, exclusive=True, wait=MINUTE))[0] == "conflict"
    assert full.waiting == []


def test_an_atomic_batch_is_stopped_by_an_id_that_waits(full: Ledger) -> None:
    """Nothing of it is granted."""
    wait(full, "a", {"cpu": 1}, owner="me")
    lines = [full.want("x", {"memory": 1}), full.want("a", {"memory": 1})]
    assert full.allocate(*lines, atomic=1) == [["aborted", 2], ["conflict_waiting", "me"]]
    assert full.record("x") == {}


def test_a_waiter_that_is_granted_by_a_batch_which_is_stopped_keeps_its_fence(full: Ledger) -> None:
    """What the batch gives back is not granted again with a fence of somebody else."""
    full.release("full")
    full.grant("pinned", {"cpu": 1}, ttl=MINUTE)
    silent = wait(full, "silent", {"cpu": 10})
    full.now += 5000
    waiting = wait(full, "w", {"cpu": 5})
    assert waiting.reply[3][1] == "queued"
    full.now += 14_000
    pin = full.want("pinned", {"cpu": 1}, ttl=0)
    replies = full.allocate(pin, full.want("x", {"memory": 1}), full.want("y", {"cpu": 9}), atomic=1)
    assert words(replies) == ["aborted", "aborted", "denied"]
    assert "deadline_ms" in full.record("pinned")
    fence = int(full.record("w")["fence"])
    assert full.grant("z", {"memory": 1}) > fence
    assert full.revision >= fence
    assert silent.line.id not in full.waiting


def test_a_batch_that_is_stopped_has_passed_nobody(full: Ledger) -> None:
    """Its passes are not counted, as nothing was granted."""
    full.configure("change", promises="queue_passes_max=1")
    wait(full, "first", {"cpu": 1})
    lines = [full.want("x", {"memory": 1}), full.want("y", {"cpu": 1})]
    assert words(full.allocate(*lines, atomic=1)) == ["aborted", "denied"]
    assert ask(full, full.want("z", {"memory": 1}))[0] == "granted"


def test_a_lapsed_lease_that_a_batch_has_looked_at_denies_nothing(full: Ledger) -> None:
    """The next call takes it back; the denial would be the artefact of the batch."""
    full.release("full")
    lapsed = full.want("lapsed", {"cpu": 8}, ttl=1000)
    shared = full.want("lapsed", {"cpu": 8}, ttl=1000)
    full.allocate(lapsed, shared)
    full.undo((shared.call, "lapsed"))
    wait(full, "first", {"cpu": 10}, priority=-1)
    full.now += 2000
    replies = full.allocate(shared.again(), full.want("new", {"cpu": 5}))
    assert words(replies) == ["ended", "reclaim_first"]
