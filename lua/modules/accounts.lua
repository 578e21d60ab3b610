-- accounts: counters of resources.  An account is a hash with `<resource>.capacity` and `<resource>.allocated`; the
-- pool is one, a quota scope and a node are others.  A request is charged to a list of accounts, all or none.
-- {key, name, capacity, allocated, whole, bounds, changed}: `name` is the key without the pool's base, '' for the pool.
-- A counter is indexed by its field in a record: `account.allocated['cpu.allocated']`.  A charge is a list of such
-- fields and amounts, alternating.
-- A list of accounts that are charged together has the pool last, and the quotas of a scope first, innermost first;
-- `levels` is the number of these, or nil (`quotas`); `moves` is set if an allocation moves with its amounts.
-- The pool must count each requested resource.  Any other account counts each resource that is charged to it, and
-- limits those with a capacity.  One that does not exist (no `generation`) is neither charged nor named in the record.
local limits = require('limits')
local numbers = require('numbers')
local quotas = require('quotas')
local units = require('units')

local accounts = {}

-- Adds a counter and its capacity to the fields to read.  Returns their new number.  `counted`: the set of counters
-- among the fields already; nil if there are none.
function accounts.want(fields, count, counted, field)
  if counted then
    if counted[field] then return count end
    counted[field] = true
  end
  local name = field:sub(1, -11)
  if name == '' or name .. '.allocated' ~= field then
    error({err = 'CONTRACT resource field does not end in .allocated'})
  end
  fields[count + 1], fields[count + 2] = field, name .. '.capacity'
  return count + 2
end

-- The set of counters among the fields from index `first` on.
function accounts.counted(fields, first, count)
  local counted = {}
  for i = first, count, 2 do counted[fields[i]] = true end
  return counted
end

-- A pair of the pool that is not plain digits: two exact amounts, or absent if the pool does not count the resource.
local function exact_pair(call, field, allocated, capacity)
  local used, most = numbers.exact(allocated), numbers.exact(capacity)
  if used and most then return used, most end
  if (allocated or capacity) and not call.refused then
    error({err = 'INVARIANT ' .. call.key .. ' has no exact amount in ' .. field})
  end
  return nil, nil
end

-- The pool's counters, from the values that `pools.open` has read.
function accounts.from_pool(call, fields, values, count)
  -- Preallocated for two counters: a table that grows costs three times as much.
  local one, other = fields[9], fields[11] or ''
  local allocated, capacity = {[one] = 0, [other] = 0}, {[one] = 0, [other] = 0}
  allocated[''], capacity[''] = nil, nil
  for i = 9, count, 2 do
    local field, used, most = fields[i], values[i], values[i + 1]
    -- A pattern recognises plain digits faster than `tonumber`.
    local plain = used and most and (used .. ' ' .. most):find('^%d+ %d+$')
    if plain then used, most = used + 0, most + 0 end
    if not plain or used > limits.AMOUNT_MAX or most > limits.AMOUNT_MAX then
      used, most = exact_pair(call, field, values[i], values[i + 1])
    end
    allocated[field], capacity[field] = used, most
  end
  local pool = call.pool
  pool.allocated, pool.capacity = allocated, capacity
end

local function read_kept(account, counters)
  if not quotas.read_kept(account, counters) then
    error({err = 'INVARIANT ' .. account.key .. ' has no exact amount in what it keeps'})
  end
end

-- Reads what the pool keeps for its scopes, of the counters that `of_pool` has.
function accounts.keep(call, fields, count)
  local counters = {}
  for i = 9, count, 2 do counters[#counters + 1] = fields[i] end
  call.pool.kept = {}
  read_kept(call.pool, counters)
end

-- Marks the named resources as granted in whole units only.
function accounts.constrain(account, names)
  account.whole = {}
  for name in string.gmatch(names, '%S+') do account.whole[name .. '.allocated'] = true end
end

-- Adds the pairs (allocated, capacity) from index `first` on.  False if one is not an exact amount.
local function take_in(account, fields, values, first, count)
  for i = first, count, 2 do
    local counter, limit, field = values[i], values[i + 1], fields[i]
    local allocated, capacity = numbers.exact(counter), numbers.exact(limit)
    if account.name ~= '' then
      allocated = allocated or not counter and 0
      capacity = capacity or not limit and limits.AMOUNT_MAX
    end
    if allocated and capacity then
      account.allocated[field], account.capacity[field] = allocated, capacity
    elseif counter or limit then
      return false
    end
  end
  if account.kept then
    local counters = {}
    for i = first, count, 2 do counters[#counters + 1] = fields[i] end
    read_kept(account, counters)
  end
  return true
end

-- Reads the counters of a list that are not read yet.  False if one is not an exact amount.
function accounts.read(account, list)
  if account.quota then return quotas.read(account, list) end
  local missing, capacity = nil, account.capacity
  for i = 1, #list, 2 do
    local field = list[i]
    if not capacity[field] then
      missing = missing or {}
      missing[#missing + 1], missing[#missing + 2] = field, string.sub(field, 1, -11) .. '.capacity'
    end
  end
  if not missing then return true end
  return take_in(account, missing, redis.call('HMGET', account.key, unpack(missing)), 1, #missing)
end

-- The account of that name beyond the pool, with the counters of a list; false if it does not exist.  Second result:
-- whether these counters are exact amounts.
function accounts.named(call, name, list)
  call.accounts = call.accounts or {}
  local account = call.accounts[name]
  if account then return account, accounts.read(account, list) end
  if account == false then return false, true end
  if quotas.is_one(name) then
    local exact
    account, exact = quotas.open(call, name, list)
    call.accounts[name] = account
    return account, exact
  end
  local key = string.sub(call.key, 1, -5) .. name
  local wanted, n, counted = {'generation'}, 1, {}
  for i = 1, #list, 2 do n = accounts.want(wanted, n, counted, list[i]) end
  local values = redis.call('HMGET', key, unpack(wanted, 1, n))
  account = values[1] and {key = key, name = name, capacity = {}, allocated = {}}
  call.accounts[name] = account
  return account, not account or take_in(account, wanted, values, 2, n)
end

local function append(charged, account)
  charged[#charged + 1] = account
  if account.quota then charged.levels = (charged.levels or 0) + 1 end
end

-- The accounts that a list is charged to: the named ones that exist, and last the pool.
function accounts.charged(call, names, list)
  local charged = {levels = nil}
  for i = 1, names and #names or 0 do
    local account, exact = accounts.named(call, names[i], list)
    if not exact then error({err = 'INVARIANT ' .. account.key .. ' has a counter that is no exact amount'}) end
    if account then append(charged, account) end
  end
  charged[#charged + 1] = call.pool
  return charged
end

-- The accounts that a record is charged to, the pool last; nil if one of them has less than its amounts, or is broken.
function accounts.covering(call, record)
  local charged, list = {levels = nil}, record.list
  for i = 1, #record.accounts do
    local account = accounts.named(call, record.accounts[i], list)
    if account and not accounts.covers(account, list) then return nil end
    if account then append(charged, account) end
  end
  if not accounts.covers(call.pool, list) then return nil end
  charged[#charged + 1] = call.pool
  return charged
end

-- Reverts the charge of the accounts before index `at`, and of the first `last` entries of the account there.
local function give_back(charged, at, list, held, last)
  for n = 1, at do
    local allocated = charged[n].allocated
    for i = 1, n == at and last or #list, 2 do
      local field = list[i]
      if allocated[field] then allocated[field] = allocated[field] - list[i + 1] + (held and held[field] or 0) end
    end
  end
end

-- Adds amounts, `sign` times, less the amounts `held`, to all accounts of a list.
function accounts.add_all(charged, list, sign, held)
  local levels = charged.levels
  for i = 1, levels and #list or 0, 2 do
    local field = list[i]
    quotas.add(charged, field, sign * (list[i + 1] - (held and held[field] or 0)))
  end
  if levels and not held then quotas.add(charged, quotas.ALLOCATIONS, sign * quotas.ONE) end
  for n = (levels or 0) + 1, levels and #charged - 1 or #charged do accounts.add(charged[n], list, sign, held) end
  charged[#charged].changed = true
end

-- Whether an amount that changes is outside of the pool's bounds for it.  A charge that only moves is not checked: its
-- amounts stay (`charged.moves`).
function accounts.is_out_of_bounds(account, charged, field, amount, growth)
  local bounds = account.bounds and account.bounds[field]
  return bounds and not charged.moves and units.breaks(bounds, amount, growth)
end

-- `take` for a request of a scope.  Its quotas and the room of the pool are one rule (`quotas.short`).
local function take_in_scope(charged, list, held)
  for n = charged.levels + 1, #charged do
    local account, pool = charged[n], n == #charged
    for i = 1, #list, 2 do
      local field, amount = list[i], list[i + 1]
      local growth, before, whole = amount - (held and held[field] or 0), account.allocated[field], account.whole
      if growth > 0 and (not before or not pool and before + growth > account.capacity[field]
        or whole and whole[field] and amount % 1000 ~= 0)
        or account.bounds and accounts.is_out_of_bounds(account, charged, field, amount, growth) then
        return account
      end
    end
  end
  for i = 1, #list, 2 do
    local field = list[i]
    local growth = list[i + 1] - (held and held[field] or 0)
    local short = growth > 0 and quotas.short(charged, field, growth)
    if short then return short end
  end
  local short = not held and quotas.short(charged, quotas.ALLOCATIONS, quotas.ONE)
  if short then return short end
  accounts.add_all(charged, list, 1, held)
  return nil
end

-- Charges all of these accounts, or none.  `held` are the allocation's present amounts: a counter that it does not
-- increase is not checked.  Returns the account that is short; nil if all had room.
function accounts.take(charged, list, held)
  local short = nil
  if charged.levels then
    short = take_in_scope(charged, list, held)
    return short
  end
  for n = 1, #charged do
    local account = charged[n]
    local allocated, capacity, whole, bounds = account.allocated, account.capacity, account.whole, account.bounds
    for i = 1, #list, 2 do
      local field, amount = list[i], list[i + 1]
      local growth, before = amount - (held and held[field] or 0), allocated[field]
      if growth > 0 and (not before or before + growth > capacity[field]
        or whole and whole[field] and amount % 1000 ~= 0)
        or bounds and accounts.is_out_of_bounds(account, charged, field, amount, growth) then
        give_back(charged, n, list, held, i - 2)
        short = account
        break
      end
      if before then allocated[field] = before + growth end
    end
    if short then break end
    account.changed = true
  end
  return short
end

-- Adds amounts to the counters, `sign` times, less the amounts `held`.
function accounts.add(account, list, sign, held)
  local allocated = account.allocated
  for i = 1, #list, 2 do
    local field = list[i]
    if allocated[field] then
      allocated[field] = allocated[field] + sign * (list[i + 1] - (held and held[field] or 0))
    end
  end
  account.changed = true
end

-- Subtracts the amounts of a record from an account that has at least these; false if one of the two is broken, and
-- then nothing is subtracted.
function accounts.covers(account, list)
  local allocated, covers = account.allocated, true
  for i = 1, #list, 2 do
    local used = allocated[list[i]]
    if not used then
      covers = accounts.read(account, list)
      used = allocated[list[i]] or -1
    end
    if used - list[i + 1] < 0 then covers = false end
    if not covers then break end
  end
  if account.quota and (account.allocated[quotas.ALLOCATIONS] or 0) < quotas.ONE then covers = false end
  return covers
end

-- The first resource that the pool does not count, or nil.
function accounts.not_counted(account, list)
  accounts.read(account, list)
  for i = 1, #list, 2 do
    if not account.allocated[list[i]] then return string.sub(list[i], 1, -11) end
  end
  return nil
end

return accounts
