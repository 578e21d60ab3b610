#!lua flags=allow-oom
--[[
begin_release -- Let allocations end at a deadline that no call can move, as they are still in use.

For a workload that is shutting down.  The charge stays until `release`, or until the grace has passed.  A renewal is
refused meanwhile, and the id is not granted again.  The grace ends no later than the hard end of the allocation.

KEYS    records      keys    one for each item
ARGV    items        list    of (call, repeated, fence, grace_ms); fence 0: any
Reply   per item {"releasing", field, value, ...} (with the pool's epoch) | {"fenced", fence} | {"unknown"}
        | {"ttl_too_long", max_ttl_ms} (the grace) | {"unknown_pool"} | {"other_epoch"} | {"schema"}
Writes  pool, records, deadlines, pinned, ended, events
Cost    O(I * (R + log N)): I items, R resources, N live
]]
local arguments = require('arguments')
local clock = require('clock')
local events = require('events')
local idempotency = require('idempotency')
local pools = require('pools')
local records = require('records')
local transaction = require('transaction')

local function read_item(call)
  return {fence = arguments.integer(call, 'fence'), grace_ms = arguments.integer(call, 'grace_ms')}
end

local function begin(call, item, record)
  records.edit(call, record)
  local deadline_ms = records.cut(call.now + item.grace_ms, record.ends_ms)
  record.releasing_ms, record.ttl_ms, record.deadline_ms = call.now, item.grace_ms, deadline_ms
  record.asserted_ms, record.gap_ms, record.ttls, record.told = nil, nil, nil, nil
  -- Of a deadline that is cut this instant does not follow.
  if deadline_ms < call.now + item.grace_ms then record.asserted_ms = call.now end
  pools.next_revision(call)
  idempotency.complete(call, item.call)
  events.add(call, 'releasing', record.id, record)
end

local function decide(call, item)
  if call.refused then return {call.refused} end
  local record = records.of_item(call, item.key)
  local completed_ms = idempotency.completed_at(call, item.call)
  if not record or completed_ms and idempotency.was_told(call, item.call, {'unknown'}) then
    if item.repeated then idempotency.complete_as(call, item.call, 'unknown') end
    return {'unknown'}
  end
  if item.fence ~= 0 and item.fence ~= record.fence then return {'fenced', record.fence} end
  if not record.releasing_ms and not completed_ms then
    local max_ttl_ms = call.pool.max_ttl_ms
    if max_ttl_ms and item.grace_ms > max_ttl_ms then return {'ttl_too_long', max_ttl_ms} end
    begin(call, item, record)
  elseif item.repeated and not completed_ms then
    -- Another call has begun the release: a late copy of this one must not begin that of a later grant.
    idempotency.complete(call, item.call)
  end
  return records.flat(call, record, {'releasing', 'epoch', call.pool.epoch})
end

return function(call)
  -- Read
  clock.start(call)
  local items = arguments.items(call, read_item)
  pools.open_state(call)
  -- Decide
  local replies = {}
  for i = 1, #items do replies[i] = decide(call, items[i]) end
  -- Write
  transaction.commit(call)
  return replies
end
