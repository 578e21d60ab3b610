-- accounts: counters of resources.  An account is a hash with `<resource>.capacity` and `<resource>.allocated`; the
-- pool is one, a quota scope and a node are others.  A request is charged to a list of accounts, all or none.
-- {key, name, capacity, allocated, whole, bounds, changed}: `name` is the key without the pool's base, '' for the pool.
-- A counter is indexed by its field in a record: `account.allocated['cpu.allocated']`.  A charge is a list of such
-- fields and amounts, alternating.
-- A list of accounts that are charged together has the pool last, and the quotas of a scope first, innermost first;
-- `levels` is the number of these, or nil (`quotas`); `tree` is set if one of them is not plain, so that they and the
-- pool are one rule; `moves` is set if an allocation moves with its amounts.
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

-- A pair of the pool that is no two exact amounts is absent: the pool does not count the resource.
local function check_absent(call, field, allocated, capacity)
  if (allocated or capacity) and not call.refused then
    error({err = 'INVARIANT ' .. call.key .. ' has no exact amount in ' .. field})
  end
end

-- The pool's counters, from the values that `pools.open` has read.
function accounts.from_pool(call, fields, values, count)
  -- Preallocated for two counters: a table that grows costs three times as much.
  local one, other = fields[11], fields[13] or ''
  local allocated, capacity = {[one] = 0, [other] = 0}, {[one] = 0, [other] = 0}
  allocated[''], capacity[''] = nil, nil
  for i = 11, count, 2 do
    local field = fields[i]
    local used = numbers.exact(values[i])
    local most = numbers.exact(values[i + 1])
    if not used or not most then
      check_absent(call, field, values[i], values[i + 1])
      used, most = nil, nil
    end
    allocated[field], capacity[field] = used, most
  end
  local pool = call.pool
  pool.allocated, pool.capacity = allocated, capacity
  call.fields, call.fields_count = fields, count
end

local function read_kept(account, counters)
  if not quotas.read_kept(account, counters) then
    error({err = 'INVARIANT ' .. account.key .. ' has no exact amount in what it keeps'})
  end
end

-- Reads what the pool keeps for its scopes, of the counters that `of_pool` has.
function accounts.keep(call, fields, count)
  local counters = {}
  for i = 11, count, 2 do counters[#counters + 1] = fields[i] end
  call.pool.kept = {}
  read_kept(call.pool, counters)
end

-- Marks the named resources as granted in whole units only.
function accounts.constrain(account, names)
  account.whole = {}
  for name in string.gmatch(names, '%S+') do account.whole[name .. '.allocated'] = true end
end

-- Adds the pairs (allocated, capacity) of the fields from index `first` on; their values stand `shift` earlier.
-- False if one is not an exact amount.
local function take_in(account, fields, values, first, count, shift)
  local used, most, exact, beyond = account.allocated, account.capacity, true, account.name ~= ''
  for i = first, count, 2 do
    local field, counter, limit = fields[i], values[i - shift], values[i - shift + 1]
    local allocated = numbers.exact(counter)
    local capacity = numbers.exact(limit)
    if beyond then
      allocated = allocated or not counter and 0
      capacity = capacity or not limit and limits.AMOUNT_MAX
    end
    if allocated and capacity then
      used[field], most[field] = allocated, capacity
    elseif counter or limit then
      exact = false
    end
  end
  if exact and account.kept then
    local counters = {}
    for i = first, count, 2 do counters[#counters + 1] = fields[i] end
    read_kept(account, counters)
  end
  return exact
end

-- Reads the counters of a list that are not read yet.  False if one is not an exact amount.
function accounts.read(account, list)
  if account.quota and not account.plain then return quotas.read(account, list) end
  local missing, capacity = nil, account.capacity
  for i = 1, #list, 2 do
    local field = list[i]
    if not capacity[field] then
      missing = missing or {}
      missing[#missing + 1], missing[#missing + 2] = field, string.sub(field, 1, -11) .. '.capacity'
    end
  end
  if not missing then return true end
  return take_in(account, missing, redis.call('HMGET', account.key, unpack(missing)), 1, #missing, 0)
end

-- The pool's counters that this call has read are those of the list, in its order: the ordinary case.
local function are_those_of(fields, count, list)
  local same = count == #list + 10
  for i = 1, same and #list or 0, 2 do
    if fields[10 + i] ~= list[i] then same = false end
  end
  return same
end

-- The fields of an account beyond the pool, from the eleventh on, and their number: once for all accounts of a list.
local function fields_of(call, list)
  local fields, count = call.fields, call.fields_count
  local same = are_those_of(fields, count, list)
  if not same then
    fields, count = {false, false, false, false, false, false, false, false, false, false, nil, nil, nil, nil}, 10
    for i = 1, #list, 2 do
      local field = list[i]
      count = accounts.want(fields, count, nil, field)
    end
  end
  call.account_list, call.account_fields, call.account_count = list, fields, count
end

-- Reads an account beyond the pool; the results are those of `named`.
local function open(call, name, list)
  if call.account_list ~= list then fields_of(call, list) end
  local fields, count, key = call.account_fields, call.account_count, call.key:sub(1, -5) .. name
  local quota = quotas.is_one(name)
  local values, live, shift, account, exact
  if quota then
    values = redis.call('HMGET', key, 'plain', quotas.ALLOCATIONS, unpack(fields, 11, count))
    live, shift = numbers.exact(values[2]), 8
  else
    values, shift = redis.call('HMGET', key, 'generation', unpack(fields, 11, count)), 9
  end
  if quota and values[1] ~= '1' then
    account, exact = quotas.open(call, name, list)
  elseif not values[1] then
    account, exact = false, true
  else
    -- Preallocated for two counters, and the allocations.
    local one, other = list[1] or '', list[3] or ''
    account = {
      key = key, name = name, quota = quota, plain = quota, changed = false,
      allocated = {[one] = nil, [other] = nil, [quotas.ALLOCATIONS] = live},
      capacity = {[one] = nil, [other] = nil, [quotas.ALLOCATIONS] = quota and limits.AMOUNT_MAX or nil},
    }
    exact = take_in(account, fields, values, 11, count, shift)
    if quota and not live then exact = false end
  end
  return account, exact
end

-- The account of that name beyond the pool, with the counters of a list; false if it does not exist.  Second result:
-- whether these counters are exact amounts.
function accounts.named(call, name, list)
  call.accounts = call.accounts or {}
  local account, exact = call.accounts[name], true
  if account then
    exact = accounts.read(account, list)
  elseif account == nil then
    account, exact = open(call, name, list)
    call.accounts[name] = account
  end
  return account, exact
end

local function append(charged, account)
  charged[#charged + 1] = account
  if account.quota then
    charged.levels = (charged.levels or 0) + 1
    if not account.plain then charged.tree = true end
  end
end

-- The accounts that a list is charged to: the named ones that exist, and last the pool.
function accounts.charged(call, names, list)
  local charged = {nil, nil, nil, nil, levels = nil, tree = nil}
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
  local charged, list = {nil, nil, nil, nil, levels = nil, tree = nil}, record.list
  for i = 1, #record.accounts do
    local account = accounts.named(call, record.accounts[i], list)
    if account and not accounts.covers(account, list) then return nil end
    if account then append(charged, account) end
  end
  if not accounts.covers(call.pool, list) then return nil end
  charged[#charged + 1] = call.pool
  return charged
end

-- Reverts the charge of the entries before index `at` of the list, and of that entry to the first `last` accounts.
local function give_back(charged, last, list, held, at)
  for i = 1, at, 2 do
    local field = list[i]
    local growth = list[i + 1] - (held and held[field] or 0)
    for n = 1, i == at and last or #charged do
      local allocated = charged[n].allocated
      if allocated[field] then allocated[field] = allocated[field] - growth end
    end
  end
end

-- Adds amounts, `sign` times, less the amounts `held`, to all accounts of a list.
function accounts.add_all(charged, list, sign, held)
  local levels = charged.levels or 0
  if charged.tree then
    for i = 1, #list, 2 do
      local field = list[i]
      quotas.add(charged, field, sign * (list[i + 1] - (held and held[field] or 0)))
    end
    if not held then quotas.add(charged, quotas.ALLOCATIONS, sign * quotas.ONE) end
    for n = levels + 1, #charged - 1 do accounts.add(charged[n], list, sign, held) end
    charged[#charged].changed = true
  else
    for n = 1, #charged do
      local account = charged[n]
      accounts.add(account, list, sign, held)
      if account.quota and not held then
        local allocated = account.allocated
        allocated[quotas.ALLOCATIONS] = allocated[quotas.ALLOCATIONS] + sign * quotas.ONE
      end
    end
  end
end

-- Whether an amount that changes is outside of the pool's bounds for it.  A charge that only moves is not checked: its
-- amounts stay (`charged.moves`).
function accounts.is_out_of_bounds(account, charged, field, amount, growth)
  local bounds = account.bounds and account.bounds[field]
  return bounds and not charged.moves and units.breaks(bounds, amount, growth)
end

-- `take` where a quota is not plain: the quotas and the room of the pool are one rule (`quotas.short`).
local function take_in_tree(charged, list, held)
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
-- increase is not checked.  Returns an account that is short; nil if all had room.
function accounts.take(charged, list, held)
  local short = nil
  if charged.tree then
    short = take_in_tree(charged, list, held)
    return short
  end
  for i = 1, #list, 2 do
    local field, amount = list[i], list[i + 1] + 0
    local growth = amount - (held and held[field] or 0)
    for n = 1, #charged do
      local account = charged[n]
      local allocated, whole, bounds = account.allocated, account.whole, account.bounds
      local before = allocated[field]
      if growth > 0 and (not before or before + growth > account.capacity[field]
        or whole and whole[field] and amount % 1000 ~= 0)
        or bounds and accounts.is_out_of_bounds(account, charged, field, amount, growth) then
        give_back(charged, n - 1, list, held, i)
        short = account
        break
      end
      if before then allocated[field] = before + growth end
    end
    if short then break end
  end
  for n = 1, short and 0 or #charged do
    local account = charged[n]
    account.changed = true
    if account.quota and not held then
      local allocated = account.allocated
      allocated[quotas.ALLOCATIONS] = allocated[quotas.ALLOCATIONS] + quotas.ONE
    end
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
