"""The planted bugs of backfill: what delays the first in line, or foresees a start that is none."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

BACKFILL: Final = (
    Mutant(
        "backfilled at any length", "modules/queue/backfill.lua",
        "is_sure = is_sure and ends_ms <= start_ms", "is_sure = is_sure and start_ms > 0",
        "who is let through delays the first", "test_backfill",
    ),
    Mutant(
        "backfilled a moment too long", "modules/queue/backfill.lua",
        "ends_ms <= start_ms", "ends_ms <= start_ms + 1",
        "the first is delayed by a millisecond", "test_backfill",
    ),
    Mutant(
        "backfilled where nothing is foreseen", "modules/queue/backfill.lua",
        "is_sure = is_sure and ends_ms <= start_ms", "is_sure = is_sure and (start_ms == 0 or ends_ms <= start_ms)",
        "pinned allocations are taken for ones that stay", "test_backfill",
    ),
    Mutant(
        "backfill by the first alone", "modules/queue/line.lua",
        "  if is_first or waiter.victims then return true end\n", "  if true then return is_first end\n",
        "another waiter that leads is kept from its room again and again", "test_backfill",
    ),
    Mutant(
        "backfill counted as a pass", "modules/queue/line.lua",
        "if gone == 'granted' then count_pass(state, ahead) end", "count_pass(state, ahead)",
        "what delays nobody uses up the passes", "test_backfill",
    ),
    Mutant(
        "backfill without permission", "modules/queue/line_entries.lua",
        "string.find(options, 'queue_backfill=1', 1, true)", "true",
        "a pool that does not permit it lets requests pass", "test_backfill",
    ),
    Mutant(
        "start kept when others were granted", "modules/queue/backfill.lua",
        "if state then state.forgotten = (state.forgotten or 0) + 1 end", "",
        "a start is believed that is none any more", "test_backfill",
    ),
    Mutant(
        "backfilled beyond what was looked at", "allocations/allocate.lua",
        "if not waiter and not is_long and fills", "if not waiter and fills",
        "who leads of the others is not asked", "test_backfill",
    ),
    Mutant(
        "backfill prolonged by a replacement", "allocations/allocate.lua",
        " or outlasts(call, request, replaced) then", " then",
        "the room is kept beyond the end that others count on", "test_backfill",
    ),
    Mutant(
        "estimate as the first", "modules/queue/estimates.lua",
        "starts.after(call, line.ahead(call, place), charged, list)", "starts.after(call, {}, charged, list)",
        "a denial promises the room of those before it", "test_backfill",
    ),
)  # fmt: skip
