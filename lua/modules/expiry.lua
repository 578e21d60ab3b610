-- expiry: reclaims expired allocations, oldest first, until the request fits.  A lease that expired because of a gap in
-- the pool's time is extended by the gap, once until its next renewal.  The server's clock may have been set forward,
-- or the pool was unused: the two cannot be distinguished.  It is extended no further than to its hard end, which the
-- gap does not move.
local accounts = require('accounts')
local claims = require('claims')
local clock = require('clock')
local events = require('events')
local pools = require('pools')
local records = require('records')
local removals = require('removals')

local expiry = {}

function expiry.is_lapsed(call, record)
  return record.deadline_ms and record.deadline_ms <= call.now
end

-- Whether this lease is extended by a gap instead of reclaimed; then its deadline is the new one.
function expiry.spares(call, record)
  if record.gap_ms or record.broken or record.fresh or not record.deadline_ms then return false end
  call.gaps = call.gaps or clock.gaps(call)
  local deadline_ms, asserted_ms, gap_ms = record.deadline_ms, records.last_asserted(record), nil
  for i = 1, #call.gaps do
    local from_ms, to_ms = call.gaps[i][1], call.gaps[i][2]
    -- Asserted before the gap was over: a renewal just before it may be later than the pool's last write.
    if deadline_ms > from_ms and asserted_ms < to_ms then
      deadline_ms, gap_ms = deadline_ms + to_ms - from_ms, from_ms
    end
  end
  deadline_ms = records.cut(deadline_ms, record.ends_ms)
  if not gap_ms or deadline_ms <= call.now then return false end
  records.edit(call, record)
  -- Each of its calls is extended, as the change of one of them may be undone.
  claims.defer(record, call.gaps, asserted_ms)
  record.deadline_ms, record.gap_ms = deadline_ms, gap_ms
  pools.next_revision(call)
  events.add(call, 'deferred', record.id, nil, 'the clock')
  return true
end

-- Reclaims one id of the index of deadlines.  True if it was reclaimed.
function expiry.take(call, id, reason)
  local key = records.key(call, id)
  local record = records.at_id(call, id)
  if record and expiry.spares(call, record) then
    call.records[key] = record
    return false
  end
  if record and records.is_over(call, record) then reason = 'end' end
  return removals.plan_expired(call, id, key, record, reason)
end

-- Reads the expired ids; at most `most` are handled in this call.
local function open(call, most)
  local ids = redis.call('ZRANGEBYSCORE', call.deadlines, '-inf', call.now_text, 'LIMIT', '0', most + 1)
  call.expired, call.expired_at = ids, 0
  call.expired_most, call.more_expired = math.min(#ids, most), #ids > most
end

-- Handles the next expired id.  Whether it is none that an item of this call returned: that one the next call may
-- reclaim; except the allocation that is resized, which must not end.
local function take_next(call)
  call.expired_at = call.expired_at + 1
  local id = call.expired[call.expired_at]
  local touched = call.records[records.key(call, id)]
  if touched == nil then
    expiry.take(call, id, 'deadline')
    return true
  end
  if touched and touched ~= call.resized and expiry.is_lapsed(call, touched) then call.more_expired = true end
  return false
end

-- Reclaims what has expired, whether or not the room is asked for; once a call.
function expiry.reclaim_due(call, most)
  if call.expired then return end
  open(call, most)
  while call.expired_at < call.expired_most do take_next(call) end
end

-- Reclaims until the list fits.  Returns nil if it is charged; else the account that is short.  `call.more_expired`:
-- there are more expired allocations than one call may reclaim, or than this call can.
function expiry.make_room(call, most, charged, list, held)
  if not call.expired then open(call, most) end
  local short = true
  while call.expired_at < call.expired_most do
    local taken = take_next(call)
    if taken then
      short = accounts.take(charged, list, held)
      if not short then return nil end
    end
  end
  return short
end

return expiry
