#!lua flags=allow-oom
--[[
undo -- Undo calls whose outcome no caller receives, so that late copies of them have no effect.

A call that waits leaves the line, with its gang. Its id is removed from the record that has it. If it was the only one,
the allocation ends; else it gets the ttl and deadline that the other calls returned, so that no change of an undone
call remains. The call is completed in any case, also if the pool does not exist: a copy may arrive after the pool is
created again.

KEYS    records      keys    one for each item
ARGV    items        list    of (call, repeated): the call to undo
Reply   per item {"undone"} (the allocation has ended) | {"left"} (other calls have it) | {"absent"} | {"schema"}
Writes  pool, accounts, records, deadlines, pinned, ended, events
Cost    O(I * (A * R + log N)): I items, A accounts, R resources, N live
]]
local arguments = require('arguments')
local claims = require('claims')
local clock = require('clock')
local events = require('events')
local idempotency = require('idempotency')
local line = require('line')
local line_entries = require('line_entries')
local pools = require('pools')
local records = require('records')
local removals = require('removals')
local transaction = require('transaction')
local waiters = require('waiters')

local function read_item()
  return {}
end

-- A record that cannot be decoded counts as absent, so that the call is completed nevertheless.
local function of_item(call, item)
  local record = call.records[item.key]
  if record == nil then
    record = not call.refused and records.read(call, item.key) or false
    call.records[item.key] = record
  end
  return record and not record.broken and record
end

local function leave(call, item, record)
  local was_pinned, is_awaited = not record.deadline_ms, claims.is_awaited(record, item.call)
  if not claims.remove(call, record, item.call) then return false end
  -- Nobody is to claim the grant any more.
  if is_awaited then record.unclaimed_ttl_ms = nil end
  idempotency.complete(call, item.call)
  if was_pinned ~= (record.deadline_ms == nil) then pools.next_revision(call) end
  events.add(call, 'call_undone', record.id, nil, 'it was returned to other calls, too')
  return true
end

-- The call waits in line: it leaves.
local function withdraw(call, item)
  line_entries.open(call)
  local waiter = line_entries.at_record(call, item.key)
  local one = waiter and waiters.member(waiter, records.id(call, item.key)) or waiter
  if not one or one.call ~= item.call then return end
  line_entries.leave(call, waiter, 'undone')
  call.freed = true
end

local function decide(call, item)
  if call.refused == 'schema' then return {call.refused} end
  local record = of_item(call, item)
  if not record or not claims.has(record, item.call) then
    if not call.refused and call.pool.waits then withdraw(call, item) end
    if not idempotency.completed_at(call, item.call) then idempotency.complete(call, item.call) end
    return {'absent'}
  end
  if leave(call, item, record) then return {'left'} end
  if removals.try(call, record, 'undone', 'outcome unknown') then return {'undone'} end
  -- Record and counters contradict each other, which an audit reports.
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
  -- The completed calls of a missing pool expire, unless it is created again.
  call.ended_expires = call.refused == 'unknown_pool' and call.completed ~= nil
  call.upkeep = call.ended_expires
  line.finish(call)
  -- Write
  transaction.commit(call)
  return replies
end
