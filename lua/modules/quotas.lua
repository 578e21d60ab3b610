-- quotas: the accounts of scopes such as `team-a/alice`.  A request is charged to its scope, to each scope above it and
-- to the pool, all or none (docs/policies.md has the rule; it is Kueue's).
-- A quota is an account (`accounts`) with more tables, by the field of the counter:
--   kept      what is guaranteed to the scopes below it and not used: they can always have it
--   nominal   its share, or nil;   bound   the most that it may take from above beyond its guarantee, or nil
--   guaranteed  the part of its share that is not lent, or 0
-- It counts every resource that is charged to it, and its live allocations as the resource `allocations`.
-- A quota whose field `plain` is 1 has neither a lending limit nor a limit of its allocations, and nothing is
-- guaranteed below it.  It is charged like any other account, up to its stored capacity, and has none of these tables.
local limits = require('limits')
local numbers = require('numbers')

local quotas = {}

quotas.ALLOCATIONS = 'allocations.allocated'
-- One allocation, in the unit of countable resources.
quotas.ONE = 1000

-- The names of a scope's accounts, innermost first: `quota:a/b`, `quota:a`.  nil if it is no scope.
function quotas.names(scope)
  local names, n, path = {nil, nil, nil, nil}, 0, scope
  if not scope:find('^[%w._/-]+$') or ('/' .. scope .. '/'):find('//', 1, true) then return nil end
  while path do
    n = n + 1
    names[n], path = 'quota:' .. path, path:match('^(.+)/')
  end
  return n <= limits.SCOPE_DEPTH_MAX and names or nil
end

function quotas.is_one(name)
  return string.sub(name, 1, 6) == 'quota:'
end

-- The parts of a quota's account for one counter, as they are stored.
local PARTS = {'.allocated', '.kept', '.nominal', '.borrowing_limit', '.lending_limit'}

-- Sets a counter's limits from the stored texts.
function quotas.limit(account, field, nominal, borrowing, lending)
  local share, guaranteed = nominal or 0, 0
  if lending and share > lending then guaranteed = share - lending end
  account.nominal[field], account.guaranteed[field] = nominal, guaranteed
  account.bound[field] = borrowing and share - guaranteed + borrowing or nil
  account.capacity[field] = quotas.most(nominal, borrowing) or limits.AMOUNT_MAX
end

-- The most that a quota may ever have, or nil if it has no limit.
function quotas.most(nominal, borrowing)
  return borrowing and math.min((nominal or 0) + borrowing, limits.AMOUNT_MAX)
end

-- Whether a quota with these fields and values, alternating, is plain.
function quotas.is_plain(fields)
  for i = 1, #fields, 2 do
    local name, part = string.match(fields[i], '^(.+)%.([%l_]+)$')
    if part == 'lending_limit' or (part == 'guaranteed' or part == 'kept') and tonumber(fields[i + 1]) ~= 0
      or name == 'allocations' and (part == 'nominal' or part == 'borrowing_limit') then
      return false
    end
  end
  return true
end

-- Whether all of these texts are exact amounts; false stands for one that is absent.
local function are_exact(values, first, last)
  for at = first, last do
    local text = values[at]
    if text then
      local exact = numbers.exact(text)
      if not exact then return false end
      values[at] = exact
    end
  end
  return true
end

local function take_in(account, counters, values, first)
  local exact = are_exact(values, first + 1, first + 5 * #counters)
  if not exact then return false end
  local allocated, kept = account.allocated, account.kept
  for i = 1, #counters do
    local field, at = counters[i], first + 5 * i - 5
    allocated[field], kept[field] = values[at + 1] or 0, values[at + 2] or 0
    quotas.limit(account, field, values[at + 3] or nil, values[at + 4], values[at + 5])
  end
  return true
end

local function wanted(counters, first)
  local fields = {first}
  for _, field in ipairs(counters) do
    local name = string.sub(field, 1, -11)
    for part = 1, #PARTS do fields[#fields + 1] = name .. PARTS[part] end
  end
  return fields
end

-- The same of a plain quota, which has no other tables.
local function read_plain(account, counters)
  for _, field in ipairs(counters) do
    local values = redis.call('HMGET', account.key, field, string.sub(field, 1, -11) .. '.capacity')
    local exact = are_exact(values, 1, 2)
    if not exact then return false end
    account.allocated[field], account.capacity[field] = values[1] or 0, values[2] or limits.AMOUNT_MAX
  end
  return true
end

-- Reads the counters of a list that are not read yet.  False if one is not an exact amount.
function quotas.read(account, list)
  local missing = {}
  for i = 1, #list, 2 do
    if not account.allocated[list[i]] then missing[#missing + 1] = list[i] end
  end
  if #missing == 0 then return true end
  if account.plain then return read_plain(account, missing) end
  return take_in(account, missing, redis.call('HMGET', account.key, unpack(wanted(missing, 'generation'))), 1)
end

function quotas.new(call, name)
  return {
    key = string.sub(call.key, 1, -5) .. name, name = name, quota = true, allocated = {}, kept = {}, nominal = {},
    guaranteed = {}, bound = {}, capacity = {},
  }
end

local function counters_of(list)
  local counters = {quotas.ALLOCATIONS}
  for i = 1, #list, 2 do
    if list[i] ~= quotas.ALLOCATIONS then counters[#counters + 1] = list[i] end
  end
  return counters
end

-- The counters of a list, and their fields in a quota; made once for all levels of a chain.
local function fields_of(call, list)
  if call.quota_list ~= list then
    call.quota_list, call.quota_counters = list, counters_of(list)
    call.quota_fields = wanted(call.quota_counters, 'generation')
  end
  return call.quota_counters, call.quota_fields
end

-- The account of that name, with the counters of a list, or false if there is none.  Second result: whether the
-- counters are exact amounts.
function quotas.open(call, name, list)
  local counters, fields = fields_of(call, list)
  local account = quotas.new(call, name)
  local values = redis.call('HMGET', account.key, unpack(fields))
  if not values[1] then return false, true end
  return account, take_in(account, counters, values, 1)
end

-- The key of the index of all scopes.
function quotas.index(call)
  return string.sub(call.key, 1, -5) .. 'quotas'
end

-- The chain of a scope, the pool last.  Missing accounts are made, without limits.
function quotas.chain(call, scope, list)
  local names = quotas.names(scope)
  if not names then error({err = 'CONTRACT scope is no name of a scope'}) end
  call.accounts = call.accounts or {}
  local charged = {levels = #names, tree = true}
  for n, name in ipairs(names) do
    local exact
    local account = call.accounts[name]
    if account then
      exact = quotas.read(account, list)
    else
      account, exact = quotas.open(call, name, list)
    end
    if not exact then error({err = 'INVARIANT ' .. account.key .. ' has a counter that is no exact amount'}) end
    if not account then
      account = quotas.new(call, name)
      take_in(account, counters_of(list), {}, 1)
      account.sets, account.index_in = {'generation', 1, 'plain', 1}, quotas.index(call)
      account.changed = true
    end
    charged[n], call.accounts[name] = account, account
  end
  charged[#charged + 1] = call.pool
  return charged
end

-- Reads what the pool keeps for its scopes.  From here on `capacity` is what is left of it.
function quotas.read_kept(account, counters)
  if #counters == 0 then return true end
  local fields = {}
  for i, field in ipairs(counters) do fields[i] = string.sub(field, 1, -11) .. '.kept' end
  account.kept = account.kept or {}
  for i, text in ipairs(redis.call('HMGET', account.key, unpack(fields))) do
    local kept, field = text and numbers.exact(text) or not text and 0, counters[i]
    if not kept then return false end
    account.kept[field] = kept
    if account.capacity[field] then account.capacity[field] = account.capacity[field] - kept end
  end
  return true
end

-- The share of a quota, or nil if it has none.
function quotas.share(account, field)
  if not account.plain then return account.nominal[field] end
  local shares = account.nominal or {}
  account.nominal = shares
  if shares[field] == nil then
    local text = redis.call('HGET', account.key, string.sub(field, 1, -11) .. '.nominal')
    shares[field] = text and numbers.exact(text) or false
  end
  return shares[field] or nil
end

-- What is taken from a quota: what it has allocated, and what it keeps.
function quotas.used(account, field)
  return account.allocated[field] + (account.plain and 0 or account.kept[field])
end

-- The guarantee of a quota that it has not used.
function quotas.reserve(account, field)
  if account.plain then return 0 end
  local guaranteed = account.guaranteed[field]
  if guaranteed == 0 then return 0 end
  return math.max(0, guaranteed - account.allocated[field] - account.kept[field])
end

-- What a quota may take from above for a counter, or nil if it has no limit.  Second result: `reserve`.
function quotas.room(account, field)
  if account.plain then return account.capacity[field] - account.allocated[field], 0 end
  local bound, guaranteed = account.bound[field], account.guaranteed[field]
  local used = account.allocated[field] + account.kept[field]
  local borrowed, reserve = 0, 0
  if used > guaranteed then borrowed = used - guaranteed else reserve = guaranteed - used end
  return bound and bound - borrowed, reserve
end

-- What a pool has left for a counter; it does not limit a resource that it does not count.
local function left(pool, field)
  local capacity = pool.capacity[field]
  return capacity and capacity - pool.allocated[field] or limits.AMOUNT_MAX
end

-- What the innermost scope of a chain may take.
function quotas.available(charged, field)
  local available = left(charged[#charged], field)
  for n = charged.levels, 1, -1 do
    local account = charged[n]
    local room, reserve = quotas.room(account, field)
    if room and room < available then available = room end
    available = available + reserve
  end
  return available
end

-- The account of a chain that has no room for the growth: the innermost quota whose limit is met, or the pool.
function quotas.short(charged, field, growth)
  if growth <= quotas.available(charged, field) then return nil end
  for n = 1, charged.levels do
    local account = charged[n]
    local room, reserve = quotas.room(account, field)
    -- Also what a guarantee covers may be refused: by an account above whose limit was lowered.
    growth = growth - reserve
    if room and growth > room then return account end
  end
  return charged[#charged]
end

-- Adds to what the accounts from `first` on keep; each passes on what its own guarantee does not cover.
local function keep(charged, first, field, kept)
  for n = first, charged.levels do
    if kept == 0 then break end
    local account = charged[n]
    local before = quotas.reserve(account, field)
    account.kept[field] = account.kept[field] + kept
    account.changed, account.kept_changed = true, true
    kept = kept + quotas.reserve(account, field) - before
  end
  local pool = charged[#charged]
  if kept ~= 0 and pool.capacity[field] then
    pool.kept = pool.kept or {}
    pool.kept[field], pool.capacity[field] = (pool.kept[field] or 0) + kept, pool.capacity[field] - kept
    pool.kept_changed = true
  end
end

-- The sum that an account has promised to the scopes directly below it: of each its guarantee, or what it has promised
-- itself, if that is more.
function quotas.promised(account, field)
  local text = redis.call('HGET', account.key, string.sub(field, 1, -11) .. '.guaranteed')
  local sum = text and numbers.exact(text)
  if text and not sum then error({err = 'INVARIANT ' .. account.key .. ' guarantees no exact amount'}) end
  return sum or 0
end

-- What the accounts above the innermost have promised once this much is guaranteed to it, by their place in the chain;
-- only those that change.  Second result: whether they promise more than before.
function quotas.promise(charged, field, guaranteed)
  local sums, account = {}, charged[1]
  local own = quotas.promised(account, field)
  local before, after = math.max(account.guaranteed[field], own), math.max(guaranteed, own)
  local grows = after > before
  for n = 2, #charged do
    if before == after then break end
    local parent = charged[n]
    local sum = quotas.promised(parent, field)
    sums[n] = math.max(0, sum + after - before)
    local least = parent.quota and parent.guaranteed[field] or 0
    before, after = math.max(least, sum), math.max(least, sums[n])
  end
  return sums, grows
end

-- Changes the limits of the innermost account of a chain.
function quotas.change(charged, field, nominal, borrowing, lending)
  local account = charged[1]
  local before = quotas.reserve(account, field)
  quotas.limit(account, field, nominal, borrowing, lending)
  keep(charged, 2, field, quotas.reserve(account, field) - before)
end

-- Adds `change` to a counter of each account of a chain; what a guarantee covers is taken from what is kept above it.
function quotas.add(charged, field, change)
  local kept, pool = 0, charged[#charged]
  for n = 1, charged.levels do
    local account = charged[n]
    local allocated, guaranteed = account.allocated, not account.plain and account.guaranteed[field] or 0
    account.changed = true
    -- Nothing is kept by a plain quota, as nothing is guaranteed below it.
    if account.plain or guaranteed == 0 and kept == 0 then
      allocated[field] = allocated[field] + change
    else
      local used = allocated[field] + account.kept[field]
      local before, after = math.max(0, guaranteed - used), math.max(0, guaranteed - used - change - kept)
      allocated[field], account.kept[field] = allocated[field] + change, account.kept[field] + kept
      account.kept_changed = account.kept_changed or kept ~= 0
      kept = kept + after - before
    end
  end
  if pool.allocated[field] then pool.allocated[field] = pool.allocated[field] + change end
  -- A pool that was recovered without its scopes knows of no guarantees.
  if kept ~= 0 and pool.kept and pool.capacity[field] then
    pool.kept[field], pool.capacity[field] = pool.kept[field] + kept, pool.capacity[field] - kept
    pool.kept_changed = true
  end
end

return quotas
