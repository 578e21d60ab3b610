-- idempotency: the ids of completed calls, so that a copy still travelling can change nothing.
-- Kept for ENDED_KEEP_MS; at most about ENDED_MAX; every TRIM_EVERY revisions, so many old ones are forgotten.
local events = require('events')
local limits = require('limits')
local pools = require('pools')

local idempotency = {}

-- `call.completed`: an instant and an id in turns, as they are written.  Their index, from the ninth on.
local function is_among(call, completed, id)
  local ids, n = call.completed_ids, #completed
  if n > 16 and not ids then
    ids = {}
    for i = 2, n, 2 do ids[completed[i]] = true end
    call.completed_ids = ids
  end
  if ids then return ids[id] end
  for i = 2, n, 2 do
    if completed[i] == id then return true end
  end
  return false
end

-- When the call was completed, or nil.  It may have been a moment ago, in this very call.
function idempotency.completed_at(call, id)
  local completed = call.completed
  if completed and is_among(call, completed, id) then return call.now end
  local completed_ms = redis.call('ZSCORE', call.ended, id)
  return completed_ms and tonumber(completed_ms) or nil
end

-- Another one.
local function complete_next(call, completed, id)
  if is_among(call, completed, id) then return end
  local n = #completed
  completed[n + 1], completed[n + 2] = call.now_text, id
  if call.completed_ids then call.completed_ids[id] = true end
end

function idempotency.complete(call, id)
  if id == '' or id == '*' then return end
  local completed = call.completed
  -- A release has two: room for both.
  if completed then complete_next(call, completed, id) else call.completed = {call.now_text, id, nil, nil} end
end

-- These, which were completed in this call, are not after all.
function idempotency.keep(call, ids)
  local completed, kept = call.completed, {}
  for i = 2, #completed, 2 do
    if not ids[completed[i]] then kept[#kept + 1], kept[#kept + 2] = call.now_text, completed[i] end
  end
  call.completed, call.completed_ids = kept[1] and kept or nil, nil
end

-- The call has changed nothing, and its repeats are to hear so again: for what an undo could not take back.
function idempotency.complete_as(call, id, word)
  idempotency.complete(call, id)
  idempotency.complete(call, id .. ':' .. word)
end

-- The first of these words that the completed call was told, or nil.
function idempotency.was_told(call, id, words)
  for i = 1, #words do
    if idempotency.completed_at(call, id .. ':' .. words[i]) then return words[i] end
  end
  return nil
end

-- The mark of a grant that has ended, kept where a missing lease means lost data.
function idempotency.fence_mark(fence)
  return string.format('fence:%.0f', fence)
end

-- The last reading before the writes: which ones are to be forgotten, and whether for want of room rather than of age.
function idempotency.trim(call)
  local adding = call.completed and #call.completed / 2 or 0
  local oldest = redis.call('ZRANGE', call.ended, 0, 0, 'WITHSCORES')
  local excess = redis.call('ZCARD', call.ended) + adding - limits.ENDED_MAX
  local before_ms = call.now - limits.ENDED_KEEP_MS
  if not oldest[2] or tonumber(oldest[2]) > before_ms and excess <= 0 then return end
  local most = math.min(limits.ENDED_TRIM * (limits.TRIM_EVERY + adding), limits.ENDED_TRIM_MAX)
  local old, cut_short = {}, false
  oldest = redis.call('ZRANGE', call.ended, 0, most - 1, 'WITHSCORES')
  for i = 1, #oldest, 2 do
    local expired = tonumber(oldest[i + 1]) <= before_ms
    if not expired and excess <= #old then break end
    old[#old + 1] = oldest[i]
    cut_short = cut_short or not expired
  end
  if old[1] then call.forgotten = old end
  if call.refused or not cut_short then return end
  local told_ms = tonumber(redis.call('HGET', call.key, 'ended_cut_ms') or 0)
  if told_ms <= before_ms then
    pools.set(call, 'ended_cut_ms', call.now_text)
    events.add(call, 'idempotency_trimmed', nil, nil, 'more calls ended than are remembered for their time')
  end
end

return idempotency
