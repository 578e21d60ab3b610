#!lua flags=allow-oom
--[[
reconcile -- Release allocations that their owner does not use, after checking them again.

The caller has compared a listing with the owner's live ids.  Meanwhile an id may have been granted anew, or returned to
a caller as live.  So owner, fence and age are checked here, in the script that releases.

KEYS    records      keys    one for each item
ARGV    owner        text    the exact owner, or a prefix followed by '*'
        as_of_ms     int     allocations granted or asserted then or later are kept
        items        list    of (call, repeated, fence)
Reply   per item {"released", ended_ms} | {"fenced", fence} | {"unknown"} | {"kept"} (another owner's, or newer)
        | {"future"} (as_of_ms is) | {"unknown_pool"} | {"other_epoch"} | {"schema"}
Writes  pool, accounts, records, deadlines, pinned, ended, events
Cost    O(I * (A * R + log N)): I items, A accounts, R resources, N live
]]
local arguments = require('arguments')
local clock = require('clock')
local idempotency = require('idempotency')
local line = require('line')
local pools = require('pools')
local records = require('records')
local removals = require('removals')
local transaction = require('transaction')

local function read_item(call)
  return {fence = arguments.integer(call, 'fence')}
end

local function is_owners(record, owner)
  if string.sub(owner, -1) ~= '*' then return record.owner == owner end
  return string.sub(record.owner, 1, #owner - 1) == string.sub(owner, 1, -2)
end

local function is_older(record, as_of_ms)
  return record.granted_ms < as_of_ms and records.last_asserted(record) < as_of_ms
end

local function decide(call, item, owner, as_of_ms)
  if call.refused then return {call.refused} end
  if as_of_ms > call.now then return {'future'} end
  local completed_ms = idempotency.completed_at(call, item.call)
  if completed_ms then return {'released', completed_ms} end
  local record = records.of_item(call, item.key)
  if not record then return {'unknown'} end
  if item.fence ~= record.fence then return {'fenced', record.fence} end
  if not is_owners(record, owner) or not is_older(record, as_of_ms) then return {'kept'} end
  removals.plan(call, record, 'released', 'reconciled')
  idempotency.complete(call, item.call)
  return {'released', call.now}
end

return function(call)
  -- Read
  clock.start(call)
  local owner, as_of_ms = arguments.text(call, 'owner'), arguments.integer(call, 'as_of_ms')
  local items = arguments.items(call, read_item)
  pools.open_state(call)
  -- Decide
  local replies = {}
  for i = 1, #items do replies[i] = decide(call, items[i], owner, as_of_ms) end
  line.finish(call)
  -- Write
  transaction.commit(call)
  return replies
end
