"""The planted bugs of who was told of an allocation, of several accounts, and of the one place that writes."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

SHARING: Final = (
    # -- claims --------------------------------------------------------------------------------------------------------
    Mutant(
        "fourth caller forgets the first", "modules/claims.lua",
        "      table.insert(list, 1, oldest)\n", "",
        "the first caller still has what ends when three others are undone", "test_claims",
    ),
    Mutant(
        "forgotten call goes on", "modules/repeats.lua",
        "if forgotten then forget(call, forgotten) end", "",
        "a late copy of a call that is forgotten is granted once the allocation has ended", "test_claims",
    ),
    Mutant(
        "forgotten for a gang that stopped", "modules/gangs.lua",
        "if call.forgotten_calls then idempotency.keep(call, call.forgotten_calls) end", "",
        "a caller is told that it has lost what it has", "test_claims",
    ),
    Mutant(
        "exclusive shares", "modules/repeats.lua",
        "or request.exclusive or not is_same", "or not is_same",
        "two deliveries of one job hold one allocation", "test_repeats",
    ),
    Mutant(
        "four calls kept", "modules/claims.lua",
        "> limits.CALLS_MAX then", "> limits.CALLS_MAX + 1 then",
        "the list of callers has no bound", "test_claims",
    ),
    Mutant(
        "others forgotten first", "modules/claims.lua",
        "table.remove(list, others and 2 or 1)", "table.remove(list, 1)",
        "the fifth caller pushes out the mark of all others", "test_claims",
    ),
    Mutant(
        "others' deadline forgotten", "modules/claims.lua",
        "longer(list[1].deadline_ms, oldest.deadline_ms)", "list[1].deadline_ms",
        "what a forgotten caller was told does not count", "test_claims",
    ),
    Mutant(
        "part of an id", "modules/claims.lua",
        "' ' .. id .. ' ', 1, true", "id, 1, true",
        "a call whose id is part of another's is answered as that", "test_claims",
    ),
    Mutant(
        "all are the first", "modules/claims.lua",
        "return string.sub(record.call .. ' ', 1, #id + 1) == id .. ' '", "return true",
        "a caller that shares is told that it made it", "test_claims",
    ),
    Mutant(
        "not noted what was told", "modules/claims.lua",
        "if list[i].id == id then list[i].deadline_ms = record.deadline_ms or 0 end", "",
        "an undo takes time away that another was told of", "test_claims",
    ),
    Mutant(
        "renewal told to nobody", "modules/claims.lua",
        "if shorten or one.deadline_ms > 0 then", "if shorten then",
        "an undo takes time away that a renewal gave", "test_claims",
    ),
    Mutant(
        "a pin is short", "modules/claims.lua",
        "longer(deadline_ms, left[i].deadline_ms)", "math.max(deadline_ms, left[i].deadline_ms)",
        "an undo ends a pin that another caller wanted", "test_claims",
    ),
    Mutant(
        "longest ttl forgotten", "modules/claims.lua",
        "ttl_ms, deadline_ms = math.max(ttl_ms, left[i].ttl_ms)", "ttl_ms, deadline_ms = left[1].ttl_ms",
        "a renewal gives less time than a caller asked for", "test_claims",
    ),
    Mutant(
        "lists of one", "modules/claims.lua",
        "record.ttls, record.told = nil, nil", "record.ttls = nil",
        "a record says what only an undone call was told", "test_claims",
    ),
    Mutant(
        "lease under a pin", "allocations/renew.lua",
        " or claims.lease_ttl(record)", "",
        "a holder of a lease that somebody pinned can renew nothing", "test_claims",
    ),
    Mutant(
        "leases under a pin told 0", "allocations/renew.lua",
        "if record.ttls and deadline_ms then return", "if not record.ttls then return",
        "a holder of a lease relies on another's pin", "test_claims",
    ),
    Mutant(
        "shortened out of a pin", "allocations/renew.lua",
        "if not record.deadline_ms and item.ttl_ms == 0 then return false end", "",
        "a holder of a lease ends another's pin", "test_claims",
    ),
    Mutant(
        "an adopted holder is nobody", "allocations/adopt.lua",
        "claims.add_holder(record)", "",
        "the undo of another's call ends what a holder has asserted", "test_recovery_holders",
    ),
    Mutant(
        "a holder of a recovery is nobody", "allocations/renew.lua",
        "if pool.recovering then claims.add_holder(record) end", "",
        "the undo of another's call ends what a holder renewed in a recovery", "test_recovery_holders",
    ),
    Mutant(
        "fenced by an earlier grant", "allocations/renew.lua",
        "if not reply or reply[1] ~= 'missing' then", "if item then",
        "a live holder stops, for the store went back to an earlier grant of the id", "test_recovery_holders",
    ),
    Mutant(
        "two adopted into one", "allocations/adopt.lua",
        "if record.fresh then forget_fresh(call, record) end", "",
        "a record has the resources of two grants", "test_crossings",
    ),
    Mutant(
        "adopts beyond all numbers", "allocations/adopt.lua",
        "if pool.allocated[item.list[i]] > limits.AMOUNT_MAX then", "if not item then",
        "a counter beyond 2^53 fails every call", "test_crossings",
    ),
    Mutant(
        "adoption told to nobody", "allocations/adopt.lua",
        "claims.set_deadlines(record)", "",
        "an undo takes time away that an adoption told of", "test_claims",
    ),
    Mutant(
        "one call of three completed", "modules/removals.lua",
        "for _, id in ipairs(claims.ids(record)) do", "for _, id in ipairs({claims.ids(record)[1]}) do",
        "a late copy of the second caller's is granted", "test_claims",
    ),
    Mutant(
        "undone call not completed", "allocations/undo.lua",
        "  idempotency.complete(call, item.call)\n  if was_pinned", "  if was_pinned",
        "a copy of an undone call shares what others have", "test_claims",
    ),
    Mutant(
        "lists stay where it leaves", "allocations/begin_release.lua",
        "record.asserted_ms, record.gap_ms, record.ttls, record.told = nil, nil, nil, nil",
        "record.asserted_ms, record.gap_ms = nil, nil",
        "what leaves has deadlines that nobody keeps", "test_claims",
    ),
    Mutant(
        "others are a call", "modules/idempotency.lua",
        "if id == '' or id == '*' then", "if id == '' then",
        "the mark of all others is remembered as a call that has ended", "test_claims",
    ),
    # -- gangs that stop -----------------------------------------------------------------------------------------------
    Mutant(
        "shared record not restored", "modules/gangs.lua",
        "local shared = call.shared or {}", "local shared = {}",
        "a gang that changed nothing has extended what lives", "test_allocate_batches",
    ),
    Mutant(
        "restored in any order", "modules/gangs.lua",
        "for i = #shared, 1, -1 do", "for i = 1, #shared do",
        "a record that a gang named twice keeps the first one's change", "test_claims",
    ),
    Mutant(
        "told of a gang that stopped", "modules/gangs.lua",
        "record.gap_ms, record.ttls, record.told, record.touched = was.gap_ms, was.ttls, was.told, nil",
        "record.gap_ms, record.touched = was.gap_ms, nil",
        "a caller of a gang that stopped is still told of what lives", "test_claims",
    ),
    Mutant(
        "asserted by a gang that stopped", "modules/gangs.lua",
        "      was.asserted_ms\n", "      record.asserted_ms\n",
        "a gang that changed nothing says that somebody has it", "test_claims",
    ),
    # -- several accounts ----------------------------------------------------------------------------------------------
    Mutant(
        "second account not charged", "modules/accounts.lua",
        "for i = 1, names and #names or 0 do", "for i = 1, names and 1 or 0 do",
        "the limit of a second account is none", "test_accounts",
    ),
    Mutant(
        "second account not given back", "modules/accounts.lua",
        "if account then append(charged, account) end\n  end\n  if not accounts.covers(call.pool, list)",
        "if account and i == 1 then append(charged, account) end\n  end\n  if not accounts.covers(call.pool, list)",
        "an account fills up with what has ended", "test_accounts",
    ),
    Mutant(
        "accounts given back twice", "modules/removals.lua",
        "if charged then accounts.add_all(charged, record.list, -1) end",
        "if charged then accounts.add_all(charged, record.list, -2) end",
        "an account grants more than it has", "test_accounts",
    ),
    Mutant(
        "earlier accounts stay charged", "modules/accounts.lua",
        "for n = 1, i == at and last or #charged do", "for n = 1, i == at and 0 or #charged do",
        "what the last account refuses stays charged to those before it", "test_accounts",
    ),
    Mutant(
        "accounts of a gang stay charged", "modules/gangs.lua",
        "accounts.charged(call, one.accounts, one.list)", "{call.pool}",
        "what a stopped gang took of an account is lost", "test_accounts",
    ),
    Mutant(
        "account that does not exist", "modules/requests.lua",
        "if #names == #charged - 1 then return names end", "if charged then return names end",
        "a record names an account that was not charged, and takes it back from it later", "test_accounts",
    ),
    Mutant(
        "accounts not written", "modules/transaction.lua",
        "if call.accounts and revision ~= read_revision then", "if not call.key then",
        "the charge is only in the reply", "test_accounts",
    ),
    Mutant(
        "resize of the pool only", "allocations/resize.lua",
        "accounts.charged(call, record.accounts, record.list)", "accounts.charged(call, nil, record.list)",
        "growth beyond the limit of an account", "test_accounts",
    ),
    Mutant(
        "accounts not compared", "modules/requests.lua",
        "if not named then return false end", "",
        "what is charged to another account is handed out", "test_accounts",
    ),
    Mutant(
        "account contradiction ignored", "modules/accounts.lua",
        "if account and not accounts.covers(account, list) then return nil end", "",
        "a counter of an account below zero", "test_accounts_broken",
    ),
    # -- the one place that writes -------------------------------------------------------------------------------------
    Mutant(
        "vanishes first", "modules/transaction.lua",
        "  if call.planned_events and not call.deletes_pool then write_events(call) end",
        "  if call.removed then drop_removed(call) end "
        "if call.unlinks then redis.call('UNLINK', unpack(call.unlinks)) end "
        "if call.planned_events and not call.deletes_pool then write_events(call) end",
        "an error in the midst of the writes leaves a charge without a record", "test_transaction",
    ),
    Mutant(
        "reads amid its writes", "modules/transaction.lua",
        "  if call.changed then drop_changed(call) end",
        "  redis.call('ZCARD', call.ended) if call.changed then drop_changed(call) end",
        "a slot that is moved meanwhile fails the call in the midst of its writes", "test_transaction",
    ),
    Mutant(
        "nothing remembered", "modules/transaction.lua",
        "if completed then redis.call('ZADD', call.ended, unpack(completed)) end", "",
        "no call is remembered", "test_release",
    ),
    Mutant(
        "pool not written", "modules/transaction.lua",
        "(revision ~= read_revision or call.planned_events or call.pool_sets", "(call.planned_events or call.pool_sets",
        "a grant takes nothing and no fence", "test_allocate",
    ),
)  # fmt: skip
