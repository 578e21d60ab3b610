-- idempotency: the ids of completed calls, so that a copy still travelling can change nothing.
-- Kept for ENDED_KEEP_MS; at most about ENDED_MAX; every TRIM_EVERY revisions, so many old ones are forgotten.
local events = require('events')
local limits = require('limits')
local pools = require('pools')

local idempotency = {}

-- When the call was completed, or nil.  It may have been a moment ago, in this very call.
function idempotency.completed_at(call, id)
  if call.completed and call.completed[id] then return call.now end
  local completed_ms = redis.call('ZSCORE', call.ended, id)
  return completed_ms and tonumber(completed_ms) or nil
end

function idempotency.complete(call, id)
  if id == '' or id == '*' then return end
  local completed = call.completed
  if not completed then
    call.completed = {id, [id] = true}
    return
  end
  if completed[id] then return end
  completed[#completed + 1], completed[id] = id, true
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
  local adding = call.completed and #call.completed or 0
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
    events.add(call, 'forgot', nil, nil, 'more calls ended than are remembered for their time')
  end
end

return idempotency
