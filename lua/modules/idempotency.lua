-- idempotency: the ids of completed calls, so that a late copy of one has no effect.
-- They are kept for ENDED_KEEP_MS, at most about ENDED_MAX of them; every TRIM_EVERY revisions old ones are trimmed.
local events = require('events')
local limits = require('limits')
local pools = require('pools')

local idempotency = {}

-- Whether an id is in `call.completed` (instants and ids, alternating, as written); a set of them from the ninth on.
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

-- The instant at which the call was completed, or nil.  It may have been completed in this script call.
function idempotency.completed_at(call, id)
  local completed = call.completed
  if completed and is_among(call, completed, id) then return call.now end
  local completed_ms = redis.call('ZSCORE', call.ended, id)
  return completed_ms and tonumber(completed_ms) or nil
end

-- Adds a second or later id to `call.completed`.
local function complete_next(call, completed, id)
  if is_among(call, completed, id) then return end
  local n = #completed
  completed[n + 1], completed[n + 2] = call.now_text, id
  if call.completed_ids then call.completed_ids[id] = true end
end

function idempotency.complete(call, id)
  if id == '' or id == '*' then return end
  local completed = call.completed
  -- A release completes two calls: preallocated for both.
  if completed then complete_next(call, completed, id) else call.completed = {call.now_text, id, nil, nil} end
end

-- Reverts the completion of these ids, which were completed in this script call.
function idempotency.keep(call, ids)
  local completed, kept = call.completed, {}
  for i = 2, #completed, 2 do
    if not ids[completed[i]] then kept[#kept + 1], kept[#kept + 2] = call.now_text, completed[i] end
  end
  call.completed, call.completed_ids = kept[1] and kept or nil, nil
end

-- Completes a call that changed nothing, with its reply word, which its retries get again.
function idempotency.complete_as(call, id, word)
  idempotency.complete(call, id)
  idempotency.complete(call, id .. ':' .. word)
end

-- The first of these words with which the call was completed, or nil.
function idempotency.was_told(call, id, words)
  for i = 1, #words do
    if idempotency.completed_at(call, id .. ':' .. words[i]) then return words[i] end
  end
  return nil
end

-- The entry of a grant that has ended, kept in pools where a missing lease means lost data.
function idempotency.fence_mark(fence)
  return string.format('fence:%.0f', fence)
end

-- The last read before the writes: which ids to trim, and whether because of their number rather than their age.
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
  local cut_ms = tonumber(redis.call('HGET', call.key, 'ended_cut_ms') or 0)
  if cut_ms <= before_ms then
    pools.set(call, 'ended_cut_ms', call.now_text)
    events.add(call, 'idempotency_trimmed', nil, nil, 'more calls ended than are remembered for their time')
  end
end

return idempotency
