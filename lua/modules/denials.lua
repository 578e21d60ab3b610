-- denials: why a request does not fit: the first check that fails, in the documented order, and every resource that
-- fails it, in numbers: {'denied', code, account, (resource, requested, allocated, capacity)*}; account '': the pool.
local denials = {}

local function unknown_resource(account, field)
  return not account.capacity[field]
end

local function not_whole(account, field, amount)
  return account.whole and account.whole[field] and amount % 1000 ~= 0
end

local function never_fits(account, field, amount)
  return amount > account.capacity[field]
end

local function short(account, field, _, growth)
  return account.allocated[field] + growth > account.capacity[field]
end

local function always()
  return true
end

local function collect(reply, account, fails, list, held, asked)
  local n, sum = #reply, asked and asked[account.name]
  for i = 1, #list, 2 do
    local field, amount = list[i], list[i + 1] + 0
    local growth = amount - (held and held[field] or 0)
    if growth > 0 and fails(account, field, sum and sum[field] or amount, growth) then
      reply[n + 1], reply[n + 2] = string.sub(field, 1, -11), growth
      reply[n + 3], reply[n + 4] = account.allocated[field] or 0, account.capacity[field] or 0
      n = n + 4
    end
  end
  return n > 3
end

-- `held`: what the allocation has already.  `asked`: what a gang asks for together, by account.  `stands`: it was
-- refused before, and stays so where it would fit now.
function denials.reply(charged, list, held, asked, stands)
  local pool = charged[#charged]
  local reply = {'denied', 'unknown_resource', pool.name}
  if collect(reply, pool, unknown_resource, list, held) then return reply end
  reply[2] = 'constraint_violation'
  if collect(reply, pool, not_whole, list, held) then return reply end
  reply[2] = 'never_fits'
  for i = 1, #charged do
    reply[3] = charged[i].name
    if collect(reply, charged[i], never_fits, list, held, asked) then return reply end
  end
  reply[2] = 'capacity_exceeded'
  for i = 1, #charged do
    reply[3] = charged[i].name
    if collect(reply, charged[i], short, list, held) then return reply end
  end
  if not stands then error({err = 'CONTRACT refused what fits'}) end
  collect(reply, pool, always, list, held)
  return reply
end

return denials
