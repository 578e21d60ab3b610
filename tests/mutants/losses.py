"""The planted bugs of recovery, of the clock, and of allocations on their way out."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

LOSSES: Final = (
    # -- lost data -----------------------------------------------------------------------------------------------------
    Mutant(
        "mark ignored", "include/alarm.lua",
        "mark_fence > read_revision and", "mark_fence < 0 and",
        "a store that was rolled back is not noticed", "test_recovery",
    ),
    Mutant(
        "mark of any epoch", "include/alarm.lua",
        "and mark_epoch == known_epoch then", "then",
        "a pool that was made again recovers for nothing", "test_recovery",
    ),
    Mutant(
        "run id ignored", "include/alarm.lua",
        "run_id ~= stored_run then", "run_id == stored_run then",
        "a failover is not noticed", "test_recovery",
    ),
    Mutant(
        "fences do not jump", "include/recovery.lua",
        "math.max(account.revision, mark_fence) + schema.RECOVERY_FENCES", "account.revision + 1",
        "fences of lost grants are given again", "test_recovery",
    ),
    Mutant(
        "grants while recovering", "include/meeting.lua",
        "  if recovering then\n    return {'recovering'", "  if recovering and not now then\n    return {'recovering'",
        "what holders still have is given away", "test_recovery",
    ),
    Mutant(
        "growth while recovering", "resize.lua",
        "grows = grows or amount > (before[field] or 0) end", "grows = amount < 0 end",
        "growth is a grant", "test_recovery",
    ),
    Mutant(
        "reclaims while recovering", "reclaim.lua",
        "if not recovering then reclaim(", "if now then reclaim(",
        "a lease whose renewal was lost is taken", "test_recovery",
    ),
    Mutant(
        "cron on a new server", "reclaim.lua",
        "suspect('', 0)\n", "",
        "a lease whose renewal was lost is taken before anybody has noticed", "test_recovery",
    ),
    Mutant(
        "growth on a new server", "resize.lua",
        "if grows then suspect('', 0) end", "",
        "growth is a grant, also before anybody has noticed", "test_recovery",
    ),
    Mutant(
        "recovery not written", "include/recovery.lua",
        "'recovering_until_ms', recovering, 'recovering_why'", "'recovering_why', recovery.begun, 'recovering_why'",
        "the next call grants", "test_recovery",
    ),
    Mutant(
        "missing lease unnoticed", "include/absent.lua",
        "if not recovering and is_missed(item) then", "if recovering and is_missed(item) then",
        "a split history goes on", "test_recovery",
    ),
    Mutant(
        "ended fences forgotten", "include/endings.lua",
        "tombstones.add(string.format('fence:%.0f', record.fence))", "tombstones.add('')",
        "a release by somebody else halts the pool", "test_recovery",
    ),
    Mutant(
        "adopts at any time", "adopt.lua",
        "if not recovering then return {'not_recovering'} end", "",
        "a stale holder takes what was given to others", "test_recovery",
    ),
    Mutant(
        "adoption not charged", "adopt.lua",
        "ledger.charge(record.list, 1)", "ledger.charge(record.list, 0)",
        "the counter is not the sum of the records", "test_recovery",
    ),
    Mutant(
        "adoption of an older grant", "adopt.lua",
        "record.fence > item.record.fence or not ours", "not ours",
        "a stale fence wins", "test_recovery",
    ),
    Mutant(
        "late copy adopts", "adopt.lua",
        "tombstones.add(item.call)\n  journal.add('adopted'", "journal.add('adopted'",
        "what was released comes back", "test_atomicity",
    ),
    Mutant(
        "a deleted pool recovered", "configure.lua",
        "if deleted then return {'deleted'} end", "",
        "a pool that somebody deleted comes back", "test_recovery",
    ),
    Mutant(
        "any ttl", "include/meeting.lua",
        "  if too_long(i) then return {'ttl_too_long', max_ttl_ms} end\n  if recovering", "  if recovering",
        "a lease outlives the recovery grace", "test_recovery",
    ),
    # -- the clock -----------------------------------------------------------------------------------------------------
    Mutant(
        "steps back", "include/clock.lua",
        "    now = seen\n  elseif", "  elseif",
        "the pool's time goes back with the server's", "test_clock",
    ),
    Mutant(
        "time stands still", "include/clock.lua",
        "(offset or 0) + seen - now", "(offset or 0)",
        "after a step back nothing is ever due", "test_clock",
    ),
    Mutant(
        "gap unnoticed", "include/clock.lua",
        "gap_from_ms = seen\n", "gap_from_ms = false\n",
        "after a step forward live leases are taken", "test_clock",
    ),
    Mutant(
        "gap given for ever", "include/gap.lua",
        "if record.gap_ms or not", "if not",
        "a dead holder's lease is given time again and again", "test_clock",
    ),
    Mutant(
        "longer gap forgotten", "include/clock.lua",
        "gap_before = {from, to}", "gap_before = false",
        "after two steps forward leases that only the first concerns are taken", "test_clock",
    ),
    Mutant(
        "renewal before a gap", "include/gap.lua",
        "renewed_ms < to_ms then", "renewed_ms <= from_ms then",
        "what was renewed within the second before a step forward is taken", "test_clock",
    ),
    # -- leaving -------------------------------------------------------------------------------------------------------
    Mutant(
        "renews what is leaving", "renew.lua",
        "if record.releasing then return {'releasing'} end", "",
        "a release that has begun is undone", "test_leaving",
    ),
    Mutant(
        "reconciles a newer grant", "reconcile.lua",
        "if item.fence ~= record.fence then return {'fenced', record.fence} end", "",
        "a grant of after the listing is taken", "test_leaving",
    ),
    Mutant(
        "reconciles the young", "reconcile.lua",
        "or record.granted_ms > as_of_ms then", "then",
        "what was granted since the listing is taken", "test_leaving",
    ),
    Mutant(
        "reconciles anybody's", "reconcile.lua",
        "if not is_owners(record) or", "if",
        "another owner's allocation is taken", "test_leaving",
    ),
)  # fmt: skip
