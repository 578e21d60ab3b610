-- denials: the reply to a request that does not fit: the first check that fails, in the documented order, and every
-- resource that fails it: {'denied', code, account, (resource, requested, allocated, capacity)*}; account '': the pool.
local denials = {}

local CODES = {'unknown_resource', 'constraint_violation', 'never_fits', 'capacity_exceeded', 'capacity_exceeded'}
local FITS = 5

-- The check that a resource fails.  Only the pool refuses resources that it does not count, and parts of whole units.
-- `asked`: the total amount of an atomic batch.
local function check(account, field, amount, growth, asked)
  local capacity, whole = account.capacity[field], account.whole
  if not capacity then return 1 end
  if whole and whole[field] and amount % 1000 ~= 0 then return 2 end
  if asked > capacity then return 3 end
  if account.allocated[field] + growth > capacity then return 4 end
  return FITS
end

-- `held`: the allocation's present amounts.  `asked`: the totals of an atomic batch, by account.  `was_refused`: it was
-- refused before, and stays refused even if it fits now.
function denials.reply(charged, list, held, asked, was_refused)
  local reply, n, first, at = {'denied', false, '', nil, nil, nil, nil}, 3, was_refused and FITS or FITS - 1, nil
  for c = 1, #charged do
    local account = charged[c]
    local sum = asked and asked[account.name]
    for i = 1, #list, 2 do
      local field, amount = list[i], list[i + 1] + 0
      local growth = amount - (held and held[field] or 0)
      if growth > 0 then
        local failed = check(account, field, amount, growth, sum and sum[field] or amount)
        -- An earlier check, or the first account that fails this one, replaces the entries so far.  If all fit, the
        -- entries are the pool's, which is the last account.
        if failed < first or failed == first and (not at or first == FITS) and at ~= account then
          first, at, n = failed, account, 3
        end
        if failed == first and at == account then
          reply[n + 1], reply[n + 2] = field:sub(1, -11), growth
          reply[n + 3], reply[n + 4] = account.allocated[field] or 0, account.capacity[field] or 0
          n = n + 4
        end
      end
    end
  end
  if not at and not was_refused then error({err = 'CONTRACT refused what fits'}) end
  for i = #reply, n + 1, -1 do reply[i] = nil end
  reply[2], reply[3] = CODES[first], at and at.name or ''
  return reply
end

return denials
