"""delete: refused while anything is live, in batches where forced, and nothing comes back by a late copy."""

from __future__ import annotations

import pytest

from tests.scripts.ledger import MINUTE, Ledger


def test_an_empty_pool_is_deleted_with_all_its_keys(pool: Ledger) -> None:
    """But for the ended calls, which stay for as long as a copy may travel."""
    pool.grant("a", {"cpu": 1})
    pool.release("a")
    assert pool.delete() == ["deleted"]
    assert list(pool.client.scan_iter()) == [pool.keys["ended"]]
    assert 0 < pool.client.pttl(pool.keys["ended"]) <= 2 * MINUTE


@pytest.mark.parametrize("ttl", [0, MINUTE])
def test_a_pool_with_anything_live_is_kept(pool: Ledger, ttl: int) -> None:
    """Leased or pinned, due or not; it says how many."""
    pool.grant("a", {"cpu": 1}, ttl=ttl)
    pool.now += 2 * MINUTE
    before = pool.dump()
    assert pool.delete() == ["in_use", 1]
    pool.assert_untouched(before)


def test_force_ends_what_is_live(pool: Ledger) -> None:
    """And late copies of its grants are granted nothing by a pool of the same name."""
    line = pool.want("a", {"cpu": 1})
    pool.allocate(line, pool.want("b", {"cpu": 1}, ttl=0))
    assert pool.delete(force=1) == ["deleted"]
    assert list(pool.client.scan_iter()) == [pool.keys["ended"]]
    pool.create({"cpu": 10}, epoch="epoch-2")
    assert pool.allocate(line)[0][0] == "ended"
    assert pool.client.pttl(pool.keys["ended"]) == -1


def test_a_large_pool_is_ended_in_batches_and_grants_nothing_meanwhile(ledger: Ledger) -> None:
    """200 a call; once begun it needs no further force."""
    ledger.create({"cpu": 1000})
    for start in (0, 100, 200):
        ledger.allocate(
            *(ledger.want(f"a{n}", {"cpu": 1}, ttl=0 if n % 2 else MINUTE) for n in range(start, start + 100))
        )
    assert ledger.delete(force=1) == ["deleting", 100]
    assert ledger.account["state"] == "deleting"
    assert ledger.allocated() == 100
    assert ledger.kinds.count("deleted") == 200
    assert ledger.allocate(ledger.want("x", {"cpu": 1})) == [["deleting"]]
    assert ledger.configure("change", {"cpu": 5}) == ["deleting"]
    assert ledger.release("a299")[0][0] == "released"
    assert ledger.delete() == ["deleted"]


def test_a_pool_that_is_not_there_is_absent(ledger: Ledger) -> None:
    """And nothing is made."""
    assert ledger.delete() == ["absent"]
    assert ledger.dump() == {}


def test_the_same_call_hears_deleted_again_and_deletes_nothing_new(pool: Ledger) -> None:
    """A late copy after the pool was made again."""
    assert pool.delete(call="d") == ["deleted"]
    pool.create({"cpu": 5}, epoch="epoch-2")
    before = pool.dump()
    assert pool.delete(call="d", force=1) == ["deleted"]
    pool.assert_untouched(before)


def test_a_repeated_refusal_is_over_and_is_never_called_a_success(pool: Ledger) -> None:
    """A copy must not delete the pool once it is empty; and whoever asks a third time must not hear `deleted`."""
    pool.grant("a", {"cpu": 1})
    assert pool.delete(call="d", repeated=1) == ["in_use", 1]
    assert pool.delete(call="d", repeated=1) == ["in_use", 1]
    pool.release("a")
    before = pool.dump()
    assert pool.delete(call="d")[0] != "deleted"
    pool.assert_untouched(before)


def test_a_late_copy_of_create_makes_no_pool_again(ledger: Ledger) -> None:
    """The pool was deleted since."""
    ledger.create({"cpu": 5}, call="c")
    ledger.delete()
    before = ledger.dump()
    assert ledger.create({"cpu": 5}, call="c") == ["unknown_pool"]
    ledger.assert_untouched(before)


def test_a_late_copy_of_allocate_finds_no_pool_or_another(pool: Ledger) -> None:
    """Nothing is granted by the old call in either."""
    line = pool.want("a", {"cpu": 1})
    pool.allocate(line)
    pool.release("a")
    pool.delete()
    assert pool.allocate(line) == [["unknown_pool"]]
    pool.create({"cpu": 5}, epoch="epoch-2")
    assert pool.allocate(line)[0][0] == "ended"


def test_broken_records_go_as_well(pool: Ledger) -> None:
    """Nothing is left for them to contradict."""
    pool.grant("a", {"cpu": 1})
    pool.client.delete(pool.keys.record("a"))
    pool.client.set(pool.keys.record("b"), "rubbish")
    pool.client.zadd(pool.keys["pinned"], {"b": 1})
    assert pool.delete(force=1) == ["deleted"]
    assert list(pool.client.scan_iter()) == [pool.keys["ended"]]
