"""The planted bugs of fair share: who goes first by it, and what is counted for whom."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

FAIR_SHARE: Final = (
    Mutant(
        "weights not divided by", "modules/queue/shares.lua",
        ") / (sharer.weight or 1)\n", ")\n",
        "a scope of twice the weight gets no more than others", "test_fair_share",
    ),
    Mutant(
        "no penalty at grant", "modules/queue/shares.lua",
        "shares.used(call, sharer) + sharer.live / limits.PENALTY_PARTS", "shares.used(call, sharer)",
        "a burst wins all that is freed in one call", "test_fair_share",
    ),
    Mutant(
        "use never forgotten", "modules/queue/shares.lua",
        "return 2 ^ (-math.max(0, passed_ms) / shares.half_life_ms(call))", "return 1",
        "a scope pays for ever for what it had once", "test_fair_share",
    ),
    Mutant(
        "ended use forgotten at once", "modules/queue/shares.lua",
        "  sharer.used, sharer.used_ms = shares.used(call, sharer), math.max(call.now, sharer.used_ms)\n",
        "  sharer.used_ms = math.max(call.now, sharer.used_ms)\n",
        "who gives back often has never used anything", "test_fair_share",
    ),
    Mutant(
        "share not given back", "modules/removals.lua",
        "  if record.share then shares.uncharge(call, record) end\n", "",
        "a scope pays for ever for what it has no more", "test_fair_share",
    ),
    Mutant(
        "stopped batch keeps its share", "modules/gangs.lua",
        "      if one.share then shares.uncharge(call, one) end\n", "",
        "a batch that was not granted counts", "test_fair_share",
    ),
    Mutant(
        "next one not placed in the walk", "modules/queue/line.lua",
        "      if gone and state.leavers[1] then fair_order.advance(call) end\n      if not gone then\n",
        "      if not gone then\n",
        "several that are freed at once go to others than the smallest shares", "test_fair_share",
    ),
    Mutant(
        "one call grants a whole line", "modules/queue/line.lua",
        "    if state.served >= limits.WAITERS_LOOKED_MAX then break end\n", "",
        "a large release grants hundreds of one scope in one call", "test_fair_share",
    ),
    Mutant(
        "all of a scope compete", "modules/queue/fair_order.lua",
        "  if first then return waiters.place(priority, LATER + number), sharer end\n", "",
        "a thousand requests of one scope stand before the one of another", "test_fair_share",
    ),
    Mutant(
        "share without the time", "modules/queue/fair_order.lua",
        "local half_lives = (call.now - ORIGIN_MS) / shares.half_life_ms(call)", "local half_lives = 0",
        "who has waited long is behind who came later with less decay", "test_fair_share",
    ),
    Mutant(
        "place not corrected when its client asks", "modules/queue/arrivals.lua",
        "  fair_order.hear(call, waiter)\n", "",
        "a scope that uses much keeps the place that it had before", "test_fair_share",
    ),
    Mutant(
        "estimate by the pool's share", "modules/queue/estimates.lua",
        "arrivals.place_among(call, priority, charged)", "arrivals.place_among(call, priority, {call.pool})",
        "a denial tells a scope the place of another", "test_fair_share",
    ),
)  # fmt: skip
