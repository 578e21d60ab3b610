"""The planted bugs of what ends, what lasts and what changes, of pools, and of what is remembered."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

ENDING: Final = (
    # -- what ends -----------------------------------------------------------------------------------------------------
    Mutant(
        "one resource kept", "modules/accounts.lua",
        "    if allocated[field] then\n      allocated[field] = allocated[field] + sign",
        "    if allocated[field] and i == 1 then\n      allocated[field] = allocated[field] + sign",
        "the second resource is not given back", "test_release",
    ),
    Mutant(
        "contradiction ignored", "modules/accounts.lua",
        "if used - list[i + 1] < 0 then", "if used < 0 then",
        "a counter below zero", "test_broken_data",
    ),
    Mutant(
        "end not remembered", "modules/removals.lua",
        "    idempotency.complete(call, id)\n", "",
        "a late copy of the grant is granted after the release", "test_repeats",
    ),
    Mutant(
        "index entry stays", "modules/transaction.lua",
        "if leased or not gone.fence then", "if not gone.fence then",
        "ended allocations stay in the index", "test_release",
    ),
    Mutant(
        "one ends and several end alike", "modules/transaction.lua",
        "if not removed[2] and not call.planned", "if not call.planned",
        "of several that end in one call only the first goes", "test_release",
    ),
    Mutant(
        "what ended and was granted anew goes", "modules/transaction.lua",
        " and not call.records[gone.key] then", " then",
        "the record of a new grant goes with the old one", "test_repeats",
    ),
    Mutant(
        "stale fields kept", "modules/transaction.lua",
        "if #stale > 0 then", "if #stale < 0 then",
        "the resources of an ended allocation in the record of the next", "test_repeats",
    ),
    Mutant(
        "bystander fails the caller", "modules/removals.lua",
        "events.add(call, 'broken', id, nil, what)", "error({err = 'INVARIANT ' .. what})",
        "one broken record stops everybody", "test_broken_data",
    ),
    Mutant(
        "broken one keeps its place", "modules/transaction.lua",
        "if survivor and survivor.fresh then", "if survivor then",
        "each call meets the broken record again", "test_broken_data",
    ),
    Mutant(
        "broken one taken for absent", "modules/removals.lua",
        "    call.records[key] = record\n", "",
        "an id whose record is broken is granted anew in the midst of a batch", "test_crossings",
    ),
    Mutant(
        "due by creation", "modules/expiry.lua",
        "'-inf', call.now_text, 'LIMIT'", "'-inf', '+inf', 'LIMIT'",
        "leases that were renewed are taken: the score is ignored", "test_expiry",
    ),
    Mutant(
        "bound read as denial", "modules/expiry.lua",
        "math.min(#ids, most), #ids > most", "math.min(#ids, most), #ids > most + 1",
        "a full call looks like a full pool", "test_expiry",
    ),
    Mutant(
        "own taken back", "modules/expiry.lua",
        "if touched == nil then", "if touched ~= false then",
        "a call takes back what it has just answered with", "test_expiry",
    ),
    Mutant(
        "own due unmentioned", "modules/expiry.lua",
        "if touched and touched ~= call.resized", "if touched == '' and touched ~= call.resized",
        "a denial, though the next call may take what this one has touched", "test_crossings",
    ),
    Mutant(
        "release without fence", "allocations/release.lua",
        "if is_fenced then return {", "if fence < 0 then return {",
        "a stale holder releases the newer grant", "test_release",
    ),
    Mutant(
        "release of another epoch", "allocations/release.lua",
        "if is_other then return {'wrong_epoch'} end", "",
        "a holder from a deleted pool releases what stands there now", "test_release",
    ),
    Mutant(
        "released twice in a batch", "modules/removals.lua",
        "  call.records[record.key] = false\n", "",
        "the same id twice in a batch is given back twice", "test_release",
    ),
    Mutant(
        "release not remembered", "allocations/release.lua",
        "  idempotency.complete(call, id)\n", "",
        "a late copy releases a newer grant", "test_release",
    ),
    Mutant(
        "late release of any fence", "allocations/release.lua",
        "(not record or fence == 0 or is_fenced) and", "(not record or is_fenced) and",
        "a late copy releases a newer grant", "test_release",
    ),
    Mutant(
        "repeated release fenced", "allocations/release.lua",
        "(not record or fence == 0 or is_fenced) and", "(not record or fence == 0) and",
        "who has released is told that it is another's", "test_release",
    ),
    Mutant(
        "undoes another's", "allocations/undo.lua",
        "if not record or not claims.has(record, item.call) then", "if not record then",
        "an undo that finds another's allocation is told that it has been there", "test_release",
    ),
    Mutant(
        "undo unmarked", "allocations/undo.lua",
        "if not idempotency.completed_at(call, item.call) then idempotency.complete(call, item.call) end", "",
        "a call that arrives after it was undone is granted", "test_release",
    ),
    Mutant(
        "reclaim unlimited", "maintenance/reclaim.lua",
        "local count = math.min(#ids, room)", "local count = #ids",
        "one more than the limit", "test_reclaim",
    ),
    Mutant(
        "age off by one", "maintenance/reclaim.lua",
        "call.now - age_ms, room, reply", "call.now - age_ms - 1, room, reply",
        "what is exactly so old stays", "test_reclaim",
    ),
    # -- what lasts and what changes -----------------------------------------------------------------------------------
    Mutant(
        "renew shortens", "allocations/renew.lua",
        "and was_ms and deadline_ms > was_ms then", "and was_ms then",
        "a shorter renewal takes time away", "test_renew",
    ),
    Mutant(
        "shorten repeated", "allocations/renew.lua",
        "if repeats and not idempotency.was_told(call, item.call, {'releasing'}) then", "if item.fence < 0 then",
        "a late copy shortens what was renewed since", "test_renew",
    ),
    Mutant(
        "renew without index", "modules/transaction.lua",
        "if call.planned then write_indexes(call) end", "",
        "a renewed lease is taken at its first deadline", "test_renew",
    ),
    Mutant(
        "resize counts all", "allocations/resize.lua",
        "local short = accounts.take(charged, list, held)", "local short = accounts.take(charged, list)",
        "what is held is charged again", "test_resize",
    ),
    Mutant(
        "given up and kept", "allocations/resize.lua",
        "accounts.add_all(charged, after.gone, -1, {})", "accounts.add_all(charged, after.gone, 0, {})",
        "a resource that was given up stays charged", "test_resize",
    ),
    Mutant(
        "given up and recorded", "modules/differences.lua",
        "for field in pairs(was) do drops[#drops + 1] = field end", "",
        "a resource that was given up comes back twice", "test_resize",
    ),
    Mutant(
        "resize repeated", "allocations/resize.lua",
        "if completed_ms and not word then", "if completed_ms and word then",
        "a late copy of a resize takes back a later one", "test_resize",
    ),
    Mutant(
        "shrink refused", "modules/accounts.lua",
        "if growth > 0 and (not before or before + growth > account.capacity[field]",
        "if (not before or before + growth > account.capacity[field]",
        "nobody can shrink in an overcommitted pool", "test_resize",
    ),
    # -- pools ---------------------------------------------------------------------------------------------------------
    Mutant(
        "resource in use removed", "pools/configure_pool.lua",
        "if allocated > 0 then return {'in_use', name, allocated} end", "",
        "what is allocated of it is counted nowhere", "test_configure_pool",
    ),
    Mutant(
        "generation ignored", "pools/configure_pool.lua",
        "if item.generation ~= 0 and item.generation ~= known then", "if item.generation < 0 then",
        "a change that was decided on an older state is made", "test_configure_pool",
    ),
    Mutant(
        "refused change kept", "pools/configure_pool.lua",
        "if not changed then discard(call) end", "",
        "half of a change that was refused is made", "test_configure_pool",
    ),
    Mutant(
        "fences begin anew", "pools/configure_pool.lua",
        "pool.revision = time[1] * 1000000 + time[2]", "pool.revision = 1",
        "a pool that was made again gives the fences of the old one", "test_configure_pool",
    ),
    Mutant(
        "deleted with live ones", "pools/delete_pool.lua",
        "return live > 0 and not force", "return live > 1 and not force",
        "a pool with a live allocation is deleted", "test_delete_pool",
    ),
    Mutant(
        "deletion not remembered", "pools/delete_pool.lua",
        "idempotency.complete(call, 'deleted')", "",
        "a pool that was deleted looks like one that was lost", "test_recovery",
    ),
    # -- what is remembered --------------------------------------------------------------------------------------------
    Mutant(
        "forgotten too soon", "modules/idempotency.lua",
        "local before_ms = call.now - limits.ENDED_KEEP_MS", "local before_ms = call.now",
        "a late copy finds no mark", "test_idempotency",
    ),
    Mutant(
        "never forgotten", "modules/transaction.lua",
        "if call.forgotten then redis.call('ZREM', call.ended, unpack(call.forgotten)) end", "",
        "the marks grow for ever", "test_idempotency",
    ),
    Mutant(
        "looked for each time", "modules/transaction.lua",
        "revision - revision % limits.TRIM_EVERY > read_revision", "revision > read_revision",
        "each call pays for what every 32nd revision is enough for", "test_idempotency",
    ),
    Mutant(
        "looked for one late", "modules/transaction.lua",
        "revision - revision % limits.TRIM_EVERY > read_revision",
        "revision - revision % limits.TRIM_EVERY - 1 > read_revision",
        "a call that takes a single revision never looks", "test_idempotency",
    ),
    Mutant(
        "forgets too few", "modules/idempotency.lua",
        "math.min(limits.ENDED_TRIM * (limits.TRIM_EVERY + adding), limits.ENDED_TRIM_MAX)", "1 + adding",
        "the marks grow faster than they go", "test_idempotency",
    ),
    Mutant(
        "undone calls pile up", "modules/transaction.lua",
        "then return call.completed or call.trims end", "then return call.trims end",
        "the marks of calls that change nothing grow for ever", "test_idempotency",
    ),
    Mutant(
        "audit without sums", "modules/audits.lua",
        "sums[list[i]] = (sums[list[i]] or 0) + list[i + 1]", "sums[list[i]] = list[i + 1] + 0",
        "drift is reported where there is none, and mended into drift", "test_audit",
    ),
    Mutant(
        "type not looked at", "maintenance/check_access.lua",
        "  redis.call('ZCARD', call.pinned)\n", "",
        "half a call stays behind where a key has another type", "test_check_access",
    ),
    Mutant(
        "events not looked at", "maintenance/check_access.lua",
        "  redis.call('XLEN', call.events)\n", "",
        "half a call stays behind where a key has another type", "test_check_access",
    ),
    Mutant(
        "right not looked at", "maintenance/check_access.lua",
        "'HDEL', 'HSET'", "'HSET'",
        "half a call stays behind where the user may not run a command", "test_check_access",
    ),
    Mutant(
        "rare right not looked at", "modules/transaction.lua",
        "if rest then check_rest(call) end", "",
        "half a call stays behind where the user may not run a command", "test_atomicity",
    ),
    # -- who did it ----------------------------------------------------------------------------------------------------
    Mutant(
        "actor omitted", "modules/events.lua",
        "if actor and not (record and record.fence and record.owner == actor) then", "if actor and not record then",
        "who released what is somebody else's is not told", "test_actors",
    ),
    Mutant(
        "actor of one's own", "modules/transaction.lua",
        "if first and actor and actor ~= owner then", "if first and actor then",
        "the ordinary event of a grant names its owner twice", "test_actors",
    ),
)  # fmt: skip
