"""Quotas at their edges: guarantees several levels deep, late copies, what has expired, broken counters."""

from __future__ import annotations

from typing import Any, Final

import pytest

from tests.scripts.invariants import check_pool
from tests.scripts.ledger import MINUTE, Ledger

NONE: Final = "-"


@pytest.fixture
def teams(ledger: Ledger) -> Ledger:
    """A pool of 10 CPUs; two teams with a share of 10 each, of which they lend all."""
    assert ledger.create({"cpu": 10, "memory": 100})[0] == "created"
    for team in ("a", "b"):
        assert ledger.set_quota(team, {"cpu": (10, NONE, NONE)})[0] == "quota"
        assert ledger.set_quota(f"{team}/one", {})[0] == "quota"
    return ledger


def want(ledger: Ledger, identity: str, cpu: int, scope: str = "", **options: Any) -> Any:
    """One request, its reply."""
    return ledger.allocate(ledger.want(identity, {"cpu": cpu}, scope=scope, **options))[0]


def test_guarantees_below_others_are_promised_by_every_level(teams: Ledger) -> None:
    """Each team may guarantee 6 of its 10 to its member, but the pool cannot keep 12: nobody could have anything."""
    assert teams.set_quota("a/one", {"cpu": (6, NONE, 0)})[0] == "quota"
    before = teams.dump()
    assert teams.set_quota("b/one", {"cpu": (6, NONE, 0)}) == ["over_guaranteed", "cpu", "", 12, 10]
    teams.assert_untouched(before)
    assert teams.set_quota("b/one", {"cpu": (4, NONE, 0)})[0] == "quota"
    assert want(teams, "x", 1) == ["denied", "capacity_exceeded", "", "cpu", 1, 0, 10, [10]]
    assert want(teams, "a", 6, "a/one")[0] == "granted"
    assert want(teams, "b", 4, "b/one")[0] == "granted"


def test_a_guarantee_within_that_of_the_level_above_is_promised_once(teams: Ledger) -> None:
    """Team a has 6 for sure, and its member 4 of these."""
    assert teams.set_quota("a", {"cpu": (10, NONE, 4)})[0] == "quota"
    assert teams.set_quota("a/one", {"cpu": (4, NONE, 0)})[0] == "quota"
    assert teams.account["cpu.guaranteed"] == "6"
    assert teams.set_quota("a/one", {"cpu": (8, NONE, 0)})[0] == "quota"
    assert teams.account["cpu.guaranteed"] == "8"
    key = f"{teams.keys.base}quota:a"
    assert want(teams, "x", 3, "a/one")[0] == "granted"
    assert (teams.client.hget(key, "cpu.kept"), teams.account["cpu.kept"]) == ("5", "5")
    teams.release("x")
    assert (teams.client.hget(key, "cpu.kept"), teams.account["cpu.kept"]) == ("8", "8")
    assert teams.delete_quota("a/one") == ["deleted"]
    assert (teams.account["cpu.guaranteed"], teams.account["cpu.kept"]) == ("6", "6")


def test_a_resource_that_is_guaranteed_is_not_removed(teams: Ledger) -> None:
    """It would stay kept."""
    teams.set_quota("a/one", {"cpu": (6, NONE, 0)})
    assert teams.configure("change", remove=["cpu"]) == ["guaranteed", "cpu", 6]
    assert teams.delete_quota("a/one") == ["deleted"]
    assert teams.configure("change", remove=["cpu"])[0] == "configured"


@pytest.mark.overcommits
def test_a_denial_names_the_level_whose_limit_was_lowered(teams: Ledger) -> None:
    """Also if the scope has a guarantee: the pool is not short."""
    teams.set_quota("a/one", {"cpu": (2, NONE, 0)})
    teams.set_quota("a/two", {})
    assert want(teams, "a", 4, "a/two")[0] == "granted"
    teams.set_quota("a", {"cpu": (2, 0, NONE)})
    assert want(teams, "b", 1, "a/one")[:3] == ["denied", "capacity_exceeded", "quota:a"]


def test_a_repeated_denial_of_a_move_stays_one(teams: Ledger) -> None:
    """A late copy must not move it once there is room."""
    teams.set_quota("b", {"cpu": (4, 0, NONE)})
    want(teams, "x", 4, "b")
    want(teams, "y", 1, "a")
    assert teams.move("y", "b", call="late", repeated=1)[:3] == ["denied", "capacity_exceeded", "quota:b"]
    assert teams.move("y", "c", call="later", repeated=1) == ["unknown_scope", "c"]
    teams.release("x")
    teams.set_quota("c", {})
    before = teams.dump()
    assert teams.move("y", "b", call="late", repeated=1)[:2] == ["denied", "capacity_exceeded"]
    assert teams.move("y", "c", call="later", repeated=1) == ["unknown_scope", "c"]
    teams.assert_untouched(before)
    assert teams.move("y", "b")[0] == "moved"


@pytest.mark.parametrize("scope", ["", "a/one"])
def test_a_move_to_where_it_is_changes_nothing(teams: Ledger, scope: str) -> None:
    """Also in a pool that has less than is allocated, where nothing would fit."""
    want(teams, "x", 4, scope)
    teams.configure("change", {"cpu": 2})
    revision = teams.revision
    assert teams.move("x", scope)[0] == "moved"
    assert teams.revision == revision
    assert [one["kind"] for one in teams.events].count("moved") == 0
    teams.configure("change", {"cpu": 10})


def test_a_move_takes_the_room_of_what_has_expired(teams: Ledger) -> None:
    """But never ends the allocation that moves."""
    teams.set_quota("b", {"cpu": (4, 0, NONE)})
    want(teams, "old", 4, "b")
    want(teams, "x", 2, "a", ttl=2 * MINUTE)
    assert teams.move("x", "b")[0] == "denied"
    teams.now += MINUTE + 1
    assert teams.move("x", "b")[0] == "moved"
    assert not teams.record("old")
    want(teams, "y", 2, "b")
    want(teams, "z", 1, "a", ttl=MINUTE)
    teams.now += 10 * MINUTE
    assert teams.move("z", "b")[0] == "moved", "y has expired, too, and z itself stays"
    assert teams.record("z")


def test_a_pool_that_recovers_moves_nothing(teams: Ledger) -> None:
    """What its holders have is not charged again yet, so there is no knowing whether it fits."""
    want(teams, "x", 1, "a")
    teams.configure("change", promises="recovery_grace_ms=60000")
    teams.client.hset(teams.keys["pool"], "run_id", "another server")
    until_ms = teams.now + MINUTE
    teams.client.hset(teams.keys["pool"], mapping={"recovering_until_ms": until_ms, "recovering_why": "a test"})
    assert teams.move("x", "b")[0] == "recovering"
    assert teams.move("x", "a")[0] == "moved", "it is there already"
    teams.now = until_ms + 1
    teams.client.hset(teams.keys["pool"], "run_id", "")
    teams.configure("recovered")
    teams.configure("change", promises="recovery_grace_ms= max_ttl_ms=")


def test_a_pool_has_a_bounded_number_of_scopes(teams: Ledger) -> None:
    """Those above a scope count, too; one that is there may be changed."""
    bounds = {"QUOTAS_MAX": 5}
    assert teams.set_quota("c/x", {"cpu": (1, 0, NONE)}, bounds=bounds) == ["too_many"]
    assert teams.set_quota("c", {"cpu": (1, 0, NONE)}, bounds=bounds)[0] == "quota"
    assert teams.set_quota("d", {"cpu": (1, 0, NONE)}, bounds=bounds) == ["too_many"]
    assert teams.set_quota("c", {"cpu": (2, 0, NONE)}, bounds=bounds)[0] == "quota"


def test_a_denied_move_that_has_reclaimed_leaves_the_charge_where_it_was(teams: Ledger) -> None:
    """What it took back is written, and nothing else has changed."""
    teams.set_quota("b", {"cpu": (4, 0, NONE)})
    want(teams, "old", 1, "b")
    want(teams, "y", 3, "b", ttl=0)
    want(teams, "x", 2, "a", ttl=0)
    teams.now += 2 * MINUTE
    assert teams.move("x", "b") == ["denied", "capacity_exceeded", "quota:b", "cpu", 2, 3, 4]
    assert not teams.record("old")
    amounts = [teams.client.hget(f"{teams.keys.base}quota:{scope}", "cpu.allocated") for scope in ("a", "b")]
    assert (amounts, teams.allocated()) == (["2", "3"], 5)


def test_a_move_that_cannot_reclaim_enough_asks_for_it(teams: Ledger) -> None:
    """More has expired than one call takes back."""
    teams.configure("change", {"cpu": 200})
    teams.set_quota("b", {"cpu": (66, 0, NONE)})
    for at in range(66):
        assert want(teams, f"i{at}", 1, "b")[0] == "granted"
    want(teams, "x", 3, "a", ttl=0)
    teams.set_quota("b", {"cpu": (4, 0, NONE)})
    teams.now += 2 * MINUTE
    assert teams.move("x", "b") == ["reclaim_first"]
    assert teams.move("x", "b")[0] == "moved"


def test_a_refused_deletion_stays_refused(teams: Ledger) -> None:
    """A late copy must not delete what has become free since, or was made since."""
    want(teams, "x", 1, "a/one")
    assert teams.delete_quota("a/one", call="late", repeated=1) == ["in_use", "allocations", 1000]
    assert teams.delete_quota("a", call="later", repeated=1) == ["has_children", "a/one"]
    assert teams.delete_quota("c", call="latest", repeated=1) == ["absent"]
    teams.release("x")
    teams.set_quota("c", {})
    before = teams.dump()
    for call, scope, word in (("late", "a/one", "in_use"), ("later", "a", "in_use"), ("latest", "c", "absent")):
        assert teams.delete_quota(scope, call=call, repeated=1)[0] == word
    teams.assert_untouched(before)


def test_a_refused_change_stays_refused(teams: Ledger) -> None:
    """A late copy must not set a limit after another was set."""
    limits = {"cpu": (12, 0, NONE)}
    assert teams.set_quota("c", limits, call="late", repeated=1) == ["above_parent", "cpu", "", 10]
    teams.configure("change", {"cpu": 20})
    before = teams.dump()
    assert teams.set_quota("c", limits, call="late", repeated=1) == ["generation", 0]
    teams.assert_untouched(before)


def test_a_repeated_change_has_the_same_reply(teams: Ledger) -> None:
    """And is made once."""
    first = teams.set_quota("c", {"cpu": (3, 0, NONE)}, call="one")
    assert teams.set_quota("c", {"cpu": (3, 0, NONE)}, call="one", repeated=1)[4::2] == first[4::2]
    assert teams.client.hget(f"{teams.keys.base}quota:c", "generation") == "1"


def test_a_pool_that_has_lost_its_options_goes_on(teams: Ledger) -> None:
    """As one that is recovered while its scopes are still there: what it keeps is not known until it is repaired."""
    teams.set_quota("a", {"cpu": (8, NONE, 4)})
    teams.client.hdel(teams.keys["pool"], "options", "cpu.kept", "cpu.guaranteed")
    assert want(teams, "x", 2, "a")[0] == "granted"
    teams.release("x")
    assert teams.allocated() == 0
    assert teams.repair()[3::3] == ["guarantee_drift", "guarantee_drift", "kept_drift"]
    assert (teams.account["cpu.guaranteed"], teams.account["cpu.kept"]) == ("4", "4")
    assert want(teams, "x", 7)[0] == "denied"


@pytest.mark.parametrize("field", ["cpu.nominal", "cpu.lending_limit", "cpu.kept"])
def test_an_audit_reads_broken_quotas(teams: Ledger, field: str) -> None:
    """A text that is no amount ends no audit."""
    teams.set_quota("a", {"cpu": (6, NONE, 2)})
    key = f"{teams.keys.base}quota:a"
    right = teams.client.hget(key, field) or 0
    teams.client.hset(key, field, "many")
    assert teams.audit()[0] == "audit"
    teams.client.hset(key, field, right)


def test_an_audit_mends_what_is_kept(teams: Ledger) -> None:
    """At each level, from what is guaranteed and not used."""
    teams.set_quota("a", {"cpu": (8, NONE, 4)})
    teams.set_quota("a/one", {"cpu": (3, NONE, 1)})
    want(teams, "x", 1, "a/one")
    right = teams.dump()
    for name in ("pool", "quota:a"):
        teams.client.hset(f"{teams.keys.base}{name}", "cpu.kept", 7)
    teams.client.hset(f"{teams.keys.base}quota:a/one", "cpu.allocated", 5)
    found = teams.repair()
    assert found
    check_pool(teams.client, teams.keys)
    assert teams.dump()[f"{teams.keys.base}quota:a"] == right[f"{teams.keys.base}quota:a"]
    assert teams.account["cpu.kept"] == "3"


def test_what_is_in_no_scope_needs_none_of_its_room(teams: Ledger) -> None:
    """A batch of which one scope is short grants nothing, and nothing stays charged."""
    teams.set_quota("b", {"cpu": (1, 0, NONE)})
    before = teams.dump()
    lines = [teams.want("x", {"cpu": 1}, scope="a"), teams.want("y", {"cpu": 2}, scope="b")]
    assert [reply[0] for reply in teams.allocate(*lines, atomic=1)] == ["aborted", "denied"]
    teams.assert_untouched(before)
