#!lua flags=allow-oom
--[[
delete_pool -- Delete a pool; refused while it has live allocations, unless forced.

A forced deletion ends at most RECLAIM_BATCH_MAX allocations a call.  From the first call on the pool grants nothing, so
that the deletion completes.  The ids of completed calls stay as long as a late copy of one may arrive.

ARGV    items        list    of one (call, repeated, force)
Reply   per item {"deleted"} | {"deleting", left} | {"in_use", live} | {"absent"} | {"other_epoch"} | {"schema"}
Writes  everything of the pool, its quotas and its line too
Cost    O(200 * (R + log N))
]]
local arguments = require('arguments')
local clock = require('clock')
local idempotency = require('idempotency')
local limits = require('limits')
local pools = require('pools')
local quotas = require('quotas')
local records = require('records')
local removals = require('removals')
local transaction = require('transaction')
local waiters = require('waiters')

-- The reply word, if nothing more is to do.
local function decide(call, id, force, live)
  if idempotency.completed_at(call, id) then
    local word = idempotency.was_told(call, id, {'absent', 'in_use', 'deleting'})
    if word == 'absent' or word == 'in_use' or word and not call.refused then return word end
    return 'deleted'
  end
  if call.refused then return call.refused == 'unknown_pool' and 'absent' or call.refused end
  return live > 0 and not force and call.pool.state ~= 'deleting' and 'in_use'
end

-- Ends allocations, up to the limit.  Broken records are removed as well, as the counters are deleted with the pool.
local function empty(call)
  local room = limits.RECLAIM_BATCH_MAX
  for _, index in ipairs({call.deadlines, call.pinned}) do
    for _, id in ipairs(room > 0 and redis.call('ZRANGE', index, 0, room - 1) or {}) do
      local record = records.at_id(call, id)
      if not (record and removals.try(call, record, 'deleted', 'pool deleted')) then
        removals.discard(call, id, records.key(call, id))
      end
      room = room - 1
    end
  end
  for _, scope in ipairs(room > 0 and redis.call('ZRANGE', quotas.index(call), 0, room - 1) or {}) do
    transaction.plan(call, 'unlinks', string.sub(call.key, 1, -5) .. 'quota:' .. scope)
    transaction.plan(call, 'old_scopes', scope)
    room = room - 1
  end
  for _, id in ipairs(room > 0 and redis.call('ZRANGE', waiters.index(call), 0, room - 1) or {}) do
    transaction.plan(call, 'unlinks', waiters.key(call, id))
    transaction.plan(call, 'old_waiters', id)
    room = room - 1
  end
  return limits.RECLAIM_BATCH_MAX - room
end

local function delete(call, id, live)
  local left = live - empty(call)
  if left > 0 then
    idempotency.complete_as(call, id, 'deleting')
    pools.set(call, 'state', 'deleting')
    return {'deleting', left}
  end
  idempotency.complete(call, id)
  -- Marks the pool as deleted on purpose, so that it is not recovered as lost.
  idempotency.complete(call, 'deleted')
  call.ended_expires, call.deletes_pool, call.upkeep = true, true, true
  return {'deleted'}
end

return function(call)
  -- Read
  clock.start(call)
  local id, repeated = arguments.text(call, 'call'), arguments.flag(call, 'repeated')
  local force = arguments.flag(call, 'force')
  arguments.finish(call, 0)
  pools.open_state(call)
  local live = redis.call('ZCARD', call.deadlines) + redis.call('ZCARD', call.pinned)
  local others = redis.call('ZCARD', quotas.index(call)) + redis.call('ZCARD', waiters.index(call))
  -- Decide
  local word = decide(call, id, force, live)
  local left = live + others
  local reply = word and {word, (word == 'in_use' or word == 'deleting') and live or nil} or delete(call, id, left)
  -- A late copy of a call that changed nothing must not delete a pool that is created, or emptied, later.
  if repeated and (word == 'absent' or word == 'in_use') then
    idempotency.complete_as(call, id, word)
    call.ended_expires = call.refused == 'unknown_pool'
    call.upkeep = call.ended_expires
  end
  -- Write
  transaction.commit(call)
  return {reply}
end
