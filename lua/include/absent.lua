--@include suspect
--@include tombstones
-- absent: what a holder is told whose allocation, or whose pool, is not there: it has ended, or the store has lost it.
-- Wants what `account` left, `ended`, and of an item its `fence`, `epoch` ('' where the caller knows of none) and
-- `known_ms`, the deadline that its holder knows.

-- Whether it should be there: live by what its holder was told, and not known to have ended.
local function is_missed(item)
  if item.known_ms - schema.CLOCK_STEP_MS <= now or item.known_ms > now + schema.ENDED_KEEP_MS then return false end
  local cut_ms = tonumber(redis.call('HGET', pool, 'ended_cut_ms') or 0)
  return cut_ms <= now - schema.ENDED_KEEP_MS
end

local function absent(item)
  if refused then
    local lost = refused == 'unknown_pool' and item.epoch ~= '' and not redis.call('ZSCORE', ended, 'deleted')
    return {lost and 'emptied' or refused}
  end
  if item.epoch == '' or not grace_ms or tombstones.find(ended, string.format('fence:%.0f', item.fence)) then
    return {'unknown'}
  end
  suspect(item.epoch, item.fence)
  if not recovering and is_missed(item) then
    recovery.begin('a lease that was live is missing', item.fence, stored_run)
  end
  return recovering and {'missing', recovering - now} or {'unknown'}
end
