"""What a pool does once its store may have lost data: it notices, grants nothing new, and takes holders back in."""

from __future__ import annotations

import pytest

from tests.scripts.ledger import MINUTE, T0, Ledger, fields

GRACE = 30_000

GUARDED = f"recovery_grace_ms={GRACE} max_ttl_ms={MINUTE}"


@pytest.fixture
def guarded(ledger: Ledger) -> Ledger:
    """A pool of cpu 10 with a recovery grace, on each store."""
    assert ledger.create({"cpu": 10}, promises=GUARDED)[0] == "created"
    return ledger


def lose(pool: Ledger, identity: str) -> None:
    """What a rolled-back store looks like: the allocation was never there."""
    taken = int(pool.record(identity)["cpu.allocated"])
    pool.client.hincrby(pool.keys["pool"], "cpu.allocated", -taken)
    pool.client.delete(pool.keys.record(identity))
    pool.client.zrem(pool.keys["deadlines"], identity)


def is_recovering(pool: Ledger) -> bool:
    """By what a person reads."""
    return int(pool.account.get("recovering_until_ms", 0)) > pool.now


def mark(pool: Ledger, ahead: int = 5) -> tuple[str, int]:
    """A fence that the store does not know any more."""
    return "epoch-1", pool.revision + ahead


# -- noticing ----------------------------------------------------------------------------------------------------------


def test_an_unknown_fence_begins_a_recovery_and_fences_jump_past_it(guarded: Ledger) -> None:
    """Nothing new for the grace; whatever was granted and lost, no fence is given twice."""
    known = mark(guarded)
    reply = guarded.allocate(guarded.want("a", {"cpu": 1}), mark=known)[0]
    assert reply[:2] == ["recovering", GRACE]
    assert guarded.revision == known[1] + 1_000_000
    assert guarded.kinds[-1] == "recovering"
    guarded.now += GRACE
    assert guarded.grant("a", {"cpu": 1}) > known[1]


def test_without_a_grace_fences_jump_and_the_pool_goes_on(pool: Ledger) -> None:
    """Off by default; but a fence must never be given twice."""
    known = mark(pool)
    reply = pool.allocate(pool.want("a", {"cpu": 1}), mark=known)[0]
    assert (reply[0], reply[1]) == ("granted", known[1] + 1_000_001)
    assert pool.kinds[-2:] == ["rolled_back", "granted"]


@pytest.mark.parametrize("known", [("epoch-0", 2**52), ("epoch-1", 0), ("", 2**52)])
def test_a_mark_of_another_epoch_or_of_the_past_is_no_alarm(guarded: Ledger, known: tuple[str, int]) -> None:
    """A pool that was made again counts anew."""
    assert guarded.allocate(guarded.want("a", {"cpu": 1}), mark=known)[0][0] == "granted"


def test_another_server_begins_a_recovery(real: Ledger) -> None:
    """Restart, failover, restore: its run id is another one.  Once noticed it is the known one."""
    real.create({"cpu": 10}, promises=GUARDED)
    real.grant("a", {"cpu": 1})
    real.client.hset(real.keys["pool"], "run_id", "0" * 40)
    assert real.allocate(real.want("b", {"cpu": 1}))[0][0] == "recovering"
    assert real.account["run_id"] == real.client.info("server")["run_id"]
    real.now += GRACE
    assert real.allocate(real.want("b", {"cpu": 1}))[0][0] == "granted"


@pytest.mark.parametrize("first", ["reclaim", "resize", "adopt", "renew"])
def test_whoever_comes_first_to_another_server_notices(real: Ledger, first: str) -> None:
    """A cron job must not take what lacks its renewal, growth is a grant, an adoption must not be too early."""
    real.create({"cpu": 10}, promises=GUARDED)
    fence = real.grant("a", {"cpu": 1})
    real.client.hset(real.keys["pool"], "run_id", "0" * 40)
    real.now += MINUTE if first == "reclaim" else 1000
    match first:
        case "reclaim":
            assert real.reclaim() == ["reclaimed", 0]
        case "resize":
            assert real.resize("a", {"cpu": 1})[0] == "resized", "what does not grow is nobody's loss"
            assert real.resize("a", {"cpu": 2})[0] == "recovering"
        case "adopt":
            assert real.adopt(real.adopt_line("b", {"cpu": 1}, fence=fence + 1))[0][0] == "adopted"
        case _:
            assert real.renew(real.renew_line("b", fence=fence, epoch="epoch-1"))[0][0] == "missing"
    assert is_recovering(real)
    assert real.account["run_id"] == real.client.info("server")["run_id"]
    assert real.kinds.count("recovering") == 1


def test_a_change_of_the_pool_does_not_make_another_server_the_known_one(real: Ledger) -> None:
    """An operator who acts first after a failover must not hide it."""
    real.create({"cpu": 10}, promises=GUARDED)
    real.client.hset(real.keys["pool"], "run_id", "0" * 40)
    real.configure("change", promises="durability=fsynced recovery_grace_ms=20000")
    assert real.account["run_id"] == "0" * 40
    assert real.allocate(real.want("a", {"cpu": 1}))[0][0] == "recovering"


def test_a_lease_that_should_be_there_begins_a_recovery(guarded: Ledger) -> None:
    """Live by what its holder was told, and not known to have ended."""
    fence = guarded.grant("a", {"cpu": 4})
    lose(guarded, "a")
    guarded.now += 1000
    line = guarded.renew_line("a", fence=fence, epoch="epoch-1", known=T0 + MINUTE)
    assert guarded.renew(line)[0] == ["missing", GRACE]
    assert is_recovering(guarded)
    assert guarded.allocate(guarded.want("b", {"cpu": 1}))[0][0] == "recovering"


def test_a_release_of_what_was_lost_says_so_and_keeps_it_from_coming_back(guarded: Ledger) -> None:
    """Its holder has done its work; a copy of its renewal must not adopt it now."""
    fence = guarded.grant("a", {"cpu": 4})
    lose(guarded, "a")
    line = guarded.release_line("a", fence, epoch="epoch-1", known=T0 + MINUTE)
    assert guarded.release(line)[0] == ["missing", GRACE]
    assert is_recovering(guarded)
    assert guarded.adopt(guarded.adopt_line("a", {"cpu": 4}, fence=fence))[0][0] == "ended"
    again = guarded.configure("recovered") and guarded.grant("a", {"cpu": 4})
    assert guarded.release(guarded.release_line("a", again, epoch="epoch-0"))[0] == ["wrong_epoch"]
    guarded.client.flushall()
    assert guarded.release(line)[0] == ["pool_lost"]


@pytest.mark.parametrize("how", ["released", "undone", "reconciled"])
def test_a_lease_that_has_ended_is_no_alarm(guarded: Ledger, how: str) -> None:
    """Somebody else has ended it: its holder is told so."""
    line = guarded.want("a", {"cpu": 4})
    fence = guarded.allocate(line)[0][1]
    if how == "released":
        guarded.release("a")
    elif how == "undone":
        guarded.undo((line.call, "a"))
    else:
        guarded.now += 1
        assert guarded.reconcile(("a", fence), owner="owner", as_of=T0 + 1)[0][0] == "released"
    renewal = guarded.renew_line("a", fence=fence, epoch="epoch-1", known=T0 + MINUTE)
    assert guarded.renew(renewal)[0] == ["unknown"]
    assert not is_recovering(guarded)


def test_a_lease_near_or_past_its_deadline_is_no_alarm(guarded: Ledger) -> None:
    """It was reclaimed, as it should be."""
    fence = guarded.grant("a", {"cpu": 4})
    lose(guarded, "a")
    guarded.now += MINUTE - 500
    line = guarded.renew_line("a", fence=fence, epoch="epoch-1", known=T0 + MINUTE)
    assert guarded.renew(line)[0] == ["unknown"]


def test_without_a_grace_a_missing_lease_is_unknown(pool: Ledger) -> None:
    """As ever."""
    fence = pool.grant("a", {"cpu": 4})
    lose(pool, "a")
    line = pool.renew_line("a", fence=fence, epoch="epoch-1", known=T0 + MINUTE)
    assert pool.renew(line)[0] == ["unknown"]


def test_a_renewal_of_another_epoch_is_foreign(pool: Ledger) -> None:
    """The pool was deleted and made again."""
    pool.grant("a", {"cpu": 1})
    assert pool.renew(pool.renew_line("a", epoch="epoch-0", known=T0 + MINUTE))[0] == ["wrong_epoch"]


# -- while recovering --------------------------------------------------------------------------------------------------


@pytest.fixture
def recovering(guarded: Ledger) -> Ledger:
    """The same, with `kept` live, and in the midst of a recovery."""
    guarded.grant("kept", {"cpu": 4})
    guarded.allocate(guarded.want("x", {"cpu": 1}), mark=mark(guarded))
    assert is_recovering(guarded)
    return guarded


def test_nothing_new_is_granted_and_what_lives_is_answered(recovering: Ledger) -> None:
    """A controller that repeats its ids learns which of them are there."""
    replies = recovering.allocate(recovering.want("kept", {"cpu": 4}), recovering.want("new", {"cpu": 1}))
    assert [reply[0] for reply in replies] == ["existing", "recovering"]
    gang = recovering.allocate(recovering.want("kept", {"cpu": 4}), recovering.want("new", {"cpu": 1}), atomic=1)
    assert [reply[0] for reply in gang] == ["aborted", "recovering"]
    assert recovering.check({"cpu": 1})[0] == "recovering"


def test_what_shrinks_passes_and_what_grows_waits(recovering: Ledger) -> None:
    """Growth is a grant."""
    assert recovering.resize("kept", {"cpu": 3})[0] == "resized"
    assert recovering.resize("kept", {"cpu": 4})[0] == "recovering"


def test_nothing_is_past_its_deadline(recovering: Ledger) -> None:
    """The renewal that moved it may be what was lost."""
    recovering.client.hset(recovering.keys.record("kept"), "deadline_ms", T0 - 1)
    recovering.client.zadd(recovering.keys["deadlines"], {"kept": T0 - 1})
    assert recovering.reclaim() == ["reclaimed", 0]
    assert recovering.allocate(recovering.want("kept", {"cpu": 4}))[0][0] == "existing"


def test_a_late_renewal_of_what_is_missing_is_told_to_adopt(recovering: Ledger) -> None:
    """Whatever the deadline was."""
    line = recovering.renew_line("gone", fence=7, epoch="epoch-1", known=T0 + 1)
    assert recovering.renew(line)[0] == ["missing", GRACE]


def test_a_recovery_ends_by_time_or_by_word(recovering: Ledger) -> None:
    """An operator may know that all are back."""
    assert recovering.configure("recovered")[0] == "configured"
    assert recovering.allocate(recovering.want("new", {"cpu": 1}))[0][0] == "granted"
    assert "recovering_until_ms" not in recovering.account


# -- adopting ----------------------------------------------------------------------------------------------------------


@pytest.mark.overcommits
def test_an_adoption_charges_above_the_capacity(recovering: Ledger) -> None:
    """It is being used: the pool is overcommitted until enough is given back."""
    fence = recovering.revision - 1
    line = recovering.adopt_line("lost", {"cpu": 8}, fence=fence, meta={"k": "v"})
    reply = recovering.adopt(line)[0]
    assert reply[0] == "adopted"
    told = {name: str(value) for name, value in fields(reply[1:]).items()}
    assert told == {"epoch": "epoch-1", "durability": "", **recovering.record("lost")}
    assert recovering.record("lost")["fence"] == str(fence)
    assert recovering.allocated() == 12
    assert recovering.events[-1]["kind"] == "adopted"
    recovering.now += GRACE
    assert recovering.allocate(recovering.want("new", {"cpu": 1}))[0][:2] == ["denied", "capacity_exceeded"]


def test_an_adoption_may_be_repeated(recovering: Ledger) -> None:
    """By the same holder, and by a copy of its call."""
    line = recovering.adopt_line("lost", {"cpu": 2}, fence=5)
    assert recovering.adopt(line)[0][0] == "adopted"
    assert recovering.adopt(line.again())[0][0] == "existing"
    assert recovering.allocated() == 6
    recovering.release("lost")
    assert recovering.adopt(line.again())[0][0] == "ended", "a late copy must not bring it back"
    assert recovering.adopt(recovering.adopt_line("lost", {"cpu": 2}, fence=5))[0][0] == "ended"


def test_what_is_there_is_renewed_by_its_adoption(recovering: Ledger) -> None:
    """Its deadline is no earlier than now + ttl."""
    fence = int(recovering.record("kept")["fence"])
    recovering.now += 1000
    assert recovering.adopt(recovering.adopt_line("kept", {"cpu": 4}, fence=fence))[0][0] == "existing"
    assert recovering.index("deadlines")["kept"] == T0 + 1000 + MINUTE


@pytest.mark.parametrize(
    ("resources", "owner"), [({"cpu": 3}, "owner"), ({"cpu": 4}, "another"), ({"memory": 4}, "owner")]
)
def test_amounts_that_disagree_with_the_live_record_are_a_conflict(
    recovering: Ledger, resources: dict[str, int], owner: str
) -> None:
    """Nothing changes."""
    before = recovering.dump()
    fence = int(recovering.record("kept")["fence"])
    line = recovering.adopt_line("kept", resources, fence=fence, owner=owner)
    assert recovering.adopt(line)[0][0] == "conflict"
    recovering.assert_untouched(before)


def test_a_stale_fence_is_fenced_and_a_later_grant_takes_its_place(recovering: Ledger) -> None:
    """Of two grants of one id the later one counts, whichever the store has."""
    fence = int(recovering.record("kept")["fence"])
    assert recovering.adopt(recovering.adopt_line("kept", {"cpu": 4}, fence=fence - 1))[0] == ["fenced", fence]
    assert recovering.adopt(recovering.adopt_line("kept", {"cpu": 2}, fence=fence + 1))[0][0] == "adopted"
    assert (recovering.allocated(), recovering.record("kept")["fence"]) == (2, str(fence + 1))


def test_what_cannot_be_adopted_is_refused_and_nothing_changes(guarded: Ledger) -> None:
    """Not recovering, another epoch, a resource that is not counted."""
    before = guarded.dump()
    assert guarded.adopt(guarded.adopt_line("a", {"cpu": 1}, fence=5))[0] == ["not_recovering"]
    assert guarded.adopt(guarded.adopt_line("a", {"cpu": 1}, fence=5, epoch="epoch-0"))[0] == ["wrong_epoch"]
    forced = guarded.adopt(guarded.adopt_line("a", {"disk": 1}, fence=5), reason="why")
    assert forced[0] == ["not_counted", "disk"]
    guarded.assert_untouched(before)


def test_an_operator_may_force_it_with_a_reason(pool: Ledger) -> None:
    """Also of another epoch: then with a fence of this one.  The reason is in the event."""
    reply = pool.adopt(pool.adopt_line("a", {"cpu": 1}, fence=5, epoch="epoch-0"), reason="ticket 12")[0]
    assert reply[0] == "adopted"
    assert int(pool.record("a")["fence"]) == pool.revision
    assert (pool.events[-1]["kind"], pool.events[-1]["reason"]) == ("adopted", "ticket 12")


@pytest.mark.parametrize("scope", ["", "team-a/alice"])
def test_a_forced_adoption_is_repeated_with_the_fence_that_the_holder_knows(pool: Ledger, scope: str) -> None:
    """It is that of another epoch, as the first one gave it a fence of this one: the rest says that it is the same."""
    for word in ("adopted", "existing"):
        line = pool.adopt_line("a", {"cpu": 1}, fence=5, epoch="epoch-0", scope=scope)
        assert pool.adopt(line, reason="ticket 12")[0][0] == word
    assert pool.allocated() == 1
    other = pool.adopt_line("a", {"cpu": 1}, fence=5, epoch="epoch-0", scope="team-b")
    assert pool.adopt(other, reason="ticket 12")[0][0] == "fenced"


def test_a_late_copy_of_a_forced_adoption_does_nothing(pool: Ledger) -> None:
    """The allocation was released meanwhile."""
    line = pool.adopt_line("a", {"cpu": 1}, fence=5)
    pool.adopt(line, reason="ticket 12")
    pool.release("a")
    assert pool.adopt(line.again(), reason="ticket 12")[0][0] == "ended"
    assert pool.allocated() == 0


def test_a_pinned_one_is_adopted_as_such(recovering: Ledger) -> None:
    """It keeps the instant of its grant."""
    line = recovering.adopt_line("lost", {"cpu": 1}, fence=5, ttl=0, granted=T0 - MINUTE)
    assert recovering.adopt(line)[0][0] == "adopted"
    assert recovering.index("pinned") == {"lost": T0 - MINUTE}


# -- pools -------------------------------------------------------------------------------------------------------------


def test_a_lost_pool_is_made_again_with_its_epoch(ledger: Ledger) -> None:
    """It begins recovering, and its fences are past those that were given."""
    floor = ledger.client.time()[0] * 1_000_000 + 10**9
    reply = ledger.configure("recover", {"cpu": 10}, new_epoch="epoch-1", generation=7, promises=GUARDED, floor=floor)
    assert reply[0] == "created"
    assert (ledger.account["epoch"], ledger.account["generation"]) == ("epoch-1", "7")
    assert ledger.revision == floor + 1_000_000
    assert is_recovering(ledger)
    again = ledger.configure("recover", {"cpu": 10}, new_epoch="epoch-1", promises=GUARDED)
    assert again[0] == "exists"
    other = ledger.configure("recover", {"cpu": 10}, new_epoch="epoch-2", promises=GUARDED)
    assert other == ["other_epoch"]


def test_a_pool_that_was_deleted_on_purpose_is_not_made_again(guarded: Ledger) -> None:
    """Until somebody creates one."""
    guarded.delete()
    assert guarded.configure("recover", {"cpu": 10}, new_epoch="epoch-1", promises=GUARDED) == ["deleted"]
    assert guarded.create({"cpu": 10})[0] == "created"
    guarded.client.flushall()
    assert guarded.configure("recover", {"cpu": 10}, new_epoch="epoch-1", promises=GUARDED)[0] == "created"


@pytest.mark.parametrize(("ttl", "word"), [(MINUTE, "granted"), (MINUTE + 1, "ttl_too_long"), (0, "ttl_too_long")])
def test_a_ttl_longer_than_the_pool_allows_is_refused(guarded: Ledger, ttl: int, word: str) -> None:
    """What is pinned has the longest; nothing changes."""
    before = guarded.dump()
    line = guarded.want("a", {"cpu": 1}, ttl=ttl)
    assert guarded.allocate(line)[0][0] == word
    if word != "granted":
        guarded.assert_untouched(before)
        assert guarded.allocate(line.again())[0] == [word, MINUTE]
        guarded.undo((line.call, "a"))
        guarded.configure("change", promises="max_ttl_ms=")
        assert guarded.allocate(line.again())[0][0] == "ended", "a copy of a repeated call that was refused is undone"


def test_a_renewal_may_ask_for_what_it_was_granted(guarded: Ledger) -> None:
    """A holder of before the bound goes on; no more than that."""
    guarded.grant("a", {"cpu": 1}, ttl=MINUTE)
    guarded.configure("change", promises="max_ttl_ms=1000")
    assert guarded.renew(guarded.renew_line("a", ttl=MINUTE))[0][0] == "renewed"
    assert guarded.renew(guarded.renew_line("a", ttl=MINUTE + 1))[0] == ["ttl_too_long", 1000]


def test_a_bound_is_refused_while_something_is_pinned(pool: Ledger) -> None:
    """Nobody would assert it again."""
    pool.grant("a", {"cpu": 1}, ttl=0)
    assert pool.configure("change", promises=GUARDED) == ["pinned", 1]
    assert pool.configure("change", promises="durability=fsynced")[0] == "configured"
    pool.release("a")
    assert pool.configure("change", promises=GUARDED)[0] == "configured"
    assert pool.account["options"] == f"durability=fsynced {GUARDED}"
    assert pool.configure("change", promises="recovery_grace_ms= max_ttl_ms= durability=")[0] == "configured"
    assert "options" not in pool.account


def test_a_pool_says_how_safe_it_wants_to_be(ledger: Ledger) -> None:
    """Whoever waits for it reads it in the reply."""
    ledger.create({"cpu": 10}, promises="durability=replicated:1")
    line = ledger.want("a", {"cpu": 1})
    assert ledger.allocate(line)[0][5] == "replicated:1"
    assert fields(ledger.allocate(line.again())[0][1:])["durability"] == "replicated:1"
    assert ledger.renew("a")[0][3] == "replicated:1"
    assert fields(ledger.resize("a", {"cpu": 2})[1:])["durability"] == "replicated:1"
