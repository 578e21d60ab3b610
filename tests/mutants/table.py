"""The planted bugs: where, what stands there, what takes its place, and what would go wrong."""

from __future__ import annotations

from typing import Final

from tests.mutants.losses import LOSSES
from tests.mutants.mutant import Mutant

MUTANTS: Final = (
    *LOSSES,
    # -- what is granted -----------------------------------------------------------------------------------------------
    Mutant(
        "capacity plus one", "include/take.lua",
        "before + growth > account.capacity[field]", "before + growth > account.capacity[field] + 1",
        "one unit more than there is", "test_allocate",
    ),
    Mutant(
        "capacity minus one", "include/take.lua",
        "before + growth > account.capacity[field]", "before + growth >= account.capacity[field]",
        ">= for >: the last unit is never given", "test_allocate",
    ),
    Mutant(
        "whole units ignored", "include/take.lua",
        "amount % 1000 ~= 0", "amount % 1000 < 0",
        "half a device is given", "test_allocate",
    ),
    Mutant(
        "partial charge kept", "include/take.lua",
        "for back = first, at - 2, 2 do", "for back = at, at - 2, 2 do",
        "a refused request stays charged for the resources that fitted", "test_allocate",
    ),
    Mutant(
        "index skipped", "allocate.lua",
        "redis.call('ZADD', deadlines, deadline_ms, id)",
        "if not id then redis.call('ZADD', deadlines, deadline_ms, id) end",
        "the ZADD skipped: nobody ever takes the allocation back", "test_allocate",
    ),
    Mutant(
        "indexes swapped", "allocate.lua",
        "redis.call('ZADD', pinned, ", "redis.call('ZADD', deadlines, ",
        "a pinned allocation is due at once", "test_allocate",
    ),
    Mutant(
        "event missing", "allocate.lua",
        "redis.call('XADD', events, 'MAXLEN'", "if not id then return end redis.pcall('XLEN', events, 'MAXLEN'",
        "what was granted is told nowhere", "test_allocate",
    ),
    Mutant(
        "events unbounded", "allocate.lua",
        "'XADD', events, 'MAXLEN', '~', 'schema.EVENTS_MAX', '*'", "'XADD', events, '*'",
        "the stream grows for ever", "test_tombstones",
    ),
    Mutant(
        "fence stands still", "allocate.lua",
        "account.revision = account.revision + 1\n    local new", "account.revision = read_revision + 1\n    local new",
        "two grants of a batch share a fence", "test_allocate",
    ),
    Mutant(
        "same id granted twice", "allocate.lua",
        "if i < count then live[key] = new end", "if i < 0 then live[key] = new end",
        "the same id twice in a batch is charged twice", "test_allocate_batches",
    ),
    Mutant(
        "late copy granted", "allocate.lua",
        "or redis.call('ZSCORE', ended, argv[item + CALL])", "or redis.call('ZSCORE', ended, argv[item + CALL] .. '-')",
        "a copy that meets `ended` takes what was given back", "test_allocate_repeating",
    ),
    Mutant(
        "resource named twice", "allocate.lua",
        "if argv[other] == argv[pair] then", "if argv[other] == argv[pair] .. '-' then",
        "charged twice, recorded once", "test_contract",
    ),
    Mutant(
        "state ignored", "allocate.lua",
        "refused = refused or state", "refused = refused or false",
        "a pool that is being deleted or repaired grants", "test_allocate",
    ),
    Mutant(
        "epoch ignored", "include/account.lua",
        "elseif epoch ~= '' and known_epoch ~= epoch then", "elseif epoch ~= '' and known_epoch == '' then",
        "a holder of a deleted pool writes to the new one", "test_allocate",
    ),
    Mutant(
        "schema ignored", "include/account.lua",
        "refused = 'schema'", "refused = refused",
        "an older version writes what it does not understand", "test_allocate",
    ),
    # -- what is met ---------------------------------------------------------------------------------------------------
    Mutant(
        "owner not compared", "include/meeting.lua",
        " or record.owner ~= argv[items[i] + OWNER] then return false", " then return false",
        "somebody else's allocation is handed out", "test_allocate_repeating",
    ),
    Mutant(
        "amounts not compared", "include/meeting.lua",
        "if record.amounts[argv[pair]] ~= tonumber(argv[pair + 1]) then", "if not record.amounts[argv[pair]] then",
        "another request is answered with a smaller allocation", "test_allocate_repeating",
    ),
    Mutant(
        "existing not extended", "include/meeting.lua",
        "changed[#changed + 1] = {key, record}", "changed[#changed] = {key, record}",
        "the caller is told of a deadline that nobody wrote", "test_allocate_repeating",
    ),
    Mutant(
        "deadline one late", "include/meeting.lua",
        "record.deadline_ms <= now and not recovering", "record.deadline_ms < now and not recovering",
        "at its deadline an allocation is still answered as live", "test_allocate_repeating",
    ),
    Mutant(
        "repeated denial unmarked", "include/meeting.lua",
        "argv[items[i] + REPEATED] == '1' then\n      tombstones.settle",
        "argv[items[i] + REPEATED] == '2' then\n      tombstones.settle",
        "a copy of what was denied is granted later", "test_allocate_repeating",
    ),
    Mutant(
        "existing is any", "include/meeting.lua",
        "return string.format('existing:%.0f', fence)", "return string.format('existing:%.0f', fence * 0)",
        "a caller is told that it has what was granted to others since", "test_allocate_repeating",
    ),
    Mutant(
        "gang granted in part", "include/meeting.lua",
        "granted, changed, account.revision = {}, {}, base_revision + #endings.planned + #gap.deferred", "changed = {}",
        "half a gang holds resources that it cannot use", "test_allocate_batches",
    ),
    Mutant(
        "gang stays charged", "include/meeting.lua",
        "last_pair[new.i] + 1), -1)", "last_pair[new.i] + 1), 0)",
        "what a stopped gang took is lost for ever, once something else is written", "test_allocate_batches",
    ),
    Mutant(
        "pinned stays leased", "include/meeting.lua",
        "redis.call('ZREM', deadlines, id)", "redis.call('ZREM', pinned, id .. '-')",
        "an allocation in both indexes", "test_allocate_repeating",
    ),
    # -- what ends -----------------------------------------------------------------------------------------------------
    Mutant(
        "one resource kept", "include/ledger.lua",
        "for i = 1, #list, 2 do\n    account.allocated", "for i = 1, math.min(#list, 2), 2 do\n    account.allocated",
        "the second resource is not given back", "test_release",
    ),
    Mutant(
        "contradiction ignored", "include/ledger.lua",
        "< tonumber(list[i + 1]) then return false end", "< -1 then return false end",
        "a counter below zero", "test_broken_data",
    ),
    Mutant(
        "tombstone not written", "include/endings.lua",
        "tombstones.add(record.call)", "tombstones.add('')",
        "a late copy of the grant is granted after the release", "test_allocate_repeating",
    ),
    Mutant(
        "index entry stays", "include/endings.lua",
        "if not (survivor and survivor.deadline_ms) then redis.call('ZREM', deadlines, id) end",
        "if not survivor then redis.call('ZREM', pinned, id) end",
        "ended allocations stay in the index", "test_release",
    ),
    Mutant(
        "stale fields kept", "include/endings.lua",
        "if #stale > 0 then redis.call('HDEL', key, unpack(stale)) end",
        "if #stale < 0 then redis.call('HDEL', key, 'x') end",
        "the resources of an ended allocation in the record of the next", "test_allocate_repeating",
    ),
    Mutant(
        "bystander fails the caller", "include/endings.lua",
        "  ledger.bump()\n  journal.add('broken', id, nil, what)", "  error({err = 'INVARIANT ' .. what})",
        "one broken record stops everybody", "test_broken_data",
    ),
    Mutant(
        "due by creation", "include/due.lua",
        "'-inf', due.now, 'LIMIT'", "'-inf', '+inf', 'LIMIT'",
        "leases that were renewed are taken: the score is ignored", "test_inline_reclaim",
    ),
    Mutant(
        "bound read as denial", "include/due.lua",
        "due.more = #due.ids > due.max", "due.more = #due.ids > due.max + 1",
        "a full call looks like a full pool", "test_inline_reclaim",
    ),
    Mutant(
        "own taken back", "include/due.lua",
        "if touched == nil then", "if touched ~= false then",
        "a call takes back what it has just answered with", "test_inline_reclaim",
    ),
    Mutant(
        "release without fence", "release.lua",
        "item.fence ~= record.fence then return {'fenced', record.fence} end",
        "item.fence < 0 then return {'fenced'} end",
        "a stale holder releases the newer grant", "test_release",
    ),
    Mutant(
        "released twice in a batch", "release.lua",
        "  live[item.key] = false\n", "",
        "the same id twice in a batch is given back twice", "test_release",
    ),
    Mutant(
        "release not remembered", "release.lua",
        "  tombstones.add(item.call)\n", "",
        "a late copy releases a newer grant", "test_release",
    ),
    Mutant(
        "withdraws another's", "withdraw.lua",
        "record and record.call == item.call", "record",
        "an allocation that was replayed to somebody else is released", "test_release",
    ),
    Mutant(
        "withdrawal unmarked", "withdraw.lua",
        "elseif not tombstones.find(ended, item.call) then", "elseif not item.call then",
        "a call that arrives after its withdrawal is granted", "test_release",
    ),
    Mutant(
        "reclaim unlimited", "reclaim.lua",
        "for i = 1, math.min(#ids, room) do", "for i = 1, #ids do",
        "one more than the limit", "test_reclaim",
    ),
    Mutant(
        "age off by one", "reclaim.lua",
        "now - age_ms, 'age'", "now - age_ms - 1, 'age'",
        "what is exactly so old stays", "test_reclaim",
    ),
    # -- what lasts and what changes -----------------------------------------------------------------------------------
    Mutant(
        "renew shortens", "renew.lua",
        "record.deadline_ms and deadline_ms >= record.deadline_ms then", "record.deadline_ms then",
        "a shorter renewal takes time away", "test_renew",
    ),
    Mutant(
        "renew without index", "renew.lua",
        "if #index > 0 then redis.call('ZADD', deadlines, unpack(index)) end", "",
        "a renewed lease is taken at its first deadline", "test_renew",
    ),
    Mutant(
        "resize counts all", "resize.lua",
        "if take(list, 1, #list - 1, before) then return nil end", "if take(list, 1, #list - 1) then return nil end",
        "what is held is charged again", "test_resize",
    ),
    Mutant(
        "given up and kept", "resize.lua",
        "account.allocated[field] = account.allocated[field] - before[field]", "account.changed = before[field]",
        "a resource that was given up stays charged", "test_resize",
    ),
    Mutant(
        "shrink refused", "include/take.lua",
        "if growth > 0 and (not before", "if (not before",
        "nobody can shrink in an overcommitted pool", "test_resize",
    ),
    # -- pools ---------------------------------------------------------------------------------------------------------
    Mutant(
        "resource in use removed", "configure.lua",
        "if allocated > 0 then return nil, {'in_use', name, allocated} end", "",
        "what is allocated of it is counted nowhere", "test_configure",
    ),
    Mutant(
        "generation ignored", "configure.lua",
        "if generation ~= 0 and generation ~= known then", "if generation < 0 then",
        "a change that was decided on an older state is made", "test_configure",
    ),
    Mutant(
        "deleted with live ones", "delete.lua",
        "live > 0 and not force and state ~= 'deleting'", "live > 1 and not force and state ~= 'deleting'",
        "a pool with a live allocation is deleted", "test_delete",
    ),
    # -- what is remembered --------------------------------------------------------------------------------------------
    Mutant(
        "forgotten too soon", "include/tombstones.lua",
        "<= now - schema.ENDED_KEEP_MS\n    if not expired", "<= now\n    if not expired",
        "a late copy finds no mark", "test_tombstones",
    ),
    Mutant(
        "never forgotten", "include/tombstones.lua",
        "if #tombstones.old > 0 then redis.call('ZREM', key, unpack(tombstones.old)) end", "",
        "the marks grow for ever", "test_tombstones",
    ),
    Mutant(
        "audit without sums", "include/survey.lua",
        "survey.sums[field] = (survey.sums[field] or 0) + amount", "survey.sums[field] = amount",
        "drift is reported where there is none, and mended into drift", "test_audit",
    ),
    Mutant(
        "writes before it fails", "include/guard.lua",
        "for i = 1, #indexes do redis.call('ZCARD', indexes[i]) end", "for _ = 1, #indexes do redis.call('TIME') end",
        "half a call stays behind where a key has another type", "test_atomicity",
    ),
)  # fmt: skip
