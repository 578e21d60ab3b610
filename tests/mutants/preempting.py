"""The planted bugs of preemption: who is taken, what it is told, and what becomes of the room."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

PREEMPTING: Final = (
    Mutant(
        "the index says who is lower", "modules/queue/preemption.lua",
        " or (record.priority or 0) >= priority then", " then",
        "a wrong entry of the index makes a higher priority a victim", "test_preemption_crossings",
    ),
    Mutant(
        "borrowers like others", "modules/queue/preemption.lua",
        "if not one.taken and (pass == 2 or borrows(one, marks)) then", "if not one.taken and pass == 2 then",
        "who keeps to its share ends before who borrows", "test_preemption",
    ),
    Mutant(
        "shares never left", "modules/queue/preemption.lua",
        "if share and used > share and is_marked", "if share and is_marked",
        "a scope is taken from beyond what it borrows", "test_preemption",
    ),
    Mutant(
        "nobody spared", "modules/queue/preemption.lua",
        "    spare(chosen, charged, list, undo)\n", "",
        "allocations end that could have stayed", "test_preemption",
    ),
    Mutant(
        "taken though not enough", "modules/queue/preemption.lua",
        "return left == 0 and chosen or {}", "return chosen",
        "allocations end, and the request does not fit nevertheless", "test_preemption",
    ),
    Mutant(
        "protected too long", "modules/queue/preemption.lua",
        "record.granted_ms + protected_ms > call.now", "record.granted_ms + protected_ms >= call.now",
        "what has had its time is spared", "test_preemption",
    ),
    Mutant(
        "taken for those before", "modules/queue/preemption.lua",
        "  return contention.has(marks, charged, list)\n", "  return false\n",
        "what a request takes goes to another that took nothing", "test_preemption_crossings",
    ),
    Mutant(
        "taken at each call", "modules/queue/preemption.lua",
        "    leave_out(call, victims, undo)\n", "",
        "each time that the client asks again others end", "test_preemption_crossings",
    ),
    Mutant(
        "those before not charged", "modules/queue/preemption.lua",
        "      for _, one in ipairs(parts.of(waiter)) do undo[#undo + 1] = {one.charged, one.list, -1} end\n",
        "      parts.give_back(waiter)\n",
        "of two that preempt at once the second counts on the room of the first", "test_preemption_crossings",
    ),
    Mutant(
        "unclaimed taken", "modules/queue/preemption.lua",
        " or record.unclaimed_ttl_ms", "",
        "a caller hears of its grant when it ends already", "test_preemption_crossings",
    ),
    Mutant(
        "grace beyond a hard end", "modules/queue/preemption.lua",
        "records.cut(call.now + grace_ms, record.ends_ms)", "call.now + grace_ms",
        "a preemption lengthens an allocation", "test_preemption_crossings",
    ),
    Mutant(
        "taken before what has expired", "modules/queue/arrivals.lua",
        " or call.more_expired then return end", " then return end",
        "live allocations end, though dead ones have the room", "test_preemption_crossings",
    ),
    Mutant(
        "granted and told to wait", "allocations/allocate.lua",
        "return record and repeats.answer(call, request, record) or reply", "return reply",
        "a caller waits that has its room", "test_preemption",
    ),
    Mutant(
        "ranks of what has ended", "modules/transaction.lua",
        "    if call.pool.preempts then priorities.plan_removed(call, transaction.plan) end\n", "",
        "the index grows for ever", "test_preemption",
    ),
    Mutant(
        "ranks where nobody preempts", "pools/configure_pool.lua",
        "string.match(item.options, 'preemption=(%d*)') == ''", "item.options == 'never'",
        "old ranks count when preemption is permitted again", "test_preemption",
    ),
    Mutant(
        "adopted without priority", "allocations/adopt.lua",
        "priority ~= 0 and priority or nil", "nil",
        "after a loss of data high priorities are taken by low ones", "test_preemption_crossings",
    ),
    Mutant(
        "victim not told", "allocations/renew.lua",
        "if not record.preempted_by then return {'releasing'} end", "if true then return {'releasing'} end",
        "a holder believes that somebody releases it", "test_preemption",
    ),
    Mutant(
        "held to the end of the grace", "allocator/_engine/leases/lease.py",
        "margin_s = settings.HOLD_MARGIN * _within(self.ttl_s, self.lasts_s)", "margin_s = 0.0",
        "the holder still works when the room is another's", "unit/test_lease_preemptions",
    ),
    Mutant(
        "preemption reported again", "allocator/_engine/leases/schedule.py",
        "told, self._preempted = self._preempted, []", "told = self._preempted",
        "on_preempt is called without end", "unit/test_lease_preemptions",
    ),
)  # fmt: skip
