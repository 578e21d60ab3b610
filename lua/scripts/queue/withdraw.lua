#!lua flags=allow-oom
--[[
withdraw -- Take requests out of the line, by the id that they ask for.

A call that is withdrawn grants nothing any more; its caller is told.  An id of a gang withdraws all of it.  A live
allocation of the id is not touched.

KEYS    records      keys    one for each item
ARGV    items        list    of (call, repeated)
Reply   per item {"withdrawn"} | {"absent"} (nobody waits for it) | {"unknown_pool"} | {"other_epoch"} | {"schema"}
Writes  pool, accounts, records, waiters, deadlines, pinned, ended, events
Cost    O(I * log N + 32 * R): I items, N waiters, R resources
]]
local arguments = require('arguments')
local clock = require('clock')
local idempotency = require('idempotency')
local line = require('line')
local line_entries = require('line_entries')
local pools = require('pools')
local transaction = require('transaction')

local function read_item()
  return {}
end

local function decide(call, item)
  if call.refused then return {call.refused} end
  if idempotency.completed_at(call, item.call) then
    return {idempotency.was_told(call, item.call, {'absent'}) or 'withdrawn'}
  end
  line_entries.open(call)
  local waiter = call.pool.waits and line_entries.at_record(call, item.key)
  if not waiter then
    if item.repeated then idempotency.complete_as(call, item.call, 'absent') end
    return {'absent'}
  end
  line_entries.leave(call, waiter, 'withdrawn')
  idempotency.complete_as(call, waiter.call, 'withdrawn')
  idempotency.complete(call, item.call)
  -- Its client learns of it when it asks again.
  call.line.wakes[#call.line.wakes + 1], call.freed = waiter.call, true
  return {'withdrawn'}
end

return function(call)
  -- Read
  clock.start(call)
  local items = arguments.items(call, read_item)
  pools.open_state(call)
  -- Decide
  local replies = {}
  for i = 1, #items do replies[i] = decide(call, items[i]) end
  line.finish(call)
  -- Write
  transaction.commit(call)
  return replies
end
