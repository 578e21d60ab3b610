#!lua flags=allow-oom
--[[
undo -- End calls whose outcome nobody will hear of, and keep their copies from doing anything.

The call is taken out of the record that has it.  Where it was the only one, the allocation ends; else it lives on as
the others were told: what an undone call changed does not outlive it.  The call is completed in any case, also where
the pool is gone: a copy may arrive after it was made again.

KEYS    records      keys    one for each item
ARGV    items        list    of (call, repeated): the call to be undone
Reply   per item {"undone"} (the allocation has ended) | {"left"} (others have it) | {"absent"} | {"schema"}
Writes  pool, accounts, records, deadlines, pinned, ended, events
Cost    O(I * (A * R + log N)): I items, A accounts, R resources, N live
]]
local arguments = require('arguments')
local claims = require('claims')
local clock = require('clock')
local events = require('events')
local idempotency = require('idempotency')
local pools = require('pools')
local records = require('records')
local removals = require('removals')
local transaction = require('transaction')

local function read_item()
  return {}
end

-- A record that cannot be read is no reason to let the copy act.
local function of_item(call, item)
  local record = call.records[item.key]
  if record == nil then
    record = not call.refused and records.read(call, item.key) or false
    call.records[item.key] = record
  end
  return record and not record.broken and record
end

local function leave(call, item, record)
  local was_pinned = not record.deadline_ms
  if not claims.remove(call, record, item.call) then return false end
  idempotency.complete(call, item.call)
  if was_pinned ~= (record.deadline_ms == nil) then pools.next_revision(call) end
  events.add(call, 'call_undone', record.id, nil, 'others were told of it')
  return true
end

local function decide(call, item)
  if call.refused == 'schema' then return {call.refused} end
  local record = of_item(call, item)
  if not record or not claims.has(record, item.call) then
    if not idempotency.completed_at(call, item.call) then idempotency.complete(call, item.call) end
    return {'absent'}
  end
  if leave(call, item, record) then return {'left'} end
  if removals.try(call, record, 'undone', 'outcome unknown') then return {'undone'} end
  -- Record and counters contradict each other: that is the audit's.
  idempotency.complete(call, item.call)
  return {'absent'}
end

return function(call)
  -- Read
  clock.start(call)
  call.epoch = ''
  local items = arguments.items(call, read_item)
  pools.open_state(call)
  -- Decide
  local replies = {}
  for i = 1, #items do replies[i] = decide(call, items[i]) end
  -- Marks of a pool that is gone go with time, unless it is made again.
  call.ended_expires = call.refused == 'unknown_pool' and call.completed ~= nil
  call.upkeep = call.ended_expires
  -- Write
  transaction.commit(call)
  return replies
end
