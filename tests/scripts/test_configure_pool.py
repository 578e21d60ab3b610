"""configure: pools are made once, changed by merging, and every refusal leaves them as they are."""

from __future__ import annotations

from typing import Any

import pytest

from tests.scripts.ledger import AMOUNT_MAX, MINUTE, T0, Ledger, contract, fields


def test_a_pool_is_made_with_everything_that_the_others_read(ledger: Ledger) -> None:
    """The reply is the account as it lies there; the revision starts at the server's microseconds."""
    seconds, micros = ledger.client.time()
    reply = ledger.create({"cpu": 10, "gpu": 2000}, whole="gpu")
    assert reply[0] == "created"
    account = fields(reply[1:])
    assert account == ledger.account
    revision = int(account.pop("revision"))
    assert 0 <= revision - (seconds * 1_000_000 + micros) < 60 * 1_000_000
    assert account == {
        "cpu.capacity": "10", "cpu.allocated": "0", "gpu.capacity": "2000", "gpu.allocated": "0", "epoch": "epoch-1",
        "generation": "1", "schema": "1", "created_ms": str(T0), "whole_units": "gpu",
        "history_ms": str(T0 - T0 % MINUTE), "created_count": "1",
    }  # fmt: skip
    assert ledger.events == [{"kind": "created", "reason": "create"}]


def test_create_never_changes_an_existing_pool(pool: Ledger) -> None:
    """Whoever comes second gets what is there."""
    before = pool.dump()
    reply = pool.create({"cpu": 99}, epoch="epoch-2")
    assert (reply[0], fields(reply[1:])) == ("exists", pool.account)
    pool.assert_untouched(before)


def test_the_caller_that_made_it_hears_created_again(ledger: Ledger) -> None:
    """A repeat whose first reply was lost: told apart by the epoch that it drew."""
    ledger.create({"cpu": 10}, call="c")
    assert ledger.create({"cpu": 10}, call="c", repeated=1)[0] == "created"
    assert ledger.account["generation"] == "1"


def test_a_change_merges_what_is_named(pool: Ledger) -> None:
    """Set, added, removed; the generation counts changes, the event says which kind."""
    pool.grant("a", {"cpu": 4})
    revision = pool.revision
    reply = pool.configure("change", {"cpu": 20, "gpu": 5}, remove=["memory"])
    assert (reply[0], fields(reply[1:])) == ("configured", pool.account)
    account = pool.account
    assert (account["cpu.capacity"], account["cpu.allocated"]) == ("20", "4")
    assert (account["gpu.capacity"], account["gpu.allocated"]) == ("5", "0")
    assert not {"memory.capacity", "memory.allocated"} & account.keys()
    assert (account["generation"], pool.revision) == ("2", revision + 1)
    assert pool.events[-1] == {"kind": "configured", "reason": "change"}


def test_a_resource_in_use_cannot_be_removed(pool: Ledger) -> None:
    """It says how much is in use; the rest of the call has no effect either."""
    pool.grant("a", {"memory": 40})
    before = pool.dump()
    assert pool.configure("change", {"cpu": 99}, remove=["memory"]) == ["in_use", "memory", 40]
    pool.assert_untouched(before)


@pytest.mark.overcommits
@pytest.mark.parametrize(("capacity", "word"), [(5, "configured"), (4, "configured"), (3, "in_use")])
def test_strict_refuses_to_go_below_what_is_allocated(pool: Ledger, capacity: int, word: str) -> None:
    """The boundary; without it the pool is overcommitted, which usage and audit report."""
    pool.grant("a", {"cpu": 4})
    reply = pool.configure("change", {"cpu": capacity}, strict=1)
    assert reply[0] == word
    if word == "in_use":
        assert reply == ["in_use", "cpu", 4]
        assert pool.configure("change", {"cpu": capacity})[0] == "configured"
        assert pool.allocate(pool.want("b", {"cpu": 1}))[0] == ["denied", "capacity_exceeded", "", "cpu", 1, 4, 3]
        assert pool.allocate(pool.want("b", {"memory": 1}))[0][0] == "granted"


@pytest.mark.parametrize(
    ("change", "reply"),
    [
        ({"generation": 7, "capacity": {"cpu": 1}}, ["generation", 1]),
        ({"remove": ["gpu"]}, ["not_counted", "gpu"]),
        ({"remove": ["cpu", "cpu"]}, ["not_counted", "cpu"]),
        ({"whole": "gpu"}, ["not_counted", "gpu"]),
        ({"whole": "memory", "remove": ["memory"]}, ["not_counted", "memory"]),
        ({"remove": ["cpu", "memory"]}, ["no_resources"]),
        ({"capacity": {f"r{n}": 1 for n in range(31)}}, ["too_many"]),
    ],
)
def test_a_refused_change_changes_nothing(pool: Ledger, change: dict[str, Any], reply: list[Any]) -> None:
    """Each refusal by its word."""
    before = pool.dump()
    assert pool.configure("change", **change) == reply
    pool.assert_untouched(before)


def test_32_resources_are_allowed(pool: Ledger) -> None:
    """The boundary of too_many; replacing some does not count them twice."""
    assert pool.configure("change", {f"r{n}": 1 for n in range(30)})[0] == "configured"
    assert pool.configure("change", {"x": 1, "r0": 2})[0] == "too_many"
    assert pool.configure("change", {"x": 1}, remove=["r0"])[0] == "configured"


def test_the_expected_generation_lets_through(pool: Ledger) -> None:
    """And moves on."""
    assert pool.configure("change", {"cpu": 11}, generation=1)[0] == "configured"
    assert pool.configure("change", {"cpu": 12}, generation=1) == ["generation", 2]


def test_an_empty_pool_is_not_made(ledger: Ledger) -> None:
    """A pool counts something."""
    assert ledger.create({}) == ["no_resources"]
    assert ledger.create({"cpu": 1}, whole="gpu") == ["not_counted", "gpu"]
    assert ledger.dump() == {}


def test_removing_a_resource_lifts_its_constraint(ledger: Ledger) -> None:
    """It must not linger for one of that name that is added later."""
    ledger.create({"cpu": 10, "gpu": 5000, "tpu": 5000}, whole="gpu tpu")
    ledger.configure("change", remove=["gpu"])
    assert ledger.account["whole_units"] == "tpu"
    ledger.configure("change", whole="")
    assert "whole_units" not in ledger.account


def test_a_late_copy_cannot_undo_a_later_change(pool: Ledger) -> None:
    """It is answered with the pool as it is."""
    pool.configure("change", {"cpu": 20}, call="c")
    pool.configure("change", {"cpu": 30})
    before = pool.dump()
    reply = pool.configure("change", {"cpu": 20}, call="c")
    assert (reply[0], fields(reply[1:])) == ("configured", pool.account)
    pool.assert_untouched(before)


@pytest.mark.parametrize(
    ("change", "reply"),
    [
        ({"generation": 7, "capacity": {"cpu": 1}}, ["generation", 1]),
        ({"remove": ["gpu"]}, ["not_counted", "gpu"]),
    ],
)
def test_a_repeated_refusal_is_over_and_is_never_called_a_success(
    pool: Ledger, change: dict[str, Any], reply: list[Any]
) -> None:
    """A copy must change nothing later, and whoever asks a third time must not hear `configured`."""
    assert pool.configure("change", call="c", repeated=1, **change) == reply
    before = pool.dump()
    assert pool.configure("change", call="c", repeated=1, **change)[0] != "configured"
    pool.assert_untouched(before)


def test_offline_holds_back_grants_and_online_lets_them_through(pool: Ledger) -> None:
    """For the time of a repair."""
    pool.configure("offline")
    assert pool.account["state"] == "offline"
    assert pool.allocate(pool.want("a", {"cpu": 1})) == [["offline"]]
    assert pool.check({"cpu": 1}) == ["offline"]
    pool.configure("online")
    assert "state" not in pool.account
    pool.grant("a", {"cpu": 1})


def test_upgrade_raises_the_schema_to_what_this_version_writes(pool: Ledger) -> None:
    """From then on older versions are refused."""
    pool.client.hset(pool.keys["pool"], "schema", 0)
    assert pool.configure("upgrade")[0] == "configured"
    assert pool.account["schema"] == "1"


def test_an_unknown_mode_is_refused(pool: Ledger) -> None:
    """Rather than taken for one of the others."""
    with contract("mode"):
        pool.configure("destroy")


def test_a_resource_cannot_be_set_and_removed_in_one_call(pool: Ledger) -> None:
    """Which of the two was meant?"""
    before = pool.dump()
    with contract():
        pool.configure("change", {"cpu": 5}, remove=["cpu"])
    pool.assert_untouched(before)


def test_capacity_is_exact_up_to_the_largest_integer(ledger: Ledger) -> None:
    """Stored in full digits."""
    ledger.create({"memory": AMOUNT_MAX})
    assert ledger.account["memory.capacity"] == "9007199254740991"
    with contract():
        ledger.configure("change", {"memory": AMOUNT_MAX + 1})


def test_a_pool_made_again_repeats_no_fence(pool: Ledger) -> None:
    """A holder of the first one is not mistaken for one of the second."""
    first = pool.grant("a", {"cpu": 1})
    pool.release("a")
    pool.delete()
    pool.create({"cpu": 10}, epoch="epoch-2")
    assert pool.grant("a", {"cpu": 1}) > first


GUARDED = "recovery_grace_ms=60000"


@pytest.mark.parametrize("new", [0, 1])
def test_a_pool_that_is_made_with_a_grace_begins_recovering_unless_it_is_said_to_be_new(
    ledger: Ledger, new: int
) -> None:
    """The store may have lost one of that name, whose holders go on with what it granted."""
    assert ledger.create({"cpu": 10}, promises=GUARDED, new=new)[0] == "created"
    assert ledger.allocate(ledger.want("a", {"cpu": 1}))[0][0] == ("granted" if new else "recovering")
    ledger.now += 60_000
    assert ledger.allocate(ledger.want("b", {"cpu": 1}))[0][0] == "granted"


def test_a_pool_without_a_grace_grants_at_once(ledger: Ledger) -> None:
    """Whatever is said of it."""
    ledger.create({"cpu": 10}, new=0)
    ledger.grant("a", {"cpu": 1})


def test_a_pool_that_was_deleted_and_is_made_again_has_lost_nothing(ledger: Ledger) -> None:
    """Somebody ended it: nobody holds anything of it."""
    ledger.create({"cpu": 10}, promises=GUARDED)
    ledger.delete()
    ledger.create({"cpu": 10}, promises=GUARDED, new=0, epoch="epoch-2")
    ledger.grant("a", {"cpu": 1})


def test_what_ended_before_a_grace_was_turned_on_is_not_taken_for_lost(pool: Ledger) -> None:
    """It left no mark; for as long as those are kept, a lease that is missing begins no recovery."""
    fence = pool.grant("a", {"cpu": 1})
    pool.release("a")
    assert pool.configure("change", {}, promises=GUARDED)[0] == "configured"
    for later, word in ((0, "unknown"), (119_999, "unknown"), (120_000, "missing")):
        pool.now = T0 + later
        line = pool.renew_line("a", fence=fence, epoch="epoch-1", known=pool.now + 30_000)
        assert pool.renew(line)[0][0] == word, later
