-- starts: the earliest instants at which requests could start, as known deadlines say: without renewals, without
-- releases, and without requests to come.  A walk ends allocations in memory, in the order of their deadlines, until a
-- request fits, which it charges; `close` restores the counters.  It looks at EXPLAIN_DEADLINES_MAX deadlines, read
-- once a call, as long as all walks of the call have looked at no more than EXPLAIN_COUNTERS_MAX counters.
local accounts = require('accounts')
local limits = require('limits')
local records = require('records')

local starts = {}

-- The first deadlines that are stored, and the records that were read for them.
local function stored_of(call)
  if not call.stored_deadlines then
    local most = limits.EXPLAIN_DEADLINES_MAX + (call.removed and #call.removed or 0)
    local ids = redis.call('ZRANGEBYSCORE', call.deadlines, '-inf', '+inf', 'WITHSCORES', 'LIMIT', '0', most)
    call.stored_deadlines = {ids = ids, is_cut = #ids == 2 * most, records = {}}
  end
  return call.stored_deadlines
end

-- Adds records that this call has read, changed or granted: their stored deadlines do not count.
local function add_own(call, found, list, seen)
  for i = 1, list and #list or 0 do
    local record = list[i]
    if record.deadline_ms and not seen[record] and call.records[record.key] == record then
      found[#found + 1], seen[record] = {at_ms = record.deadline_ms, id = record.id, record = record}, true
    end
  end
end

local function is_earlier(one, other)
  return one.at_ms < other.at_ms or one.at_ms == other.at_ms and one.id < other.id
end

-- The deadlines to come, {at_ms, id, record} each, the earliest first; `record` nil: not read yet.
local function deadlines_of(call)
  local stored = stored_of(call)
  local ids, found, own = stored.ids, {}, {}
  for i = 1, #ids, 2 do
    local touched = call.records[records.key(call, ids[i])]
    if touched == nil then
      found[#found + 1] = {at_ms = tonumber(ids[i + 1]), id = ids[i], record = nil}
    elseif touched then
      own[#own + 1] = touched
    end
  end
  local read, seen = #found, {}
  add_own(call, found, own, seen)
  add_own(call, found, call.changed, seen)
  add_own(call, found, call.fresh, seen)
  if #found > read then table.sort(found, is_earlier) end
  -- Behind the last of those that were read, others may be.
  local last_ms = stored.is_cut and tonumber(ids[#ids])
  while last_ms and found[1] and found[#found].at_ms > last_ms do found[#found] = nil end
  for i = #found, limits.EXPLAIN_DEADLINES_MAX + 1, -1 do found[i] = nil end
  return found
end

-- The accounts of a record, the pool last; nil if there is none, or if a counter is less than its amounts, or broken.
local function charged_of(call, record)
  if not record or record.broken then return nil end
  if record.accounts then return accounts.covering(call, record) end
  return accounts.covers(call.pool, record.list) and {call.pool} or nil
end

local function record_of(call, one)
  if one.record then return one.record end
  local known = call.stored_deadlines.records
  if known[one.id] == nil then known[one.id] = records.at_id(call, one.id) or false end
  return known[one.id]
end

-- Ends the next allocation; false if none is known.
local function end_next(call, walk)
  local one = walk.deadlines[walk.at]
  if not one then return false end
  walk.at, walk.at_ms = walk.at + 1, math.max(walk.at_ms, one.at_ms)
  local record = record_of(call, one)
  local charged = charged_of(call, record)
  if not charged then return true end
  call.foreseen = (call.foreseen or 0) + #charged * (#record.list / 2 + 1)
  if call.foreseen > limits.EXPLAIN_COUNTERS_MAX then
    walk.at = #walk.deadlines + 1
    return false
  end
  accounts.add_all(charged, record.list, -1)
  walk.undo[#walk.undo + 1] = {charged, record.list, 1}
  return true
end

function starts.open(call)
  return {deadlines = deadlines_of(call), at = 1, at_ms = call.now, undo = {}}
end

-- The instant from which on a request fits, after those that the walk has charged; it is charged from then on.
-- 0: not foreseen.
function starts.next(call, walk, charged, list)
  while accounts.take(charged, list) do
    local goes_on = end_next(call, walk)
    if not goes_on then return 0 end
  end
  walk.undo[#walk.undo + 1] = {charged, list, -1}
  return walk.at_ms
end

-- Restores the counters.
function starts.close(walk)
  local undo = walk.undo
  for i = #undo, 1, -1 do accounts.add_all(undo[i][1], undo[i][2], undo[i][3]) end
end

-- The start of a request behind waiters, which are granted in their order; 0: not foreseen.  It leaves the counters as
-- they were.
function starts.after(call, ahead, charged, list)
  local walk, at_ms = starts.open(call), nil
  for i = 1, #ahead do
    at_ms = starts.next(call, walk, ahead[i].charged, ahead[i].list)
    if at_ms == 0 then break end
  end
  if at_ms ~= 0 then at_ms = starts.next(call, walk, charged, list) end
  starts.close(walk)
  return at_ms
end

return starts
