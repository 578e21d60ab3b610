"""Bugs that were there once, planted again as they were, in the scripts.

Of A7 two have no place any more: the fence of a reply is taken from the record that is answered, at once, and an id
that has ended in the call is `false`, which is looked at in one place (`records.of_item`).
"""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

FINDINGS: Final = (
    # -- A1, A2: what is decided about a record has one place ----------------------------------------------------------
    Mutant(
        "writes no value", "modules/differences.lua",
        "      if value then\n", "      if value or field == 'gap_ms' then\n",
        "A1: a lease that was spared and is shared fails the call in the midst of its writes", "test_clock_gaps",
    ),
    Mutant(
        "spared record opened twice", "modules/expiry.lua",
        "    call.records[key] = record\n", "",
        "A1: who shares a lease that was spared for somebody else's room changes another copy", "test_crossings",
    ),
    Mutant(
        "ended record written", "modules/transaction.lua",
        "    if not record.gone then\n", "    if record then\n",
        "A2: a repeat gives the new grant of its batch the old call id", "test_crossings",
    ),
    # -- A3: an emptied store ------------------------------------------------------------------------------------------
    Mutant(
        "created and granting", "pools/configure_pool.lua",
        "elseif pool.grace_ms and not item.is_new and not deleted then", "elseif not item then",
        "A3: a pool that is made in an emptied store grants what old holders go on using", "test_configure_pool",
    ),
    Mutant(
        "new and recovering", "pools/configure_pool.lua",
        "not item.is_new and not deleted", "not deleted",
        "A3: a pool of which the caller says that it is new grants nothing for the grace", "test_configure_pool",
    ),
    Mutant(
        "deleted and recovering", "pools/configure_pool.lua",
        "not item.is_new and not deleted", "not item.is_new",
        "A3: a pool that was deleted and is made again grants nothing for the grace", "test_configure_pool",
    ),
    # -- A4, A20: what somebody was told it has ------------------------------------------------------------------------
    Mutant(
        "existing leaves no trace", "modules/repeats.lua",
        "if record.granted_ms ~= call.now or record.unclaimed_ttl_ms then record.asserted_ms = call.now end", "",
        "A4: reconcile takes what somebody was told that it has", "test_claims",
    ),
    Mutant(
        "trace ignored", "maintenance/reconcile.lua",
        " and records.last_asserted(record) < as_of_ms", "",
        "A4: reconcile takes what somebody was told that it has", "test_claims",
    ),
    Mutant(
        "same millisecond granted", "maintenance/reconcile.lua",
        "return record.granted_ms < as_of_ms and records.last_asserted(record) < as_of_ms",
        "return record.granted_ms <= as_of_ms and (records.last_asserted(record) < as_of_ms or not record.asserted_ms)",
        "A20: what was granted in the millisecond of the listing is taken", "test_begin_release",
    ),
    Mutant(
        "same millisecond asserted", "maintenance/reconcile.lua",
        "records.last_asserted(record) < as_of_ms", "records.last_asserted(record) <= as_of_ms",
        "A20: what was asserted in the millisecond of the listing is taken", "test_claims",
    ),
    # -- A5, A18: undone calls -----------------------------------------------------------------------------------------
    Mutant(
        "second caller blanks the calls", "modules/repeats.lua",
        "local forgotten = claims.add(record, request.call, ask_ms)",
        "local forgotten record.call, record.ttls, record.told = '*', nil, nil",
        "A5: nobody's undo ends what two callers have given up", "test_repeats",
    ),
    Mutant(
        "last undo releases nothing", "modules/claims.lua",
        "if #left == 0 then return false end", "if #left == 0 then return true end",
        "A5: what nobody will hear of stays for ever", "test_repeats",
    ),
    Mutant(
        "undo leaves all", "modules/claims.lua",
        "  local ttl_ms, deadline_ms = left[1].ttl_ms, left[1].deadline_ms",
        "  if record then return true end\n  local ttl_ms, deadline_ms = left[1].ttl_ms, left[1].deadline_ms",
        "A18: what an undone call changed outlives it", "test_claims",
    ),
    Mutant(
        "undo leaves the pin", "modules/claims.lua",
        "if deadline_ms == 0 then", "if deadline_ms == 0 or not record.deadline_ms then",
        "A18: a call that pinned a lease and was undone has pinned it for ever", "test_claims",
    ),
    Mutant(
        "undo leaves the deadline", "modules/claims.lua",
        "record.ttl_ms, record.deadline_ms = ttl_ms, records.cut(deadline_ms, record.ends_ms)",
        "record.ttl_ms, record.deadline_ms = ttl_ms, record.deadline_ms or deadline_ms",
        "A18: a lease lasts for as long as only an undone call was told", "test_claims",
    ),
    Mutant(
        "undo leaves the ttl", "modules/claims.lua",
        "record.ttl_ms, record.deadline_ms = ttl_ms, records",
        "record.ttl_ms, record.deadline_ms = record.ttl_ms or ttl_ms, records",
        "A18: renewals give the time that only an undone call asked for", "test_claims",
    ),
    # -- A7: a repeat whose grant has ended ----------------------------------------------------------------------------
    Mutant(
        "told of another grant", "modules/repeats.lua",
        "if completed_ms then return {'ended', completed_ms} end", "",
        "A7: a repeat whose grant has ended shares a later one", "test_repeats",
    ),
    Mutant(
        "told of what has lapsed", "modules/repeats.lua",
        "elseif renews then", "elseif not record then",
        "A7: a repeat is told that it has what the next caller may take", "test_claims",
    ),
    # -- A9, A17: impossible numbers -----------------------------------------------------------------------------------
    Mutant(
        "any fence", "modules/recovery.lua",
        "if fence > math.max(call.pool.revision, call.now * 1000) + limits.FENCE_AHEAD_MAX then", "if not fence then",
        "A9: a fence near 2^53 ends the pool", "test_crossings",
    ),
    Mutant(
        "any adopted amount", "allocations/adopt.lua",
        "item.list = arguments.list(call, count, 1)", "item.list = arguments.list(call, count, 0)",
        "A17: an amount of 0 is recorded", "test_contract",
    ),
    # -- A11: time -----------------------------------------------------------------------------------------------------
    Mutant(
        "quadratic gang", "allocations/allocate.lua",
        "  if accounts.take(charged, list) then\n    local reply = refuse",
        "  if call.atomic then gangs.asked(items, request.i) end\n"
        "  if accounts.take(charged, list) then\n    local reply = refuse",
        "A11: each item of a gang adds up all before it", "test_transaction",
    ),
    # -- A14, A19: gaps ------------------------------------------------------------------------------------------------
    Mutant(
        "clock not noted", "modules/transaction.lua",
        " or call.clock_due and call.changed", "",
        "A14: a pool that is only asked about what is live looks idle", "test_clock_gaps",
    ),
    Mutant(
        "idle hour given again", "modules/expiry.lua",
        " and asserted_ms < to_ms then", " then",
        "A19: a lease that was renewed since the gap is given its time when it is abandoned", "test_clock_gaps",
    ),
    Mutant(
        "renewal leaves no trace", "allocations/renew.lua",
        "then record.asserted_ms = now end", "then record.gap_ms = nil end",
        "A19: a lease that was renewed for less time is taken for one that was not", "test_clock_gaps",
    ),
    # -- A16: graces ---------------------------------------------------------------------------------------------------
    Mutant(
        "any grace", "allocations/begin_release.lua",
        "if max_ttl_ms and item.grace_ms > max_ttl_ms then return {'ttl_too_long', max_ttl_ms} end", "",
        "A16: what is on its way out outlives the recovery grace", "test_claims",
    ),
    Mutant(
        "grace without a mark", "pools/configure_pool.lua",
        "if not call.refused then pools.set(call, 'ended_cut_ms', call.now_text) end", "",
        "A16: what ended before the grace was turned on looks lost", "test_configure_pool",
    ),
)  # fmt: skip
