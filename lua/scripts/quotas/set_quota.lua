#!lua
--[[
set_quota -- Create a scope's quota, or change its limits of the named resources.

Missing scopes above it are made, without limits.  What is guaranteed to the scopes below an account never exceeds its
share, nor the pool's capacity.  Lowering a limit below what is allocated ends nothing.

ARGV    items        list    of one (call, repeated, scope, generation, dry_run, weight, R, (resource, nominal,
                             borrowing_limit, lending_limit)*R): generation 0: any; '-': none; dry_run 1: nothing is
                             written; weight '': unchanged, '-': none, else 1 to WEIGHT_MAX
Reply   per item {"quota", revision, {account, resource, above, ...} that are above their limit then,
          {field, value, ...} of the pool, (scope, {field, value, ...})* outermost first}
        | {"generation", generation} | {"not_counted", resource} | {"too_many"} (quotas, or resources)
        | {"above_parent", resource, account, nominal} | {"over_guaranteed", resource, account, guaranteed, nominal}
        | {"unknown_pool"} | {"other_epoch"} | {"schema"} | {"offline"} | {"deleting"}
Writes  pool, accounts, quotas, ended, events
Cost    O(D * R): D levels, R resources
]]
local accounts = require('accounts')
local arguments = require('arguments')
local clock = require('clock')
local events = require('events')
local idempotency = require('idempotency')
local limits = require('limits')
local line = require('line')
local numbers = require('numbers')
local pools = require('pools')
local quotas = require('quotas')
local shares = require('shares')
local transaction = require('transaction')

local function read_limit(call, name)
  local text = arguments.text(call, name)
  if text == '-' then return nil end
  return numbers.exact(text) or arguments.refuse(name)
end

local function read_weight(call)
  local text = arguments.text(call, 'weight')
  if text == '' then return nil end
  local weight = text == '-' and 0 or numbers.exact(text)
  if not weight or weight > limits.WEIGHT_MAX or weight == 0 and text ~= '-' then arguments.refuse('weight') end
  return weight
end

local function read_item(call)
  local item = {call = arguments.text(call, 'call'), repeated = arguments.flag(call, 'repeated')}
  item.scope, item.generation = arguments.text(call, 'scope'), arguments.integer(call, 'generation')
  item.dry_run, item.weight, item.list, item.limits = arguments.flag(call, 'dry_run'), read_weight(call), {}, {}
  for i = 1, arguments.integer(call, 'resources', limits.RESOURCES_MAX) do
    local field = arguments.text(call, 'resources') .. '.allocated'
    if item.limits[field] then error({err = 'CONTRACT resource named twice'}) end
    item.list[2 * i - 1], item.list[2 * i] = field, 0
    item.limits[field] = {
      nominal = read_limit(call, 'nominal'), borrowing = read_limit(call, 'borrowing_limit'),
      lending = read_limit(call, 'lending_limit'),
    }
  end
  arguments.finish(call, 0)
  return item
end

-- What the pool has of a resource; it does not limit one that it does not count.
local function whole_of(pool, field)
  return (pool.capacity[field] or limits.AMOUNT_MAX) + (pool.kept and pool.kept[field] or 0)
end

-- The share that bounds a scope's own: that of the nearest account above which has one, or the pool's capacity.
local function share_above(charged, field)
  for n = 2, charged.levels do
    if charged[n].nominal[field] then return charged[n].nominal[field], charged[n] end
  end
  local pool = charged[#charged]
  return whole_of(pool, field), pool
end

-- The reply that refuses a change of one resource; nil if it may be made.
local function refusal(charged, field, change)
  local resource, account, nominal = string.sub(field, 1, -11), charged[1], change.nominal or 0
  local most, above = share_above(charged, field)
  if nominal > most then return {'above_parent', resource, above.name, most} end
  local own = quotas.promised(account, field)
  if own > nominal then return {'over_guaranteed', resource, account.name, own, nominal} end
  local guaranteed = change.lending and math.max(0, nominal - change.lending) or 0
  local sums, grows = quotas.promise(charged, field, guaranteed)
  for n = 2, grows and #charged or 0 do
    local upper, sum = charged[n], sums[n]
    local share = upper.quota and (upper.nominal[field] or 0) or whole_of(upper, field)
    if sum and sum > share then return {'over_guaranteed', resource, upper.name, sum, share} end
  end
  change.sums = sums
  return nil
end

local function set(account, field, value)
  account.sets, account.changed = account.sets or {}, true
  account.sets[#account.sets + 1], account.sets[#account.sets + 2] = field, value
end

local function store(call, charged, field, change)
  local account, name = charged[1], string.sub(field, 1, -11)
  for part, value in pairs(account.limits[field]) do
    if value then
      set(account, name .. '.' .. part, value)
    else
      transaction.plan(call, 'old_fields', account.key, name .. '.' .. part)
    end
  end
  for n, sum in pairs(change.sums) do
    if charged[n].quota then
      set(charged[n], name .. '.guaranteed', sum)
    else
      pools.set(call, name .. '.guaranteed', sum)
    end
  end
end

-- The accounts of the chain that have more than their limit.
local function above_limits(charged, list)
  local above = {}
  for n = 1, #charged do
    local account = charged[n]
    for i = 1, #list, 2 do
      local field = list[i]
      local capacity = account.capacity[field]
      local used = (account.allocated[field] or 0) + (account.quota and account.kept[field] or 0)
      if capacity and used > capacity then
        above[#above + 1], above[#above + 2] = account.name, string.sub(field, 1, -11)
        above[#above + 1] = used - capacity
      end
    end
  end
  return above
end

local function is_room_for_it(call, charged)
  local new = 0
  for n = 1, charged.levels do new = new + (charged[n].index_in and 1 or 0) end
  return new == 0 or redis.call('ZCARD', quotas.index(call)) + new <= limits.QUOTAS_MAX
end

-- The fields of an account, as they will be.
local function fields_after(call, account, list)
  local stored, flat = {}, redis.call('HGETALL', account.key)
  for i = 1, #flat, 2 do stored[flat[i]] = flat[i + 1] end
  for i = 1, account.sets and #account.sets or 0, 2 do stored[account.sets[i]] = account.sets[i + 1] end
  -- As of now.
  if account.quota and stored.used_share then
    local sharer = shares.of(call, string.sub(account.name, 7))
    stored.used_share = string.format('%.9f', shares.used(call, sharer))
  end
  if account.drops_weight then stored.weight = nil end
  if account.quota then stored[quotas.ALLOCATIONS] = account.allocated[quotas.ALLOCATIONS] end
  for i = 1, #list, 2 do
    local field, name = list[i], string.sub(list[i], 1, -11)
    if account.kept then stored[name .. '.kept'] = account.kept[field] end
    if account.quota then
      stored[name .. '.allocated'] = account.allocated[field]
      for part, value in pairs(account.limits and account.limits[field] or {}) do
        stored[name .. '.' .. part] = value or nil
      end
    end
  end
  local fields = {}
  for field, value in pairs(stored) do fields[#fields + 1], fields[#fields + 2] = field, value end
  return fields
end

-- Marks the quotas of the chain that are plain now, and those that are so no more.
local function mark_plain(call, charged, list)
  for n = 1, charged.levels do
    local account = charged[n]
    set(account, 'plain', quotas.is_plain(fields_after(call, account, list)) and '1' or '0')
  end
end

-- Sets the weight of a scope in fair share; 0: none.
local function set_weight(call, account, weight)
  local had = redis.call('HGET', account.key, 'weight')
  if weight > 0 then
    set(account, 'weight', weight)
  elseif had then
    account.drops_weight = true
    transaction.plan(call, 'old_fields', account.key, 'weight')
  end
  call.more_weights = (weight > 0 and 1 or 0) - (had and 1 or 0)
end

-- The reply: the quota, those above it and the pool, as they will be.
local function told(call, item, charged)
  local pool = charged[#charged]
  local reply = {'quota', call.pool.revision, above_limits(charged, item.list), fields_after(call, pool, item.list)}
  for n = charged.levels, 1, -1 do
    reply[#reply + 1] = string.sub(charged[n].name, 7)
    reply[#reply + 1] = fields_after(call, charged[n], item.list)
  end
  return reply
end

local function decide(call, item)
  local charged = quotas.chain(call, item.scope, item.list)
  local account = charged[1]
  local known = tonumber(redis.call('HGET', account.key, 'generation') or 0)
  local was_refused = false
  if idempotency.completed_at(call, item.call) then
    was_refused = idempotency.was_told(call, item.call, {'refused'})
    if not was_refused then return told(call, item, charged) end
  end
  if item.generation ~= 0 and item.generation ~= known then return {'generation', known} end
  if not is_room_for_it(call, charged) then return {'too_many'} end
  for i = 1, #item.list, 2 do
    local field = item.list[i]
    if field ~= quotas.ALLOCATIONS and not call.pool.capacity[field] then
      return {'not_counted', string.sub(field, 1, -11)}
    end
    local reply = refusal(charged, field, item.limits[field])
    if reply then return reply end
  end
  -- It stays refused, whatever has changed since.
  if was_refused then return {'generation', known} end
  for i = 1, #item.list, 2 do
    local field = item.list[i]
    local change = item.limits[field]
    quotas.change(charged, field, change.nominal, change.borrowing, change.lending)
    account.limits = account.limits or {}
    account.limits[field] = {
      nominal = change.nominal or false, borrowing_limit = change.borrowing or false,
      lending_limit = change.lending or false, capacity = quotas.most(change.nominal, change.borrowing) or false,
    }
    store(call, charged, field, change)
    if (change.sums[#charged] or 0) > 0 and field ~= quotas.ALLOCATIONS then call.keeps = true end
  end
  if item.weight then set_weight(call, account, item.weight) end
  set(account, 'generation', known + 1)
  mark_plain(call, charged, item.list)
  return nil, charged
end

-- Plans what comes with every change.
local function finish(call, item)
  if call.keeps and not call.pool.keeps then
    pools.set_option(call, 'keeps', '1')
  end
  if (call.more_weights or 0) ~= 0 then shares.count_weight(call, call.more_weights) end
  pools.next_revision(call)
  idempotency.complete(call, item.call)
  events.add(call, 'quota_set', item.scope)
  line.wake_first(call)
end

return function(call)
  -- Read
  clock.start(call)
  local item = read_item(call)
  local fields, count = pools.fields(), pools.FIELDS
  for i = 1, #item.list, 2 do
    local field = item.list[i]
    if field ~= quotas.ALLOCATIONS then count = accounts.want(fields, count, nil, field) end
  end
  pools.open(call, fields, count)
  if call.refused or call.pool.state then return {{call.refused or call.pool.state}} end
  -- Decide
  local reply, charged = decide(call, item)
  if not reply then
    reply = told(call, item, charged)
    if item.dry_run then return {reply} end
    finish(call, item)
  elseif item.repeated and reply[1] ~= 'quota' then
    -- It stays refused, whatever changes before a late copy of it arrives.
    idempotency.complete_as(call, item.call, 'refused')
  end
  -- Write
  transaction.commit(call)
  return {reply}
end
