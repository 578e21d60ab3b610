"""The planted bugs of the line: who stands in it, who may pass whom, and who learns of what."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

WAITING: Final = (
    # -- the order -----------------------------------------------------------------------------------------------------
    Mutant(
        "priority turned round", "modules/queue/waiters.lua",
        "return (limits.PRIORITY_MAX - priority) * ARRIVALS + number",
        "return (limits.PRIORITY_MAX + priority) * ARRIVALS + number",
        "the lowest priority goes first", "test_waiting",
    ),
    Mutant(
        "everybody passes", "modules/queue/line.lua",
        "return contention.has(marks, charged, list, is_growth), ahead", "return false, ahead",
        "who comes takes what others wait for", "test_waiting_order",
    ),
    Mutant(
        "strict as contended", "modules/queue/line.lua",
        "local everything = state.policy == 'strict' or is_first and is_kept_for(call, state, waiter)",
        "local everything = is_first and is_kept_for(call, state, waiter)",
        "a strict line is passed", "test_waiting_order",
    ),
    Mutant(
        "first passed for ever", "modules/queue/line.lua",
        "return passes >= state.passes_max or waiter.since_ms + state.wait_max_ms <= call.now",
        "return waiter.since_ms + state.wait_max_ms <= call.now",
        "who asks for much starves", "test_waiting_order",
    ),
    Mutant(
        "first passed at any age", "modules/queue/line.lua",
        "return passes >= state.passes_max or waiter.since_ms + state.wait_max_ms <= call.now",
        "return passes >= state.passes_max",
        "who asks for much waits without a bound", "test_waiting_order",
    ),
    Mutant(
        "passes of a batch count once", "modules/queue/line.lua",
        "  if state.passed == waiter then passes = passes + state.passing end\n", "",
        "a batch passes more often than is allowed", "test_waiting_order",
    ),
    Mutant(
        "passes inherited by the id", "modules/queue/line_entries.lua",
        "  if state.first == waiter.id then state.first, state.passes = nil, 0 end\n", "",
        "who comes anew with an id is kept room for at once", "test_waiting_order",
    ),
    Mutant(
        "silent behind the same", "modules/queue/line.lua",
        "return state.refused[waiter.same] and waiters.is_heard(call, waiter) and not",
        "return state.refused[waiter.same] and not",
        "who is gone stays in line", "test_waiting_order",
    ),
    Mutant(
        "victims of the same", "modules/queue/line.lua",
        "and waiters.is_heard(call, waiter) and not waiter.victims", "and waiters.is_heard(call, waiter)",
        "what a victim leaves is for others", "test_waiting_order",
    ),
    Mutant(
        "refused as of any size", "modules/queue/line.lua",
        "waiter.same = shape .. ' ' ..", "waiter.same =",
        "who fits waits behind one that does not", "test_waiting_order",
    ),
    Mutant(
        "guarantee does not cover", "modules/queue/contention.lua",
        "if account.quota then amount = amount - quotas.reserve(account, field) end", "",
        "a scope waits for others with what is guaranteed to it", "test_waiting_order",
    ),
    Mutant(
        "guarantee of a waiter taken", "modules/queue/contention.lua",
        "is_short = is_short and short ~= nil\n", "is_short = charged[n] == short\n",
        "a waiter loses the guarantee that it counts on", "test_waiting_order",
    ),
    Mutant(
        "node of a scope not marked", "modules/queue/contention.lua",
        "local is_alone = n > levels and (levels == 0 or n < #charged)", "local is_alone = levels == 0",
        "who waits for a node is passed on it", "test_waiting_order",
    ),
    Mutant(
        "unlimited allocations held back", "modules/queue/contention.lua",
        "return field ~= quotas.ALLOCATIONS or (account.capacity[field] or limits.AMOUNT_MAX) < limits.AMOUNT_MAX",
        "return true",
        "a guarantee does not pass a strict line", "test_waiting_order",
    ),
    Mutant(
        "growth counted as an allocation", "modules/queue/contention.lua",
        "return not is_growth and charged.levels ~= nil", "return charged.levels ~= nil",
        "a growth waits for a number of allocations", "test_waiting_order",
    ),
    Mutant(
        "those in vain hold back others", "modules/queue/line.lua",
        "  local taken, blocked = parts.take(waiter, marks)\n",
        "  local taken, blocked = parts.take(waiter, marks)\n  if blocked and not taken then return false end\n",
        "room is kept for who can never fit", "test_waiting_order",
    ),
    Mutant(
        "cursor without its marks", "modules/queue/line.lua",
        "local marks, from = contention.parse(state.cursor_marks), '('", "local marks, from = {}, '('",
        "those at the end of a long line pass all before them", "test_waiting_long",
    ),
    Mutant(
        "cursor without who came", "modules/queue/line_entries.lua",
        "if not state.cursor or waiter.place >= state.cursor or", "if true or",
        "those at the end of a long line pass who came before them", "test_waiting_long",
    ),
    Mutant(
        "end of the line forgotten", "modules/queue/line.lua",
        "if state.cut and not state.cursor then", "if false then",
        "who stands far behind is never looked at", "test_waiting_long",
    ),
    Mutant(
        "passes from the end not counted", "modules/queue/line.lua",
        "if gone == 'granted' and first and first ~= waiter then count_pass(state, first) end", "",
        "the first is passed by those far behind for ever", "test_waiting_long",
    ),
    Mutant(
        "grants meanwhile not noted", "modules/queue/line.lua",
        "  if not state then return end\n  line_entries.note_taken(state, {charged = charged, list = list})\n",
        "  if not state then return end\n",
        "those at the end of a long line take what others have become short of", "test_waiting_long",
    ),
    # -- serving -------------------------------------------------------------------------------------------------------
    Mutant(
        "nobody served on release", "modules/queue/line.lua",
        "  if call.removed or call.freed then line.serve(call) end\n", "",
        "room stays free until somebody asks", "test_waiting",
    ),
    Mutant(
        "undo of a wait serves nobody", "allocations/undo.lua",
        "  call.freed = true\n", "",
        "those behind a cancelled call wait on", "test_waiting",
    ),
    Mutant(
        "last try serves nobody", "modules/queue/arrivals.lua",
        "  idempotency.complete_as(call, waiter.call, 'withdrawn')\n  call.freed = true\n",
        "  idempotency.complete_as(call, waiter.call, 'withdrawn')\n",
        "those behind one that gives up wait on", "test_waiting",
    ),
    Mutant(
        "granted in a recovery", "modules/queue/line.lua",
        "if state.count == 0 or call.pool.recovering or call.pool.state then return end",
        "if state.count == 0 or call.pool.state then return end",
        "what holders of lost leases have is granted again", "test_waiting_states",
    ),
    Mutant(
        "granted offline", "modules/queue/line.lua",
        "if state.count == 0 or call.pool.recovering or call.pool.state then return end",
        "if state.count == 0 or call.pool.recovering then return end",
        "a repair is disturbed by grants", "test_waiting_states",
    ),
    # -- the calls -----------------------------------------------------------------------------------------------------
    Mutant(
        "last try not completed", "modules/queue/arrivals.lua",
        "  idempotency.complete_as(call, waiter.call, 'withdrawn')\n  call.freed = true\n", "  call.freed = true\n",
        "a late copy of a call that gave up waits again", "test_waiting",
    ),
    Mutant(
        "withdrawn call not completed", "queue/withdraw.lua",
        "  idempotency.complete_as(call, waiter.call, 'withdrawn')\n", "",
        "the next heartbeat of who was withdrawn waits again", "test_waiting",
    ),
    Mutant(
        "silent ones stay", "modules/queue/waiters.lua",
        "return waiter.heard_ms + limits.WAITER_TTL_MS > call.now", "return true",
        "room is granted to the dead", "test_waiting",
    ),
    Mutant(
        "silent ones keep their id", "allocations/allocate.lua",
        "if not waiter or waiters.is_heard(call, waiter) or call.pool.recovering and waiter.call == request.call then",
        "if not waiter or true then",
        "a controller that starts again is refused by itself for ever", "test_waiting",
    ),
    Mutant(
        "requested ttl never begins", "modules/repeats.lua",
        "  if claims.is_awaited(record, request.call) then\n", "  if false then\n",
        "a grant from the line lapses after the time to claim it", "test_waiting",
    ),
    Mutant(
        "claimed by whoever is left", "allocations/undo.lua",
        "  if is_awaited then record.unclaimed_ttl_ms = nil end\n", "",
        "a lease is pinned that nobody asked to be", "test_waiting_batches",
    ),
    Mutant(
        "shared claim forgets its ttl", "modules/repeats.lua",
        "    claims.set_ttl(record, request.call, ask_ms)\n", "",
        "an undo of another call leaves the time to claim it as the ttl", "test_waiting_batches",
    ),
    Mutant(
        "claim brings the deadline forward", "modules/repeats.lua",
        "record.asserted_ms and record.deadline_ms or 0", "0",
        "room that a renewal has promised is granted to others", "test_unclaimed",
    ),
    Mutant(
        "renewal for the time to claim", "allocations/renew.lua",
        "  if ttl_ms == 0 and record.unclaimed_ttl_ms then ttl_ms = record.unclaimed_ttl_ms end\n", "",
        "a holder whose claim was lost has 15 seconds from then on", "test_unclaimed",
    ),
    Mutant(
        "renewal of the unclaimed not stored", "allocations/renew.lua",
        "record.asserted_ms or record.unclaimed_ttl_ms", "record.asserted_ms",
        "a renewal at the instant of the grant is forgotten by the claim", "test_unclaimed",
    ),
    Mutant(
        "star hides who waited", "modules/claims.lua",
        "  return claims.is_first(record, id) or string", "  return claims.is_first(record, id) or false and string",
        "after a renewal in a recovery the requested time never begins", "test_unclaimed",
    ),
    Mutant(
        "forgotten wait stays unclaimed", "modules/claims.lua",
        "forgotten, record.unclaimed_ttl_ms = oldest.id, nil", "forgotten = oldest.id",
        "nobody can preempt it ever after", "test_unclaimed",
    ),
    Mutant(
        "adopted but unclaimed", "allocations/adopt.lua",
        "  if record.unclaimed_ttl_ms then claim(call, record, ttl_ms) end\n", "",
        "what its holder has pinned lapses with the time to claim it", "test_unclaimed",
    ),
    # -- what is stored ------------------------------------------------------------------------------------------------
    Mutant(
        "entry that comes back removed", "modules/queue/line_entries.lua",
        "if drops[n].id == waiter.id then waiter.instead_of = table.remove(drops, n) end", "local _ = drops[n]",
        "who asks again after a silence waits without an entry", "test_waiting",
    ),
    Mutant(
        "fields of an earlier entry", "modules/transaction.lua",
        "  if stale[1] then redis.call('HDEL', waiter.key, unpack(stale)) end\n", "",
        "a waiter asks for what an earlier one did", "test_waiting",
    ),
    Mutant(
        "position counts who has left", "modules/queue/arrivals.lua",
        "    if was and was < place then before = before - 1 end\n", "",
        "a client is told a worse position", "test_waiting_batches",
    ),
    Mutant(
        "fence of a waiter again", "modules/gangs.lua",
        "return kept[1] and 0 or undone + (call.tentative or 0)", "return undone + (call.tentative or 0)",
        "two grants have one fence", "test_waiting_batches",
    ),
    Mutant(
        "adopted and waiting", "allocations/adopt.lua",
        "  line_entries.leave(call, waiter, 'its id is adopted')\n", "",
        "an id waits and is live", "test_waiting_states",
    ),
    Mutant(
        "repair leaves the fields", "modules/queue/line.lua",
        "  state.looked_ms = nil\n  line_entries.keep(call, state)\n", "  state.looked_ms = nil\n",
        "the pool reads a line that is empty", "test_waiting_states",
    ),
    Mutant(
        "waits for what never fits", "allocations/allocate.lua",
        "  if waiter and request.wait_ms and not may_fit then\n", "  if false then\n",
        "in a strict line a client waits for nothing until its time is over", "test_waiting_order",
    ),
    Mutant(
        "room of victims", "modules/queue/line.lua",
        "if everything or waiter.victims or state.policy ~= 'best_effort' then",
        "if everything or state.policy ~= 'best_effort' then",
        "what a preemption has freed goes to who comes by", "properties/lines/test_histories",
    ),
    Mutant(
        "marks before a grant", "modules/queue/line.lua", "        marks = marks_of(call, state, n)\n", "",
        "after a pass that was its last one the first is passed again", "properties/test_starvation",
    ),
    Mutant(
        "one pass more", "modules/queue/line.lua", "return passes >= state.passes_max or",
        "return passes > state.passes_max or",
        "the first is passed once too often", "properties/test_starvation",
    ),
)  # fmt: skip
