"""The planted bugs of recovery, of the clock, and of allocations on their way out."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

LOSSES: Final = (
    # -- lost data -----------------------------------------------------------------------------------------------------
    Mutant(
        "mark ignored", "modules/recovery.lua",
        "if fence > pool.revision and", "if fence < 0 and",
        "a store that was rolled back is not noticed", "test_recovery",
    ),
    Mutant(
        "mark of any epoch", "modules/recovery.lua",
        " and epoch == pool.epoch then", " then",
        "a pool that was made again recovers for nothing", "test_recovery",
    ),
    Mutant(
        "run id ignored", "modules/recovery.lua",
        "run_id ~= pool.run_id then", "run_id == pool.run_id then",
        "a failover is not noticed", "test_recovery",
    ),
    Mutant(
        "fences do not jump", "modules/recovery.lua",
        "math.max(pool.revision, seen_fence) + limits.RECOVERY_FENCES", "pool.revision + 1",
        "fences of lost grants are given again", "test_recovery",
    ),
    Mutant(
        "grants while recovering", "allocations/allocate.lua",
        "if pool.recovering and not request.wait_ms then return nil, recovery.refusal(call) end\n",
        "call.pool.recovering = nil\n",
        "what holders still have is given away", "test_recovery",
    ),
    Mutant(
        "growth while recovering", "allocations/resize.lua",
        "if after.grows and call.pool.recovering then return recovery.refusal(call) end", "",
        "growth is a grant", "test_recovery",
    ),
    Mutant(
        "reclaims while recovering", "maintenance/reclaim.lua",
        "if not call.pool.recovering then room", "if room then room",
        "a lease whose renewal was lost is taken", "test_recovery",
    ),
    Mutant(
        "retakes while recovering", "modules/repeats.lua",
        "if is_lapsed and not pool.recovering and", "if is_lapsed and",
        "a lease whose renewal was lost is taken by whoever asks for its id", "test_recovery",
    ),
    Mutant(
        "cron on a new server", "maintenance/reclaim.lua",
        "if call.pool.grace_ms then recovery.check(call) end", "",
        "a lease whose renewal was lost is taken before anybody has noticed", "test_recovery",
    ),
    Mutant(
        "growth on a new server", "allocations/resize.lua",
        "if after.grows and call.pool.grace_ms then recovery.check(call) end", "",
        "growth is a grant, also before anybody has noticed", "test_recovery",
    ),
    Mutant(
        "recovery not written", "modules/recovery.lua",
        "pools.set(call, 'recovering_until_ms', pool.recovering)", "",
        "the next call grants", "test_recovery",
    ),
    Mutant(
        "lost once more unnoticed", "modules/recovery.lua",
        "if not pool.grace_ms then return end", "if not pool.grace_ms or pool.recovering then return end",
        "what was lost in the midst of a recovery has less time to come back", "test_crossings",
    ),
    Mutant(
        "missing lease unnoticed", "modules/recovery.lua",
        "if not pool.recovering and is_missed(call, item) then", "if pool.recovering and is_missed(call, item) then",
        "a split history goes on", "test_recovery",
    ),
    Mutant(
        "ended fences forgotten", "modules/removals.lua",
        "if pool.grace_ms then idempotency.complete", "if not pool then idempotency.complete",
        "a release by somebody else halts the pool", "test_recovery",
    ),
    Mutant(
        "adopts at any time", "allocations/adopt.lua",
        "if not pool.recovering then return {'not_recovering'} end", "",
        "a stale holder takes what was given to others", "test_recovery",
    ),
    Mutant(
        "adoption not charged", "allocations/adopt.lua",
        "accounts.add(call.pool, item.list, 1)", "accounts.add(call.pool, item.list, 0)",
        "the counter is not the sum of the records", "test_recovery",
    ),
    Mutant(
        "adoption of an older grant", "allocations/adopt.lua",
        "record.fence > item.fence or not same_epoch", "not same_epoch",
        "a stale fence wins", "test_recovery",
    ),
    Mutant(
        "adoption of other amounts", "allocations/adopt.lua",
        "if not requests.matches(item, record) then return records.reply(call, 'conflict', record) end", "",
        "a holder is told that it has more than is charged", "test_recovery",
    ),
    Mutant(
        "late copy adopts", "allocations/adopt.lua",
        "  idempotency.complete(call, item.call)\n", "",
        "what was released comes back", "test_recovery",
    ),
    Mutant(
        "released comes back", "allocations/release.lua",
        "idempotency.complete(call, idempotency.fence_mark(item.fence))", "",
        "what its holder has released while it was missing is adopted by a copy of its renewal", "test_recovery",
    ),
    Mutant(
        "a deleted pool recovered", "pools/configure_pool.lua",
        "if item.mode == 'recover' and redis.call('ZSCORE', call.ended, 'deleted') then return {'deleted'} end", "",
        "a pool that somebody deleted comes back", "test_recovery",
    ),
    Mutant(
        "any ttl", "allocations/allocate.lua",
        "if pool.max_ttl_ms and requests.is_too_long(call, request.ask_ms + 0) then", "if not pool then",
        "a lease outlives the recovery grace", "test_recovery",
    ),
    Mutant(
        "any ttl for a live one", "modules/repeats.lua",
        "if pool.max_ttl_ms and requests.is_too_long(", "if not pool and requests.is_too_long(",
        "a lease outlives the recovery grace, for another caller wants it longer", "test_claims",
    ),
    Mutant(
        "any ttl by renewal", "allocations/renew.lua",
        "if pool.max_ttl_ms and item.ttl_ms >", "if item.ttl_ms < 0 and item.ttl_ms >",
        "a lease is renewed beyond the recovery grace", "test_recovery",
    ),
    # -- the clock -----------------------------------------------------------------------------------------------------
    Mutant(
        "steps back", "modules/clock.lua",
        "    now = seen\n", "",
        "the pool's time goes back with the server's", "test_clock",
    ),
    Mutant(
        "time stands still", "modules/clock.lua",
        "(offset or 0) + seen - now", "(offset or 0)",
        "after a step back nothing is ever due", "test_clock",
    ),
    Mutant(
        "gap unnoticed", "modules/clock.lua",
        "if seen and now > seen + limits.CLOCK_JUMP_MS then", "if seen and now < 0 then",
        "after a step forward live leases are taken", "test_clock",
    ),
    Mutant(
        "gap given for ever", "modules/expiry.lua",
        "if record.gap_ms or record.broken", "if record.broken",
        "a dead holder's lease is given time again and again", "test_clock",
    ),
    Mutant(
        "gap given once in a life", "allocations/renew.lua",
        "  record.gap_ms = nil\n", "",
        "a lease that was renewed since the first gap is taken at the second", "test_clock",
    ),
    Mutant(
        "longer gap forgotten", "modules/clock.lua",
        "before = {from, to}", "before = nil",
        "after two steps forward leases that only the first concerns are taken", "test_clock",
    ),
    Mutant(
        "renewal before a gap", "modules/expiry.lua",
        "asserted_ms < to_ms then", "asserted_ms <= from_ms then",
        "what was renewed within the second before a step forward is taken", "test_clock",
    ),
    Mutant(
        "the time of a gap for the record alone", "modules/expiry.lua",
        "claims.defer(record, call.gaps, asserted_ms)", "",
        "an undo leaves the others of a spared lease the deadline of before the gap", "test_clock_gaps",
    ),
    Mutant(
        "a repeat after a gap", "modules/repeats.lua",
        "if renews and record.ttls then expiry.spares(call, record) end", "",
        "an undone repeat takes the time of a gap from the others", "test_clock_gaps",
    ),
    # -- leaving -------------------------------------------------------------------------------------------------------
    Mutant(
        "renews what is leaving", "allocations/renew.lua",
        "if repeats or record.releasing_ms then", "if repeats then",
        "a release that has begun is undone", "test_begin_release",
    ),
    Mutant(
        "shares what is leaving", "modules/repeats.lua",
        "if record.releasing_ms or request.exclusive", "if request.exclusive",
        "a caller is told that it has what is about to end", "test_begin_release",
    ),
    Mutant(
        "leaves again and again", "allocations/begin_release.lua",
        "if not record.releasing_ms and not completed_ms then", "if not completed_ms then",
        "whoever begins a release anew moves its deadline", "test_begin_release",
    ),
    Mutant(
        "forgets who was told of what is leaving", "allocations/begin_release.lua",
        "elseif item.repeated and not completed_ms then", "elseif item.repeated and completed_ms then",
        "a late copy begins the release of a later grant", "test_begin_release",
    ),
    Mutant(
        "forgets who would have shortened what is leaving", "allocations/renew.lua",
        "if item.shorten and item.repeated and not repeats then\n",
        "if item.shorten and item.repeated and repeats then\n",
        "a late copy shortens a later grant", "test_begin_release",
    ),
    Mutant(
        "spares what is leaving", "allocations/begin_release.lua",
        "record.asserted_ms, record.gap_ms, record.ttls, record.told = nil, nil, nil, nil",
        "record.gap_ms, record.ttls, record.told = nil, nil, nil",
        "what was told before a gap gives a grace that began after it the gap's time", "test_clock_gaps",
    ),
    Mutant(
        "one call of three completed by leaving", "modules/removals.lua",
        "if record.ttls or record.releasing_ms then", "if record.ttls then",
        "a late copy of a caller of what has left is granted", "test_claims",
    ),
    Mutant(
        "reconciles a newer grant", "maintenance/reconcile.lua",
        "if item.fence ~= record.fence then return {'fenced', record.fence} end", "",
        "a grant of after the listing is taken", "test_begin_release",
    ),
    Mutant(
        "reconciles the young", "maintenance/reconcile.lua",
        "return record.granted_ms < as_of_ms and records.last_asserted(record) < as_of_ms", "return true",
        "what was granted since the listing is taken", "test_begin_release",
    ),
    Mutant(
        "reconciles anybody's", "maintenance/reconcile.lua",
        "if not is_owners(record, owner) or", "if",
        "another owner's allocation is taken", "test_begin_release",
    ),
)  # fmt: skip
