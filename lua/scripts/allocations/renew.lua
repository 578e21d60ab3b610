#!lua flags=allow-oom
--[[
renew -- Extend leases; never shorten one unless asked.

A lease past its deadline that nobody reclaimed yet is renewed: nobody had been given its room.  Renewals are no events
and leave the pool's revision alone, unless they shorten: then the call is remembered, so that a late copy cannot
shorten again.

A lease that should be there and is not means that the store has lost data.  In a pool with a recovery grace that begins
a recovery, and while there is one the holder is told to adopt.

KEYS    records      keys    one for each item
ARGV    items        list    of (call, repeated, fence, ttl_ms, shorten, epoch, known_ms); fence 0: any; ttl_ms 0: the
                             record's; epoch: the pool's that granted it, '' any; known_ms: the deadline that its holder
                             knows, 0 none
Reply   per item {"renewed", fence, deadline_ms, durability} (0: pinned; durability: the pool's, or left out)
        | {"fenced", fence} | {"unknown"} | {"missing", remaining_ms} (of the recovery: adopt it)
        | {"wrong_epoch"} | {"releasing"} | {"ttl_too_long", max_ttl_ms}
        | {"pool_lost"} (no pool, and nobody deleted it) | {"unknown_pool"} | {"other_epoch"} | {"schema"}
Writes  records, deadlines, pool; when one is shortened or a recovery begins also pinned, ended, events
Cost    O(I * (R + log N)): I items, R resources, N live
]]
local arguments = require('arguments')
local claims = require('claims')
local clock = require('clock')
local events = require('events')
local idempotency = require('idempotency')
local pools = require('pools')
local records = require('records')
local recovery = require('recovery')
local transaction = require('transaction')

local function read_item(call)
  return {
    fence = arguments.integer(call, 'fence'), ttl_ms = arguments.integer(call, 'ttl_ms'),
    shorten = arguments.flag(call, 'shorten'), epoch = arguments.text(call, 'epoch'),
    known_ms = arguments.integer(call, 'known_ms'),
  }
end

local function shorten(call, item, record, deadline_ms)
  idempotency.complete(call, item.call)
  if not deadline_ms or record.deadline_ms and deadline_ms >= record.deadline_ms then return false end
  if not record.deadline_ms and item.ttl_ms == 0 then return false end
  record.ttl_ms, record.deadline_ms = record.ttl_ms or item.ttl_ms, deadline_ms
  pools.next_revision(call)
  events.add(call, 'renewed', record.id, record, 'shortened')
  return true
end

-- The deadline that the holder is told: 0, where it is pinned.
local function extend(call, item, record)
  local ttl_ms = item.ttl_ms > 0 and item.ttl_ms or record.ttl_ms or claims.lease_ttl(record)
  local deadline_ms = ttl_ms and call.now + ttl_ms
  local shortened = item.shorten and shorten(call, item, record, deadline_ms)
  if not shortened and record.deadline_ms and deadline_ms > record.deadline_ms then record.deadline_ms = deadline_ms end
  record.gap_ms = nil
  -- When it was renewed can be seen from its deadline, or is said.
  if record.asserted_ms or not record.deadline_ms or record.deadline_ms - record.ttl_ms ~= call.now then
    record.asserted_ms = call.now
  end
  if record.ttls and deadline_ms then return claims.renew(record, record.deadline_ms or deadline_ms, shortened) end
  return record.deadline_ms or 0
end

local function decide(call, item)
  if call.refused then return recovery.answer_absent(call, item) end
  local pool = call.pool
  if item.epoch ~= '' and item.epoch ~= pool.epoch then return {'wrong_epoch'} end
  local record = records.of_item(call, item.key)
  local repeats = item.shorten and idempotency.completed_at(call, item.call)
  if not record or repeats and idempotency.was_told(call, item.call, {'unknown'}) then
    if item.shorten and item.repeated then idempotency.complete_as(call, item.call, 'unknown') end
    return recovery.answer_absent(call, item)
  end
  if item.fence ~= 0 and item.fence ~= record.fence then return {'fenced', record.fence} end
  if repeats then return {'renewed', record.fence, record.deadline_ms or 0, pool.durability} end
  if record.releasing_ms then return {'releasing'} end
  if pool.max_ttl_ms and item.ttl_ms > math.max(pool.max_ttl_ms, record.ttl_ms or 0) then
    return {'ttl_too_long', pool.max_ttl_ms}
  end
  records.edit(call, record)
  return {'renewed', record.fence, extend(call, item, record), pool.durability}
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
