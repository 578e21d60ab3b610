"""The planted bugs of units: what a pool gives out of its capacity, and in which amounts."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

UNITS: Final = (
    # -- what is given out ---------------------------------------------------------------------------------------------
    Mutant(
        "product in one part", "modules/units.lua",
        "return (left - rest) / 1000 * factor + math.floor(rest * factor / 1000)",
        "return math.floor(left * factor / 1000)",
        "a large limit is not exact", "test_units",
    ),
    Mutant(
        "reserved after the overcommit", "modules/units.lua",
        "local left, factor = total - (rule and rule.reserved or 0), 1000 + (rule and rule.overcommit or 0)",
        "local left, factor = total, 1000 + (rule and rule.overcommit or 0)\n"
        "  left = left - (rule and rule.reserved or 0) * 1000 / factor",
        "the rule is another one than Placement's", "test_units",
    ),
    Mutant(
        "total forgotten", "pools/configure_pool.lua",
        "numbers.exact(totals[name] or counted[name])", "numbers.exact(counted[name])",
        "each change of the units takes the last limit for the capacity", "test_units",
    ),
    Mutant(
        "capacity without its units", "pools/configure_pool.lua",
        "    limit = units.limit(total, rule)\n", "    limit = had_total and total or units.limit(total, rule)\n",
        "another capacity gives out what is reserved", "test_units",
    ),
    Mutant(
        "total left behind", "pools/configure_pool.lua",
        "for _, ending in ipairs({'.capacity', '.allocated', '.total'}) do",
        "for _, ending in ipairs({'.capacity', '.allocated'}) do",
        "a resource that is counted again has the capacity that it had", "test_units",
    ),
    Mutant(
        "units of what is removed", "pools/configure_pool.lua",
        "for name in pairs(dropped) do item.rules[name] = nil end", "",
        "a pool has units of what it does not count", "test_units",
    ),
    Mutant(
        "strict by the capacity", "pools/configure_pool.lua",
        "if item.strict and limit < allocated then", "if item.strict and total < allocated then",
        "a strict change lowers the limit below what is allocated", "test_units",
    ),
    Mutant(
        "limit beyond exact integers", "modules/units.lua",
        "if limit > limits.AMOUNT_MAX then return 'limit' end", "",
        "a capacity that is not exact is stored", "test_units",
    ),
    Mutant(
        "bounds that nothing meets", "modules/units.lua",
        "local first = math.ceil((rule.least or 1) / step) * step", "local first = rule.least or 1",
        "a pool refuses every amount of a resource, and nobody knows why", "test_units",
    ),
    Mutant(
        "part that is not named", "modules/units.lua",
        "if parts[i] ~= '-' then rule[part] =", "if true then rule[part] = parts[i] ~= '-' and",
        "whoever changes one part removes the others", "test_units",
    ),
    Mutant(
        "drift not found", "modules/audits.lua",
        "    if limit and was and limit ~= was then\n", "    if limit and was and limit < was then\n",
        "a repair leaves a limit that is too low", "test_units",
    ),
    Mutant(
        "broken units mended", "modules/audits.lua",
        "readable and stored or {}", "stored",
        "a repair gives out what was reserved", "test_units",
    ),
    # -- amounts -------------------------------------------------------------------------------------------------------
    Mutant(
        "bounds of scopes ignored", "modules/accounts.lua",
        "or account.bounds and accounts.is_out_of_bounds(account, charged, field, amount, growth) then", "then",
        "a request of a scope has an amount that is not given out", "test_unit_bounds",
    ),
    Mutant(
        "bounds of the pool ignored", "modules/accounts.lua",
        "        or bounds and accounts.is_out_of_bounds(account, charged, field, amount, growth) then",
        "        or bounds and charged.levels then",
        "an amount that is not given out is granted", "test_unit_bounds",
    ),
    Mutant(
        "text compared", "modules/units.lua",
        "  amount = amount + 0\n", "",
        "the amount of a request is a text, and the call fails", "test_unit_bounds",
    ),
    Mutant(
        "largest of what shrinks", "modules/units.lua",
        "or growth > 0 and bounds.most and amount > bounds.most", "or bounds.most and amount > bounds.most",
        "who has more than the largest amount cannot give a part of it back", "test_unit_bounds",
    ),
    Mutant(
        "step of what grows", "modules/units.lua",
        "or bounds.step and amount % bounds.step ~= 0)", "or growth > 0 and bounds.step and amount % bounds.step ~= 0)",
        "a resize leaves an amount that is not given out", "test_unit_bounds",
    ),
    Mutant(
        "bounds of what stays", "modules/units.lua",
        "return growth ~= 0 and (", "return (",
        "a resize of one resource is refused because of another", "test_unit_bounds",
    ),
    Mutant(
        "bounds of a move", "allocations/move.lua",
        "  after.moves = true\n", "",
        "an allocation cannot be moved once bounds have changed", "test_unit_bounds",
    ),
    Mutant(
        "least shown as step", "modules/denials.lua",
        "list[#list + 3] = one.least or 0, one.most or 0,", "list[#list + 3] = one.step or 0, one.most or 0,",
        "a denial names other bounds than the pool has", "test_unit_bounds",
    ),
    # -- the client ----------------------------------------------------------------------------------------------------
    Mutant(
        "lost units", "allocator/_engine/operations/pools.py",
        'options |= {"units": encode_units(lost.units), **preemption_words(lost.preemption)}',
        "options |= preemption_words(lost.preemption)",
        "a pool that is recovered gives out what is reserved", "clients/test_units",
    ),
    Mutant(
        "total shown as given out", "allocator/_engine/operations/pools.py",
        "name: totals.get(name, amount) for", "name: amount for",
        "the limit is computed from the limit", "clients/test_units",
    ),
    Mutant(
        "available of the capacity", "allocator/models/accounts.py",
        "max(0, self.limit - self.allocated - self.kept)", "max(0, self.capacity - self.allocated - self.kept)",
        "what is reserved is shown as available", "clients/test_units",
    ),
)  # fmt: skip
