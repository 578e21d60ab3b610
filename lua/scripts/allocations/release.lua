#!lua flags=allow-oom
--[[
release -- End allocations and uncharge their amounts, once.

The amounts come from the record, never from the caller; what is free then goes to those who wait in line.
A repeated call gets the first reply again.  The calls that
returned the allocation are completed too, so that a late copy of one grants nothing.  A missing allocation that should
be live begins a recovery, as in `renew`, and is not adopted any more.

KEYS    records      keys    one for each item
ARGV    reason       text    for the event
        items        list    of (call, repeated, fence, epoch, known_ms); fence 0: any; epoch: the pool's that granted
                             it, '' any; known_ms: its holder's deadline, 0 none
Reply   per item {"released", ended_ms} | {"fenced", fence} | {"unknown"} | {"wrong_epoch"}
        | {"missing", remaining_ms} (of the recovery) | {"pool_lost"} (no pool, and no deletion)
        | {"unknown_pool"} | {"other_epoch"} | {"schema"}
Writes  pool, accounts, records, deadlines, pinned, ended, events
Cost    O(I * (A * R + log N)): I items, A accounts, R resources, N live
]]
local arguments = require('arguments')
local clock = require('clock')
local idempotency = require('idempotency')
local line = require('line')
local pools = require('pools')
local records = require('records')
local recovery = require('recovery')
local removals = require('removals')
local transaction = require('transaction')

local function read_item(call)
  local fence = arguments.integer(call, 'fence')
  local epoch = arguments.text(call, 'epoch')
  local known_ms = arguments.integer(call, 'known_ms')
  return {fence = fence, epoch = epoch, known_ms = known_ms, call = nil, repeated = nil, key = nil}
end

-- The reply that this call has got before, or nil.
local function repeated(call, item)
  local completed_ms = idempotency.completed_at(call, item.call)
  if not completed_ms then return nil end
  return idempotency.was_told(call, item.call, {'unknown'}) and {'unknown'} or {'released', completed_ms}
end

local function answer_absent(call, item, is_other)
  local reply = is_other and {'unknown'} or recovery.answer_absent(call, item)
  if reply[1] == 'missing' then
    idempotency.complete(call, idempotency.fence_mark(item.fence))
  elseif item.repeated then
    idempotency.complete_as(call, item.call, 'unknown')
  end
  return reply
end

local function decide(call, item, reason)
  if call.refused then return recovery.answer_absent(call, item) end
  local fence, epoch, key, id = item.fence, item.epoch, item.key, item.call
  local record = records.of_item(call, key)
  -- A late copy with a fence cannot release a newer grant, so the ordinary release does not look up its call.
  local is_fenced = record and fence ~= 0 and fence ~= record.fence
  local reply = (not record or fence == 0 or is_fenced) and repeated(call, item)
  if reply then return reply end
  local is_other = epoch ~= '' and epoch ~= call.pool.epoch
  if not record then return answer_absent(call, item, is_other) end
  if is_fenced then return {'fenced', record.fence} end
  if is_other then return {'wrong_epoch'} end
  removals.plan(call, record, 'released', reason)
  idempotency.complete(call, id)
  return {'released', call.now}
end

return function(call)
  -- Read
  clock.start(call)
  local reason = arguments.text(call, 'reason')
  local items = arguments.items(call, read_item)
  local fields = pools.fields('released_count')
  local count = records.load(call, items, fields, pools.FIELDS)
  pools.open(call, fields, count)
  -- Decide
  local replies = {items[1]}
  for i = 1, #items do replies[i] = decide(call, items[i], reason) end
  line.finish(call)
  -- Write
  transaction.commit(call)
  return replies
end
