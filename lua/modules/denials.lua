-- denials: the reply to a request that does not fit: the first check that fails, in the documented order, and every
-- resource that fails it: {'denied', code, account, (resource, requested, allocated, capacity)*}; account '': the pool.
-- Where the account keeps something for other scopes, an entry after them is a list of these amounts, resource by
-- resource.  After a `unit_violation` the last is a list of (min_unit, max_unit, step)*, 0 for none.
local accounts = require('accounts')
local quotas = require('quotas')

local denials = {}

local CODES = {
  'unknown_resource', 'constraint_violation', 'unit_violation', 'never_fits', 'capacity_exceeded', 'capacity_exceeded',
}
local OUT_OF_BOUNDS = 3
local FITS = 6

-- The same for the quotas of a scope and the pool above them, which are one rule.
local function check_in_scope(account, field, amount, growth, asked, charged)
  local capacity, whole, kept = account.capacity[field], account.whole, 0
  if not capacity then return field == quotas.ALLOCATIONS and FITS or 1 end
  if whole and whole[field] and amount % 1000 ~= 0 then return 2 end
  if account.bounds and accounts.is_out_of_bounds(account, charged, field, amount, growth) then return OUT_OF_BOUNDS end
  if account.name == '' and account.kept then kept = account.kept[field] or 0 end
  if asked > capacity + kept then return 4 end
  if quotas.short(charged, field, growth) == account then return 5 end
  return FITS
end

-- The check that a resource fails.  Only the pool refuses resources that it does not count, parts of whole units, and
-- amounts outside of its bounds.
-- `asked`: the total amount of an atomic batch.
local function check(account, field, amount, growth, asked, charged)
  if charged.levels and (account.quota or account.name == '') then
    return check_in_scope(account, field, amount, growth, asked, charged)
  end
  local capacity, whole = account.capacity[field], account.whole
  if not capacity then return field == quotas.ALLOCATIONS and FITS or 1 end
  if whole and whole[field] and amount % 1000 ~= 0 then return 2 end
  if account.bounds and accounts.is_out_of_bounds(account, charged, field, amount, growth) then return OUT_OF_BOUNDS end
  if asked > capacity + (account.kept and account.kept[field] or 0) then return 4 end
  if account.allocated[field] + growth > capacity then return 5 end
  return FITS
end

-- What an account keeps of a resource for scopes other than those of the chain.
local function kept_for_others(charged, account, field)
  local kept = account.kept and account.kept[field]
  if not kept then return 0 end
  for n = 1, charged.levels or 0 do
    if charged[n] == account then break end
    kept = kept - quotas.reserve(charged[n], field)
  end
  return kept
end

-- Adds what the account keeps for other scopes, if it does.
local function add_kept(charged, account, reply)
  local amounts, some = {}, false
  for i = 4, #reply, 4 do
    local kept = kept_for_others(charged, account, reply[i] .. '.allocated')
    amounts[#amounts + 1], some = kept, some or kept > 0
  end
  if some then reply[#reply + 1] = amounts end
end

-- Adds the bounds of each resource of the reply.
local function add_bounds(account, reply, last)
  local list, bounds = {}, account.bounds
  for i = 4, last, 4 do
    local one = bounds[reply[i] .. '.allocated']
    list[#list + 1], list[#list + 2], list[#list + 3] = one.least or 0, one.most or 0, one.step or 0
  end
  reply[#reply + 1] = list
end

-- What an amount that does not grow may fail: its bounds.  `was_refused`: it fits now, and stays refused.
local function check_shrink(account, field, amount, growth, charged, was_refused)
  if not account.capacity[field] or growth == 0 then return FITS + 1 end
  if account.bounds and accounts.is_out_of_bounds(account, charged, field, amount, growth) then return OUT_OF_BOUNDS end
  return was_refused and FITS or FITS + 1
end

-- The amounts to check: those of the request, and for a new allocation of a scope itself.
local function counted(charged, list, held)
  if not charged.levels or held then return list end
  local whole = {unpack(list)}
  whole[#whole + 1], whole[#whole + 2] = quotas.ALLOCATIONS, quotas.ONE
  return whole
end

-- For a request that fits, but must wait for those before it in line: what the pool has of each resource.
function denials.queued(charged, list)
  local pool, reply = charged[#charged], {'denied', 'queued', ''}
  for i = 1, #list, 2 do
    local field, n = list[i], #reply
    local kept = pool.kept and pool.kept[field] or 0
    reply[n + 1], reply[n + 2] = string.sub(field, 1, -11), list[i + 1] + 0
    reply[n + 3], reply[n + 4] = pool.allocated[field] or 0, (pool.capacity[field] or 0) + kept
  end
  return reply
end

-- `held`: the allocation's present amounts.  `asked`: the totals of an atomic batch, by account.  `was_refused`: it was
-- refused before, and stays refused even if it fits now.
function denials.reply(charged, list, held, asked, was_refused)
  local reply, n, first, at = {'denied', false, '', nil, nil, nil, nil}, 3, was_refused and FITS or FITS - 1, nil
  list = counted(charged, list, held)
  for c = 1, #charged do
    local account = charged[c]
    local sum = asked and asked[account.name]
    for i = 1, #list, 2 do
      local field, amount = list[i], list[i + 1] + 0
      local growth = amount - (held and held[field] or 0)
      local failed
      if growth > 0 then
        failed = check(account, field, amount, growth, sum and sum[field] or amount, charged)
      else
        failed = check_shrink(account, field, amount, growth, charged, was_refused)
      end
      if failed <= FITS then
        -- An earlier check, or the first account that fails this one, replaces the entries so far.  If all fit, the
        -- entries are the pool's, which is the last account.
        if failed < first or failed == first and (not at or first == FITS) and at ~= account then
          first, at, n = failed, account, 3
        end
        if failed == first and at == account then
          reply[n + 1], reply[n + 2] = field:sub(1, -11), growth
          reply[n + 3], reply[n + 4] = account.allocated[field] or 0, account.capacity[field] or 0
          if account.kept and account.name == '' then reply[n + 4] = reply[n + 4] + (account.kept[field] or 0) end
          n = n + 4
        end
      end
    end
  end
  if not at and not was_refused then error({err = 'CONTRACT refused what fits'}) end
  for i = #reply, n + 1, -1 do reply[i] = nil end
  reply[2], reply[3] = CODES[first], at and at.name or ''
  if at and at.kept then add_kept(charged, at, reply) end
  if first == OUT_OF_BOUNDS then add_bounds(at, reply, n) end
  return reply
end

return denials
