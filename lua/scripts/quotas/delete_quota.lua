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
local numbers = require('numbers')
local pools = require('pools')
local quotas = require('quotas')
local transaction = require('transaction')

-- The counters of a stored quota as a list without amounts, and the first that has something allocated.
local function counters(flat)
  local list, used, amount = {}, nil, nil
  for i = 1, #flat, 2 do
    local name, part = string.match(flat[i], '^(.+)%.([%l_]+)$')
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
  local account, parent = charged[1], charged[2]
  for i = 1, #list, 2 do
    local field = list[i]
    local guaranteed, name = account.guaranteed[field], string.sub(field, 1, -11) .. '.guaranteed'
    quotas.change(charged, field, nil, nil, nil)
    local sum = guaranteed > 0 and (numbers.exact(redis.call('HGET', parent.key, name)) or 0) - guaranteed
    if sum and parent.quota then
      parent.sets, parent.changed = parent.sets or {}, true
      parent.sets[#parent.sets + 1], parent.sets[#parent.sets + 2] = name, math.max(0, sum)
    elseif sum then
      pools.set(call, name, math.max(0, sum))
    end
  end
  account.changed = false
  transaction.plan(call, 'unlinks', account.key)
  transaction.plan(call, 'old_scopes', scope)
end

local function decide(call, item)
  if idempotency.completed_at(call, item.call) then return {'deleted'} end
  local names, index = quotas.names(item.scope), quotas.index(call)
  if not names then error({err = 'CONTRACT scope is no name of a scope'}) end
  local flat = redis.call('HGETALL', string.sub(call.key, 1, -5) .. names[1])
  if not flat[1] then return {'absent'} end
  local below = redis.call('ZRANGEBYLEX', index, '[' .. item.scope .. '/', '(' .. item.scope .. '0', 'LIMIT', 0, 1)
  if below[1] then return {'has_children', below[1]} end
  local list, used, amount = counters(flat)
  if used then return {'in_use', used, amount} end
  leave(call, item.scope, list)
  pools.next_revision(call)
  idempotency.complete(call, item.call)
  events.add(call, 'quota_deleted', item.scope)
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
  -- Write
  transaction.commit(call)
  return {reply}
end
