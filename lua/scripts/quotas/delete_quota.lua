#!lua flags=allow-oom
--[[
delete_quota -- Delete a scope that nothing is charged to, and that has no scopes below it.

ARGV    items        list    of one (call, repeated, scope)
Reply   per item {"deleted"} | {"absent"} | {"in_use", resource, allocated} | {"has_children", scope}
        | {"unknown_pool"} | {"other_epoch"} | {"schema"} | {"offline"} | {"deleting"}
Writes  pool, accounts, quotas, ended, events
Cost    O(D * R): D levels, R resources
]]
local accounts = require('accounts')
local arguments = require('arguments')
local clock = require('clock')
local events = require('events')
local idempotency = require('idempotency')
local line = require('line')
local numbers = require('numbers')
local pools = require('pools')
local quotas = require('quotas')
local shares = require('shares')
local transaction = require('transaction')

-- The reply words after which a late copy of the call deletes nothing either.
local REFUSED = {'absent', 'in_use', 'has_children'}

-- The counters of a stored quota as a list without amounts, and the first that has something allocated.
local function counters(flat)
  local list, used, amount = {}, nil, nil
  for i = 1, #flat, 2 do
    local name, part = string.match(flat[i], '^(.+)%.([%l_]+)$')
    if flat[i] == 'weight' then list.weight = true end
    if part == 'allocated' or part == 'nominal' then
      local field = name .. '.allocated'
      if part == 'allocated' and flat[i + 1] ~= '0' and used ~= 'allocations' then
        used, amount = name, numbers.exact(flat[i + 1]) or -1
      end
      if not list[field] then list[#list + 1], list[#list + 2], list[field] = field, 0, true end
    end
  end
  return list, used, amount
end

-- Gives back what the parent keeps for it, and what is guaranteed to it.
local function leave(call, scope, list)
  accounts.read(call.pool, list)
  local charged = quotas.chain(call, scope, list)
  local account = charged[1]
  for i = 1, #list, 2 do
    local field = list[i]
    local name = string.sub(field, 1, -11) .. '.guaranteed'
    for n, sum in pairs((quotas.promise(charged, field, 0))) do
      local upper = charged[n]
      if upper.quota then
        upper.sets, upper.changed = upper.sets or {}, true
        upper.sets[#upper.sets + 1], upper.sets[#upper.sets + 2] = name, sum
      else
        pools.set(call, name, sum)
      end
    end
    quotas.change(charged, field, nil, nil, nil)
  end
  account.changed = false
  transaction.plan(call, 'unlinks', account.key)
  transaction.plan(call, 'old_scopes', scope)
end

local function decide(call, item)
  if idempotency.completed_at(call, item.call) then
    local word = idempotency.was_told(call, item.call, REFUSED)
    return word == 'absent' and {word} or word and {'in_use', 'allocations', 0} or {'deleted'}
  end
  local names, index = quotas.names(item.scope), quotas.index(call)
  if not names then error({err = 'CONTRACT scope is no name of a scope'}) end
  local flat = redis.call('HGETALL', string.sub(call.key, 1, -5) .. names[1])
  if not flat[1] then return {'absent'} end
  local below = redis.call('ZRANGEBYLEX', index, '[' .. item.scope .. '/', '(' .. item.scope .. '0', 'LIMIT', 0, 1)
  if below[1] then return {'has_children', below[1]} end
  local list, used, amount = counters(flat)
  if used then return {'in_use', used, amount} end
  leave(call, item.scope, list)
  if list.weight then shares.count_weight(call, -1) end
  pools.next_revision(call)
  idempotency.complete(call, item.call)
  events.add(call, 'quota_deleted', item.scope)
  line.wake_first(call)
  return {'deleted'}
end

return function(call)
  -- Read
  clock.start(call)
  local item = {call = arguments.text(call, 'call'), repeated = arguments.flag(call, 'repeated')}
  item.scope = arguments.text(call, 'scope')
  arguments.finish(call, 0)
  pools.open_state(call)
  if call.refused or call.pool.state then return {{call.refused or call.pool.state}} end
  -- Decide
  local reply = decide(call, item)
  if item.repeated and reply[1] ~= 'deleted' and not idempotency.completed_at(call, item.call) then
    idempotency.complete_as(call, item.call, reply[1])
  end
  -- Write
  transaction.commit(call)
  return {reply}
end
