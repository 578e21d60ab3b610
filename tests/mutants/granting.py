"""The planted bugs of what is granted, and of what is met."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

GRANTING: Final = (
    # -- what is granted -----------------------------------------------------------------------------------------------
    Mutant(
        "capacity plus one", "modules/accounts.lua",
        "if growth > 0 and (not before or before + growth > account.capacity[field]",
        "if growth > 0 and (not before or before + growth > account.capacity[field] + 1",
        "one unit more than there is", "test_allocate",
    ),
    Mutant(
        "capacity minus one", "modules/accounts.lua",
        "if growth > 0 and (not before or before + growth > account.capacity[field]",
        "if growth > 0 and (not before or before + growth >= account.capacity[field]",
        ">= for >: the last unit is never given", "test_allocate",
    ),
    Mutant(
        "whole units ignored", "modules/accounts.lua",
        "> account.capacity[field]\n        or whole and whole[field] and amount % 1000 ~= 0)\n        or bounds and",
        "> account.capacity[field])\n        or bounds and",
        "half a device is given", "test_allocate",
    ),
    Mutant(
        "partial charge kept", "modules/accounts.lua",
        "give_back(charged, n - 1, list, held, i)", "give_back(charged, n - 1, list, held, 0)",
        "a refused request stays charged for the resources that fitted", "test_allocate_batches",
    ),
    Mutant(
        "index skipped", "modules/transaction.lua",
        "redis.call('ZADD', call.deadlines, deadline, id)",
        "if not id then redis.call('ZADD', call.deadlines, deadline, id) end",
        "the ZADD skipped: nobody ever takes the allocation back", "test_allocate",
    ),
    Mutant(
        "indexes swapped", "modules/transaction.lua",
        "redis.call('ZADD', call.pinned, now_text, id)", "redis.call('ZADD', call.deadlines, now_text, id)",
        "a pinned allocation is due at once", "test_allocate",
    ),
    Mutant(
        "grant not told", "modules/transaction.lua",
        "    elseif first then\n", "    elseif first == '' then\n",
        "what was granted is told nowhere", "test_allocate",
    ),
    Mutant(
        "grants fill the stream", "modules/transaction.lua",
        "    elseif first then\n      redis.call('XADD', call.events, 'MAXLEN', '~', limits.EVENTS_MAX_TEXT, '*'",
        "    elseif first then\n      redis.call('XADD', call.events, '*'",
        "the stream grows for ever", "test_idempotency",
    ),
    Mutant(
        "other events fill the stream", "modules/transaction.lua",
        "'MAXLEN', '~', limits.EVENTS_MAX_TEXT, '*', unpack", "'*', unpack",
        "the stream grows for ever", "test_idempotency",
    ),
    Mutant(
        "fence stands still", "modules/requests.lua",
        "pool.revision + 1, request.ask_ms", "pool.read_revision + 1, request.ask_ms",
        "two grants of a batch share a fence", "test_allocate_batches",
    ),
    Mutant(
        "same id granted twice", "modules/requests.lua",
        "call.records[key] = request", "call.records[key] = false",
        "the same id twice in a batch is charged twice", "test_allocate_batches",
    ),
    Mutant(
        "late copy granted", "allocations/allocate.lua",
        "if not completed_ms then return nil end", "completed_ms = nil\n  if not completed_ms then return nil end",
        "a copy that meets `ended` takes what was given back", "test_repeats",
    ),
    Mutant(
        "resource named twice", "modules/requests.lua",
        "if list[other] == field then", "if list[other] == field .. '-' then",
        "charged twice, recorded once", "test_contract",
    ),
    Mutant(
        "state ignored", "allocations/allocate.lua",
        "if call.refused or pool.state then", "if call.refused then",
        "a pool that is being deleted or repaired grants", "test_pool_identity",
    ),
    Mutant(
        "epoch ignored", "modules/pools.lua",
        "if call.epoch ~= '' and epoch ~= call.epoch then", "if call.epoch ~= '' and epoch == '' then",
        "a holder of a deleted pool writes to the new one", "test_pool_identity",
    ),
    Mutant(
        "schema ignored", "modules/pools.lua",
        "call.refused = not reads and 'schema'", "call.refused = false",
        "an older version writes what it does not understand", "test_pool_identity",
    ),
    Mutant(
        "any amount", "modules/requests.lua",
        "'^[1-9]%d*$'", "'^%d+$'",
        "an amount of 0 is granted", "test_contract",
    ),
    Mutant(
        "larger than the pool waits", "modules/denials.lua",
        "if asked > capacity + (account.kept and account.kept[field] or 0) then return 4 end", "",
        "a caller waits for what can never be", "test_allocate",
    ),
    Mutant(
        "denial of what fits", "modules/denials.lua",
        "if account.allocated[field] + growth > capacity then", "if growth > 0 then",
        "a refusal names what is not short", "test_allocate",
    ),
    Mutant(
        "as if nothing had been due", "allocations/allocate.lua",
        "if call.expired_most == 0 then return reply end", "if call.expired_most then return reply end",
        "a refusal has the numbers of before what it reclaimed", "test_expiry",
    ),
    # -- what is met ---------------------------------------------------------------------------------------------------
    Mutant(
        "owner not compared", "modules/requests.lua",
        "if record.owner ~= request.owner or", "if",
        "somebody else's allocation is handed out", "test_repeats",
    ),
    Mutant(
        "amounts not compared", "modules/requests.lua",
        "if (held[list[i]] or 0) - list[i + 1] ~= 0 then", "if not held[list[i]] then",
        "another request is answered with a smaller allocation", "test_repeats",
    ),
    Mutant(
        "amounts not compared word for word", "modules/requests.lua",
        "if list[i] ~= has[i] then same = false end", "",
        "another request is answered with a smaller allocation", "test_repeats",
    ),
    Mutant(
        "some of the amounts compared", "modules/requests.lua",
        "if #list ~= #has then same = false end", "",
        "a request for fewer resources is answered with more", "test_repeats",
    ),
    Mutant(
        "existing not extended", "modules/repeats.lua",
        "elseif deadline_ms > record.deadline_ms then", "elseif ask_ms < 0 then",
        "the caller has less time than it asked for", "test_repeats",
    ),
    Mutant(
        "existing shortens", "modules/repeats.lua",
        "elseif deadline_ms > record.deadline_ms then", "else",
        "a second caller takes the first one's time away", "test_repeats",
    ),
    Mutant(
        "moved without index", "modules/transaction.lua",
        "if record.stored.deadline_ms ~= record.deadline_ms then plan_index(call, record) end", "",
        "what was renewed is taken at its first deadline", "test_renew",
    ),
    Mutant(
        "deadline one late", "modules/expiry.lua",
        "record.deadline_ms <= call.now", "record.deadline_ms < call.now",
        "at its deadline an allocation is still answered as live", "test_repeats",
    ),
    Mutant(
        "gang granted in part", "modules/gangs.lua",
        "call.fresh = kept[1] and kept or nil", "",
        "half a gang holds resources that it cannot use", "test_allocate_batches",
    ),
    Mutant(
        "gang stays charged", "modules/gangs.lua",
        "one.list, -1)", "one.list, 0)",
        "what a stopped gang took is lost for ever, once something else is written", "test_allocate_batches",
    ),
    Mutant(
        "gang member stays known", "modules/gangs.lua",
        "call.records[one.key], undone = false, undone + 1", "undone = undone + 1",
        "what was taken back meanwhile keeps its record for a grant that is none", "test_allocate_batches",
    ),
    Mutant(
        "gang's revision kept", "modules/gangs.lua",
        "call.pool.revision = call.pool.revision - give_back(call)", "give_back(call)",
        "a gang that changed nothing writes to the pool", "test_allocate_batches",
    ),
    Mutant(
        "gang asks one by one", "modules/gangs.lua",
        "sum[list[i]] = (sum[list[i]] or 0) + list[i + 1]", "sum[list[i]] = list[i + 1] + 0",
        "a gang that never fits waits", "test_allocate_batches",
    ),
    Mutant(
        "conflict in a gang", "modules/gangs.lua",
        "or word == 'conflict'", "",
        "a gang is granted without the member that is somebody else's", "test_allocate_batches",
    ),
    Mutant(
        "pinned stays leased", "modules/transaction.lua",
        "record.deadline_ms and 'old_pinned' or 'old_deadlines'", "'old_pinned'",
        "an allocation in both indexes", "test_repeats",
    ),
    # -- what takes another's charge -----------------------------------------------------------------------------------
    Mutant(
        "replaced twice", "allocations/allocate.lua",
        "  end_replaced(call, request, replaced)\n  accounts.add_all", "  accounts.add_all",
        "what is replaced stays, and the room is granted twice", "test_replaces",
    ),
    Mutant(
        "charge lost", "allocations/allocate.lua",
        "accounts.add_all(charged, request.list, 1)", "accounts.add_all(charged, request.list, 0)",
        "the room of what changes hands is granted again", "test_replaces",
    ),
    Mutant(
        "any fence replaced", "allocations/allocate.lua",
        "record.fence == request.replaces_fence", "record.fence ~= request.key",
        "a stale caller takes what was granted anew", "test_replaces",
    ),
    Mutant(
        "any amounts replaced", "allocations/allocate.lua",
        "return requests.matches({owner", "return true or requests.matches({owner",
        "a small allocation makes room for a large one", "test_replaces",
    ),
    Mutant(
        "any accounts replaced", "allocations/allocate.lua",
        "if names[i] ~= charged[i].name then return false end", "",
        "a quota is passed over", "test_replaces",
    ),
    Mutant(
        "asked for twice", "allocations/allocate.lua",
        "if replaced then end_replaced(call, request, replaced) end", "",
        "a repeated reconcile keeps room that it does not need", "test_replaces",
    ),
    Mutant(
        "replaced in a gang", "modules/requests.lua",
        "or request.replaces or call.atomic then", "or request.replaces then",
        "a batch that stops has ended an allocation", "test_replaces",
    ),
)  # fmt: skip
