-- history: what the pool has done so far, and what it had at the end of each minute and hour.
-- A counter is the pool's field `<kind>_count`: how many events of that kind it has had; `denied.<code>_count`: how
-- many requests it has denied.  They only grow.  The one that a call reads with the pool is written with it; the others
-- (`call.counts`) are added to by HINCRBY, unread: nothing depends on them, so that a broken one fails no call.
-- A point is an entry of the streams `usage_minutes` and `usage_hours`; its id is the end of its interval.  The first
-- change in a later minute writes what the pool had before it: since the last change it had nothing else.  So an
-- interval without a change needs no point, and no timer.  `history_ms` is where the interval without a point begins.
-- A point that cannot be written is left out: nothing depends on it.
local limits = require('limits')
local numbers = require('numbers')
local pools = require('pools')
local waiters = require('waiters')

local history = {}

function history.minutes(call)
  return string.sub(call.key, 1, -5) .. 'usage_minutes'
end

function history.hours(call)
  return string.sub(call.key, 1, -5) .. 'usage_hours'
end

-- Counts a reply that denies a request; one with an estimate has the denial as its last part.
function history.deny(call, reply)
  local denial = reply[4] and reply[1] == 'estimated' and reply[4] or reply
  local code, counts = denial[1], call.counts or {}
  if code == 'denied' then code = denial[2] end
  if code == 'capacity_exceeded' and string.sub(denial[3], 1, 6) == 'quota:' then code = 'quota_exceeded' end
  local field = 'denied.' .. code .. '_count'
  counts[field], call.counts = (counts[field] or 0) + 1, counts
end

-- Counts the events of the call: those that it grants from its arguments, and those that are planned.
local function count_events(call)
  local pool, fresh, planned = call.pool, call.fresh, call.planned_events
  local counter, n, counts = pool.counter, 0, call.counts
  for i = 1, fresh and #fresh or 0 do
    if fresh[i].first then n = n + 1 end
  end
  if n > 0 and counter ~= 'granted_count' then
    counts = counts or {}
    counts.granted_count, n = n, 0
  end
  for i = 1, planned and #planned or 0 do
    local field = planned[i][2] .. '_count'
    if field == counter then
      n = n + 1
    else
      counts = counts or {}
      counts[field] = (counts[field] or 0) + 1
    end
  end
  call.counts = counts
  if n > 0 then
    local before = numbers.exact(pool.counted)
    pool.new_count = (before or 0) + n
  end
end

-- What the pool has now, before the writes of this call: the fields of a point.
local function state_of(call)
  local flat, point = redis.call('HGETALL', call.key), {}
  local granted, denied, fields, values = '0', 0, {}, {}
  for i = 1, #flat, 2 do
    local field, value = flat[i], flat[i + 1]
    if string.sub(field, -10) == '.allocated' or string.sub(field, -9) == '.capacity' then
      fields[#fields + 1], values[field] = field, value
    elseif field == 'granted_count' then
      granted = value
    elseif string.find(field, '^denied%..+_count$') then
      local number = numbers.exact(value)
      denied = denied + (number or 0)
    end
  end
  -- In one order, so that the entries of a stream share their names.
  table.sort(fields)
  point[1], point[2] = 'allocations', redis.call('ZCARD', call.deadlines) + redis.call('ZCARD', call.pinned)
  point[3], point[4] = 'waiting', call.pool.waits and redis.call('ZCARD', waiters.index(call)) or 0
  point[5], point[6], point[7], point[8] = 'granted', granted, 'denied', denied
  for _, field in ipairs(fields) do point[#point + 1], point[#point + 2] = field, values[field] end
  return point
end

-- Plans the points of the intervals that are over; `from_ms`: where the minute began, nil if there is no history.
local function close(call, from_ms)
  -- What is left of the history of another pool is removed.
  if not from_ms then
    call.forgets = true
  else
    -- While its slot is migrating a key that has not arrived looks absent: then the next change writes the point.
    local found = redis.pcall('EXISTS', call.key, history.minutes(call), history.hours(call))
    if type(found) ~= 'number' then return end
    local hour_ms = from_ms - from_ms % limits.HOUR_MS + limits.HOUR_MS
    call.point, call.minute_ms = state_of(call), from_ms + limits.MINUTE_MS
    if call.now >= hour_ms then call.hour_ms = hour_ms end
  end
  pools.set(call, 'history_ms', call.now - call.now % limits.MINUTE_MS)
end

-- The last readings before the writes: plans the counters and the points of a call that changes the pool, or denies.
-- Returns whether a field of the pool is set for it.
function history.plan(call)
  count_events(call)
  local from_ms = numbers.exact(call.pool.history_ms)
  local is_due = not from_ms or call.now >= from_ms + limits.MINUTE_MS
  if is_due then close(call, from_ms) end
  return is_due and call.pool_sets
end

return history
