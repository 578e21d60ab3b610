"""The planted bugs of batches that wait as one: what is granted together, whose ids wait, and what is left of them."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

GANGS: Final = (
    Mutant(
        "waiting gang granted in part", "modules/queue/parts.lua",
        "      uncharge(some, n - 1)\n      return false, blocked, n\n", "      return true, blocked, n\n",
        "a batch is granted where only a part of it has room", "test_gang_waits",
    ),
    Mutant(
        "part of a gang stays charged", "modules/queue/parts.lua",
        "      uncharge(some, n - 1)\n      return false, blocked, n\n", "      return false, blocked, n\n",
        "room is counted as taken that nobody has", "test_gang_waits",
    ),
    Mutant(
        "gang keeps back for its first only", "modules/queue/parts.lua",
        "    contention.add(marks, one.charged, one.list, everything, sums)\n    if some[n + 1] then",
        "    contention.add(marks, one.charged, one.list, everything, sums)\n    if true then break end\n"
        "    if some[n + 1] then",
        "those behind take what the other members wait for", "test_gang_waits",
    ),
    Mutant(
        "other ids of a gang not found", "modules/queue/line_entries.lua",
        "return gang and waiters.member(gang, id) and gang or nil", "return nil",
        "an id waits twice", "test_gang_members",
    ),
    Mutant(
        "members stay indexed", "modules/queue/line_entries.lua",
        "  note_members(call, state, waiter, false)\n", "",
        "the index of members grows for ever", "test_gang_waits",
    ),
    Mutant(
        "ended member still counts", "modules/queue/parts.lua",
        "  for _, one in ipairs(waiter.members or {}) do one.live = one.live and record_of(call, one) ~= nil end\n", "",
        "a batch is granted without one of its members", "test_gang_members",
    ),
    Mutant(
        "waiting gang keeps its claim", "modules/queue/gang_waits.lua",
        "  gangs.revert(call)\n  mark_live(gang, found)\n", "  mark_live(gang, found)\n",
        "a live allocation is extended by a batch that does not have it", "test_gang_members",
    ),
    Mutant(
        "partly granted waits again", "modules/queue/gang_waits.lua",
        "  if is_begun(call, items) then\n", "  if false then\n",
        "a batch waits, and has a part of its grant", "test_gang_members",
    ),
    Mutant(
        "undo of a member is not of its gang", "allocations/undo.lua",
        "  local one = waiter and waiters.member(waiter, records.id(call, item.key)) or waiter\n",
        "  local one = waiter\n",
        "a cancelled batch waits on until it is silent", "test_gang_waits",
    ),
    Mutant(
        "gang that never fits waits", "modules/queue/parts.lua",
        "  local sums, found, n = gangs.asked(gang.members, #gang.members), nil, nil\n",
        "  local sums, found, n = nil, nil, nil\n",
        "a batch that is larger than the pool waits for ever, and keeps others back", "test_gang_waits",
    ),
    Mutant(
        "pool deleted, members left", "modules/transaction.lua",
        "fair_order.index(call), waiters.gangs(call),\n", "fair_order.index(call),\n",
        "a pool that is made again has members of batches that are gone", "test_gang_members",
    ),
    Mutant(
        "gang backfilled by its earliest end", "modules/queue/parts.lua",
        "last_ms = math.max(last_ms or 0, ends_ms)", "last_ms = math.min(last_ms or ends_ms, ends_ms)",
        "a member that ends late delays the first", "test_backfill_gangs",
    ),
    Mutant(
        "gang backfilled with an open member", "modules/queue/parts.lua",
        "    if not ends_ms then return nil end\n    last_ms = math.max(last_ms or 0, ends_ms)\n",
        "    last_ms = math.max(last_ms or 0, ends_ms or 0)\n",
        "a member that may stay for ever delays the first", "test_backfill_gangs",
    ),
    Mutant(
        "start of a gang without what has ended", "modules/queue/starts.lua",
        "    if waiter.members then some = parts.of(waiter, walk.ended) end\n", "",
        "a start is foreseen at which a member of the batch has ended", "test_backfill_gangs",
    ),
    Mutant(
        "start of a gang charged in part", "modules/queue/starts.lua",
        "  for _, one in ipairs(some) do walk.undo[#walk.undo + 1] = {one.charged, one.list, -1} end\n",
        "  walk.undo[#walk.undo + 1] = {some[1].charged, some[1].list, -1}\n",
        "a walk leaves counters that nobody has", "test_backfill_gangs",
    ),
    Mutant(
        "gang leads by its first", "modules/queue/parts.lua",
        "    found = found or contention.has(marks, one.charged, one.list)\n",
        "    found = found or n == 1 and contention.has(marks, one.charged, one.list)\n",
        "who waits for another asks for room for itself", "test_backfill_gangs",
    ),
    Mutant(
        "lost batch not undone", "allocator/_engine/operations/waiting.py",
        "            if self._is_gang:\n                yield from undo.undo(self._pool, self._calls())\n", "",
        "a part of a lost grant stays charged until it lapses", "engine/test_waiting_flow",
    ),
    Mutant(
        "gang placed by the pool when it is heard", "modules/queue/fair_order.lua",
        "local sharer = shares.among(call, accounts_of(waiter))\n",
        "local sharer = shares.among(call, waiter.accounts)\n",
        "a batch of a weighted scope counts as one without a weight", "test_gang_shares",
    ),
    Mutant(
        "scopes of members not placed in the walk", "modules/queue/fair_order.lua",
        "    if sharer.moved then names[sharer.name] = true end\n", "",
        "what is freed goes to a scope that has just got much by a batch", "test_gang_shares",
    ),
    Mutant(
        "live member granted anew without its scope", "modules/queue/gang_waits.lua",
        "    item.accounts = item.accounts or record.accounts\n", "",
        "an allocation of the default scope is charged to none", "test_gang_shares",
    ),
)  # fmt: skip
