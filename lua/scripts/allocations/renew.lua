#!lua flags=allow-oom
--[[
renew -- Extend leases; shorten one only on request.

A lease past its deadline that is not reclaimed yet is renewed, as nothing was granted in its place.  A renewal writes
no event and does not change the pool's revision, unless it shortens: then the call is completed, so that a late copy
cannot shorten again.

A missing lease that should be live, or an earlier grant in its place, means that the server has lost data.  In a pool
with a recovery grace that begins a recovery, and during one the reply asks the holder to adopt.

KEYS    records      keys    one for each item
ARGV    items        list    of (call, repeated, fence, ttl_ms, shorten, epoch, known_ms); fence 0: any; ttl_ms 0: the
                             record's; epoch: the pool's that granted it, '' any; known_ms: its holder's deadline, 0
                             none
Reply   per item {"renewed", fence, deadline_ms, durability, ends_ms, left_ms} (0: pinned; durability: the pool's, or
          left out; ends_ms: the hard end, which cuts the deadline, or left out; left_ms: until then)
        | {"over", ends_ms} (the hard end has been reached) | {"fenced", fence} | {"unknown"}
        | {"missing", remaining_ms} (of the recovery: adopt it) | {"wrong_epoch"} | {"releasing"}
        | {"preempted", deadline_ms, left_ms, id} (it ends then; the id takes its room)
        | {"ttl_too_long", max_ttl_ms} | {"pool_lost"} (no pool, and no deletion)
        | {"unknown_pool"} | {"other_epoch"} | {"schema"}
Writes  records, deadlines, pool; when one is shortened or a recovery begins also pinned, ended, events
Cost    O(I * (R + log N)): I items, R resources, N live
]]
local accounts = require('accounts')
local arguments = require('arguments')
local claims = require('claims')
local clock = require('clock')
local events = require('events')
local idempotency = require('idempotency')
local pools = require('pools')
local records = require('records')
local recovery = require('recovery')
local shares = require('shares')
local transaction = require('transaction')

local function read_item(call)
  local fence = arguments.integer(call, 'fence')
  local ttl_ms = arguments.integer(call, 'ttl_ms')
  local shortens = arguments.flag(call, 'shorten')
  local epoch = arguments.text(call, 'epoch')
  local known_ms = arguments.integer(call, 'known_ms')
  return {
    fence = fence, ttl_ms = ttl_ms, shorten = shortens, epoch = epoch, known_ms = known_ms, call = nil, repeated = nil,
    key = nil,
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

-- Extends the lease; returns the deadline for the reply, 0 if it is pinned.
local function extend(call, item, record)
  local now, ttl_ms, was_ms = call.now, item.ttl_ms, record.deadline_ms
  -- Of one that its caller has not asked for yet, the record's is the time to claim it.
  if ttl_ms == 0 and record.unclaimed_ttl_ms then ttl_ms = record.unclaimed_ttl_ms end
  if ttl_ms == 0 then ttl_ms = record.ttl_ms or claims.lease_ttl(record) end
  local deadline_ms = ttl_ms and records.cut(now + ttl_ms, record.ends_ms)
  local shortened = item.shorten and shorten(call, item, record, deadline_ms)
  if not shortened and was_ms and deadline_ms > was_ms then record.deadline_ms = deadline_ms end
  record.gap_ms = nil
  was_ms = record.deadline_ms
  -- The instant of the renewal follows from the deadline, or is stored.
  local is_stored = record.asserted_ms or record.unclaimed_ttl_ms
  if is_stored or not was_ms or was_ms - record.ttl_ms ~= now then record.asserted_ms = now end
  if record.ttls and deadline_ms then return claims.renew(record, was_ms or deadline_ms, shortened) end
  return was_ms or 0
end

-- For a record with another fence: if it is an earlier grant than the holder's, the server has lost the later one.
local function answer_fenced(call, item, record)
  local reply = item.fence > record.fence and recovery.answer_absent(call, item)
  if not reply or reply[1] ~= 'missing' then return {'fenced', record.fence} end
  if item.shorten and item.repeated then idempotency.complete_as(call, item.call, 'unknown') end
  return reply
end

-- For a record whose hard end has been reached: its holder has nothing any more, though it is not yet reclaimed.
local function answer_over(call, item, record, repeats)
  -- A late copy must not shorten a later grant.
  if item.shorten and item.repeated and not repeats then idempotency.complete_as(call, item.call, 'unknown') end
  return {'over', record.ends_ms}
end

local function answer_renewed(call, record, deadline_ms)
  local reply, ends_ms = {'renewed', record.fence, deadline_ms, call.pool.durability}, record.ends_ms
  if ends_ms then reply[4], reply[5], reply[6] = call.pool.durability or '', ends_ms, ends_ms - call.now end
  return reply
end

-- Counts what was granted before a scope had a weight.
local function count(call, record)
  if accounts.read(call.pool, record.list) then shares.catch_up(call, record) end
end

local function decide(call, item)
  if call.refused then return recovery.answer_absent(call, item) end
  local pool, fence, epoch, key = call.pool, item.fence, item.epoch, item.key
  if epoch ~= '' and epoch ~= pool.epoch then return {'wrong_epoch'} end
  local record = records.of_item(call, key)
  local repeats = item.shorten and idempotency.completed_at(call, item.call)
  if not record or repeats and idempotency.was_told(call, item.call, {'unknown'}) then
    if item.shorten and item.repeated then idempotency.complete_as(call, item.call, 'unknown') end
    return recovery.answer_absent(call, item)
  end
  if fence ~= 0 and fence ~= record.fence then return answer_fenced(call, item, record) end
  if records.is_over(call, record) then return answer_over(call, item, record, repeats) end
  if repeats and not idempotency.was_told(call, item.call, {'releasing'}) then
    return answer_renewed(call, record, record.deadline_ms or 0)
  end
  if repeats or record.releasing_ms then
    -- A late copy must not shorten a later grant.
    if item.shorten and item.repeated and not repeats then
      idempotency.complete_as(call, item.call, 'releasing')
    end
    if not record.preempted_by then return {'releasing'} end
    return {'preempted', record.deadline_ms, record.deadline_ms - call.now, record.preempted_by}
  end
  if pool.max_ttl_ms and item.ttl_ms > math.max(pool.max_ttl_ms, record.ttl_ms or 0) then
    return {'ttl_too_long', pool.max_ttl_ms}
  end
  records.edit(call, record)
  if pool.weights and not record.share then count(call, record) end
  if pool.recovering then claims.add_holder(record) end
  local deadline_ms = extend(call, item, record)
  return answer_renewed(call, record, deadline_ms)
end

return function(call)
  -- Read
  clock.start(call)
  local items = arguments.items(call, read_item)
  pools.open_state(call)
  -- Decide
  local replies = {items[1]}
  for i = 1, #items do replies[i] = decide(call, items[i]) end
  -- Write
  transaction.commit(call)
  return replies
end
