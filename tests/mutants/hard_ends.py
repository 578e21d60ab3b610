"""The planted bugs of hard ends: what lets an allocation live beyond grant + lifetime, or tells a holder otherwise."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

HARD_ENDS: Final = (
    Mutant(
        "grant beyond its end", "modules/requests.lua",
        "records.cut(call.now + ttl_ms, ends_ms)", "call.now + ttl_ms",
        "a long ttl passes the end from the grant on", "test_hard_ends",
    ),
    Mutant(
        "end not stored", "modules/transaction.lua",
        "or one.asserted_ms or one.ends_ms or", "or one.asserted_ms or",
        "the holder is told an end that no renewal knows", "test_hard_ends",
    ),
    Mutant(
        "pinned in spite of its end", "modules/requests.lua",
        "  if ends_ms then\n    deadline_ms =", "  if ends_ms and ask_ms ~= '0' then\n    deadline_ms =",
        "what asks for no ttl stays for ever", "test_hard_ends",
    ),
    Mutant(
        "renewal not cut", "allocations/renew.lua",
        "ttl_ms and records.cut(now + ttl_ms, record.ends_ms)", "ttl_ms and now + ttl_ms",
        "a renewal passes the end", "test_hard_ends",
    ),
    Mutant(
        "renewed when it is over", "allocations/renew.lua",
        "if records.is_over(call, record) then return answer_over(call, item, record, repeats) end", "",
        "a renewal succeeds with a deadline in the past", "test_hard_ends",
    ),
    Mutant(
        "forgets who would have shortened what is over", "allocations/renew.lua",
        "if item.shorten and item.repeated and not repeats then idempotency", "if false then idempotency",
        "a late copy shortens a later grant", "test_hard_ends",
    ),
    Mutant(
        "sharing not cut", "modules/repeats.lua",
        "local deadline_ms = records.cut(call.now + ask_ms, record.ends_ms)", "local deadline_ms = call.now + ask_ms",
        "a second caller moves the end", "test_hard_ends",
    ),
    Mutant(
        "sharing pins", "modules/repeats.lua",
        "local ask_ms = records.lasting(call, request.ask_ms + 0, record.ends_ms)", "local ask_ms = request.ask_ms + 0",
        "a second caller that pins removes the end", "test_hard_ends",
    ),
    Mutant(
        "shared when it is over", "modules/repeats.lua",
        "  if is_over then\n    removals.plan(call, record, 'reclaimed', 'end')\n    return nil\n  end\n", "",
        "during a recovery a call gets an allocation whose end is past", "test_hard_ends",
    ),
    Mutant(
        "replayed when it is over", "modules/repeats.lua",
        "if not is_over then return replay", "if request then return replay",
        "a repeat gets a deadline in the past", "test_hard_ends",
    ),
    Mutant(
        "gap moves the end", "modules/expiry.lua",
        "deadline_ms = records.cut(deadline_ms, record.ends_ms)", "",
        "a gap of the clock breaks what others were promised", "test_hard_ends",
    ),
    Mutant(
        "gap moves the end of one call", "modules/claims.lua",
        "list[i].deadline_ms = records.cut(deadline_ms + to_ms - from_ms, record.ends_ms)",
        "list[i].deadline_ms = deadline_ms + to_ms - from_ms",
        "an undo leaves a deadline beyond the end", "test_hard_ends",
    ),
    Mutant(
        "undo restores beyond the end", "modules/claims.lua",
        "ttl_ms, records.cut(deadline_ms, record.ends_ms)", "ttl_ms, deadline_ms",
        "what a damaged record says of a call counts more than the end", "test_hard_ends",
    ),
    Mutant(
        "adoption not cut", "allocations/adopt.lua",
        "records.cut(call.now + ttl_ms, ends_ms) end", "call.now + ttl_ms end",
        "what the server has lost comes back beyond its end", "test_hard_ends",
    ),
    Mutant(
        "live adoption not cut", "allocations/adopt.lua",
        "ttl_ms > 0 and records.cut(call.now + ttl_ms, record.ends_ms)", "ttl_ms > 0 and call.now + ttl_ms",
        "an adoption of what is there passes the end", "test_hard_ends",
    ),
    Mutant(
        "adopted when it is over", "allocations/adopt.lua",
        "if records.is_over(call, item) then return {'over', item.ends_ms} end", "",
        "what has ended is charged again", "test_hard_ends",
    ),
    Mutant(
        "grace beyond the end", "allocations/begin_release.lua",
        "records.cut(call.now + item.grace_ms, record.ends_ms)", "call.now + item.grace_ms",
        "a release that begins late moves the end", "test_hard_ends",
    ),
    Mutant(
        "pool's lifetime ignored", "modules/records.lua",
        "if most_ms and (not lifetime_ms or lifetime_ms > most_ms) then", "if most_ms and not lifetime_ms then",
        "a request has a longer life than its pool grants", "test_hard_ends",
    ),
    Mutant(
        "audit believes the deadline", "modules/audits.lua",
        "if ends_ms and (not deadline_ms or deadline_ms > ends_ms) then", "if ends_ms and not deadline_ms then",
        "a record that lives too long is not found", "test_hard_ends",
    ),
    Mutant(
        "held beyond its end", "allocator/_engine/leases/lease.py",
        "return ttl_s if left_s is None else min(ttl_s, left_s)", "return ttl_s",
        "a holder relies on what is granted to others", "unit/test_lease_ends",
    ),
    Mutant(
        "end is called a failure", "allocator/_engine/leases/schedule.py",
        "if lease.at_end and ends_ms is not None:", "if lease.at_end and ends_ms is None:",
        "a holder is told that it was not renewed in time", "unit/test_lease_ends",
    ),
    Mutant(
        "margin shrinks towards the end", "allocator/_engine/leases/lease.py",
        "self.lasts_s = _within(self.ttl_s, left_s)",
        "self.lasts_s = _within(self.ttl_s, left_s); self.margin_s = settings.HOLD_MARGIN * self.lasts_s",
        "the last renewals leave a holder no time to stop", "unit/test_lease_ends",
    ),
)  # fmt: skip
