--@include journal
-- tombstones: the ids of calls whose story is over, so that a copy still travelling can change nothing.
-- Kept for ENDED_KEEP_MS; at most ENDED_MAX; each call that adds some forgets at most ENDED_TRIM old ones for each.
-- Wants `pool`, `now` and `refused` bound: the account says when want of room last cut the time short, and an event
-- with it.
local tombstones = {calls = {}, fresh = {}, old = {}}

-- When the call ended, or nil.  It may have been a moment ago, in this very script.
function tombstones.find(key, call)
  if tombstones.fresh[call] then return now end
  local ended_ms = redis.call('ZSCORE', key, call)
  return ended_ms and tonumber(ended_ms) or nil
end

function tombstones.add(call)
  if call == '' then return end
  tombstones.calls[#tombstones.calls + 1] = call
  tombstones.fresh[call] = true
end

-- The call's last word to its caller, which changed nothing: its own repeats hear it again, and its copies do nothing.
function tombstones.settle(call, word)
  tombstones.add(call)
  tombstones.add(call .. ':' .. word)
end

-- The first of these words that the ended call was told, or nil.
function tombstones.told(key, call, words)
  for _, word in ipairs(words) do
    local mark = call .. ':' .. word
    if tombstones.fresh[mark] or redis.call('ZSCORE', key, mark) then return word end
  end
  return nil
end

-- The last reading before the writes: which ones are to be forgotten, and whether for want of room rather than of age.
function tombstones.prepare(key, now, at_least)
  local adding = #tombstones.calls
  local count = math.max(adding, at_least or 0)
  if count == 0 then return end
  local excess = redis.call('ZCARD', key) + adding - schema.ENDED_MAX
  local oldest = redis.call('ZRANGE', key, 0, schema.ENDED_TRIM * count - 1, 'WITHSCORES')
  for i = 1, #oldest, 2 do
    local expired = tonumber(oldest[i + 1]) <= now - schema.ENDED_KEEP_MS
    if not expired and excess <= #tombstones.old then break end
    tombstones.old[#tombstones.old + 1] = oldest[i]
    tombstones.cut_short = tombstones.cut_short or not expired
  end
  if refused or not tombstones.cut_short then return end
  local told_ms = tonumber(redis.call('HGET', pool, 'ended_cut_ms') or 0)
  tombstones.tell = told_ms <= now - schema.ENDED_KEEP_MS
  if tombstones.tell then journal.add('forgot', nil, nil, 'more calls ended than are remembered for their time') end
end

function tombstones.save(key, now)
  local members = {}
  for _, call in ipairs(tombstones.calls) do
    members[#members + 1] = now
    members[#members + 1] = call
  end
  if tombstones.tell then redis.call('HSET', pool, 'ended_cut_ms', now) end
  if #members > 0 then redis.call('ZADD', key, unpack(members)) end
  if #tombstones.old > 0 then redis.call('ZREM', key, unpack(tombstones.old)) end
end
