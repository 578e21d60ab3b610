"""The planted bugs of quotas: what a scope may have, what is kept for it, and what happens to both."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

QUOTAS: Final = (
    # -- the rule ------------------------------------------------------------------------------------------------------
    Mutant(
        "borrowing without a limit", "modules/quotas.lua",
        "return bound and bound - borrowed, reserve", "return nil, reserve",
        "a scope has more than its maximum", "test_quotas",
    ),
    Mutant(
        "guarantee lent", "modules/quotas.lua",
        "    available = available + reserve\n", "",
        "a scope does not get what is kept for it", "test_quotas",
    ),
    Mutant(
        "kept ignored by the pool", "modules/quotas.lua",
        "if account.capacity[field] then account.capacity[field] = account.capacity[field] - kept end", "",
        "others take what is guaranteed to a scope", "test_quotas",
    ),
    Mutant(
        "lending limit ignored", "modules/quotas.lua",
        "if lending and share > lending then guaranteed = share - lending end", "",
        "nothing is guaranteed", "test_quotas",
    ),
    Mutant(
        "what is kept stays kept", "modules/quotas.lua",
        "allocated[field], account.kept[field] = allocated[field] + change, account.kept[field] + kept",
        "allocated[field] = allocated[field] + change",
        "a level between keeps what the scope below it has used", "test_quotas",
    ),
    Mutant(
        "allocations not counted", "modules/accounts.lua",
        "if not held then quotas.add(charged, quotas.ALLOCATIONS, sign * quotas.ONE) end", "",
        "a student has any number of labs", "test_quotas",
    ),
    Mutant(
        "allocations not limited", "modules/accounts.lua",
        "local short = not held and quotas.short(charged, quotas.ALLOCATIONS, quotas.ONE)", "local short = nil",
        "a student has any number of labs", "test_quotas",
    ),
    Mutant(
        "wrong level blamed", "modules/quotas.lua",
        "    growth = growth - reserve\n",
        "    growth = growth - reserve\n    if growth <= 0 then break end\n",
        "a denial names the pool, which is not short", "test_quota_edges",
    ),
    # -- plain quotas --------------------------------------------------------------------------------------------------
    Mutant(
        "plain in spite of its guarantee", "modules/quotas.lua",
        "if part == 'lending_limit' or (part", "if (part",
        "what is guaranteed to a scope is kept by nobody", "test_quotas",
    ),
    Mutant(
        "plain in spite of what it keeps", "modules/quotas.lua",
        "or (part == 'guaranteed' or part == 'kept') and tonumber(fields[i + 1]) ~= 0\n      ", "",
        "a scope takes what is guaranteed to the one below it", "test_quotas",
    ),
    Mutant(
        "stored capacity without the share", "modules/quotas.lua",
        "borrowing and math.min((nominal or 0) + borrowing, limits.AMOUNT_MAX)", "borrowing",
        "a scope has no share of its own", "test_quotas",
    ),
    Mutant(
        "allocations of plain quotas not counted", "modules/accounts.lua",
        "if account.quota and not held then\n      local", "if account.quota and held then\n      local",
        "a limit of allocations that is set later counts none of those before it", "test_quotas",
    ),
    Mutant(
        "allocations of plain quotas not given back", "modules/accounts.lua",
        "if account.quota and not held then\n        local", "if account.quota and held then\n        local",
        "a scope that nothing is charged to cannot be deleted", "test_quotas",
    ),
    Mutant(
        "parent plain for ever", "quotas/set_quota.lua",
        "  for n = 1, charged.levels do\n    local account = charged[n]\n    set(account, 'plain'",
        "  for n = 1, 1 do\n    local account = charged[n]\n    set(account, 'plain'",
        "a scope takes what was guaranteed to the one below it since", "test_quota_audit",
    ),
    Mutant(
        "plain quota read as another", "modules/quotas.lua",
        "  if account.plain then return read_plain(account, missing) end\n", "",
        "a lost grant in the place of one of other resources is not adopted", "test_quota_audit",
    ),
    Mutant(
        "capacity of a quota not audited", "modules/quota_audit.lua",
        "  compare(call, account, 'quota_drift', name .. '.capacity', quotas.most(nominal, found.borrowing_limit))\n",
        "",
        "a scope has more than its maximum, and nobody finds it", "test_quota_audit",
    ),
    Mutant(
        "plain quota not audited", "modules/quota_audit.lua",
        "if is_wrong then compare(", "if is_wrong == nil then compare(",
        "a scope takes what is guaranteed below it, and nobody finds it", "test_quota_audit",
    ),
    Mutant(
        "plain as its promises were", "modules/quota_audit.lua",
        "  for name, sum in pairs(account.promised) do\n    flat[n", "  for name, sum in pairs({}) do\n    flat[n",
        "who has lost its promises stays plain", "test_quota_audit",
    ),
    Mutant(
        "promises not audited", "modules/quota_audit.lua",
        "  if is_certain then compare_promised(call, account, name) end\n", "",
        "more is guaranteed than there is", "test_quota_audit",
    ),
    Mutant(
        "promises of broken limits", "modules/quota_audit.lua",
        "is_certain = is_certain and sum ~= nil", "is_certain = is_certain or sum",
        "a repair gives away what is guaranteed", "test_quota_audit",
    ),
    Mutant(
        "promised by the share alone", "modules/quota_audit.lua",
        "return math.max(lending and nominal - lending or 0, account.promised[name] or 0)",
        "return math.max(lending and nominal - lending or 0, 0)",
        "a repair forgets what is guaranteed two levels below", "test_quota_audit",
    ),
    Mutant(
        "pool that keeps nothing", "modules/quota_audit.lua",
        "if keeps and not string.find(", "if not keeps and not string.find(",
        "a pool gives out what is guaranteed", "test_quota_audit",
    ),
    # -- scopes --------------------------------------------------------------------------------------------------------
    Mutant(
        "unknown scope let in", "modules/requests.lua",
        "if request.scope and not call.accounts['quota:' .. request.scope] then",
        "if request.scope == '' then",
        "a misspelt scope escapes every limit", "test_quotas",
    ),
    Mutant(
        "scope not compared", "modules/requests.lua",
        "if request.scope and (record.accounts or {})[1] ~= 'quota:' .. request.scope then return false end", "",
        "a request is answered with an allocation that another scope pays for", "test_quotas",
    ),
    Mutant(
        "default scope forgotten", "modules/requests.lua",
        "requests.charge_to(request, pool.scope)", "request.scope = nil",
        "who names no scope is charged to none", "test_quotas",
    ),
    Mutant(
        "no scope required", "modules/requests.lua",
        "if not pool.scope then return nil, {'scope_required'} end",
        "if not pool.scope then return nil, {'denied'} end",
        "the caller is told that it is full", "test_quotas",
    ),
    # -- limits --------------------------------------------------------------------------------------------------------
    Mutant(
        "share above the parent", "quotas/set_quota.lua",
        "if nominal > most then return {'above_parent', resource, above.name, most} end", "",
        "a scope is promised more than there is above it", "test_quotas",
    ),
    Mutant(
        "more guaranteed than there is", "quotas/set_quota.lua",
        "if sum and sum > share then", "if sum and sum < 0 then",
        "all is kept, and nobody has anything", "test_quota_edges",
    ),
    Mutant(
        "promises of one level", "modules/quotas.lua",
        "    before, after = math.max(least, sum), math.max(least, sums[n])\n", "    before, after = least, least\n",
        "the pool promises more than it has, by way of two teams", "test_quota_edges",
    ),
    Mutant(
        "dry run that writes", "quotas/set_quota.lua",
        "if item.dry_run then return {reply} end", "",
        "who looks changes the limits", "test_quotas",
    ),
    Mutant(
        "refused change made late", "quotas/set_quota.lua",
        "if was_refused then return {'generation', known} end", "",
        "a late copy sets a limit that was refused", "test_quota_edges",
    ),
    Mutant(
        "deleted while in use", "quotas/delete_quota.lua",
        "if used then return {'in_use', used, amount} end", "",
        "what is allocated has no limit any more", "test_quotas",
    ),
    Mutant(
        "deleted with scopes below", "quotas/delete_quota.lua",
        "if below[1] then return {'has_children', below[1]} end", "",
        "a part of the tree hangs in the air", "test_quotas",
    ),
    Mutant(
        "guarantee of what is deleted", "quotas/delete_quota.lua",
        "    quotas.change(charged, field, nil, nil, nil)\n", "",
        "what was kept for it is kept for ever", "test_quotas",
    ),
    Mutant(
        "late deletion", "quotas/delete_quota.lua",
        "return word == 'absent' and {word} or word and {'in_use', 'allocations', 0} or {'deleted'}",
        "if not word then return {'deleted'} end",
        "a late copy deletes a scope that was made since", "test_quota_edges",
    ),
    Mutant(
        "guaranteed resource removed", "pools/configure_pool.lua",
        "if guaranteed ~= 0 then return", "if guaranteed == -1 then return",
        "what is kept of it drifts", "test_quota_edges",
    ),
    # -- moving --------------------------------------------------------------------------------------------------------
    Mutant(
        "move without a charge back", "allocations/move.lua",
        "  if reply then\n    accounts.add_all(before, list, 1)\n", "  if reply then\n",
        "a denied move gives back what is in use", "test_quota_edges",
    ),
    Mutant(
        "late move", "allocations/move.lua",
        "return move(call, item, record, word == 'denied')", "return move(call, item, record, false)",
        "a late copy moves what was denied", "test_quota_edges",
    ),
    Mutant(
        "moved to where it is", "allocations/move.lua",
        "if completed_ms and not word or is_in(record, item.scope) then", "if completed_ms and not word then",
        "an allocation of an overcommitted pool cannot stay where it is", "test_quota_edges",
    ),
    Mutant(
        "old scope in the record", "modules/differences.lua",
        "      drops[#drops + 1] = 'account.' .. n\n", "",
        "a moved allocation gives back to a scope that it has left", "test_quotas",
    ),
    # -- audits --------------------------------------------------------------------------------------------------------
    Mutant(
        "drift of what is kept", "modules/audits.lua",
        "    if was ~= sum then\n      local shown", "    if was == '' then\n      local shown",
        "what is kept and not guaranteed is lost for ever", "test_quota_edges",
    ),
)  # fmt: skip
